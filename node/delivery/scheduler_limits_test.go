package delivery

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postern/node/queue"
	"postern/tenant"
)

// named is a finder for tests with real sockets: every domain has the MX hosts
// it is given, else one of its own, all at one address.
type named struct {
	mu    sync.Mutex
	hosts map[string][]string
	at    map[string]netip.AddrPort // by domain
}

func (n *named) Site(_ context.Context, domain string) (*site, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	names := n.hosts[domain]
	if names == nil {
		names = []string{"mx." + domain}
	}
	s := siteOf(names...)
	for i := range s.Hosts {
		s.Hosts[i].Addrs = []netip.Addr{n.at[domain].Addr()}
		s.Hosts[i].Port = n.at[domain].Port()
	}
	return s, nil
}

func (n *named) Route(ctx context.Context, name string, port uint16) (*site, error) {
	return newResolver(resolverConfig{}).Route(ctx, name, port)
}

// startWith runs the rig's scheduler with another finder than DNS.
func (r *rig) startWith(f finder) *rig {
	r.t.Helper()
	cfg, err := r.cfg.withDefaults()
	if err != nil {
		r.t.Fatal(err)
	}
	s, err := newScheduler(cfg, r.store, r.store, f, newDialer(dialerConfig{}), func() float64 { return 0.5 })
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.ended = cancel, make(chan error, 1)
	go func() { r.ended <- s.run(ctx) }()
	r.t.Cleanup(r.stop)
	return r
}

func TestLimitsCountOverAllTenantsOfASource(t *testing.T) {
	c := startCrowd(t, &crowd{slow: func(string) time.Duration { return 5 * time.Millisecond }})
	w := newWorld(t)
	w.source("127.77.1.12", true)
	w.source("127.77.1.13", true)
	var ids []tenant.ID
	var accs []tenant.AccountID
	for i := range 6 {
		id, acc := w.customer(string(rune('a'+i)), 0)
		ids, accs = append(ids, id), append(accs, acc)
	}
	f := &named{hosts: map[string][]string{}, at: map[string]netip.AddrPort{}}
	for i := range 5 { // five domains of one provider: its limit holds for all of them
		d := fmt.Sprintf("d%d.test", i)
		f.hosts[d] = []string{fmt.Sprintf("mx%d.big.example", i)}
		f.at[d] = c.addr
	}
	r := newRig(t, w, func(cfg *Config) {
		cfg.Shaping = &Shaping{Providers: []Provider{{
			Name: "big", Suffixes: []string{".big.example"}, Limits: Limits{Conns: 3, MessagesPerConn: 7},
		}}}
		cfg.Idle = 50 * time.Millisecond
	})
	for i := range 300 {
		r.send(ids[i%6], accs[i%6], nil, fmt.Sprintf("u@d%d.test", i%5))
	}
	r.startWith(f)
	r.await("all delivered", func() bool { return r.outcomes()[queue.Delivered] == 300 })
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.most) != 2 {
		t.Errorf("sources used: %v, want both of the pool", c.most)
	}
	for src, n := range c.most {
		if n > 3 {
			t.Errorf("%s had %d connections open, limit 3", src, n)
		}
	}
	if !slices.Contains([]int{c.most["127.77.1.12"], c.most["127.77.1.13"]}, 3) {
		t.Errorf("limit never reached (%v): the test proves nothing", c.most)
	}
	if c.perConn > 7 {
		t.Errorf("%d messages on one connection, limit 7", c.perConn)
	}
}

func TestConnectionsAMinute(t *testing.T) {
	b := newBudget(budgetKey{}, "x", Limits{Conns: 10, ConnsPerMinute: 100, MessagesPerSecond: 20})
	now := time.Unix(1000, 0)
	var at []time.Time
	for range 60 * 1000 {
		if b.conns.take(now) == 0 {
			at = append(at, now)
		}
		now = now.Add(3 * time.Millisecond)
	}
	for i := range at {
		n := 0
		for _, later := range at[i:] {
			if later.Sub(at[i]) < time.Minute {
				n++
			}
		}
		if n > 100 {
			t.Fatalf("%d connections in a minute", n)
		}
	}
	if len(at) < 250 {
		t.Errorf("%d connections in three minutes: the limit is not used", len(at))
	}
	sent := 0
	for range 10_000 {
		if b.messages.take(now) == 0 {
			sent++
		}
		now = now.Add(time.Millisecond)
	}
	if sent < 170 || sent > 200 {
		t.Errorf("%d messages in ten seconds, limit 20 a second", sent)
	}
}

func TestNodeLimitLeavesRoomForOthers(t *testing.T) {
	// Tenant a has mail for forty silent hosts, the node twenty connections.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c := startCrowd(t, &crowd{})
	w := newWorld(t)
	src := w.source("127.77.1.14", true)
	_ = src
	a, accA := w.customer("a", 0)
	b, accB := w.customer("b", 0)
	f := &named{hosts: map[string][]string{}, at: map[string]netip.AddrPort{"good.test": c.addr}}
	r := newRig(t, w, func(cfg *Config) { cfg.MaxConns = 20 })
	for i := range 40 {
		d := fmt.Sprintf("silent%d.test", i)
		f.at[d] = silent.Addr().(*net.TCPAddr).AddrPort()
		r.send(a, accA, nil, "u@"+d)
	}
	r.startWith(f)
	r.await("tenant a to fill its share", func() bool { return r.metric("postern_delivery_connections") >= 10 })
	for range 20 {
		r.send(b, accB, nil, "u@good.test")
	}
	r.await("tenant b's mail", func() bool { return c.count() == 20 })
	if n := r.metric("postern_delivery_connections"); n > 20 {
		t.Errorf("%v connections open, limit 20", n)
	}
}

// TestBlackHoleSlowsNobody has a listener with a full backlog (its SYNs are
// dropped) beside a good host.
func TestBlackHoleSlowsNobody(t *testing.T) {
	hole := blackHole(t)
	c := startCrowd(t, &crowd{})
	w := newWorld(t)
	w.source("127.77.1.15", true)
	a, acc := w.customer("a", 0)
	f := &named{at: map[string]netip.AddrPort{"good.test": c.addr, "hole.test": hole}}
	r := newRig(t, w, func(cfg *Config) { cfg.Shaping = &Shaping{Default: Limits{Conns: 10}} })
	for range 2000 {
		r.send(a, acc, nil, "u@hole.test")
	}
	r.startWith(f)
	const n = 500
	var took []time.Duration
	for i := range n {
		r.send(a, acc, nil, "u@good.test")
		if i%10 == 9 {
			r.await("good mail", func() bool { return c.count() == i+1 })
		}
	}
	r.await("good mail's outcomes", func() bool { return r.outcomes()[queue.Delivered] == n })
	for _, e := range r.seen() {
		if strings.HasSuffix(e.Item.Lane.Domain, "good.test") {
			took = append(took, e.Attempt.At.Add(e.Attempt.Took).Sub(e.Item.Envelope.Arrived))
		}
	}
	slices.Sort(took)
	if p99 := took[len(took)*99/100]; p99 > 10*time.Second { // a dial into the hole takes 30 s
		t.Errorf("p99 beside a black hole: %v", p99)
	}
}

// blackHole gives an address that neither accepts nor refuses.
func blackHole(t *testing.T) netip.AddrPort {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(sa.(*syscall.SockaddrInet4).Port))
	for range 8 { // fill the backlog until a connection no longer comes about
		conn, err := net.DialTimeout("tcp", at.String(), time.Second)
		if err != nil {
			return at
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatal("the backlog does not fill")
	return at
}

func TestOneTenantsFloodDoesNotDelayAnother(t *testing.T) {
	flood := 3000
	if soak() {
		flood = 50_000
	}
	// The destination takes 20 ms a message and 5 sessions: 250 a second.
	c := startCrowd(t, &crowd{slow: func(string) time.Duration { return 20 * time.Millisecond }})
	w := newWorld(t)
	w.source("127.77.1.16", true)
	a, accA := w.customer("a", 0)
	b, accB := w.customer("b", 0)
	f := &named{at: map[string]netip.AddrPort{"slow.test": c.addr}}
	r := newRig(t, w, func(cfg *Config) { cfg.Shaping = &Shaping{Default: Limits{Conns: 5}} })
	for range flood {
		r.send(a, accA, nil, "u@slow.test")
	}
	r.startWith(f)
	r.await("the flood", func() bool { return c.count() > 20 })
	const n = 40
	var before []int // what had arrived when each message was sent
	for i := range n {
		before = append(before, c.count())
		r.send(b, accB, nil, "v@slow.test")
		r.await("the other tenant's mail", func() bool { return c.from("b.test") == i+1 })
	}
	if c.count() >= flood {
		t.Fatal("the flood ended too early: the test proves nothing")
	}
	// Idle it takes one transaction; here at most the rest of another one first on
	// each of five connections. Behind the flood it would be all of that.
	passed := c.ahead("<v@", before)
	if mid, last := passed[n/2], passed[n-1]; mid > 25 || last > 500 {
		t.Errorf("%d of the flood arrived before the other tenant's messages, at most %d", mid, last)
	}
}

// ahead says, from least to most, how many messages arrived between before and
// the one with part in its recipient.
func (c *crowd) ahead(part string, before []int) (n []int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, rcpt := range c.rcpts {
		if strings.Contains(rcpt, part) {
			n = append(n, i-before[len(n)])
		}
	}
	slices.Sort(n)
	return n
}

func (c *crowd) from(part string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for f, k := range c.froms {
		if strings.Contains(f, part) {
			n += k
		}
	}
	return n
}
