package submission

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postern/node/queue"
	"postern/tenant"
)

// patience shortens how long the nodes of a test wait for others.
func patience(rigs []*rig, change func(*waits)) {
	for _, r := range rigs {
		change(&r.srv.waits)
	}
}

// inBody brings a client to where its message only lacks the end.
func (r *rig) inBody() *client {
	r.t.Helper()
	c := r.byNet()
	c.envelope("mail@shop.test", "a@example.test")
	c.cmd("DATA", "354")
	c.send(simple)
	return c
}

func (r *rig) lost(found string) float64 {
	return counted(r.t.(*testing.T), r.srv.metrics.lost.WithLabelValues(found))
}

// An answer that is lost is asked for: the message was kept, and the client
// hears so. The ask waits for a Put that is under way.
func TestLostAnswerIsFound(t *testing.T) {
	t.Parallel()
	h, rigs := newCluster(t, 2)
	release := rigs[0].notes.holdPuts()
	c := rigs[1].inBody()
	c.send(".\r\n")
	eventually(t, "the Put", func() bool { return rigs[0].srv.pending.entered() == 1 })
	h.cut()
	eventually(t, "the ask", func() bool {
		return strings.Contains(rigs[0].logs.String(), "connection to a node failed") || h.count() > 1
	})
	release()
	got := c.expect("250 2.0.0 OK: queued as ", "message")
	if k := rigs[0].one(); !strings.HasSuffix(got, k.id.String()) {
		t.Errorf("%q is not %v", got, k.id)
	}
	if n := rigs[1].lost("kept"); n != 1 {
		t.Errorf("%v lost answers found", n)
	}
	if n := counted(t, rigs[1].srv.metrics.passed.WithLabelValues("shop")); n != 1 {
		t.Errorf("%v passed", n)
	}
}

// What the owner could not put is absent when it is asked for, and the client
// is told to come again.
func TestLostAnswerIsAbsent(t *testing.T) {
	t.Parallel()
	h, rigs := newCluster(t, 2)
	release := rigs[0].notes.holdPuts()
	defer release()
	c := rigs[1].inBody()
	c.send(".\r\n")
	eventually(t, "the Put", func() bool { return rigs[0].srv.pending.entered() == 1 })
	rigs[0].notes.inject("late put", errors.New("broken disk"))
	h.cut()
	eventually(t, "the ask", func() bool { return h.count() > 1 })
	release()
	c.expect("451 4.3.0 Not stored", "message")
	c.cmd("NOOP", "250")
	if n := len(rigs[0].kept()); n != 0 {
		t.Errorf("%d kept", n)
	}
	if n := rigs[1].lost("absent"); n != 1 {
		t.Errorf("%v absent", n)
	}
	rigs[0].quota.settled(t)
	if q := rigs[0].quota; q.spends != 1 || !q.spent.IsZero() {
		t.Errorf("%d reservations came to a Put, and %+v is spent", q.spends, q.spent)
	}
}

// TestAskForbids: a message that an ask found absent is not put afterwards,
// although its end arrives.
func TestAskForbids(t *testing.T) {
	t.Parallel()
	_, rigs := newCluster(t, 2)
	c := rigs[1].inBody()
	srv := rigs[0].srv
	eventually(t, "the transaction", func() bool { return len(srv.pending.ids()) == 1 })
	id := srv.pending.ids()[0]
	a := srv.find(question{tag: 7, tenant: rigs[0].shop().ID, transaction: id})
	if a.tag != 7 || a.outcome != saysAbsent {
		t.Fatalf("answer %+v", a)
	}
	// The store knows that it was denied: no copy of it is taken in later.
	w, err := rigs[0].queue.NewMessage(rigs[0].shop().ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Put(t.Context(), nil, &queue.Envelope{From: "a@shop.test", Rcpts: []queue.Rcpt{{Addr: "u@one.test"}}, Transaction: id, Remote: true}, nil); !errors.Is(err, queue.ErrDenied) {
		t.Errorf("Put of a denied one: %v", err)
	}
	c.send(".\r\n")
	c.expect("451 4.3.0", "message")
	if n := len(rigs[0].kept()); n != 0 {
		t.Errorf("%d kept", n)
	}
}

// TestOwnerDiesWithTheAnswer: the next owner knows what the old one kept, and
// what it did not; the client waits meanwhile.
func TestOwnerDiesWithTheAnswer(t *testing.T) {
	for _, kept := range []bool{true, false} {
		t.Run(map[bool]string{true: "kept", false: "not kept"}[kept], func(t *testing.T) {
			t.Parallel()
			h, rigs := newCluster(t, 3)
			release := rigs[0].notes.holdPuts()
			defer release()
			c := rigs[1].inBody()
			c.send(".\r\n")
			eventually(t, "the Put", func() bool { return rigs[0].srv.pending.entered() == 1 })
			if kept {
				rigs[0].notes.mirror.Store(rigs[0].srv.pending.ids()[0], queue.ID{Tenant: rigs[0].shop().ID, Epoch: 1, Seq: 77})
			}
			h.set(func(h *hub) { h.down["node-1"] = true })
			h.cut()
			rigs[0].forgetLater()
			rigs[0].give(rigs[2])
			eventually(t, "an ask of the new owner", func() bool { return h.count() > 1 })
			c.silent() // it has not adopted: nobody knows yet
			rigs[2].adopt()
			if kept {
				c.expect("250 2.0.0 OK: queued as ", "message")
			} else {
				c.expect("451 4.3.0 Not stored", "message")
			}
			// The next one goes to the new owner.
			c.envelope("mail@shop.test", "a@example.test")
			c.message("DATA", simple, "250")
			if n := len(rigs[2].kept()); n != 1 {
				t.Errorf("%d kept", n)
			}
		})
	}
}

// TestOwnerLosesTheTenantInThePut: an owner that wakes up too late to answer for
// a message asks the next owner, whoever has the client.
func TestOwnerLosesTheTenantInThePut(t *testing.T) {
	for _, in := range []int{0, 1} { // at the owner, through another node
		for _, kept := range []bool{true, false} {
			t.Run(fmt.Sprintf("client at %s, kept %v", nodeNames[in], kept), func(t *testing.T) {
				t.Parallel()
				_, rigs := newCluster(t, 3)
				release := rigs[0].notes.holdPuts()
				defer release()
				rigs[0].notes.inject("stale put", queue.ErrStale)
				c := rigs[in].inBody()
				c.send(".\r\n")
				eventually(t, "the Put", func() bool { return rigs[0].notes.held.Load() == 1 })
				place := queue.ID{Tenant: rigs[0].shop().ID, Epoch: 1, Seq: 77}
				switch {
				case kept && in == 0:
					rigs[0].notes.mirror.Store(place, place)
				case kept:
					rigs[0].notes.mirror.Store(rigs[0].srv.pending.ids()[0], place)
				}
				rigs[0].forgetLater()
				rigs[0].give(rigs[2])
				release()
				rigs[2].adopt()
				if kept {
					c.expect("250 2.0.0 OK: queued as ", "message")
				} else {
					c.expect("451 4.3.0 Not stored", "message")
				}
			})
		}
	}
}

// TestNobodyKnows: without an owner the client hears 451 in the end.
func TestNobodyKnows(t *testing.T) {
	t.Parallel()
	h, rigs := newCluster(t, 2)
	patience(rigs, func(w *waits) { w.lost = 100 * time.Millisecond })
	release := rigs[0].notes.holdPuts()
	defer release()
	c := rigs[1].inBody()
	c.send(".\r\n")
	eventually(t, "the Put", func() bool { return rigs[0].srv.pending.entered() == 1 })
	h.set(func(h *hub) { h.down["node-1"] = true })
	h.cut()
	c.expect("451 4.3.0", "message")
	if n := rigs[1].lost("unknown"); n != 1 {
		t.Errorf("%v unknown", n)
	}
}

// TestClientWaitsForTheNextOwner: a client connected during a takeover waits
// and goes on, and needs no new connection.
func TestClientWaitsForTheNextOwner(t *testing.T) {
	for _, to := range []int{0, 1, 2} { // back to the same, this very node, a third
		t.Run(nodeNames[to], func(t *testing.T) {
			t.Parallel()
			h, rigs := newCluster(t, 3)
			c := rigs[1].byNet()
			c.envelope("mail@shop.test", "a@example.test")
			c.message("DATA", simple, "250")
			h.set(func(h *hub) { h.down["node-1"] = true })
			h.cut()
			before := h.count()
			c.send("MAIL FROM:<mail@shop.test>\r\nRCPT TO:<a@example.test>\r\n")
			eventually(t, "a try", func() bool { return h.count() > before })
			c.silent()
			rigs[0].forget()
			h.set(func(h *hub) { h.down["node-1"] = false })
			rigs[0].give(rigs[to])
			c.silent()
			rigs[to].adopt()
			c.expect("250 2.1.0", "MAIL")
			c.expect("250 2.1.5", "RCPT")
			c.message("DATA", simple, "250")
			c.envelope("mail@shop.test", "a@example.test")
			c.message("DATA", simple, "250")
			want := 2
			if to == 0 {
				want = 3
			}
			if n := len(rigs[to].kept()); n != want {
				t.Errorf("%d kept at the new owner", n)
			}
		})
	}
}

// A node that owned the tenant passes on when it has lost it, and the other way
// round, on the same client connection.
func TestSessionFollowsTheState(t *testing.T) {
	t.Parallel()
	_, rigs := newCluster(t, 3)
	c := rigs[0].byNet()
	for _, step := range []struct{ from, to int }{{0, 0}, {0, 1}, {1, 2}, {2, 0}, {0, 2}} {
		if step.from != step.to {
			rigs[step.from].move(rigs[step.to])
		}
		before := len(rigs[step.to].kept())
		c.envelope("mail@shop.test", "a@example.test")
		c.message("DATA", simple, "250")
		if n := len(rigs[step.to].kept()) - before; n != 1 {
			t.Fatalf("%v: %d kept", step, n)
		}
	}
}

// Nodes that are behind with the state ask, and are asked, until they are not.
func TestNodesBehindTheState(t *testing.T) {
	for behind, name := range []string{"the old owner", "the node of the client", "the new owner"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, rigs := newCluster(t, 3)
			rigs[behind].frozen.Store(rigs[0].current())
			rigs[0].forgetLater()
			rigs[1].lead.apply(tenant.Own{Tenant: rigs[1].shop().ID, Node: rigs[2].node, Expect: 1})
			if behind != 2 {
				rigs[2].adopt()
			}
			c := rigs[1].byNet()
			c.send("MAIL FROM:<mail@shop.test>\r\nRCPT TO:<a@example.test>\r\n")
			if behind > 0 {
				eventually(t, "a try", func() bool { return h.count() > 0 })
				c.silent()
				rigs[behind].frozen.Store(nil)
			}
			if behind == 2 {
				rigs[2].adopt()
			}
			c.expect("250 2.1.0", "MAIL")
			c.expect("250 2.1.5", "RCPT")
			c.message("DATA", simple, "250")
			if n := len(rigs[2].kept()); n != 1 {
				t.Errorf("%d kept", n)
			}
		})
	}
}

// A local client that waits for the lease goes on with the next owner.
func TestWaitingAtTheOldOwner(t *testing.T) {
	t.Parallel()
	_, rigs := newCluster(t, 2)
	rigs[0].forget()
	c := rigs[0].byNet()
	c.send("MAIL FROM:<mail@shop.test>\r\n")
	c.silent()
	rigs[0].give(rigs[1])
	rigs[1].adopt()
	c.expect("250 2.1.0", "MAIL")
	c.cmd("RCPT TO:<a@example.test>", "250")
	c.message("DATA", simple, "250")
	if n := len(rigs[1].kept()); n != 1 {
		t.Errorf("%d kept", n)
	}
}

// Who loses the owner between MAIL and DATA starts the message anew.
func TestOwnerChangesInTheMidst(t *testing.T) {
	for _, at := range []string{"RCPT", "DATA", "BDAT", "body"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			_, rigs := newCluster(t, 3)
			c := rigs[1].byNet()
			c.envelope("mail@shop.test", "a@example.test")
			if at == "body" {
				c.cmd("DATA", "354")
				c.send(simple)
			}
			rigs[0].move(rigs[2])
			switch at {
			case "RCPT":
				rigs[0].stop()
				c.cmd("RCPT TO:<b@example.test>", "451 4.3.0")
				c.cmd("DATA", "451 4.3.0")
			case "DATA":
				c.cmd("DATA", "451 4.3.0")
			case "BDAT":
				c.send("BDAT 3 LAST\r\nabc")
				c.expect("451 4.3.0", "BDAT")
			case "body":
				c.send(".\r\n")
				c.expect("451 4.3.0", "message")
			}
			c.envelope("mail@shop.test", "a@example.test")
			c.message("DATA", simple, "250")
			if a, b := len(rigs[0].kept()), len(rigs[2].kept()); a != 0 || b != 1 {
				t.Errorf("%d and %d kept", a, b)
			}
			rigs[0].quota.settled(t)
		})
	}
}

// TestNoOwnerInTime: 451 at MAIL, and the session goes on.
func TestNoOwnerInTime(t *testing.T) {
	t.Parallel()
	h, rigs := newCluster(t, 2)
	patience(rigs, func(w *waits) { w.owner = 100 * time.Millisecond })
	h.set(func(h *hub) { h.down["node-1"] = true })
	c := rigs[1].byNet()
	c.send("MAIL FROM:<mail@shop.test>\r\nRCPT TO:<a@example.test>\r\nDATA\r\n")
	for _, want := range []string{"451 4.3.0", "503 5.5.1 Send MAIL", "503 5.5.1 Send MAIL"} {
		c.expect(want, "group")
	}
	h.set(func(h *hub) { h.down["node-1"] = false })
	c.envelope("mail@shop.test", "a@example.test")
	c.message("DATA", simple, "250")
}

// TestShutdownOfTheOwner: a message in its body gets its end; others find that
// the owner is gone.
func TestShutdownOfTheOwner(t *testing.T) {
	t.Parallel()
	_, rigs := newCluster(t, 2, func(c *Config, _ *rig) { c.Grace = 2 * time.Minute })
	patience(rigs[1:], func(w *waits) { w.owner = 100 * time.Millisecond })
	body := rigs[1].inBody()
	mid := rigs[1].byNet()
	mid.envelope("mail@shop.test", "a@example.test")
	eventually(t, "the body", func() bool { return rigs[0].srv.peers.bodies() == 1 })
	ended := make(chan struct{})
	go func() { rigs[0].stop(); close(ended) }()
	eventually(t, "the others' end", func() bool { return rigs[0].srv.peers.count() == 1 })
	mid.cmd("DATA", "")
	body.send(".\r\n")
	body.expect("250 2.0.0 OK: queued as", "message in its body")
	<-ended
	body.cmd("MAIL FROM:<mail@shop.test>", "451 4.3.0")
	rigs[0].quota.settled(t)
	if n := len(rigs[0].kept()); n != 1 {
		t.Errorf("%d kept", n)
	}
}

// TestShutdownOfTheIngress: as at the owner, and nothing is left there.
func TestShutdownOfTheIngress(t *testing.T) {
	t.Parallel()
	_, rigs := newCluster(t, 2, func(c *Config, _ *rig) { c.Grace = 2 * time.Minute })
	body, mid := rigs[1].inBody(), rigs[1].byNet()
	mid.envelope("mail@shop.test", "a@example.test")
	ended := make(chan struct{})
	go func() { rigs[1].stop(); close(ended) }()
	mid.expect("421 4.3.2", "shutdown")
	body.send(".\r\n")
	body.expect("250 2.0.0 OK: queued as", "message in its body")
	body.expect("421 4.3.2", "behind it")
	<-ended
	eventually(t, "the end of connections", func() bool { return rigs[0].srv.peers.count() == 0 })
	rigs[0].quota.settled(t)
}

// TestShutdownOfBothIsBounded: what does not end is cut after the grace, on
// both sides, and no goroutine stays.
func TestShutdownOfBothIsBounded(t *testing.T) {
	before := goleak.IgnoreCurrent()
	_, rigs := newCluster(t, 2, func(c *Config, _ *rig) { c.Grace = 200 * time.Millisecond })
	c := rigs[1].inBody()
	rigs[0].close()
	rigs[1].close()
	_, _ = io.Copy(io.Discard, c.r)
	eventually(t, "the end of all goroutines", func() bool { return goleak.Find(before) == nil })
	rigs[0].quota.settled(t)
}

// A panic at the owner ends one connection; the client is not told more.
func TestPanicAtTheOwner(t *testing.T) {
	t.Parallel()
	var armed atomic.Bool
	_, rigs := newCluster(t, 2, func(c *Config, _ *rig) {
		may := c.MayAnswer
		c.MayAnswer = func(ctx context.Context, id tenant.ID, epoch uint64) error {
			if armed.CompareAndSwap(true, false) {
				panic("pretended bug")
			}
			return may(ctx, id, epoch)
		}
	})
	c := rigs[1].inBody()
	armed.Store(true)
	c.send(".\r\n")
	c.expect("451 4.3.0 Not stored", "message")
	c.envelope("mail@shop.test", "a@example.test")
	c.message("DATA", simple, "250")
	rigs[0].quota.settled(t)
	if log := rigs[0].logs.String(); !strings.Contains(log, "pretended bug") {
		t.Error("not logged")
	}
}

// silent expects that no reply comes for a moment.
func (c *client) silent() {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
	if b, err := c.r.Peek(1); err == nil {
		c.t.Fatalf("said %q too early", b)
	}
	_ = c.conn.SetDeadline(time.Now().Add(time.Minute))
}

func (h *hub) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dials
}

// entered counts the messages on their way into the queue.
func (p *pending) entered() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.open {
		if e.entered {
			n++
		}
	}
	return n
}

func (p *pending) ids() (out [][16]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.open {
		out = append(out, id)
	}
	return out
}

func (ps *peers) count() int {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return len(ps.open)
}

func (ps *peers) bodies() (n int) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for p := range ps.open {
		p.mu.Lock()
		if p.inBody {
			n++
		}
		p.mu.Unlock()
	}
	return n
}

// forgetLater takes the right away from a node that does not know yet.
func (r *rig) forgetLater() {
	r.amu.Lock()
	defer r.amu.Unlock()
	clear(r.adopted)
}

// TestTakenIn: the state says how far the next owner read a log, and so what
// became of a message with a place in it.
func TestTakenIn(t *testing.T) {
	t.Parallel()
	_, rigs := newCluster(t, 3)
	srv, shop := rigs[0].srv, rigs[0].shop()
	place := queue.ID{Tenant: shop.ID, Epoch: shop.Epoch, Seq: 77}
	put := func(seq uint64, back bool) *queue.LostPut {
		at := place
		at.Seq = seq
		return &queue.LostPut{Place: at, Back: back}
	}
	if _, ok := srv.takenIn(shop.ID, put(77, false)); ok {
		t.Error("an answer before the log had another owner")
	}
	rigs[0].give(rigs[2])
	rigs[0].apply(tenant.Own{Tenant: shop.ID, Node: rigs[2].node, Expect: rigs[0].shop().Epoch,
		Ends: []tenant.End{{Epoch: shop.Epoch, Node: rigs[0].node, Last: 80}}})
	for _, c := range []struct {
		seq      uint64
		back, in bool
	}{{77, false, true}, {80, false, true}, {81, false, false}, {77, true, false}} {
		a, ok := srv.takenIn(shop.ID, put(c.seq, c.back))
		if ok != c.in || ok && (a.outcome != saysKept || a.id == "") {
			t.Errorf("message %d, taken back %v: %+v %v, want %v", c.seq, c.back, a, ok, c.in)
		}
	}
	if _, ok := srv.takenIn(shop.ID, nil); ok {
		t.Error("an answer about a message that was not put here")
	}
	if _, ok := rigs[1].srv.takenIn(shop.ID, put(77, false)); ok {
		t.Error("an answer about another node's log")
	}
}

// slow is a queue that knows a message only after a while, in which its process
// may have been frozen.
type slow struct {
	nowhere
	took time.Duration
	asks int
}

func (s *slow) Find(tenant.ID, [16]byte, queue.ID) (queue.ID, error) {
	if s.asks++; s.asks == 1 {
		time.Sleep(s.took)
		return queue.ID{}, queue.ErrStale
	}
	return queue.ID{Tenant: 1, Epoch: 1, Seq: 1}, nil
}

// TestFrozenAsker: who stood still while it should have asked asks once more.
func TestFrozenAsker(t *testing.T) {
	t.Parallel()
	_, rigs := newCluster(t, 2)
	srv, shop := rigs[0].srv, rigs[0].shop()
	srv.waits.lost = time.Millisecond
	for frozen, want := range map[time.Duration]outcome{time.Hour: 0, time.Millisecond: saysKept} {
		srv.waits.frozen, srv.store = frozen, &slow{took: 20 * time.Millisecond}
		if ans, _ := srv.lostAnswer(shop, [16]byte{1}, nil); ans.outcome != want {
			t.Errorf("20 ms late, frozen is %v: %+v", frozen, ans)
		}
	}
}
