package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"postern/node/admin"
)

// extras are Postern's own figures that take minutes: they run only when named.
func extras() []figure {
	return []figure{
		{name: "million", alone: true, run: million, values: []value{
			{key: "rss", title: "memory with 1,000,000 queued in 1,000 domains", unit: "MB", less: true, max: 512},
			{key: "restart", title: "restart with them, to the first delivery", unit: "s", less: true, max: 5},
			{key: "accept", title: "accepting new mail beside them, of the empty queue's rate", unit: "%"},
		}},
		{name: "fair", alone: true, run: fair, values: []value{
			{key: "idle", title: "a tenant's delivery latency, idle node, p99", unit: "ms", less: true},
			{key: "beside", title: "the same beside 100,000 messages of another to a slowed host", unit: "ms", less: true},
		}},
		{name: "listing", alone: true, run: listing, values: []value{
			{key: "dot", title: "20 tenants with 100,000 queued, one IP listed: verdict to the last dot from it", unit: "s", less: true, max: 1},
			{key: "first50", title: "verdict to a tenant's first delivery from its backup, p50", unit: "s", less: true, max: 2},
			{key: "first", title: "the same, the slowest of the 20", unit: "s", less: true, max: 2},
			{key: "moved", title: "verdict to the last of the 20 tenants at its backup with its whole queue", unit: "s", less: true, max: 10},
			{key: "all", title: "verdict to all 100,000 delivered", unit: "s", less: true},
			{key: "lost", title: "lost", unit: "", less: true, none: true},
			{key: "twice", title: "delivered twice", unit: "", less: true, none: true},
		}},
		{name: "failover", three: true, alone: true, run: failover, values: []value{
			{key: "leader", title: "kill -9 of the leader, to the last tenant's first delivery elsewhere, p50", unit: "s", less: true, max: 10},
			{key: "leader95", title: "the same, p95", unit: "s", less: true, max: 15},
			{key: "follower", title: "kill -9 of a follower, likewise, p50", unit: "s", less: true, max: 10},
			{key: "follower95", title: "the same, p95", unit: "s", less: true, max: 15},
			{key: "false", title: "tenants taken from nodes nothing had happened to", unit: "", less: true, none: true},
		}},
	}
}

func theNode(t target) (*postern, error) {
	p, ok := t.(*postern)
	if !ok {
		return nil, fmt.Errorf("%s has no such figure", t.Name())
	}
	return p, nil
}

// huge compares the resident peak under ten big messages with the memory that
// was in use before them.
func huge(ctx context.Context, t target, scale float64) (map[string]float64, error) {
	p, err := theNode(t)
	if err != nil {
		return nil, err
	}
	if _, err := relay(small, 20, 0, 10000)(ctx, t, scale); err != nil { // the load the 250 MB are for
		return nil, err
	}
	if err := resetPeak(p.cmd.Process.Pid); err != nil {
		return nil, err
	}
	before, err := p.Usage()
	if err != nil {
		return nil, err
	}
	base := p.sink.Count()
	if err := smtpSource(ctx, p.plain, 90_000_000, 10, 10); err != nil {
		return nil, err
	}
	if err := p.sink.Wait(ctx, base+10, time.Minute); err != nil {
		return nil, err
	}
	after, err := p.Usage()
	if err != nil {
		return nil, err
	}
	return map[string]float64{"more": float64(after.peak-before.peak) / 1e6}, nil
}

// acceptWindow is how many messages each rate of million is taken from, after
// a third of it to warm up: long enough to hold flushes of the queue's memory,
// short beside the million. Scale leaves it alone.
const acceptWindow = 30_000

// million fills the queue for a host that refuses connections, restarts the
// node, and lets the host answer again. Both accept rates are taken while
// nothing is delivered, the second one right behind the fill, so that it pays
// for what the fill left to compact.
func million(ctx context.Context, t target, scale float64) (map[string]float64, error) {
	p, err := theNode(t)
	if err != nil {
		return nil, err
	}
	n := count(t, scale, 0, 1_000_000)
	dead, err := freeAddr()
	if err != nil {
		return nil, err
	}
	if err := p.route(ctx, "*", dead); err != nil {
		return nil, err
	}
	base := p.sink.Count()
	if _, err := p.accept(ctx, "warm-up", acceptWindow/3); err != nil {
		return nil, err
	}
	empty, err := p.accept(ctx, "empty", acceptWindow)
	if err != nil {
		return nil, err
	}
	if _, err := p.accept(ctx, "fill", n); err != nil {
		return nil, err
	}
	full, err := p.accept(ctx, "full", acceptWindow)
	if err != nil {
		return nil, err
	}
	loaded, err := p.Usage()
	if err != nil {
		return nil, err
	}
	if got := p.sink.Count(); got != base {
		return nil, fmt.Errorf("%d messages were delivered to a host that refuses", got-base)
	}
	if err := p.route(ctx, "*", p.sink.addr); err != nil {
		return nil, err
	}
	p.terminate()
	base = p.sink.Count() // what left before the end
	start := time.Now()
	if err := p.start(ctx); err != nil {
		return nil, err
	}
	if err := p.sink.Wait(ctx, base+1, time.Minute); err != nil {
		return nil, err
	}
	restart := time.Since(start)
	// At least 1,000 a second leave.
	if err := p.sink.Wait(ctx, base+n, time.Minute+time.Duration(n)*time.Millisecond); err != nil {
		return nil, err
	}
	after, err := p.Usage()
	if err != nil {
		return nil, err
	}
	return map[string]float64{
		"rss": float64(max(loaded.peak, after.peak)) / 1e6, "restart": restart.Seconds(), "accept": 100 * full / empty,
	}, nil
}

// accept submits n messages to 1,000 domains, says on standard error what that
// took, and returns the rate.
func (p *postern) accept(ctx context.Context, name string, n int) (float64, error) {
	before, err := p.Usage()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if _, err := load(ctx, loadSpec{addr: p.plain, size: small, sessions: 20, n: n, domains: 1000}); err != nil {
		return 0, err
	}
	rate := float64(n) / time.Since(start).Seconds()
	after, err := p.Usage()
	if err != nil {
		return 0, err
	}
	fmt.Fprintf(os.Stderr, "\r%s: %.0f msg/s, %.0f us of CPU a message, peak %d MB%20s\n", name, rate,
		float64((after.cpu-before.cpu).Microseconds())/float64(n), after.peak/1_000_000, "")
	return rate, nil
}

// fair measures a second tenant's way from its final dot to the sink's, on an
// idle node and beside a flood of the first tenant to a slowed host.
func fair(ctx context.Context, t target, scale float64) (map[string]float64, error) {
	p, err := theNode(t)
	if err != nil {
		return nil, err
	}
	other, err := p.secondTenant(ctx)
	if err != nil {
		return nil, err
	}
	watch, err := startWatch()
	if err != nil {
		return nil, err
	}
	defer watch.Stop()
	if err := p.route(ctx, "watched.test", watch.addr()); err != nil {
		return nil, err
	}
	probes := max(50, int(3000*scale))
	idle, err := watch.probe(ctx, p.plain, other, probes)
	if err != nil {
		return nil, err
	}
	slow, err := startSink(ctx, "-w", "1") // a second before each reply to DATA
	if err != nil {
		return nil, err
	}
	defer slow.Stop()
	if err := p.route(ctx, "slow.test", slow.addr); err != nil {
		return nil, err
	}
	flood := max(1, int(100_000*scale))
	if _, err := load(ctx, loadSpec{addr: p.plain, size: small, sessions: 20, n: flood, rcpt: "someone@slow.test"}); err != nil {
		return nil, err
	}
	beside, err := watch.probe(ctx, p.plain, other, probes)
	if err != nil {
		return nil, err
	}
	if _, err := p.api.Purge(ctx, admin.Match{Tenant: tenantName}); err != nil {
		return nil, err
	}
	return map[string]float64{
		"idle":   quantile(idle, 0.99).Seconds() * 1000,
		"beside": quantile(beside, 0.99).Seconds() * 1000,
	}, nil
}

// watch is a mail exchanger that notes when each message arrived.
type watch struct {
	l       net.Listener
	arrived chan time.Time
}

func startWatch() (*watch, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &watch{l: l, arrived: make(chan time.Time, 16)}
	go w.accept() // ends when the listener is closed
	return w, nil
}

func (w *watch) addr() string { return w.l.Addr().String() }
func (w *watch) Stop()        { w.l.Close() }

func (w *watch) accept() {
	for {
		c, err := w.l.Accept()
		if err != nil {
			return
		}
		go w.serve(c) // ends with its connection
	}
}

func (w *watch) serve(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Minute))
	takeMail(c, func(string) { w.arrived <- time.Now() })
}

// probe sends n messages one after the other and returns how long each took
// from its final dot to the exchanger.
func (w *watch) probe(ctx context.Context, addr string, from identity, n int) ([]time.Duration, error) {
	s, err := dialSession(ctx, addr, from)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	body := message(small, from.sender, "probe@watched.test")
	var took []time.Duration
	for range n {
		start := s.send(from.sender, "probe@watched.test", body)
		if s.err != nil {
			return nil, s.err
		}
		select {
		case at := <-w.arrived:
			took = append(took, at.Sub(start))
		case <-time.After(time.Minute):
			return nil, fmt.Errorf("a probe did not arrive within a minute")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return took, nil
}
