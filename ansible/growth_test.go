package ansible

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// testScaleOut brings a fourth machine in while mail flows.
func testScaleOut(t *testing.T, g *rig) {
	m := g.add(t)
	m.boot(t)
	g.inventory(t, build(t, "2"))
	s := g.send(t, 20)
	g.play(t, "scale_out")
	s.end(t, "scale-out", false)
	if role := m.node(t, "n4").Role; role != "voter" {
		t.Errorf("the new node is %q, want a voter", role)
	}
}

// testDrain takes out a machine that has tenants, as the playbook says: drained,
// undeclared, removed.
func testDrain(t *testing.T, g *rig) {
	old := g.machine("n3")
	s := g.send(t, 20)
	g.play(t, "drain", "-e", "postern_drain=n3")
	if owner, _ := g.owner(t, "hotel"); owner == "n3" || owner == "" {
		t.Errorf("hotel is owned by %q", owner)
	}
	for i, x := range g.tenants {
		g.tenants[i].home, g.tenants[i].backup = strings.Replace(x.home, "n3", "n4", 1), strings.Replace(x.backup, "n3", "n4", 1)
	}
	old.sources = nil
	g.inventory(t, build(t, "2"))
	g.play(t, "site", "-e", "postern_prune=true")
	g.play(t, "drain", "-e", "postern_drain=n3", "-e", "postern_remove=true")
	s.end(t, "drain", false)
	if out, _ := old.try("systemctl is-active postern"); out != "inactive" {
		t.Errorf("postern of the machine that left is %q", out)
	}
	g.machines = append(g.machines[:2:2], g.machines[3])
	defer old.gone(t)
	g.inventory(t, build(t, "2"))
	g.play(t, "site") // the others forget its address
	must(t, none(g.play(t, "site")))
	if out, err := g.machines[0].try("postern node show n3"); err == nil {
		t.Errorf("the cluster still knows n3: %s", out)
	}
}

// testBalancer lets HAProxy stand before the nodes in place of keepalived, from
// here on, and kills a machine behind it.
func testBalancer(t *testing.T, g *rig) {
	run(t, "ip", "addr", "add", balancer+"/32", "dev", "br0")
	g.haproxy(t)
	g.way = balancer
	g.inventory(t, build(t, "2"))
	g.play(t, "site")
	for _, m := range g.machines {
		if out, _ := m.try("systemctl is-active keepalived; ip -o addr show to " + entry); out != "inactive" {
			t.Errorf("%s: keepalived is not gone: %s", m.name, out)
		}
		if said := greeting(net.JoinHostPort(m.addr, "587"), labAddr); strings.HasPrefix(said, "220") {
			t.Errorf("%s: a balancer's connection without the header was taken: %s", m.name, said)
		}
	}
	s := g.send(t, 20)
	s.flows(t)
	down := time.Now()
	g.machines[1].kill(t)
	for time.Since(down) < 20*time.Second { // that long it stays dead, and mail of all tenants flows
		s.more(t, 30)
	}
	t.Logf("n2 was dead for %.1f s", time.Since(down).Seconds())
	g.machines[1].boot(t)
	wait(t, 2*time.Minute, "n2 is ready again", func() error {
		if s, err := g.machines[1].status(); err != nil || !s.Ready {
			return fmt.Errorf("ready %v: %w", s.Ready, err)
		}
		return nil
	})
	s.end(t, "kill behind a balancer", true)
	// The client is known, not the balancer.
	logins := 0
	for _, m := range g.machines {
		if out, err := m.try("journalctl -u postern -o cat | grep -c 'msg=login .*client=" + balancer + "'"); err == nil && out != "0" {
			logins++
		}
	}
	if logins == 0 {
		t.Error("no node knows a client by its address behind the balancer")
	}
}

// haproxy starts a balancer as README.md words it, for this test and the rest. It
// knows machines that are still to come.
func (g *rig) haproxy(t *testing.T) {
	t.Helper()
	conf := `
defaults
  mode tcp
  timeout connect 5s
  timeout client 6m
  timeout server 6m
listen submission
  bind ` + balancer + `:587
  option smtpchk EHLO balancer.test
  option redispatch
`
	for i := range most {
		conf += fmt.Sprintf("  server n%d 198.18.0.%d:587 check inter 1s fall 2 rise 2 on-marked-down shutdown-sessions send-proxy-v2 check-send-proxy\n", i+1, 11+i)
	}
	name := filepath.Join(g.dir, "haproxy.cfg")
	must(t, os.WriteFile(name, []byte(conf), 0o644))
	log, err := os.Create(filepath.Join(g.dir, "haproxy.log"))
	must(t, err)
	defer log.Close()
	// It ends with the namespace of its processes.
	cmd := exec.Command("haproxy", "-db", "-f", name)
	cmd.Stdout, cmd.Stderr = log, log
	must(t, cmd.Start())
}

// greeting is what a client from an address hears first; "" for nothing.
func greeting(to, from string) string {
	d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", to)
	if err != nil {
		return ""
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(3 * time.Second))
	// Whoever needs no header greets by itself, who waits for one hears EHLO.
	_, _ = io.WriteString(c, "EHLO client.test\r\n")
	b := make([]byte, 200)
	n, _ := c.Read(b)
	return string(b[:n])
}

// node is what the machine's node knows of one.
func (m *machine) node(t *testing.T, name string) (n struct{ Name, State, Role string }) {
	t.Helper()
	must(t, decode(m.do(t, "postern node show --json "+name), &n))
	return n
}
