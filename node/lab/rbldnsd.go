package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// Rbldnsd is a real DNSBL server on loopback: Debian's rbldnsd, over UDP.
type Rbldnsd struct {
	Addr netip.AddrPort

	dir     string
	cmd     *exec.Cmd
	ended   chan struct{}
	stamp   time.Time // of the file written last
	version byte      // of what is served, as the marker zone tells it
}

// marker is a zone that tells which version of the files is served: the server
// loads all that changed before it answers again.
const (
	markerZone = "marker.lab"
	markerName = "2.0.0.127." + markerZone + "."
)

// rbldnsdTime bounds its start and a reload.
const rbldnsdTime = 20 * time.Second

// StartRbldnsd starts a server with these zone files (name and text) and zones
// ("bl.test:ip4set:file"). Close ends it.
func StartRbldnsd(files map[string]string, zones ...string) (*Rbldnsd, error) {
	bin, err := exec.LookPath("rbldnsd")
	if err != nil {
		if bin, err = exec.LookPath("/usr/sbin/rbldnsd"); err != nil {
			return nil, fmt.Errorf("start rbldnsd: %w", err)
		}
	}
	// Another process may take the port between its choice and its use.
	for range 3 {
		var r *Rbldnsd
		if r, err = startRbldnsd(bin, files, zones); err == nil {
			return r, nil
		}
	}
	return nil, fmt.Errorf("start rbldnsd: %w", err)
}

func startRbldnsd(bin string, files map[string]string, zones []string) (*Rbldnsd, error) {
	// Not a test's directory: the server gives up root's rights before it reads.
	dir, err := os.MkdirTemp("", "postern-rbldnsd-")
	if err != nil {
		return nil, err
	}
	r := &Rbldnsd{dir: dir, ended: make(chan struct{}), stamp: time.Now().Add(-24 * time.Hour)}
	if err := r.start(bin, files, zones); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *Rbldnsd) start(bin string, files map[string]string, zones []string) error {
	if err := os.Chmod(r.dir, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := r.write(name, text); err != nil {
			return err
		}
	}
	if err := r.mark(); err != nil {
		return err
	}
	// It takes no port 0: one that was free a moment ago is.
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	r.Addr = free.LocalAddr().(*net.UDPAddr).AddrPort()
	free.Close()
	args := []string{"-n", "-w", r.dir, "-c", "1h", "-t", "5", "-b", "127.0.0.1/" + strconv.Itoa(int(r.Addr.Port()))}
	if os.Getuid() == 0 {
		args = append(args, "-u", "nobody")
	}
	r.cmd = exec.Command(bin, append(append(args, zones...), markerZone+":ip4set:marker")...)
	if err := r.cmd.Start(); err != nil {
		r.cmd = nil
		return err
	}
	go func() {
		_ = r.cmd.Wait() // how it ended does not matter
		close(r.ended)
	}()
	return r.await()
}

// mark begins a new version of the files.
func (r *Rbldnsd) mark() error {
	r.version = r.version%250 + 1
	return r.write("marker", fmt.Sprintf("$TTL 1\n:127.0.1.%d:marker\n127.0.0.2\n", r.version))
}

// await waits until the server answers by the present version.
func (r *Rbldnsd) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), rbldnsdTime)
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	c := &dns.Client{Timeout: time.Second}
	q := new(dns.Msg).SetQuestion(markerName, dns.TypeA)
	for {
		if m, _, err := c.ExchangeContext(ctx, q, r.Addr.String()); err == nil && len(m.Answer) == 1 {
			if a, ok := m.Answer[0].(*dns.A); ok && a.A.Equal(net.IPv4(127, 0, 1, r.version)) {
				return nil
			}
		}
		select {
		case <-again.C:
		case <-r.ended:
			return errors.New("it ended")
		case <-ctx.Done():
			return errors.New("it takes too long")
		}
	}
}

// write gives each version of a file its own time, by whole seconds: the server
// tells versions apart by them.
func (r *Rbldnsd) write(name, text string) error {
	path := filepath.Join(r.dir, filepath.Base(name))
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		return err
	}
	r.stamp = r.stamp.Add(time.Second)
	return errors.Join(os.Chtimes(path+".new", r.stamp, r.stamp), os.Rename(path+".new", path))
}

// Set replaces a zone file and returns when the server answers by it.
func (r *Rbldnsd) Set(name, text string) error {
	err := r.write(name, text)
	if err == nil {
		err = r.mark()
	}
	if err == nil {
		err = r.cmd.Process.Signal(syscall.SIGHUP)
	}
	if err == nil {
		err = r.await()
	}
	if err != nil {
		return fmt.Errorf("set rbldnsd's file %s: %w", name, err)
	}
	return nil
}

// Close ends the server and removes its files.
func (r *Rbldnsd) Close() {
	if r.cmd != nil {
		_ = r.cmd.Process.Kill() // it has nothing to save
		<-r.ended
	}
	os.RemoveAll(r.dir)
}
