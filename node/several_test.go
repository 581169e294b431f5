package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"postern/node/lab"
	"postern/node/submission"
	"postern/tenant"
)

// several is a cluster of whole nodes in this process, each with its own
// directory and ports, and a pretend Internet around them.
type several struct {
	t     *testing.T
	world *lab.Lab
	cfgs  []Config
	nodes []*running

	token     string // the first join token
	authority []byte // the private number of the authority's key

	grace   time.Duration   // [1 s]
	quiesce time.Duration   // how long a handover waits for attempts [as in the product]
	replies func(*lab.Mail) // before an exchanger says 250
	around  func(*lab.World)
	lines   *wires // between the nodes

	mu    sync.Mutex // guards taken
	taken []lab.Mail
}

type running struct {
	*Node
	end  context.CancelFunc
	done chan error
}

func newSeveral(t *testing.T, n int, change ...func(i int, cfg *Config)) *several {
	t.Helper()
	c := &several{t: t, grace: time.Second, quiesce: quiesceWait, replies: func(*lab.Mail) {}}
	c.form(n, change...)
	return c
}

// form starts n nodes, and waits until they are one cluster.
func (c *several) form(n int, change ...func(i int, cfg *Config)) {
	t := c.t
	t.Helper()
	c.nodes, c.lines = make([]*running, n), newWires()
	w := lab.Usual()
	for i := range n {
		w.AddSource(c.source(i), fmt.Sprintf("out-%d.relay.test", i+1))
	}
	for _, name := range []string{"shoes", "bakery", "clinic", "garden"} {
		w.AddSender(name+".test", "mx.inbox.test")
	}
	if c.around != nil {
		c.around(&w)
	}
	var err error
	c.world, err = lab.New(lab.Config{World: w, Taken: c.take})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.world.Run(ctx) }()
	t.Cleanup(func() {
		end()
		if err := <-done; err != nil {
			t.Errorf("run lab: %v", err)
		}
	})
	for i := range n {
		cfg := c.configure(i)
		for _, f := range change {
			f(i, &cfg)
		}
		c.cfgs = append(c.cfgs, cfg)
	}
	token, err := Init(c.cfgs[0], time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c.token, c.authority = token, authorityKey(t, c.cfgs[0])
	c.start(0)
	for i := 1; i < n; i++ {
		join, stop := context.WithTimeout(t.Context(), time.Minute)
		err := Join(join, c.cfgs[i], JoinFrom{Token: token})
		stop()
		if err != nil {
			t.Fatal(err)
		}
		c.start(i)
	}
	await(t, "every node's lease", func() bool {
		for _, n := range c.nodes {
			if !n.cluster.Status().Lease.After(time.Now()) || len(n.cluster.Status().Voters) != len(c.nodes) {
				return false
			}
		}
		return true
	})
}

func (c *several) source(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, 77, byte(100 + i), 11})
}

func (c *several) configure(i int) Config {
	dir := c.t.TempDir()
	cfg := DefaultConfig()
	cfg.Name, cfg.Dir, cfg.Hostname = fmt.Sprintf("n%d", i+1), filepath.Join(dir, "state"), "smtp.relay.test"
	cfg.Submission, cfg.SubmissionTLS = []string{unused(c.t)}, nil
	cfg.Admin, cfg.Metrics = unused(c.t), ""
	cfg.Resolvers = []string{c.world.DNS()}
	cfg.Peer.Listen = unused(c.t)
	cfg.Peer.Advertise = cfg.Peer.Listen
	cfg.TLS.Cert, cfg.TLS.Key = writePair(c.t, dir, int64(i), time.Now())
	cfg.Delivery.Port, cfg.Delivery.AllowLoopback = c.world.MXPort(), true
	cfg.locate(dir)
	return cfg
}

func (c *several) start(i int) {
	c.t.Helper()
	out := &testLog{t: c.t, name: c.cfgs[i].Name}
	n, err := New(c.cfgs[i], Options{
		Log: slog.New(slog.NewTextHandler(out, nil)), Version: "test", Grace: c.grace, HomeAfter: 3 * time.Second, PeerDial: c.dialer(i),
		Fatal: func(err error) { panic(err) },
	})
	if err != nil {
		c.t.Fatal(err)
	}
	n.handover.wait = c.quiesce
	ctx, end := context.WithCancel(context.Background())
	r := &running{Node: n, end: end, done: make(chan error, 1)}
	go func() { r.done <- n.Run(ctx) }()
	c.nodes[i] = r
	c.t.Cleanup(func() { c.stop(i); out.close() })
}

func (c *several) stop(i int) {
	r := c.nodes[i]
	if r == nil {
		return
	}
	c.nodes[i] = nil
	r.end()
	if err := <-r.done; err != nil {
		c.t.Errorf("run node: %v", err)
	}
}

// testLog shows the nodes' log with the test's.
type testLog struct {
	t    *testing.T
	name string
	mu   sync.Mutex // guards over
	over bool
}

func (l *testLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over && os.Getenv("POSTERN_LOG") != "" {
		l.t.Logf("%s %s", l.name, b)
	}
	return len(b), nil
}

func (l *testLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
}

func (c *several) take(m *lab.Mail) {
	c.mu.Lock()
	c.taken = append(c.taken, *m)
	c.mu.Unlock()
	c.replies(m)
}

// arrived counts mails and those that came twice, by the source they came from.
func (c *several) arrived() (from map[string]int, twice int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	from, seen := map[string]int{}, map[string]bool{}
	for _, m := range c.taken {
		from[m.Source]++
		if seen[m.UID] {
			twice++
		}
		seen[m.UID] = true
	}
	return from, twice
}

func (c *several) total() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.taken)
}

func (c *several) propose(i int, op tenant.Op) *tenant.State {
	c.t.Helper()
	ctx, end := context.WithTimeout(c.t.Context(), time.Minute)
	defer end()
	_, st, err := c.nodes[i].cluster.Propose(ctx, tenant.RequestID{}, op)
	if err != nil {
		c.t.Fatal(err)
	}
	return st
}

func (c *several) send(i int, count int64, who lab.Sender) int64 {
	c.t.Helper()
	l := lab.Load{
		Addrs: c.cfgs[i].Submission, TLS: &tls.Config{InsecureSkipVerify: true}, Senders: []lab.Sender{who},
		Domains: []string{"inbox.test"}, Sessions: 2, Count: count, Timeout: 40 * time.Second,
	}
	sum, err := l.Send(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return sum.Accepted
}

// prepare gives the cluster a source a node, and a tenant with two places.
func (c *several) prepare(home, backup int) (tenant.ID, lab.Sender) {
	c.t.Helper()
	st := c.nodes[0].cluster.State()
	id := func(i int) tenant.NodeID { return st.NodeByName(c.cfgs[i].Name).ID }
	for i := range c.cfgs {
		c.propose(0, tenant.AddSource{Node: id(i), Addr: c.source(i), EHLO: fmt.Sprintf("out-%d.relay.test", i+1), Shared: true})
	}
	st = c.propose(0, tenant.AddTenant{Name: "shoes", Hostname: "shoes.relay.test",
		Home: tenant.Place{Node: id(home)}, Backup: tenant.Place{Node: id(backup)}})
	t := st.TenantByName("shoes").ID
	c.propose(0, tenant.SetDomain{Tenant: t, Name: "shoes.test"})
	password, secret := submission.NewPassword()
	c.propose(0, tenant.AddAccount{Tenant: t, Username: "news@shoes.test", Secret: secret, Plan: tenant.Plan{MailsPerMonth: 1000}})
	return t, lab.Sender{Username: "news@shoes.test", Password: password, From: "news@shoes.test"}
}

// settled waits until one node has adopted the tenant and its copy is complete.
func (c *several) settled(t tenant.ID, owner, mirror int) {
	c.t.Helper()
	await(c.t, "owner and copy", func() bool {
		n := c.nodes[owner]
		x := n.cluster.State().Tenant(t)
		m, ok := n.queue.Mirrors()[t]
		return x != nil && x.Owner == n.id() && n.owned.epoch(t) == x.Epoch && ok && m.Synced && m.Node == c.cfgs[mirror].Name && len(x.Copies) == 1
	})
}

func (c *several) delivered(want int) {
	c.t.Helper()
	await(c.t, fmt.Sprintf("%d deliveries", want), func() bool { return c.total() >= want })
	if from, twice := c.arrived(); c.total() != want || twice > 0 {
		c.t.Errorf("%d mails, %d twice, want %d: %v", c.total(), twice, want, from)
	}
}

// A tenant's mail goes in at any node and out at its owner. When the owner
// ends, its backup takes over with all it held; when it is back, the tenant
// goes home, and nothing comes twice.
func TestTenantMovesAndComesHome(t *testing.T) {
	t.Parallel()
	c := newSeveral(t, 3)
	shoes, who := c.prepare(0, 1)
	c.settled(shoes, 0, 1)
	for i := range c.nodes {
		if n := c.send(i, 5, who); n != 5 {
			t.Fatalf("node %d took %d of 5", i+1, n)
		}
	}
	c.delivered(15)

	c.stop(0)
	if n := c.send(2, 10, who); n != 10 {
		t.Fatalf("during the move %d of 10 were taken", n)
	}
	c.delivered(25)
	if from, _ := c.arrived(); from[c.source(0).String()] != 15 || from[c.source(1).String()] != 10 {
		t.Errorf("left from %v", from)
	}
	c.settled(shoes, 1, 2) // the third node stands in

	c.start(0)
	c.settled(shoes, 0, 1) // home by handover
	if n := c.send(1, 5, who); n != 5 {
		t.Fatalf("at home again %d of 5 were taken", n)
	}
	c.delivered(30)
	used := c.nodes[2].cluster.State().SpentOf(c.nodes[2].cluster.State().AccountByUsername("news@shoes.test").ID,
		tenant.WindowAt(tenant.Month, time.Now()))
	if used.Mails > 30 {
		t.Errorf("%d e-mails charged, 30 sent", used.Mails)
	}
}

// A drained node hands its tenants over with what they have queued, and no
// message is sent twice.
func TestDrain(t *testing.T) {
	c := newSeveral(t, 3)
	shoes, who := c.prepare(0, 1)
	c.settled(shoes, 0, 1)
	c.propose(0, tenant.Pause{Tenant: shoes, Reason: "test"})
	if n := c.send(0, 50, who); n != 50 {
		t.Fatalf("%d of 50 were taken", n)
	}
	draining := true
	c.propose(1, tenant.SetNode{Node: c.nodes[0].id(), Draining: &draining})
	await(t, "the handover", func() bool { return c.nodes[2].cluster.State().Tenant(shoes).Owner == c.nodes[1].id() })
	if c.total() != 0 {
		t.Errorf("%d mails left while the tenant was paused", c.total())
	}
	c.propose(1, tenant.Pause{Tenant: shoes})
	c.delivered(50)
	if from, _ := c.arrived(); from[c.source(1).String()] != 50 {
		t.Errorf("left from %v", from)
	}
}
