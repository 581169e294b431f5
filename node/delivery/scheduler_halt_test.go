package delivery

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/node/queue"
	"postern/tenant"
)

func TestAHoldStopsWhatIsOnItsWay(t *testing.T) {
	gate := make(chan struct{})
	var inBody atomic.Int32
	c := startCrowd(t, &crowd{say: func(verb, line string, _ int) string {
		if verb == "RCPT" { // the transaction is under way
			inBody.Add(1)
			<-gate
		}
		return ""
	}})
	w := newWorld(t)
	a, acc := w.customer("a", w.source("127.77.1.11", false))
	w.route("*", c.addr)
	r := newRig(t, w, nil).start()
	for range 30 {
		r.send(a, acc, nil, "u@shop.test")
	}
	r.await("a transaction under way", func() bool { return inBody.Load() > 0 })
	w.apply(tenant.Hold{Tenant: a, Account: acc, Reason: "spam"})
	close(gate)
	// Nothing may leave after the hold was applied, and nothing is lost.
	r.await("items given back", func() bool { return r.metric("postern_delivery_connections") == 0 })
	if n := c.count(); n != 0 {
		t.Errorf("%d messages left after the hold", n)
	}
	list, err := r.store.List(queue.Filter{Limit: 100})
	if err != nil || len(list) != 30 {
		t.Fatalf("queue has %d messages, %v", len(list), err)
	}
	for _, m := range list {
		if m.Items[0].Leased {
			t.Errorf("%v is still leased", m.ID)
		}
	}
	w.apply(tenant.Hold{Tenant: a, Account: acc})
	r.await("all delivered once the hold is lifted", func() bool { return r.outcomes()[queue.Delivered] == 30 })
}

func TestAPauseConcernsOneTenant(t *testing.T) {
	c := startCrowd(t, &crowd{})
	w := newWorld(t)
	src := w.source("127.77.1.11", true)
	_ = src
	a, accA := w.customer("a", 0)
	b, accB := w.customer("b", 0)
	w.route("*", c.addr)
	w.apply(tenant.Pause{Tenant: a, Reason: "source at rest"})
	r := newRig(t, w, nil).start()
	for range 20 {
		r.send(a, accA, nil, "u@shop.test")
		r.send(b, accB, nil, "u@shop.test")
	}
	r.await("tenant b's mail", func() bool { return c.from("b.test") == 20 })
	if n := c.from("a.test"); n != 0 {
		t.Errorf("%d messages of the paused tenant left", n)
	}
	w.apply(tenant.Pause{Tenant: a})
	r.await("tenant a's mail", func() bool { return c.from("a.test") == 20 })
}

func TestNoLeaseNoDot(t *testing.T) {
	c := startCrowd(t, &crowd{})
	w := newWorld(t)
	a, acc := w.customer("a", w.source("127.77.1.11", false))
	w.route("*", c.addr)
	var lease atomic.Bool
	var asked atomic.Int32
	r := newRig(t, w, func(cfg *Config) {
		cfg.MayDot = func(_ context.Context, id tenant.ID, epoch uint64) error {
			if asked.Add(1); id != a || epoch != w.epoch(a) {
				t.Errorf("asked for tenant %d epoch %d", id, epoch)
			}
			if !lease.Load() {
				return errors.New("no lease")
			}
			return nil
		}
	}).start()
	r.send(a, acc, nil, "u@shop.test")
	r.await("the dot to be asked for", func() bool { return asked.Load() >= 2 })
	if n := asked.Load(); n > 4 {
		t.Errorf("asked %d times: no pause without a lease", n)
	}
	if c.count() != 0 || len(r.seen()) != 0 {
		t.Fatal("a dot without a lease, or an attempt counted")
	}
	lease.Store(true)
	r.await("delivery with the lease", func() bool { return r.outcomes()[queue.Delivered] == 1 })
	if e := r.seen()[0]; e.Attempt.N != 1 {
		t.Errorf("attempt %d, want 1: what had no lease was no attempt", e.Attempt.N)
	}
}

func TestMailOfAnotherNodesTenantStays(t *testing.T) {
	c := startCrowd(t, &crowd{})
	w := newWorld(t)
	a, acc := w.customer("a", w.source("127.77.1.11", false))
	w.route("*", c.addr)
	r := newRig(t, w, nil)
	r.send(a, acc, nil, "u@shop.test")
	w.apply(tenant.AddNode{Name: "n2"})
	w.apply(tenant.Own{Tenant: a, Node: 2, Expect: w.epoch(a)})
	r.start()
	b, accB := func() (tenant.ID, tenant.AccountID) { return w.customer("b", w.source("127.77.1.12", false)) }()
	if _, err := r.store.Adopt(b, w.epoch(b)); err != nil {
		t.Fatal(err)
	}
	r.send(b, accB, nil, "u@shop.test")
	r.await("our own tenant's mail", func() bool { return c.from("b.test") == 1 })
	if c.from("a.test") != 0 {
		t.Error("mail of a tenant another node owns was sent")
	}
}

func TestCrashBetweenDotAndSettle(t *testing.T) {
	fs := vfs.NewCrashableMem()
	var after *vfs.MemFS
	got := make(chan struct{}, 1)
	resume := make(chan struct{})
	first := atomic.Bool{}
	c := startCrowd(t, &crowd{say: func(verb, _ string, _ int) string {
		if verb == "DOT" && first.CompareAndSwap(false, true) {
			got <- struct{}{}
			<-resume
		}
		return ""
	}})
	w := newWorld(t)
	a, acc := w.customer("a", w.source("127.77.1.11", false))
	w.route("*", c.addr)
	r := &rig{world: w, fs: fs}
	r.open(nil)
	r.start()
	doubtful := r.send(a, acc, nil, "first@shop.test")
	<-got // the dot is there, its reply is not
	after = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2))})
	close(resume)
	r.stop()

	w.apply(tenant.Own{Tenant: a, Node: 1, Expect: w.epoch(a)})
	r2 := &rig{world: w, fs: after, grace: time.Nanosecond}
	r2.open(func(cfg *Config) { cfg.MaxConns = 1 }) // one session: the order shows
	for range 5 {
		r2.send(a, acc, nil, "later@shop.test")
	}
	if n := r2.store.Count()[a]; n.InDoubt != 1 {
		t.Fatalf("store counts %+v, want one in doubt", n)
	}
	r2.start()
	r2.await("everything", func() bool { return r2.outcomes()[queue.Delivered] == 6 })
	seen := r2.seen()
	if last := seen[len(seen)-1]; last.Item.ID != doubtful {
		t.Errorf("last was %v, want the one in doubt %v", last.Item.ID, doubtful)
	}
	if n := r2.metric("postern_in_doubt_total"); n != 1 {
		t.Errorf("in_doubt_total = %v, want 1", n)
	}
}

func TestShutdownLetsOpenDotsFinish(t *testing.T) {
	open := make(chan struct{}, 1)
	resume := make(chan struct{})
	c := startCrowd(t, &crowd{say: func(verb, _ string, _ int) string {
		if verb == "DOT" {
			select {
			case open <- struct{}{}:
			default:
			}
			<-resume
		}
		return ""
	}})
	w := newWorld(t)
	a, acc := w.customer("a", w.source("127.77.1.11", false))
	w.route("*", c.addr)
	r := newRig(t, w, nil).start()
	for range 100 {
		r.send(a, acc, nil, "u@shop.test")
	}
	<-open
	r.cancel()
	time.AfterFunc(time.Second, func() { close(resume) })
	if err := <-r.ended; err != nil {
		t.Fatal(err)
	}
	r.cancel = nil
	sent := c.count()
	if sent == 0 || sent > 25 {
		t.Errorf("%d messages left: want those under way, no more", sent)
	}
	if n := r.outcomes()[queue.Delivered]; n != sent {
		t.Errorf("%d settled of %d sent", n, sent)
	}
	list, err := r.store.List(queue.Filter{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 100-sent {
		t.Errorf("%d messages left in the queue, want %d", len(list), 100-sent)
	}
	for _, m := range list {
		if m.Items[0].Leased {
			t.Fatalf("%v still leased after the end", m.ID)
		}
	}
}

func TestShutdownDoesNotWaitForADial(t *testing.T) {
	hole := blackHole(t)
	w := newWorld(t)
	a, acc := w.customer("a", w.source("127.77.1.11", false))
	w.route("*", hole)
	r := newRig(t, w, nil).start()
	r.send(a, acc, nil, "u@shop.test")
	r.await("a dial", func() bool { return r.metric("postern_delivery_connections") == 1 })
	began := time.Now()
	r.stop()
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("stopped after %v", d)
	}
	if len(r.seen()) != 0 {
		t.Error("a dial that was broken off by us counted as an attempt")
	}
}

// logged is what a Sender logs.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// Without a lease each item is refused its dot, again and again: the log says
// so once for the tenant, and once that it may send again.
func TestNoDotIsSaidOnce(t *testing.T) {
	c := startCrowd(t, &crowd{})
	w := newWorld(t)
	a, acc := w.customer("a", w.source("127.77.1.11", false))
	w.route("*", c.addr)
	var (
		out   logged
		lease atomic.Bool
		asked atomic.Int32
	)
	r := newRig(t, w, func(cfg *Config) {
		cfg.Log = slog.New(slog.NewTextHandler(&out, nil))
		cfg.MayDot = func(context.Context, tenant.ID, uint64) error {
			if asked.Add(1); !lease.Load() {
				return errors.New("no lease")
			}
			return nil
		}
	}).start()
	for range 10 {
		r.send(a, acc, nil, "u@shop.test")
	}
	r.await("some refusals", func() bool { return asked.Load() >= 3 })
	if n := out.count(`msg="final dot not allowed"`); n != 1 {
		t.Errorf("said %d times", n)
	}
	lease.Store(true)
	r.await("all delivered", func() bool { return r.outcomes()[queue.Delivered] == 10 })
	if n := out.count(`msg="final dot not allowed: well again"`); n != 1 {
		t.Errorf("the good end is said %d times", n)
	}
}
