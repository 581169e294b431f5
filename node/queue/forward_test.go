package queue

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

// handed is a log of a that was handed over to b while one dot had no reply.
type handed struct {
	a, b *Store
	it   *Item
	said chan error
}

func newHanded(t *testing.T, grace time.Duration) *handed {
	t.Helper()
	x := newEnded(t, grace)
	if err := x.a.Release(1); err != nil {
		t.Fatal(err)
	}
	x.adopt(t)
	return x
}

func (x *handed) adopt(t *testing.T) {
	t.Helper()
	adopt(t, x.b, 1, 3)
	mirror(t, x.b, 1, 3, 2, "a")
	if c := x.b.Count()[1]; c.InDoubt != 1 {
		t.Fatalf("at the new owner %+v", c)
	}
}

// newEnded is one that is about to be: the log has ended.
func newEnded(t *testing.T, grace time.Duration) *handed {
	t.Helper()
	n := newNetwork()
	patient := func(c *Config) { c.Grace = grace }
	x := &handed{a: n.member(t, "a", vfs.NewMem(), patient), b: n.member(t, "b", vfs.NewMem(), patient), said: make(chan error, 1)}
	adopt(t, x.a, 1, 1)
	mirror(t, x.a, 1, 1, 1, "b")
	put(t, x.a, 1, []byte("under way"), envelope("u@one.test", "v@one.test", "w@two.test"))
	until(t, "the copy is whole", synced(x.a, 1))
	x.it = takeOf(t, x.a, "one.test")
	if err := x.a.Start(x.it); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	last, waiting, err := x.a.Quiesce(ctx, 1)
	if err != nil || last == 0 || len(waiting) != 1 || waiting[0] != x.it.ID.Seq {
		t.Fatalf("Quiesce: last %d, waiting %v, %v", last, waiting, err)
	}
	return x
}

// reply is the far end's, after all.
func (x *handed) reply(r Result, notices ...Notice) {
	at := time.Now()
	x.a.Settle(Settlement{
		Item: x.it, Outcomes: outcomes(x.it, r), Next: at.Add(time.Hour), Reports: notices,
		Attempt: Attempt{N: 1, At: at, Took: time.Second, DotSent: true, Host: "mx.one.test", Addr: "127.0.0.9:25", Dialogue: "C: ."},
	}, func(err error) { x.said <- err })
}

// TestForward: the outcome reaches the new owner, is that of the item there, and
// only then is the attempt settled for who made it.
func TestForward(t *testing.T) {
	notice := Notice{Envelope: Envelope{Account: 7, From: "", Rcpts: []Rcpt{{Addr: "a@sender.test"}},
		Arrived: time.Now(), Expires: time.Now().Add(time.Hour)}, Body: []byte("it did not arrive")}
	for _, c := range []struct {
		name    string
		result  Result
		notices []Notice
		counts  Counts
	}{
		{"delivered", Delivered, nil, Counts{Queued: 1, Messages: 1}},
		{"deferred", Deferred, nil, Counts{Queued: 3, Messages: 1}},
		{"bounced", Bounced, []Notice{notice}, Counts{Queued: 2, Messages: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newHanded(t, time.Minute)
			_, more := x.a.ToForward()
			x.reply(c.result, c.notices...)
			<-more
			if list, _ := x.a.ToForward(); !reflect.DeepEqual(list, []tenant.ID{1}) {
				t.Fatalf("to forward: %v", list)
			}
			if n, err := x.a.Forward(t.Context(), "b", 1, 2); n != 0 || !errors.Is(err, ErrStale) {
				t.Fatalf("under an older epoch: %d, %v", n, err)
			}
			select {
			case err := <-x.said:
				t.Fatalf("nobody was told, and it is settled: %v", err)
			default:
			}
			if n, err := x.a.Forward(t.Context(), "b", 1, 3); n != 1 || err != nil {
				t.Fatalf("Forward: %d, %v", n, err)
			}
			if err := <-x.said; err != nil {
				t.Errorf("settled: %v", err)
			}
			if list, _ := x.a.ToForward(); len(list) != 0 {
				t.Errorf("still to forward: %v", list)
			}
			if got := x.b.Count()[1]; got != c.counts {
				t.Errorf("at the new owner %+v, want %+v", got, c.counts)
			}
			tr, err := x.b.Trace(x.it.ID)
			if err != nil || len(tr.Attempts) != 1 || tr.Attempts[0].Addr != "127.0.0.9:25" || tr.Attempts[0].Dialogue != "C: ." {
				t.Errorf("trace %+v, %v", tr.Attempts, err)
			}
			checkCounted(t, x.b, 1)
			until(t, "the copy at the old owner is whole", synced(x.b, 1))
			if it := takeOf(t, x.b, "two.test"); it.InDoubt {
				t.Error("the other item is in doubt")
			}
		})
	}
}

// TestReplyBetween: the reply comes when the log has ended and is not released
// yet. It is no part of the log any more, but of what is forwarded; and of the
// log after all when the handover fails.
func TestReplyBetween(t *testing.T) {
	t.Run("released", func(t *testing.T) {
		x := newEnded(t, time.Minute)
		x.reply(Delivered)
		x.adopt(t)
		if err := x.a.Release(1); err != nil {
			t.Fatal(err)
		}
		if n, err := x.a.Forward(t.Context(), "b", 1, 3); n != 1 || err != nil {
			t.Fatalf("Forward: %d, %v", n, err)
		}
		if err := <-x.said; err != nil {
			t.Errorf("settled: %v", err)
		}
		if c := x.b.Count()[1]; c != (Counts{Queued: 1, Messages: 1}) {
			t.Errorf("at the new owner %+v", c)
		}
	})
	t.Run("resumed", func(t *testing.T) {
		x := newEnded(t, time.Minute)
		x.reply(Delivered)
		if err := x.a.Resume(1); err != nil {
			t.Fatal(err)
		}
		if err := <-x.said; err != nil {
			t.Errorf("settled: %v", err)
		}
		if c := x.a.Count()[1]; c != (Counts{Queued: 1, Messages: 1}) {
			t.Errorf("at the owner %+v", c)
		}
	})
	t.Run("closed", func(t *testing.T) {
		x := newEnded(t, time.Minute)
		x.reply(Delivered)
		closeStore(t, x.a)
		if err := <-x.said; err == nil {
			t.Error("settled")
		}
	})
}

// TestForwardAgain: the answer was lost, and the question comes again, also when
// the message has ended. Another attempt's outcome is not taken for it.
func TestForwardAgain(t *testing.T) {
	x := newHanded(t, time.Minute)
	x.reply(Delivered)
	x.a.mu.Lock()
	f := x.a.left.ended[1][0]
	x.a.mu.Unlock()
	q := &forwardPart{epoch: 3, id: x.it.ID, n: x.it.N, rev: f.rev, x: f.x}
	for i := range 3 {
		if took, err := x.b.takeForward(q); !took || err != nil {
			t.Fatalf("time %d: %v, %v", i+1, took, err)
		}
		if i == 1 {
			deliver(t, x.b, takeOf(t, x.b, "two.test"))
		}
	}
	other := *q
	other.x.Attempt.At = q.x.Attempt.At.Add(time.Millisecond)
	if took, err := x.b.takeForward(&other); took || err != nil {
		t.Errorf("another attempt: %v, %v", took, err)
	}
	if n, err := x.a.Forward(t.Context(), "b", 1, 3); n != 1 || err != nil {
		t.Errorf("Forward: %d, %v", n, err)
	}
	if err := <-x.said; err != nil {
		t.Errorf("settled: %v", err)
	}
	if c := x.b.Count()[1]; c != (Counts{}) {
		t.Errorf("at the new owner %+v", c)
	}
}

// TestForwardTooLate: after the grace the new owner tries in doubt. What comes
// then changes nothing, and who made the first attempt hears that it does not count.
func TestForwardTooLate(t *testing.T) {
	x := newHanded(t, 20*time.Millisecond)
	until(t, "the grace", func() bool { return takesInDoubt(t, x.b) })
	x.a.cfg.Grace = time.Minute
	x.reply(Delivered)
	if n, err := x.a.Forward(t.Context(), "b", 1, 3); n != 0 || err != nil {
		t.Fatalf("Forward: %d, %v", n, err)
	}
	if err := <-x.said; !errors.Is(err, ErrStale) {
		t.Errorf("settled: %v", err)
	}
	if c := x.b.Count()[1]; c != (Counts{Queued: 3, Messages: 1, InDoubt: 1}) {
		t.Errorf("at the new owner %+v", c)
	}
}

// takesInDoubt takes what is due for one.test, if anything is.
func takesInDoubt(t *testing.T, s *Store) bool {
	items, _, err := s.Take(Lane{1, 7, tenant.Transactional, "one.test"}, 1)
	if err != nil {
		t.Fatal(err)
	}
	return len(items) == 1 && items[0].InDoubt
}

// TestForwardEnds: nothing waits for ever, nor for an attempt that was none.
func TestForwardEnds(t *testing.T) {
	t.Run("with the grace", func(t *testing.T) {
		x := newHanded(t, 20*time.Millisecond)
		x.reply(Delivered)
		if err := <-x.said; !errors.Is(err, ErrStale) {
			t.Errorf("settled: %v", err)
		}
		if list, _ := x.a.ToForward(); len(list) != 0 {
			t.Errorf("still to forward: %v", list)
		}
	})
	t.Run("with the store", func(t *testing.T) {
		x := newHanded(t, time.Minute)
		x.reply(Delivered)
		closeStore(t, x.a)
		if err := <-x.said; err == nil {
			t.Error("settled")
		}
	})
	t.Run("when it was given back", func(t *testing.T) {
		x := newHanded(t, time.Minute)
		x.a.GiveBack(x.it)
		x.reply(Delivered)
		if err := <-x.said; !errors.Is(err, ErrStale) {
			t.Errorf("settled: %v", err)
		}
		if len(x.a.left.open) > 0 {
			t.Error("it is still waited for")
		}
	})
}

// TestForwardToItself: a store that takes its own log over once more, with an
// attempt under way, settles by that attempt too.
func TestForwardToItself(t *testing.T) {
	n := newNetwork()
	a := n.member(t, "a", vfs.NewMem(), nil)
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "")
	x := &handed{a: a, said: make(chan error, 1)}
	put(t, a, 1, []byte("under way"), envelope("u@one.test"))
	x.it = takeOf(t, a, "one.test")
	if err := a.Start(x.it); err != nil {
		t.Fatal(err)
	}
	adopt(t, a, 1, 2)
	mirror(t, a, 1, 2, 2, "")
	x.reply(Delivered)
	if n, err := a.Forward(t.Context(), "", 1, 2); n != 1 || err != nil {
		t.Fatalf("Forward: %d, %v", n, err)
	}
	if err := <-x.said; err != nil {
		t.Error(err)
	}
	if c := a.Count()[1]; c != (Counts{}) {
		t.Errorf("%+v", c)
	}
}

// TestSettleBesideRelease: settlements and a release cross. Each is either in
// the log or to be forwarded, and nothing is kept of those in the log.
func TestSettleBesideRelease(t *testing.T) {
	n := newNetwork()
	a := n.member(t, "a", vfs.NewMem(), nil)
	const count = 40
	for epoch := uint64(1); epoch < 10; epoch += 2 {
		adopt(t, a, 1, epoch)
		mirror(t, a, 1, epoch, epoch, "")
		before := a.Count()[1].Messages
		for range count {
			put(t, a, 1, []byte("m"), envelope("u@one.test"))
		}
		var items []*Item
		until(t, "items", func() bool {
			more, _, err := a.Take(Lane{1, 7, tenant.Transactional, "one.test"}, count)
			if err != nil {
				t.Fatal(err)
			}
			for _, it := range more {
				if it.InDoubt {
					t.Fatal("a settled item is in doubt")
				}
			}
			items = append(items, more...)
			return len(items) == before+count
		})
		said := make(chan error, len(items))
		for _, it := range items {
			if err := a.Start(it); err != nil {
				t.Fatal(err)
			}
		}
		settle := func(some []*Item) {
			for _, it := range some {
				a.Settle(Settlement{Item: it, Attempt: Attempt{N: 1, At: time.Now(), DotSent: true}, Outcomes: outcomes(it, Delivered)},
					func(err error) { said <- err })
			}
		}
		a.mu.Lock()
		g := a.index.logs[1]
		a.mu.Unlock()
		released := make(chan error, 1)
		settle(items[:10]) // the committer gathers from here on
		go func() { released <- a.Release(1) }()
		until(t, "the release", func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return g.closing
		})
		settle(items[10:30])
		if err := <-released; err != nil {
			t.Fatal(err)
		}
		settle(items[30:])
		adopt(t, a, 1, epoch+1)
		mirror(t, a, 1, epoch+1, epoch+1, "")
		for told := 0; told < len(items); {
			if _, err := a.Forward(t.Context(), "", 1, epoch+1); err != nil {
				t.Fatal(err)
			}
			for drained := false; !drained; {
				select {
				case err := <-said:
					if told++; err != nil {
						t.Fatal(err)
					}
				case <-time.After(5 * time.Millisecond):
					drained = true
				}
			}
		}
		a.mu.Lock()
		open, ended := len(a.left.open), len(a.left.ended)
		a.mu.Unlock()
		if c := a.Count()[1]; c != (Counts{}) || open+ended > 0 {
			t.Fatalf("%+v, %d open and %d to be told", c, open, ended)
		}
		if err := a.Release(1); err != nil {
			t.Fatal(err)
		}
	}
}

// FuzzForward: no octets of a peer's upset the reader, and what it reads is
// written back alike.
func FuzzForward(f *testing.F) {
	it := &Item{ID: ID{1, 2, 3}, Rcpts: []int{0, 1}, Envelope: envelope("u@one.test", "v@one.test")}
	q := &forwardPart{epoch: 4, id: it.ID, n: 1, rev: 2, x: Settlement{
		Attempt:  Attempt{N: 3, At: time.Now(), Took: time.Second, Source: "127.77.1.1", DotSent: true, Dialogue: "C: ."},
		Outcomes: outcomes(it, Deferred), Next: time.Now(), Delayed: true,
		Reports: []Notice{{Envelope: *envelope("a@sender.test"), Body: []byte("late")}},
	}}
	f.Add(q.encode())
	f.Add((&forwardPart{}).encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := decodeForward(b)
		if err != nil {
			return
		}
		again, err := decodeForward(q.encode())
		if err != nil || !bytes.Equal(again.encode(), q.encode()) {
			t.Fatalf("written back as %+v, %v", again, err)
		}
	})
}

// TestWaitingOutlivesPower: the new owner lost its power before it adopted, and
// with it the starts it had received. What awaits a reply is in doubt all the
// same; nothing else is.
func TestWaitingOutlivesPower(t *testing.T) {
	for _, told := range []bool{true, false} {
		n := newNetwork()
		disk := vfs.NewCrashableMem()
		a, b := n.member(t, "a", vfs.NewMem(), nil), n.member(t, "b", disk, nil)
		adopt(t, a, 1, 1)
		mirror(t, a, 1, 1, 1, "b")
		id := put(t, a, 1, []byte("under way"), envelope("u@one.test"))
		put(t, a, 1, []byte("waits"), envelope("u@two.test"))
		until(t, "the copy is whole", synced(a, 1))
		if err := a.Start(takeOf(t, a, "one.test")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, waiting, err := a.Quiesce(ctx, 1)
		cancel()
		if err != nil || len(waiting) != 1 || waiting[0] != id.Seq {
			t.Fatalf("Quiesce: %v, %v", waiting, err)
		}
		left := disk.CrashClone(vfs.CrashCloneCfg{})
		closeStore(t, a)
		closeStore(t, b)
		b = n.member(t, "b", left, nil)
		var ids []ID
		if told {
			ids = []ID{id, {1, 1, 1000}}
		}
		if _, err := b.Adopt(1, 2, ids...); err != nil {
			t.Fatal(err)
		}
		if c := b.Count()[1]; c.Messages != 2 || told != (c.InDoubt == 1) {
			t.Errorf("told %v: %+v", told, c)
		}
		// Once more, under the next epoch: the same.
		if _, err := b.Adopt(1, 3, ids...); err != nil {
			t.Fatal(err)
		}
		if c := b.Count()[1]; c.Messages != 2 || told != (c.InDoubt == 1) {
			t.Errorf("told %v, again: %+v", told, c)
		}
		closeStore(t, b)
	}
}
