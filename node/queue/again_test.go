package queue

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

// A copy that was whole is made equal anew under each epoch of its owner. Until
// the walk has passed, it knows of what ended by the outcomes alone.

// restarted is a store that took its own log over again, with a copy at b that
// was whole under the epoch before: no walk gets to it any more, and the message
// to one.test ended meanwhile, of that to two.test the first recipient's share.
func restarted(t *testing.T, n *network) (a, b *Store, ended, half ID) {
	a, b = n.member(t, "a", vfs.NewMem(), nil), n.member(t, "b", vfs.NewMem(), nil)
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "b")
	ended = put(t, a, 1, []byte("ends"), envelope("u@one.test"))
	half = put(t, a, 1, []byte("half"), envelope("u@two.test", "u@three.test"))
	put(t, a, 1, []byte("waits"), envelope("u@four.test"))
	until(t, "the copy is whole", synced(a, 1))
	adopt(t, a, 1, 2)
	n.wrapping(noCalls)
	mirror(t, a, 1, 2, 2, "b")
	deliver(t, a, takeOf(t, a, "one.test"))
	deliver(t, a, takeOf(t, a, "two.test"))
	until(t, "the outcomes are at the holder", func() bool { return a.Mirrors()[1].Behind == 0 })
	if a.Mirrors()[1].Synced {
		t.Fatal("the walk went on")
	}
	closeStore(t, a)
	n.wrapping(nil)
	return a, b, ended, half
}

func checkRestarted(t *testing.T, s *Store, ended, half ID) {
	t.Helper()
	if _, err := s.Show(ended); !errors.Is(err, ErrNotFound) {
		t.Errorf("%s ended and is back: %v", ended, err)
	}
	m, err := s.Show(half)
	if err != nil || len(m.Items) != 1 || m.Items[0].Domain != "three.test" {
		t.Errorf("of %s one item waits: %+v %v", half, m, err)
	}
	if c := s.Count()[1]; c != (Counts{Queued: 2, Messages: 2}) {
		t.Errorf("counts %+v", c)
	}
	checkCounted(t, s, 1)
	mirror(t, s, 1, 3, 3, "")
	for _, d := range []string{"three.test", "four.test"} {
		deliver(t, s, takeOf(t, s, d))
	}
}

// TestHolderOfALogTakenOverAgain: the owner restarts, and dies before the walk
// of its new epoch has passed. What ended meanwhile is not sent again.
func TestHolderOfALogTakenOverAgain(t *testing.T) {
	_, b, ended, half := restarted(t, newNetwork())
	if _, err := b.Fence(t.Context(), "", 1, 3); err != nil {
		t.Fatal(err)
	}
	adopt(t, b, 1, 3)
	checkRestarted(t, b, ended, half)
}

// TestFetchFromALogTakenOverAgain: the same when a third node takes over.
func TestFetchFromALogTakenOverAgain(t *testing.T) {
	n := newNetwork()
	_, _, ended, half := restarted(t, n)
	c := n.member(t, "c", vfs.NewMem(), nil)
	for _, x := range []string{"", "b"} {
		if _, err := c.Fence(t.Context(), x, 1, 3); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Fetch(t.Context(), "b", 1, false); err != nil {
		t.Fatal(err)
	}
	adopt(t, c, 1, 3)
	checkRestarted(t, c, ended, half)
}

// TestCopyReadLater: the only copy cannot be read when a node takes over, which
// accepts mail all the same. When it can be read, the log is taken over again:
// everything in the copy is there then.
func TestCopyReadLater(t *testing.T) {
	n := newNetwork()
	a, b, c := n.member(t, "a", vfs.NewMem(), nil), n.member(t, "b", vfs.NewMem(), nil), n.member(t, "c", vfs.NewMem(), nil)
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "b")
	both := put(t, a, 1, []byte("b has it too"), envelope("u@both.test"))
	until(t, "the first copy is whole", synced(a, 1))
	mirror(t, a, 1, 1, 2, "c")
	only := put(t, a, 1, []byte("c has it"), envelope("u@only.test"))
	until(t, "the copy is whole", synced(a, 1))
	deliver(t, a, takeOf(t, a, "both.test"))
	until(t, "all is there", func() bool { return a.Mirrors()[1].Behind == 0 })
	closeStore(t, a)
	if _, err := b.Fence(t.Context(), "", 1, 2); err != nil {
		t.Fatal(err)
	}
	adoptPart(t, b, 1, 2)
	mirror(t, b, 1, 2, 3, "")
	fresh := put(t, b, 1, []byte("accepted meanwhile"), envelope("u@new.test"))
	if err := b.Release(1); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Fence(t.Context(), "c", 1, 3); err != nil {
		t.Fatal(err)
	}
	if err := b.Fetch(t.Context(), "c", 1, true); err != nil {
		t.Fatal(err)
	}
	adopt(t, b, 1, 3)
	for _, id := range []ID{only, fresh} {
		if _, err := b.Show(id); err != nil {
			t.Errorf("%s is lost: %v", id, err)
		}
	}
	if _, err := b.Show(both); !errors.Is(err, ErrNotFound) {
		t.Errorf("%s ended at the other and is back: %v", both, err)
	}
	checkCounted(t, b, 1)
	_ = c
}

// TestOldCopyBringsNothingBack: a node that held a copy once holds one again,
// and the owner dies before the walk has passed. What lies there from before and
// ended in between, at a copy that was whole, does not come back.
func TestOldCopyBringsNothingBack(t *testing.T) {
	for _, adopter := range []string{"c", "d", "e"} {
		t.Run(adopter, func(t *testing.T) {
			n := newNetwork()
			s := map[string]*Store{}
			for _, x := range []string{"a", "c", "d", "e"} {
				s[x] = n.member(t, x, vfs.NewMem(), nil)
			}
			a := s["a"]
			adopt(t, a, 1, 1)
			mirror(t, a, 1, 1, 1, "d")
			ended := put(t, a, 1, []byte("ends"), envelope("u@one.test"))
			waits := put(t, a, 1, []byte("waits"), envelope("u@two.test"))
			until(t, "the first copy is whole", synced(a, 1))
			mirror(t, a, 1, 1, 2, "c")
			until(t, "the second copy is whole", synced(a, 1))
			deliver(t, a, takeOf(t, a, "one.test"))
			until(t, "it is there", func() bool { return a.Mirrors()[1].Behind == 0 })
			n.wrapping(noCalls)
			mirror(t, a, 1, 1, 3, "d")
			last := put(t, a, 1, []byte("came last"), envelope("u@three.test"))
			if a.Mirrors()[1].Synced {
				t.Fatal("the walk went on")
			}
			closeStore(t, a)
			n.wrapping(nil)
			me := s[adopter]
			for _, x := range []string{"c", "d", "e"} {
				if _, err := s[x].Fence(t.Context(), "", 1, 2); err != nil {
					t.Fatal(err)
				}
			}
			merge := adopter != "e"
			for _, x := range []string{"c", "d"} {
				if x == adopter {
					continue
				}
				if err := me.Fetch(t.Context(), x, 1, merge); err != nil {
					t.Fatal(err)
				}
				merge = true
			}
			adopt(t, me, 1, 3)
			if _, err := me.Show(ended); !errors.Is(err, ErrNotFound) {
				t.Errorf("%s ended and is back: %v", ended, err)
			}
			for _, id := range []ID{waits, last} {
				if _, err := me.Show(id); err != nil {
					t.Errorf("%s is lost: %v", id, err)
				}
			}
			checkCounted(t, me, 1)
		})
	}
}

func adoptPart(t *testing.T, s *Store, id tenant.ID, epoch uint64) {
	t.Helper()
	if _, err := s.AdoptPart(id, epoch); err != nil {
		t.Fatal(err)
	}
}

// TestQuiesceWithSlowAttempts: a dot of an older epoch's message gets no reply
// in time. It is no part of this epoch's log, and its number may be beyond the
// log's end: the cluster would refuse the handover for ever. The holder, which
// has all but a moment later, is waited for although the time is over.
func TestQuiesceWithSlowAttempts(t *testing.T) {
	n := newNetwork()
	a := n.member(t, "a", vfs.NewMem(), nil)
	n.member(t, "b", vfs.NewMem(), nil)
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "")
	for range 3 {
		put(t, a, 1, []byte("old"), envelope("u@one.test"))
	}
	adopt(t, a, 1, 2)
	mirror(t, a, 1, 2, 2, "b")
	until(t, "the copy is whole", synced(a, 1))
	items, _, err := a.Take(Lane{1, 7, tenant.Transactional, "one.test"}, 3)
	if err != nil || len(items) != 3 {
		t.Fatalf("Take: %d %v", len(items), err)
	}
	fresh := put(t, a, 1, []byte("new"), envelope("u@two.test"))
	for _, it := range append(items, takeOf(t, a, "two.test")) {
		if err := a.Start(it); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	<-ctx.Done()
	n.sever("a", "b", true)
	if err := a.Forget(1, 1); err != nil { // a record the holder does not have yet
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, func() { n.sever("a", "b", false) })
	last, waiting, err := a.Quiesce(ctx, 1)
	if err != nil || len(waiting) != 1 || waiting[0] != fresh.Seq || last < fresh.Seq {
		t.Fatalf("Quiesce: last %d, waiting %v, %v", last, waiting, err)
	}
}

// TestNothingIsDroppedForAnOwnerInPart: an owner that could not read a copy
// mirrors to a node that has what was in it. That stays there.
func TestNothingIsDroppedForAnOwnerInPart(t *testing.T) {
	n := newNetwork()
	a, b, c := n.member(t, "a", vfs.NewMem(), nil), n.member(t, "b", vfs.NewMem(), nil), n.member(t, "c", vfs.NewMem(), nil)
	adopt(t, c, 1, 1)
	mirror(t, c, 1, 1, 1, "a")
	id := put(t, c, 1, []byte("a and c have it"), envelope("u@one.test"))
	until(t, "the first copy is whole", synced(c, 1))
	st, err := a.Fence(t.Context(), "", 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Fence(t.Context(), "c", 1, 2); err != nil {
		t.Fatal(err)
	}
	adopt(t, a, 1, 2)
	closeStore(t, a)
	adoptPart(t, b, 1, 4) // nothing of it is here, and a is gone
	ends := []tenant.End{{Epoch: 1, Node: 3, Last: st.Last}, {Epoch: 2, Node: 1}}
	mirror(t, b, 1, 4, 2, "c", ends...)
	fresh := put(t, b, 1, []byte("accepted in part"), envelope("u@two.test"))
	until(t, "the copy is whole", synced(b, 1))
	closeStore(t, b)
	if _, err := c.Fence(t.Context(), "", 1, 5); err != nil {
		t.Fatal(err)
	}
	adopt(t, c, 1, 5)
	for _, x := range []ID{id, fresh} {
		if _, err := c.Show(x); err != nil {
			t.Errorf("%s is lost: %v", x, err)
		}
	}
	checkCounted(t, c, 1)
}

// TestStartComesTooLate: a start is being written while the log is taken over.
// It is not kept for ever as one that is under way.
func TestStartComesTooLate(t *testing.T) {
	n := newNetwork()
	a, b := n.member(t, "a", vfs.NewMem(), nil), n.member(t, "b", vfs.NewMem(), nil)
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "b")
	put(t, a, 1, []byte("x"), envelope("u@one.test"))
	it := takeOf(t, a, "one.test")
	until(t, "the copy is whole", synced(a, 1))
	b.starts.mu.Lock()
	started := make(chan error, 1)
	go func() { started <- a.Start(it) }()
	until(t, "the start is at the holder's file", func() bool { return a.Mirrors()[1].Behind > 20*time.Millisecond })
	adopt(t, b, 1, 2)
	b.starts.mu.Unlock()
	n.sever("a", "b", true)
	if err := a.Release(1); err != nil {
		t.Fatal(err)
	}
	if err := <-started; err == nil {
		t.Error("the dot may be sent, and its start is not kept")
	}
	closeStore(t, a)
	until(t, "the connection ends", func() bool {
		b.hold.mu.Lock()
		defer b.hold.mu.Unlock()
		b.starts.mu.Lock()
		defer b.starts.mu.Unlock()
		return len(b.hold.logs[1].starts) == 0 && b.starts.cur.open == 0 && b.starts.cur.size > 0
	})
}
