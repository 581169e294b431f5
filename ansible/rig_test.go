package ansible

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/node/lab"
)

// Addresses: 198.18.0.0/15 is for tests (RFC 2544).
const (
	labAddr = "198.18.0.1"
	entry   = "198.18.0.10" // the only address clients know
	relay   = "smtp.relay.test"
	list    = "zen.lab.test"

	balancer = "198.18.0.20" // another way in, which a step sets up
	most     = 4             // machines that the Internet knows
)

// rig is the machines, the pretend Internet around them, and who sends.
type rig struct {
	dir, base, mark string
	machines        []*machine
	lab             *lab.Lab
	late            []string // what took longer than it may
	tenants         []customer
	way             string   // the address that clients use now
	deb             string   // the package of the inventory
	watch           *machine // the one that Prometheus runs on, while it is there

	mu    sync.Mutex
	mails []*lab.Mail               // what the recipients' hosts took
	books map[lab.RunID]*lab.Ledger // of each load
}

// source is an outbound address of a machine.
type source struct {
	addr, gateway, ehlo string
	shared              bool
}

// sourcesOf gives each machine two sources in a network of their own: one for a
// tenant, one for its pool.
func sourcesOf(i int) []source {
	net := fmt.Sprintf("198.18.%d.", 11+i)
	return []source{
		{net + "21", net + "1", fmt.Sprintf("out-%d1.relay.test", i+1), false},
		{net + "22", net + "1", fmt.Sprintf("out-%d2.relay.test", i+1), true},
	}
}

// newRig makes the network and the Internet, and boots three machines.
func newRig(t *testing.T) *rig {
	t.Helper()
	if os.Getenv("POSTERN_ANSIBLE") != inside {
		t.Skip("boots machines: make test-ansible")
	}
	g := &rig{dir: t.TempDir(), base: os.Getenv("POSTERN_ANSIBLE_BASE"), mark: strconv.FormatInt(time.Now().UnixNano()%1e9, 36),
		way: entry, books: map[lab.RunID]*lab.Ledger{},
		tenants: []customer{{"shoes", "n1", "n2", true}, {"books", "n2", "n3", false}, {"hotel", "n3", "n1", false}}}
	for _, c := range []string{"link set lo up", "link add br0 type bridge", "addr add " + labAddr + "/16 dev br0", "link set br0 up"} {
		run(t, "ip", strings.Fields(c)...)
	}
	for i := range most {
		run(t, "ip", "addr", "add", sourcesOf(i)[0].gateway+"/32", "dev", "br0")
	}
	g.startLab(t)
	run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(g.dir, "key"))
	t.Cleanup(func() {
		for _, m := range g.machines {
			m.gone(t)
		}
	})
	for range 3 {
		g.add(t)
	}
	for _, m := range g.machines {
		m.boot(t)
	}
	return g
}

// add makes one more machine, which is not booted yet.
func (g *rig) add(t *testing.T) *machine {
	t.Helper()
	i := len(g.machines)
	name := fmt.Sprintf("n%d", i+1)
	m := &machine{name: name, addr: fmt.Sprintf("198.18.0.%d", 11+i), dir: filepath.Join(g.dir, name), sources: sourcesOf(i), rig: g}
	g.machines = append(g.machines, m)
	m.fresh(t)
	return m
}

// machine finds one by its name.
func (g *rig) machine(name string) *machine {
	i := slices.IndexFunc(g.machines, func(m *machine) bool { return m.name == name })
	return g.machines[i]
}

// customer is a tenant of the test: home, backup, and whether it has a source of
// its own.
type customer struct {
	name, home, backup string
	dedicated          bool
}

func (g *rig) startLab(t *testing.T) {
	t.Helper()
	w := lab.UsualAt(netip.MustParseAddr("198.18.200.10"))
	for _, x := range w.Exchangers {
		run(t, "ip", "addr", "add", x.Addr.String()+"/32", "dev", "br0")
	}
	for i := range most {
		for _, s := range sourcesOf(i) {
			w.AddSource(netip.MustParseAddr(s.addr), s.ehlo)
		}
	}
	for _, x := range g.tenants {
		w.AddSender(x.name+".test", "mx.inbox.test", netip.MustParsePrefix("198.18.0.0/16"))
		w.Names[x.name+".relay.test"] = lab.Name{Records: []string{"A " + entry}}
	}
	w.Names[relay] = lab.Name{Records: []string{"A " + entry}}
	w.Lists = []string{list}
	var err error
	g.lab, err = lab.New(lab.Config{World: w, Addr: netip.MustParseAddr(labAddr), DNSPort: 53, MXPort: 25, Keep: 1000, Taken: g.took})
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.lab.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
}

func (g *rig) took(m *lab.Mail) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for run, ledger := range g.books {
		lab.Book(ledger, run, m)
	}
	g.mails = append(g.mails, m)
}

// open opens the books of a load.
func (g *rig) open() (lab.RunID, *lab.Ledger) {
	run, ledger := lab.NewRunID(), lab.NewLedger(0)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.books[run] = ledger
	return run, ledger
}

// taken counts the mails that match.
func (g *rig) taken(match func(*lab.Mail) bool) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, m := range g.mails {
		if match(m) {
			n++
		}
	}
	return n
}

// inventory writes what the playbooks are told.
func (g *rig) inventory(t *testing.T, deb string) {
	t.Helper()
	g.deb = deb
	var b strings.Builder
	b.WriteString("postern:\n  hosts:\n")
	for _, m := range g.machines {
		fmt.Fprintf(&b, "    %s:\n      ansible_host: %s\n      postern_sources:%s\n", m.name, m.addr, map[bool]string{true: " []"}[len(m.sources) == 0])
		for _, s := range m.sources {
			fmt.Fprintf(&b, "        - {address: %s, ehlo: %s, gateway: %s, shared: %v}\n", s.addr, s.ehlo, s.gateway, s.shared)
		}
	}
	fmt.Fprintf(&b, `  vars:
    ansible_user: root
    postern_interface: host0
    postern_hostname: %s
    postern_package_file: %s
    postern_keep: %s
    postern_entry: %s
    postern_entry_address: %s
    postern_entry_balancers: [%s]
    postern_metrics_from: [%s]
    postern_declaration_files: %s
`, relay, deb, filepath.Join(g.dir, "keep"), map[bool]string{true: "balancer", false: "vrrp"}[g.way == balancer], entry, labAddr, labAddr, filepath.Join(g.dir, "declared"))
	b.WriteString(g.declaration(t))
	if g.watch != nil {
		fmt.Fprintf(&b, "postern_monitoring:\n  hosts:\n    %s: {ansible_host: %s, ansible_user: root, postern_monitoring_interval: 2s}\n", g.watch.name, g.watch.addr)
	}
	must(t, os.WriteFile(filepath.Join(g.dir, "inventory.yml"), []byte(b.String()), 0o644))
}

// play runs a playbook and returns what it changed, by machine.
func (g *rig) play(t *testing.T, book string, args ...string) map[string]int {
	t.Helper()
	changed, out, err := g.tryPlay(book, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", book, err, tail(out, 6000))
	}
	return changed
}

var recap = regexp.MustCompile(`(?m)^(\S+)\s+: ok=\d+\s+changed=(\d+)`)

func (g *rig) tryPlay(book string, args ...string) (map[string]int, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ansible-playbook", append([]string{"-i", filepath.Join(g.dir, "inventory.yml"), "playbooks/" + book + ".yml"}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+g.dir, "ANSIBLE_NOCOLOR=1", "ANSIBLE_SSH_ARGS="+strings.Join(g.ssh(), " ")+" -o ControlMaster=auto -o ControlPersist=60s",
		"ANSIBLE_CALLBACKS_ENABLED=ansible.posix.profile_tasks")
	start := time.Now()
	out, err := cmd.CombinedOutput()
	name := filepath.Join(os.TempDir(), "postern-ansible-"+book+".log")
	_ = os.WriteFile(name, out, 0o644) // for who looks into it; the test does not need it
	fmt.Printf("    %s %s: %.1f s\n", book, strings.Join(args, " "), time.Since(start).Seconds())
	changed := map[string]int{}
	for _, m := range recap.FindAllStringSubmatch(string(out), -1) {
		changed[m[1]], _ = strconv.Atoi(m[2])
	}
	return changed, string(out), err
}

func tail(s string, n int) string {
	if len(s) > n {
		return "..." + s[len(s)-n:]
	}
	return s
}

// trust is what a client checks the entry's certificate with.
func (g *rig) trust() (*tls.Config, error) {
	pem, err := os.ReadFile(filepath.Join(g.dir, "keep/tls/ca.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: pool, ServerName: relay, MinVersion: tls.VersionTLS12}, nil
}
