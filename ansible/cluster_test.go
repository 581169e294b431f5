package ansible

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/node/lab"
)

// declaration is what the inventory says of tenants; passwords are made here,
// so that the clients know them.
func (g *rig) declaration(t *testing.T) string {
	t.Helper()
	declared := filepath.Join(g.dir, "declared")
	must(t, os.MkdirAll(declared, 0o700))
	var b strings.Builder
	b.WriteString("    postern_declaration:\n      plans:\n        usual: {bytes_per_month: 50GB, mails_per_month: 5000000}\n      tenants:\n")
	for _, x := range g.tenants {
		home, backup := x.home, x.backup
		if x.dedicated {
			home += "/" + g.dedicated(home) // its backup is a pool that others send from: a source nobody uses is not warm
		}
		fmt.Fprintf(&b, "        - name: %s\n          hostname: %s.relay.test\n          home: %s\n          backup: %s\n", x.name, x.name, home, backup)
		fmt.Fprintf(&b, "          domains: [{name: %s.test}]\n", x.name)
		fmt.Fprintf(&b, "          accounts: [{address: mail@%s.test, plan: usual, password_file: %s.password}]\n", x.name, x.name)
		must(t, os.WriteFile(filepath.Join(declared, x.name+".password"), []byte(password(x.name)+"\n"), 0o600))
	}
	zone := "zones: [{name: " + list + ", asks: [ipv4], heavy: true, every: 5m, rate: 1000, delist: 'https://" + list + "/?{}', " +
		"codes: [{code: 127.0.0.2-254, weight: 100, means: spam source}]}]"
	fmt.Fprintf(&b, "      zones: {text: %q, round: 2s}\n", zone)
	return b.String()
}

func password(name string) string { return "a-password-of-the-test-for-" + name }

func (g *rig) dedicated(node string) string {
	return g.machine(node).sources[0].addr
}

// first sends one message over and over until it is accepted, and says when it
// arrived.
func (g *rig) first(ctx context.Context) (time.Time, error) {
	seen := g.taken(func(*lab.Mail) bool { return true })
	for ctx.Err() == nil {
		time.Sleep(100 * time.Millisecond)
		trust, err := g.trust()
		if err != nil {
			continue // made by the playbook
		}
		run, ledger := g.open()
		l := lab.Load{Addrs: []string{net.JoinHostPort(g.way, "587")}, TLS: trust, Run: run, Domains: []string{"inbox.test"}, Count: 1, Timeout: 5 * time.Second,
			Senders: []lab.Sender{{Username: "mail@shoes.test", Password: password("shoes"), From: "mail@shoes.test"}},
			Sent:    func(x *lab.Submission) { lab.Record(ledger, x) }}
		if sum, _ := l.Send(ctx); sum.Accepted == 0 {
			continue
		}
		for ctx.Err() == nil {
			if g.taken(func(*lab.Mail) bool { return true }) > seen {
				return time.Now(), nil
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return time.Time{}, ctx.Err()
}

// build makes a package of this tree with a version of its own.
func build(t *testing.T, version string) string {
	t.Helper()
	debs, err := filepath.Glob(os.Getenv("POSTERN_ANSIBLE_DEBS") + "/" + version + "/postern_*_amd64.deb")
	must(t, err)
	if len(debs) != 1 {
		t.Fatalf("found packages %q, want one: make test-ansible builds them", debs)
	}
	return debs[0]
}

func none(changed map[string]int) error {
	if len(changed) == 0 {
		return errors.New("no machine was in the run")
	}
	for name, n := range changed {
		if n != 0 {
			return fmt.Errorf("%s: %d changes", name, n)
		}
	}
	return nil
}

// status asks a node how it is.
func (m *machine) status() (s struct {
	Ready   bool
	Version string
	Queued  int
}, err error) {
	out, err := m.try("postern node status --json")
	if out != "" {
		err = json.Unmarshal([]byte(out), &s)
	}
	return s, err
}

// holder is the machine that has the entry's address.
func (g *rig) holder(t *testing.T) *machine {
	t.Helper()
	for _, m := range g.machines {
		if out, err := m.try("ip -o addr show to " + entry); err == nil && out != "" {
			return m
		}
	}
	t.Fatal("no machine has the address that clients know")
	return nil
}

// TestCluster goes from bare machines to a cluster, through what happens to one,
// and back to bare machines.
func TestCluster(t *testing.T) {
	g := newRig(t)
	g.inventory(t, build(t, "1"))
	bare := g.machines[0].do(t, listFiles)
	steps := []step{
		{"first", testFirst}, {"again", testAgain}, {"check", testCheck}, {"network", testNetwork}, {"resolver", testResolver}, {"renewal", testRenewal},
		{"upgrade", testUpgrade}, {"listing", testListing},
		{"kill", testKill}, {"backup", testBackup}, {"replace", testReplace}, {"balancer", testBalancer}, {"scaleout", testScaleOut}, {"drain", testDrain},
		{"monitoring", testMonitoring},
		{"uninstall", func(t *testing.T, g *rig) { testUninstall(t, g, bare) }},
	}
	for _, s := range steps {
		if only := os.Getenv("POSTERN_ANSIBLE_STEPS"); only != "" && !strings.Contains(only, s.name) {
			continue
		}
		if !g.step(t, s) {
			g.hold(t, steps)
			t.FailNow()
		}
	}
	g.hold(t, steps)
	for _, text := range g.late {
		t.Error(text)
	}
}

// step is something that happens to the cluster.
type step struct {
	name string
	do   func(*testing.T, *rig)
}

func (g *rig) step(t *testing.T, s step) bool {
	ok := t.Run(s.name, func(t *testing.T) { s.do(t, g) })
	if !ok {
		g.tell(t)
	}
	return ok
}

// hold keeps the machines up, for who works on the playbooks: it does the steps
// whose names are written into the FIFO, until that is removed.
func (g *rig) hold(t *testing.T, steps []step) {
	name := os.Getenv("POSTERN_ANSIBLE_HOLD")
	for name != "" {
		fmt.Printf("    machines of %s are held: echo STEP >%s\n", g.dir, name)
		asked, err := os.ReadFile(name)
		if err != nil {
			return
		}
		for _, s := range steps {
			if slices.Contains(strings.Fields(string(asked)), s.name) {
				g.step(t, s)
			}
		}
	}
}

// tell shows what the machines' nodes said last.
func (g *rig) tell(t *testing.T) {
	for _, m := range g.machines {
		out, err := m.try("systemctl --failed --no-legend; postern node status; journalctl --no-pager -n 40 -u postern -u keepalived -u unbound -o cat | tail -60")
		t.Logf("%s: %s (%v)", m.name, tail(out, 4000), err)
	}
}

func testFirst(t *testing.T, g *rig) {
	start := time.Now()
	g.play(t, "site")
	played := time.Since(start)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// Not before: who tries an account that is not there yet is soon kept out.
	at, err := g.first(ctx)
	if err != nil {
		t.Fatalf("no message arrived: %v", err)
	}
	t.Logf("bare machines to the first delivered message: %.1f s; the playbook ran %.1f s", at.Sub(start).Seconds(), played.Seconds())
	g.within(5*time.Minute, at.Sub(start), "bare machines to the first delivered message")
}

// within keeps what took too long, for the end: a machine that is busy with
// other work shall not hide what comes after.
func (g *rig) within(most, took time.Duration, what string) {
	if took > most {
		g.late = append(g.late, fmt.Sprintf("%s took %.1f s, more than %v", what, took.Seconds(), most))
	}
}

func testAgain(t *testing.T, g *rig) {
	must(t, none(g.play(t, "site")))
}

func testCheck(t *testing.T, g *rig) {
	must(t, none(g.play(t, "site", "--check", "--diff")))
	before := g.machines[0].do(t, "sha256sum /etc/postern/* /etc/keepalived/*; postern export 2>/dev/null | sha256sum")
	changed, out, err := g.tryPlay("site", "--check", "--diff", "-e", `{"postern_metrics_from": ["198.18.7.0/24"], "postern_settings": {"queue": {"grace": "30s"}}, "postern_declaration": {"routes": [{"domain": "partner.test", "host": "mx.inbox.test"}]}}`)
	must(t, err)
	if none(changed) == nil || !strings.Contains(out, "+ route partner.test") || !strings.Contains(out, "grace: 30s") {
		t.Errorf("a check with other variables told of no change: %v", changed)
	}
	if after := g.machines[0].do(t, "sha256sum /etc/postern/* /etc/keepalived/*; postern export 2>/dev/null | sha256sum"); after != before {
		t.Errorf("a check changed the machine:\n%s\n%s", before, after)
	}
	// A file that keepalived does not understand stays out.
	if _, out, err := g.tryPlay("site", "-e", "postern_entry_id=999"); err == nil || !strings.Contains(out, "must be between 1 & 255") {
		t.Errorf("a fault for keepalived was not found: %v: %s", err, tail(out, 2000))
	}
	if after := g.machines[0].do(t, "sha256sum /etc/postern/* /etc/keepalived/*; postern export 2>/dev/null | sha256sum"); after != before {
		t.Errorf("a faulty file for keepalived was taken:\n%s\n%s", before, after)
	}
}

func testNetwork(t *testing.T, g *rig) {
	for _, m := range g.machines {
		s := m.sources[0]
		if way := m.do(t, "ip route get 203.0.113.9 from "+s.addr); !strings.Contains(way, "via "+s.gateway+" ") {
			t.Errorf("%s: mail from %s leaves by %s", m.name, s.addr, way)
		}
		// Only Postern's user leaves by port 25; who is refused hears so at once.
		for user, may := range map[string]bool{"root": false, "nobody": false, "postern": true} {
			_, err := m.try("timeout 5 setpriv --reuid=" + user + " --clear-groups bash -c '</dev/tcp/198.18.200.10/25'")
			if (err == nil) != may || !may && !strings.Contains(err.Error(), "refused") {
				t.Errorf("%s: user %s to port 25: %v, want open %v", m.name, user, err, may)
			}
		}
		for port, open := range map[string]bool{"8472": false, "8470": false, "8471": true, "587": true, "465": true} {
			c, err := net.DialTimeout("tcp", net.JoinHostPort(m.addr, port), 2*time.Second)
			if (err == nil) != open {
				t.Errorf("%s: from outside port %s: %v, want open %v", m.name, port, err, open)
			}
			if err == nil {
				_ = c.Close()
			}
		}
	}
}

func testUpgrade(t *testing.T, g *rig) {
	s := g.send(t, 20)
	start := time.Now()
	g.play(t, "upgrade", "-e", "postern_package_file="+build(t, "2"))
	t.Logf("rolling upgrade of three nodes: %.1f s", time.Since(start).Seconds())
	g.within(3*time.Minute, time.Since(start), "the rolling upgrade of three nodes")
	s.end(t, "upgrade", false)
	for _, m := range g.machines {
		at, err := m.status()
		must(t, err)
		if !strings.HasPrefix(at.Version, "2") {
			t.Errorf("%s runs version %s", m.name, at.Version)
		}
	}
	g.inventory(t, build(t, "2"))
}

func decode(text string, into any) error { return json.Unmarshal([]byte(text), into) }
