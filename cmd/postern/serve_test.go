package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A node as a process, found by its configuration file: it gets ready, makes
// its secrets, outlives a hang-up and ends well when told to.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "n.yaml")
	api, free := unusedAddr(t), unusedAddr(t)
	text := fmt.Sprintf("name: n1\nhostname: smtp.relay.test\ndir: state\nbootstrap: true\nsubmission: ['%s']\nsubmission_tls: []\nadmin: %s\nresolvers: ['127.0.0.1:1']\nlog: {format: json}\n", free, api)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	p := exec.Command(self, "serve", "--config", config)
	p.Env = append(os.Environ(), asPostern+"=1")
	p.Stderr = &log
	systemd := listenSystemd(t)
	p.Env = append(p.Env, "NOTIFY_SOCKET="+systemd.path, "WATCHDOG_USEC=200000")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	t.Cleanup(func() { _ = p.Process.Kill() })
	awaitReady(t, api, ended)

	ask := func(want int, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		a := newApp(strings.NewReader(""), &out, &errs)
		a.env = func(string) string { return "" }
		if code := a.run(append(args, "--config", config)); code != want {
			t.Fatalf("%v: %d, want %d\n%s%s", args, code, want, &out, &errs)
		}
		return out.String()
	}
	if text := ask(exitDone, "node", "list"); !strings.Contains(text, "n1") {
		t.Errorf("%s", text)
	}
	ask(exitDone, "source", "add", "127.77.1.11", "--node", "n1", "--ehlo", "out-1.relay.test")
	ask(exitDone, "tenant", "add", "acme", "--hostname", "acme.relay.test", "--home", "n1/127.77.1.11")
	if text := ask(exitDone, "tenant", "list", "--json"); !strings.Contains(text, `"owner": "n1"`) {
		t.Errorf("%s", text)
	}
	ask(exitRefused, "tenant", "show", "blue")
	// The ports are taken now, by the node itself.
	if text := ask(exitRefused, "serve", "--check"); !strings.Contains(text, free+" is in use") {
		t.Errorf("%s", text)
	}

	if text := ask(exitDone, "node", "log-level", "n1", "debug", "--for", "1m"); !strings.Contains(text, "n1 logs debug until") {
		t.Errorf("%s", text)
	}
	systemd.await(t, "STATUS=accepts and sends mail", "READY=1", "WATCHDOG=1", "WATCHDOG=1")
	if err := os.WriteFile(config, []byte(strings.Replace(text, "bootstrap: true", "bootstrap: true\ndelivery: {retry: [1m]}", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if text := ask(exitDone, "node", "reload"); !strings.Contains(text, "n1 took up: delivery.retry") {
		t.Errorf("%s", text)
	}
	if err := p.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	systemd.await(t, "RELOADING=1", "READY=1", "WATCHDOG=1")
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	systemd.await(t, "STOPPING=1")
	select {
	case err := <-ended:
		if err != nil {
			t.Fatalf("%v\n%s", err, &log)
		}
	case <-time.After(time.Minute):
		t.Fatalf("it goes on\n%s", &log)
	}
	if !strings.Contains(log.String(), `"msg":"node ended"`) || strings.Count(log.String(), `"msg":"configuration reloaded"`) != 2 {
		t.Errorf("%s", &log)
	}
	for _, name := range []string{"operator.token", "secret.key"} {
		if fi, err := os.Stat(filepath.Join(dir, "state", name)); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, fi, err)
		}
	}
}

// systemdEnd is where systemd would listen.
type systemdEnd struct {
	*net.UnixConn
	path string
}

func listenSystemd(t *testing.T) systemdEnd {
	t.Helper()
	dir, err := os.MkdirTemp("", "p") // a socket's name is short
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "s")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); os.RemoveAll(dir) })
	return systemdEnd{c, name}
}

// await waits for these, in this order, whatever comes between.
func (s systemdEnd) await(t *testing.T, all ...string) {
	t.Helper()
	_ = s.SetReadDeadline(time.Now().Add(time.Minute))
	b := make([]byte, 4096)
	for _, want := range all {
		for {
			n, err := s.Read(b)
			if err != nil {
				t.Fatalf("systemd waits for %s: %v", want, err)
			}
			if string(b[:n]) == want {
				break
			}
		}
	}
}

// unusedAddr finds a TCP port that stays free while a node is down: below those that
// systems give to outgoing connections, and marked for the test's duration by
// its UDP twin, so that no other test takes it.
func unusedAddr(t *testing.T) string {
	t.Helper()
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(12_000))
		mark, err := net.ListenPacket("udp", addr)
		if err != nil {
			continue
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			mark.Close()
			continue
		}
		l.Close()
		t.Cleanup(func() { mark.Close() })
		return addr
	}
	t.Fatal("no free port")
	return ""
}

func awaitReady(t *testing.T, api string, ended <-chan error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(deadline) {
		if resp, err := http.Get("http://" + api + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case err := <-ended:
			t.Fatalf("the node ended: %v", err)
		case <-tick.C:
		}
	}
	t.Fatal("the node does not get ready")
}
