package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// The demo's addresses. 127.0.0.1 and .2 are test points of DNSBLs, so sources
// have others: those of node n are 127.77.n.x.
var (
	demoHost   = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	demoLab    = netip.AddrFrom4([4]byte{127, 78, 0, 1})
	demoInbox  = netip.AddrFrom4([4]byte{127, 78, 0, 10})
	demoTrap   = netip.AddrFrom4([4]byte{127, 78, 0, 40})
	demoDomain = "relay.test"
)

const (
	demoNodes    = 3 // unless --nodes says otherwise
	maxDemoNodes = 7
)

// demoState is what a directory keeps for the next run, passwords included.
type demoState struct {
	Ports   demoPorts    `json:"ports"`
	Nodes   []nodePorts  `json:"nodes"`
	Tenants []demoTenant `json:"tenants"`
}

// demoPorts stay over restarts, as those of the nodes do.
type demoPorts struct {
	DNS    uint16 `json:"dns"`
	MX     uint16 `json:"mx"`
	LabAPI uint16 `json:"lab_api"`
	// Any is where every node of several takes mail, each at an address of its own.
	Any uint16 `json:"any"`
}

// nodePorts are the ports of one node.
type nodePorts struct {
	Submission    uint16 `json:"submission"`
	Submission2   uint16 `json:"submission2"`
	SubmissionTLS uint16 `json:"submission_tls"`
	Intake        uint16 `json:"intake"`
	Admin         uint16 `json:"admin"`
	Metrics       uint16 `json:"metrics"`
	Peer          uint16 `json:"peer"`
	Gossip        uint16 `json:"gossip"`
}

func nodeNamed(i int) string { return fmt.Sprintf("n%d", i+1) }

// nodeIP is an address of node i's own.
func nodeIP(i int, last byte) netip.Addr { return netip.AddrFrom4([4]byte{127, 77, byte(i + 1), last}) }

// demoTenant is one tenant with its two accounts: the user's and the one that
// background traffic uses.
type demoTenant struct {
	Name     string `json:"name"`
	Domain   string `json:"domain"`
	Username string `json:"username"`
	Password string `json:"password"`
	Daily    string `json:"daily"`
	DailyKey string `json:"daily_password"`
	DKIM     string `json:"dkim_record,omitempty"`
}

// demoDir is the demo's directory; one demo at a time uses it.
type demoDir struct {
	path  string
	lock  *os.File
	ports []*os.File // locks that keep other demos off this one's ports
	state demoState
	retry string // the node's waits between attempts
}

// openDemoDir makes or reopens the directory and its state for so many nodes; 0
// is what it has. Ports are chosen the first time only.
func openDemoDir(path string, nodes int) (*demoDir, error) {
	var err error
	if path == "" {
		path, err = os.MkdirTemp("", "postern-demo-")
	} else if path, err = filepath.Abs(path); err == nil {
		err = os.MkdirAll(path, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("make demo directory: %w", err)
	}
	d := &demoDir{path: path, retry: "5s, 10s, 30s"}
	if d.lock, err = os.OpenFile(d.file("lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, fmt.Errorf("lock demo directory: %w", err)
	}
	if err := syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		d.close()
		return nil, fmt.Errorf("lock demo directory %s: another demo runs in it", path)
	}
	if err := d.load(nodes); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *demoDir) close() {
	for _, f := range d.ports {
		_ = f.Close()
	}
	_ = d.lock.Close()
}

// reserve keeps other demos off a port for as long as this one lives: a node
// that was killed must find its ports free when it comes back. False means
// that another demo has it. Where locks cannot be had there are none.
func (d *demoDir) reserve(port uint16) bool {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("postern-demo-ports.%d", os.Getuid()))
	if os.MkdirAll(dir, 0o700) != nil {
		return true
	}
	f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(int(port))), os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return true
	}
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		_ = f.Close()
		return false
	}
	d.ports = append(d.ports, f)
	return true
}

func (d *demoDir) file(parts ...string) string {
	return filepath.Join(append([]string{d.path}, parts...)...)
}

func (d *demoDir) load(nodes int) error {
	b, err := os.ReadFile(d.file("state.json"))
	switch {
	case err == nil:
		if err := json.Unmarshal(b, &d.state); err != nil {
			return fmt.Errorf("read demo state %s: %w", d.file("state.json"), err)
		}
		if len(d.state.Nodes) == 0 || len(d.state.Nodes) > maxDemoNodes {
			return fmt.Errorf("read demo state %s: it is of another version; use another directory", d.file("state.json"))
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read demo state: %w", err)
	}
	if err := d.keepPorts(); err != nil {
		return err
	}
	if nodes == 0 && len(d.state.Nodes) == 0 {
		nodes = demoNodes
	}
	if len(d.state.Nodes) > 0 && nodes != 0 && nodes < len(d.state.Nodes) {
		return fmt.Errorf("resume demo: it has %d nodes; --nodes can only add some", len(d.state.Nodes))
	}
	if err := d.choosePorts(nodes); err != nil {
		return err
	}
	return d.save()
}

// keepPorts takes the ports of a resumed demo.
func (d *demoDir) keepPorts() error {
	p := d.state.Ports
	all := []uint16{p.DNS, p.MX, p.LabAPI, p.Any}
	for _, n := range d.state.Nodes {
		all = append(all, n.Submission, n.Submission2, n.SubmissionTLS, n.Intake, n.Admin, n.Metrics, n.Peer, n.Gossip)
	}
	for _, port := range all {
		if port != 0 && !d.reserve(port) {
			return fmt.Errorf("take the demo's ports: %d belongs to another running demo", port)
		}
	}
	return nil
}

func (d *demoDir) save() error { return writeJSON(d.file("state.json"), d.state) }

// choosePorts takes favourites where they are free, so that the examples of
// one demo are those of the next. What has a port keeps it.
func (d *demoDir) choosePorts(nodes int) error {
	type choice struct {
		to   *uint16
		like uint16
		ips  []netip.Addr
	}
	p := &d.state.Ports
	var own []netip.Addr
	for i := range maxDemoNodes {
		own = append(own, nodeIP(i, 1))
	}
	all := []choice{{&p.DNS, 5300, append(listViews(), demoLab)}, {&p.LabAPI, 8078, []netip.Addr{demoLab}},
		{&p.MX, 2500, []netip.Addr{demoInbox}}, {&p.Any, 5880, own}}
	for len(d.state.Nodes) < nodes {
		d.state.Nodes = append(d.state.Nodes, nodePorts{})
	}
	for i := range d.state.Nodes {
		n, k := &d.state.Nodes[i], uint16(i)
		host, self := []netip.Addr{demoHost}, own[i:i+1]
		all = append(all, choice{&n.Submission, 2525 + k, host}, choice{&n.Submission2, 5870 + k, host}, choice{&n.SubmissionTLS, 4650 + k, host}, choice{&n.Intake, 2625 + k, host},
			choice{&n.Admin, 8025 + k, host}, choice{&n.Metrics, 9025 + k, host}, choice{&n.Peer, 8471 + k, self}, choice{&n.Gossip, 8571 + k, self})
	}
	for _, c := range all {
		if *c.to != 0 {
			continue
		}
		port, err := d.freePort(c.like, c.ips...)
		if err != nil {
			return err
		}
		*c.to = port
	}
	return nil
}

// freePort takes the favourite, or the next in steps of ten. They all lie
// below the ports that systems give to outgoing connections, so a port is still
// free when its demo is resumed.
func (d *demoDir) freePort(like uint16, ips ...netip.Addr) (uint16, error) {
	for step := range uint16(2000) {
		port := like + 10*step
		if isFree(port, ips) && d.reserve(port) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("find free port from %d on at %v: none", like, ips)
}

func isFree(port uint16, ips []netip.Addr) bool {
	for _, ip := range ips {
		l, err := net.Listen("tcp", netip.AddrPortFrom(ip, port).String())
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}

// secret reads a file of random hex, or makes it. Only its owner may read it.
func (d *demoDir) secret(octets int, parts ...string) (string, error) {
	name := d.file(parts...)
	b, err := os.ReadFile(name)
	if err == nil {
		return string(b), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read secret: %w", err)
	}
	raw := make([]byte, octets)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	s := hex.EncodeToString(raw)
	if err := replaceFile(name, []byte(s)); err != nil {
		return "", err
	}
	return s, nil
}

func writeJSON(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(name), err)
	}
	return replaceFile(name, append(b, '\n'))
}

// replaceFile writes a file that a reader sees wholly or not at all.
func replaceFile(name string, b []byte) error {
	tmp := name + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(name), err)
	}
	if err := os.Rename(tmp, name); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(name), err)
	}
	return nil
}
