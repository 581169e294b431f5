package queue

import (
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// countedAndOut demands that a tenant's counts are true, and that they are
// nothing when all of it was delivered.
func countedAndOut(t *testing.T, s *Store, messages, queued int) {
	t.Helper()
	checkCounted(t, s, 1)
	if c := s.Count()[1]; c.Messages != messages || c.Queued != queued {
		t.Errorf("counts %+v, want %d messages with %d recipients", c, messages, queued)
	}
	list, err := s.List(Filter{Tenant: 1})
	if err != nil || len(list) != messages {
		t.Fatalf("there are %d messages, want %d: %v", len(list), messages, err)
	}
	for _, m := range list {
		if err := s.Cancel(m.ID); err != nil {
			t.Fatalf("Cancel: %v", err)
		}
	}
	if c := s.Count()[1]; c != (Counts{}) {
		t.Errorf("counts when all is out: %+v", c)
	}
	checkCounted(t, s, 1)
}

// liveAt counts what is there.
func liveAt(t *testing.T, s *Store) (messages, rcpts int) {
	t.Helper()
	list, err := s.List(Filter{Tenant: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		for _, it := range m.Items {
			rcpts += len(it.Rcpts)
		}
	}
	return len(list), rcpts
}

// restart cuts the power of the first owner, which is to come back.
func (x *returnScene) restart(t *testing.T) {
	t.Helper()
	fs := x.fsA.CrashClone(vfs.CrashCloneCfg{})
	closeStore(t, x.a)
	x.fsA, x.a = fs, x.n.member(t, "a", fs, nil)
}

// TestCountsOfReturned: what was returned counts until it is out, at its owner
// and at who adopts after it.
func TestCountsOfReturned(t *testing.T) {
	for _, next := range []bool{false, true} {
		x := newReturnScene(t, nil)
		x.restart(t)
		if _, err := x.a.Return(t.Context(), "b", 1, x.ends); err != nil {
			t.Fatal(err)
		}
		s, epoch := x.b, uint64(3)
		until(t, "the copy is whole", synced(x.b, 1))
		if next {
			if err := x.b.Release(1); err != nil {
				t.Fatal(err)
			}
			s, epoch = x.c, 5
			adopt(t, s, 1, epoch)
		}
		mirror(t, s, 1, epoch, 9, "")
		countedAndOut(t, s, 4, 5)
	}
}

// TestCountsOfUnreturned: a node that holds a copy keeps what only it has, until
// it has handed that over. The owner dies before: what was kept counts, too.
func TestCountsOfUnreturned(t *testing.T) {
	x := newReturnScene(t, nil)
	x.restart(t)
	mirror(t, x.b, 1, 3, 4, "a")
	until(t, "the copy is whole", synced(x.b, 1))
	closeStore(t, x.b)
	adopt(t, x.a, 1, 5)
	mirror(t, x.a, 1, 5, 5, "")
	n, rcpts := liveAt(t, x.a)
	if n < 3 {
		t.Errorf("kept %d messages", n)
	}
	countedAndOut(t, x.a, n, rcpts)
}

// TestCountsOfFetched: the same for one that makes its copy like another's.
func TestCountsOfFetched(t *testing.T) {
	x := newReturnScene(t, nil)
	x.restart(t)
	until(t, "the copy is whole", synced(x.b, 1))
	closeStore(t, x.b)
	if _, err := x.a.Fence(t.Context(), "c", 1, 4); err != nil {
		t.Fatal(err)
	}
	if err := x.a.Fetch(t.Context(), "c", 1, false); err != nil {
		t.Fatal(err)
	}
	adopt(t, x.a, 1, 5)
	mirror(t, x.a, 1, 5, 5, "")
	n, rcpts := liveAt(t, x.a)
	if n < 3 {
		t.Errorf("kept %d messages", n)
	}
	countedAndOut(t, x.a, n, rcpts)
}

// TestReturnedAndEnded: a message was handed over, and it ended at the owner,
// before the node that handed it over had dropped it. It does not live on in
// the copy which that node holds then.
func TestReturnedAndEnded(t *testing.T) {
	x := newReturnScene(t, nil)
	h := messageCopy{id: x.late}
	if _, err := x.a.readContent(&h); err != nil {
		t.Fatal(err)
	}
	q := &returnPart{what: returnCopies, tenant: 1, ends: x.ends, copies: []messageCopy{h}}
	if n, err := x.b.takeReturn(t.Context(), q); err != nil || n != 1 {
		t.Fatalf("take late message: %d %v", n, err)
	}
	deliver(t, x.b, takeOf(t, x.b, "three.test"))
	deliver(t, x.b, takeOf(t, x.b, "four.test"))
	x.restart(t)
	mirror(t, x.b, 1, 3, 4, "a")
	until(t, "the copy is whole", synced(x.b, 1))
	if _, err := x.a.Return(t.Context(), "b", 1, x.ends); err != nil {
		t.Fatal(err)
	}
	until(t, "the copy is whole", synced(x.b, 1))
	if _, err := x.a.Show(x.late); !errors.Is(err, ErrNotFound) {
		t.Errorf("ended at the owner and lives in the copy: %v", err)
	}
	sameCopies(t, x.b, x.a, 1)
	if err := x.b.Release(1); err != nil {
		t.Fatal(err)
	}
	adopt(t, x.a, 1, 5)
	mirror(t, x.a, 1, 5, 5, "")
	checkCounted(t, x.a, 1)
}

// TestCountsOfReleased: a copy up to where its owner ended the log in peace needs
// no counting; any other end is counted, and comes to the same.
func TestCountsOfReleased(t *testing.T) {
	for _, off := range []uint64{0, 1} {
		n := newNetwork()
		a, b := n.member(t, "a", vfs.NewMem(), nil), n.member(t, "b", vfs.NewMem(), nil)
		adopt(t, a, 1, 1)
		mirror(t, a, 1, 1, 1, "b")
		for range 3 {
			put(t, a, 1, []byte("queued"), envelope("u@one.test", "v@one.test", "w@two.test"))
		}
		until(t, "the copy is whole", synced(a, 1))
		it := takeOf(t, a, "one.test")
		if err := a.Start(it); err != nil {
			t.Fatal(err)
		}
		said := make(chan error, 1)
		a.Settle(Settlement{Item: it, Outcomes: outcomes(it, Delivered), Attempt: Attempt{N: 1, At: time.Now(), Host: "mx.one.test"}}, func(err error) { said <- err })
		if err := <-said; err != nil {
			t.Fatal(err)
		}
		last, waiting, err := a.Quiesce(t.Context(), 1)
		if err != nil || len(waiting) > 0 {
			t.Fatalf("Quiesce: waiting %v, %v", waiting, err)
		}
		if err := a.Release(1); err != nil {
			t.Fatal(err)
		}
		end := ID{Tenant: 1, Epoch: 1, Seq: last - off}
		if exact, err := b.exactCopy(1, end); err != nil || exact != (off == 0) {
			t.Errorf("end %v: exact %v, %v", end, exact, err)
		}
		if _, err := b.AdoptReleased(1, 3, end); err != nil {
			t.Fatal(err)
		}
		if exact, err := b.exactCopy(1, end); err != nil || exact {
			t.Errorf("what is owned is no copy: %v, %v", exact, err)
		}
		mirror(t, b, 1, 3, 2, "")
		countedAndOut(t, b, 3, 7)
	}
}
