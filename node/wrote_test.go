package node

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"postern/node/delivery"
	"postern/node/queue"
	"postern/tenant"
)

// mailTo is the n-th attempt of a message to some recipients.
func mailTo(n int, from string, at time.Time, to ...string) delivery.Event {
	e := delivery.Event{Item: &queue.Item{Lane: queue.Lane{Account: 1}, Envelope: &queue.Envelope{From: from}}, Attempt: queue.Attempt{N: n, At: at}}
	for i, addr := range to {
		e.Item.Envelope.Rcpts = append(e.Item.Envelope.Rcpts, queue.Rcpt{Addr: addr})
		e.Outcomes = append(e.Outcomes, queue.Outcome{Rcpt: i, Result: queue.Delivered})
	}
	return e
}

// Each recipient is told once, by a hash that is alike on all nodes; retries and
// mail of our own write to nobody.
func TestWroteIsToldOnce(t *testing.T) {
	st := heardState(t)
	w, other := newWrote("n1", nil, newHashes(t), slog.New(slog.DiscardHandler)), newWrote("n2", nil, newHashes(t), slog.New(slog.DiscardHandler))
	now := st.Now()
	w.count(st, mailTo(1, "news@shoes.test", now, "ada@far.test", "Ada@FAR.test", "bob@far.test"))
	w.count(st, mailTo(2, "news@shoes.test", now, "carl@far.test"))
	w.count(st, mailTo(1, "", now, "carl@far.test"))
	op, id := w.batch(st, now)
	if op == nil || len(op.Written) != 1 || op.Written[0].Recipients != 3 || len(op.Recipients) != 2 {
		t.Fatalf("told %+v", op)
	}
	if again, same := w.batch(st, now.Add(time.Hour)); again != op || same != id {
		t.Errorf("again it is %+v", again)
	}
	next, _, err := tenant.Apply(st, st.Index()+1, tenant.Command{Request: id, At: now, Op: *op})
	if err != nil {
		t.Fatal(err)
	}
	w.told.done()
	// Another node says nothing of who is known, but how many were written to.
	other.name = "n1"
	other.count(next, mailTo(1, "news@shoes.test", now, "ada@far.test", "dora@far.test"))
	op, _ = other.batch(next, now.Add(time.Hour))
	if op == nil || len(op.Recipients) != 1 || op.Written[0].Recipients != 2 {
		t.Errorf("another node tells %+v", op)
	}
	// After a week who is written to again is told again.
	w.count(next, mailTo(1, "news@shoes.test", now.AddDate(0, 0, 8), "ada@far.test"))
	if len(w.fresh) != 1 {
		t.Error("who was written to long ago is not told again")
	}
}

// A flood costs no more memory, and hardly more telling, than a trickle.
func TestWroteIsBounded(t *testing.T) {
	st := heardState(t)
	w := newWrote("n1", nil, newHashes(t), slog.New(slog.DiscardHandler))
	now, told, index := st.Now(), 0, st.Index()
	for n := range 40 {
		var all []string
		for i := range 1000 {
			all = append(all, fmt.Sprintf("u%d-%d@far.test", n, i))
		}
		w.count(st, mailTo(1, "news@shoes.test", now, all...))
		for len(w.fresh)+len(w.written) > 0 {
			now = now.Add(usesEvery)
			op, _ := w.batch(st, now)
			if op == nil {
				continue
			}
			told += len(op.Recipients)
			next, _, err := tenant.Apply(st, index+1, tenant.Command{At: now, Op: *op})
			if err != nil {
				t.Fatal(err)
			}
			st, index = next, index+1
			w.told.done()
		}
	}
	if told < 256 || told > 5000 {
		t.Errorf("%d of 40000 strangers told", told)
	}
	for i := range 2 * maxPending {
		w.count(st, mailTo(1, "news@shoes.test", now, fmt.Sprintf("x%d@far.test", i)))
		if len(w.fresh) > maxPending {
			t.Fatal("what waits has no bound")
		}
	}
	if op, _ := w.batch(tenant.New(), now); op != nil || len(w.fresh)+len(w.written) != 0 {
		t.Errorf("nobody asks: %+v", op)
	}
}
