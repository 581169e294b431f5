package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"postern/node/queue"
	"postern/tenant"
)

// world is a replicated state of one node, as the cluster would hold it.
type world struct {
	t     testing.TB
	mu    sync.Mutex
	state atomic.Pointer[tenant.State]
	index uint64
	clock func() time.Time
	newer chan struct{} // closed with the next state
}

func (w *world) watch(index uint64) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.index > index {
		done := make(chan struct{})
		close(done)
		return done
	}
	return w.newer
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, clock: time.Now, newer: make(chan struct{})}
	w.state.Store(tenant.New())
	w.apply(tenant.AddNode{Name: "n1"})
	return w
}

func (w *world) apply(op tenant.Op) []tenant.Event {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index++
	st, events, err := tenant.Apply(w.state.Load(), w.index, tenant.Command{At: w.clock(), Op: op})
	if err != nil {
		w.t.Fatalf("apply %T: %v", op, err)
	}
	w.state.Store(st)
	close(w.newer)
	w.newer = make(chan struct{})
	return events
}

func (w *world) source(addr string, shared bool) tenant.SourceID {
	w.t.Helper()
	a := netip.MustParseAddr(addr)
	ehlo := fmt.Sprintf("out-%d.relay.test", a.As4()[3])
	ev := w.apply(tenant.AddSource{Node: 1, Addr: a, EHLO: ehlo, Shared: shared})
	return ev[0].(tenant.SourceAdded).Source
}

// customer adds a tenant with one account and one domain; source 0 is the pool.
func (w *world) customer(name string, src tenant.SourceID) (tenant.ID, tenant.AccountID) {
	w.t.Helper()
	ev := w.apply(tenant.AddTenant{Name: name, Hostname: name + ".relay.test", Home: tenant.Place{Node: 1, Source: src}})
	id := tenant.ID(0)
	for _, e := range ev {
		if a, ok := e.(tenant.TenantAdded); ok {
			id = a.Tenant
		}
	}
	ev = w.apply(tenant.AddAccount{Tenant: id, Username: "post@" + name + ".test", Reference: "boss@" + name + ".test"})
	w.apply(tenant.SetDomain{Tenant: id, Name: name + ".test"})
	return id, ev[0].(tenant.AccountAdded).Account
}

func (w *world) epoch(t tenant.ID) uint64 { return w.state.Load().Tenant(t).Epoch }

func (w *world) route(domain string, to netip.AddrPort) {
	w.t.Helper()
	w.apply(tenant.SetRoute{Route: tenant.Route{Domain: domain, Host: to.Addr().String(), Port: to.Port()}})
}

// rig is a Sender over a real queue store on a file system in memory.
type rig struct {
	*world
	fs    vfs.FS
	grace time.Duration
	store *queue.Store
	reg   *prometheus.Registry
	cfg   Config

	mu     sync.Mutex
	events []Event
	cancel context.CancelFunc
	ended  chan error
}

func newRig(t testing.TB, w *world, change func(*Config)) *rig {
	t.Helper()
	r := &rig{world: w, fs: vfs.NewCrashableMem()}
	r.open(change)
	return r
}

// open starts the store and makes the config; tenants are adopted.
func (r *rig) open(change func(*Config)) {
	t := r.t
	t.Helper()
	store, err := queue.New(queue.Config{
		Dir: "q", FS: r.fs, FreeFloor: 1, Grace: r.grace, Log: slog.New(slog.DiscardHandler),
		Fatal: func(err error) { t.Errorf("store: %v", err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.store = store
	t.Cleanup(func() { store.Close() })
	for tn := range r.state.Load().Tenants() {
		if _, err := store.Adopt(tn.ID, tn.Epoch); err != nil {
			t.Fatal(err)
		}
	}
	r.reg = prometheus.NewPedanticRegistry()
	r.cfg = Config{
		Node: func() tenant.NodeID { return 1 }, State: r.state.Load, Watch: r.watch, Queue: store,
		MayDot:   func(context.Context, tenant.ID, uint64) error { return nil },
		Hostname: "relay.test", AllowLoopback: true, Registerer: r.reg,
		Observe: func(e Event) {
			r.mu.Lock()
			r.events = append(r.events, e)
			r.mu.Unlock()
		},
	}
	if change != nil {
		change(&r.cfg)
	}
}

// start runs the Sender until the test ends or stop is called.
func (r *rig) start() *rig {
	r.t.Helper()
	s, err := New(r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.ended = cancel, make(chan error, 1)
	go func() { r.ended <- s.Run(ctx) }()
	r.t.Cleanup(r.stop)
	return r
}

func (r *rig) stop() {
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.cancel = nil
	if err := <-r.ended; err != nil {
		r.t.Errorf("run: %v", err)
	}
}

// send puts one message of an account into the queue.
func (r *rig) send(t tenant.ID, a tenant.AccountID, change func(*queue.Envelope), rcpts ...string) queue.ID {
	r.t.Helper()
	id, err := r.put(t, a, change, rcpts...)
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

const testBody = "From: post@a.test\r\nSubject: hello\r\nMessage-ID: <1@a.test>\r\n\r\nA line.\r\n"

func (r *rig) put(t tenant.ID, a tenant.AccountID, change func(*queue.Envelope), rcpts ...string) (queue.ID, error) {
	return r.putBody(t, a, change, testBody, rcpts...)
}

// sendBody is send with another body.
func (r *rig) sendBody(t tenant.ID, a tenant.AccountID, change func(*queue.Envelope), body string, rcpts ...string) queue.ID {
	r.t.Helper()
	id, err := r.putBody(t, a, change, body, rcpts...)
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

func (r *rig) putBody(t tenant.ID, a tenant.AccountID, change func(*queue.Envelope), body string, rcpts ...string) (queue.ID, error) {
	w, err := r.store.NewMessage(t)
	if err != nil {
		return queue.ID{}, err
	}
	if _, err := w.Write([]byte(body)); err != nil {
		return queue.ID{}, err
	}
	now := r.clock()
	e := queue.Envelope{
		Account: a, Kind: queue.Submitted, From: "post@" + r.state.Load().Tenant(t).Name + ".test",
		Arrived: now, Expires: now.Add(48 * time.Hour), Size: int64(len(body)), MessageID: "<1@a.test>",
	}
	for _, addr := range rcpts {
		e.Rcpts = append(e.Rcpts, queue.Rcpt{Addr: addr})
	}
	if change != nil {
		change(&e)
	}
	return w.Put(context.Background(), nil, &e, nil)
}

func (r *rig) seen() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// outcomes counts results over all recipients settled so far.
func (r *rig) outcomes() map[queue.Result]int {
	n := map[queue.Result]int{}
	for _, e := range r.seen() {
		for _, o := range e.Outcomes {
			n[o.Result]++
		}
	}
	return n
}

func (r *rig) await(what string, ok func() bool) {
	r.t.Helper()
	await(r.t, time.Minute, what, ok)
}

// await polls until ok or the deadline.
func await(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// metric reads a counter or gauge, summed over its labels.
func (r *rig) metric(name string) float64 {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.Metric {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// soak reports whether the long proofs are asked for.
func soak() bool { return os.Getenv("POSTERN_SOAK") == "1" }
