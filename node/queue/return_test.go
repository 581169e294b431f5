package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

// returnScene is two nodes: a was the owner with a single copy for a while, so
// that b, which took over, does not know all.
type returnScene struct {
	n          *network
	fsA, fsB   *vfs.MemFS
	a, b, c    *Store
	last       uint64 // what b had when it took over
	late       ID     // put at a behind it
	big        ID     // the same, in a chunk file
	settled    ID     // ended at a behind it, in doubt at b
	half       ID     // one recipient of two ended at a, the other deferred
	doubt      ID     // late, and started at a
	ends       []tenant.End
	body, wide []byte
}

func newReturnScene(t *testing.T, wrap func(vfs.FS) vfs.FS) *returnScene {
	x := &returnScene{n: newNetwork(), fsA: vfs.NewCrashableMem(), fsB: vfs.NewCrashableMem(), body: []byte("late mail"), wide: bytes.Repeat([]byte("w"), 300<<10)}
	if wrap == nil {
		wrap = func(fs vfs.FS) vfs.FS { return fs }
	}
	x.a = x.n.member(t, "a", wrap(x.fsA), nil)
	x.b = x.n.member(t, "b", wrap(x.fsB), nil)
	x.c = x.n.member(t, "c", vfs.NewMem(), nil)
	a := x.a
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "b")
	sp := Spend{Window: tenant.Window{Kind: 1, Start: 5}, Amount: tenant.Amount{Mails: 1, Bytes: 7}}
	x.settled = put(t, a, 1, x.body, envelope("u@one.test"), sp)
	x.half = put(t, a, 1, x.body, envelope("u@two.test", "v@two.test"), sp)
	one, two := takeOf(t, a, "one.test"), takeOf(t, a, "two.test")
	for _, it := range []*Item{one, two} {
		if err := a.Start(it); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the copy is whole", synced(a, 1))
	mirror(t, a, 1, 1, 2, "") // b hears no more
	settle(t, a, Settlement{Item: one, Attempt: Attempt{N: 1, At: time.Unix(9, 0), Host: "mx.one.test"}, Outcomes: outcomes(one, Delivered)})
	half := outcomes(two, Delivered)
	half[1].Result = Deferred
	settle(t, a, Settlement{Item: two, Attempt: Attempt{N: 1, At: time.Unix(9, 0)}, Outcomes: half, Next: time.Now().Add(time.Hour)})
	x.late = put(t, a, 1, x.body, envelope("u@three.test", "v@four.test"), sp)
	x.big = put(t, a, 1, x.wide, envelope("u@three.test"), sp)
	x.doubt = put(t, a, 1, x.body, envelope("u@five.test"), sp)
	if err := a.Start(takeOf(t, a, "five.test")); err != nil {
		t.Fatal(err)
	}
	st, err := x.b.Fence(t.Context(), "", 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	x.last = st.Last
	x.ends = []tenant.End{{Epoch: 1, Last: x.last}}
	if spent := adopt(t, x.b, 1, 3); len(spent) != 1 || spent[0].Amount.Mails != 2 {
		t.Fatalf("spent %+v", spent)
	}
	mirror(t, x.b, 1, 3, 3, "c")
	until(t, "the copy is whole", synced(x.b, 1))
	if _, err := x.a.Fence(t.Context(), "", 1, 3); err != nil {
		t.Fatal(err)
	}
	return x
}

// takeOf takes the one item of a lane.
func takeOf(t testing.TB, s *Store, domain string) *Item {
	t.Helper()
	var got *Item
	until(t, "an item to "+domain, func() bool {
		items, _, err := s.Take(Lane{1, 7, tenant.Transactional, domain}, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(items) == 1 {
			got = items[0]
		}
		return got != nil
	})
	return got
}

// check demands that the owner has all of it, once.
func (x *returnScene) check(t *testing.T) {
	t.Helper()
	b := x.b
	if c := b.Count()[1]; c != (Counts{Queued: 5, Messages: 4, InDoubt: 1}) {
		t.Errorf("counts %+v", c)
	}
	checkCounted(t, b, 1)
	if _, err := b.Show(x.settled); !errors.Is(err, ErrNotFound) {
		t.Errorf("delivered there and still here: %v", err)
	}
	tr, err := b.Trace(x.settled)
	if err != nil || !tr.Ended || len(tr.Attempts) != 1 || tr.Attempts[0].Host != "mx.one.test" {
		t.Errorf("trace %+v %v", tr, err)
	}
	m, err := b.Show(x.half)
	if err != nil || len(m.Items) != 1 || fmt.Sprint(m.Items[0].Rcpts) != "[v@two.test]" ||
		m.Items[0].Attempts != 1 || time.Until(m.Items[0].Due) < 30*time.Minute {
		t.Errorf("half settled there: %+v %v", m, err)
	}
	if !bytes.Equal(readBody(t, b, x.late), wantBody(x.body)) || !bytes.Equal(readBody(t, b, x.big), wantBody(x.wide)) {
		t.Error("body differs")
	}
	late, err := b.Late(1)
	if err != nil || len(late) != 1 || late[0].Epoch != 1 || late[0].Amount != (tenant.Amount{Mails: 5, Bytes: 35}) {
		t.Errorf("late spending %+v %v", late, err)
	}
	if err := b.index.checkLocked(b); err != nil {
		t.Error(err)
	}
}

func (x *index) checkLocked(s *Store) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return x.check()
}

// TestReturn: a node that was cut off hands over what only it has; the owner
// and its holder have it then, and a second time changes nothing.
func TestReturn(t *testing.T) {
	x := newReturnScene(t, nil)
	n, err := x.a.Return(t.Context(), "b", 1, x.ends)
	if err != nil || n != 5 {
		t.Fatalf("Return: %d %v", n, err)
	}
	x.check(t)
	until(t, "the copy is whole", synced(x.b, 1))
	sameCopies(t, x.b, x.c, 1)
	checkFiles(t, x.c)
	if list, err := x.a.List(Filter{Tenant: 1}); err != nil || len(list) != 1 {
		t.Errorf("left at the returned node: %+v %v", list, err)
	}
	if n, err = x.a.Return(t.Context(), "b", 1, x.ends); err != nil || n != 0 {
		t.Fatalf("Return again: %d %v", n, err)
	}
	x.check(t)
	// It may hold a copy now, with what it had beside.
	mirror(t, x.b, 1, 3, 4, "a")
	until(t, "the copy is whole", synced(x.b, 1))
	sameCopies(t, x.b, x.a, 1)
	// What was late goes out from the owner, and from whoever adopts after it.
	closeStore(t, x.b)
	adopt(t, x.c, 1, 5)
	mirror(t, x.c, 1, 5, 5, "")
	for _, d := range []string{"three.test", "three.test", "four.test"} {
		deliver(t, x.c, takeOf(t, x.c, d))
	}
	if c := x.c.Count()[1]; c != (Counts{Queued: 2, Messages: 2, InDoubt: 1}) {
		t.Errorf("counts after the next owner's deliveries: %+v", c)
	}
}

// TestReturnIsRepeated: it breaks at each frame it sends, or the power goes in
// the end; then it is done again.
func TestReturnIsRepeated(t *testing.T) {
	x := newReturnScene(t, nil)
	for broken := 0; ; broken++ {
		x.n.wrapping(breakAfter(broken))
		_, err := x.a.Return(t.Context(), "b", 1, x.ends)
		if err == nil {
			if broken < 3 {
				t.Fatalf("nothing breaks it after %d", broken)
			}
			break
		}
	}
	x.n.wrapping(nil)
	x.check(t)
	// The power goes before what it dropped is durable: it has it all again.
	fs := x.fsA.CrashClone(vfs.CrashCloneCfg{})
	closeStore(t, x.a)
	x.a = x.n.member(t, "a", fs, nil)
	if _, err := x.a.Return(t.Context(), "b", 1, x.ends); err != nil {
		t.Fatal(err)
	}
	x.check(t)
}

// TestReturnIsRefused: not to a node that does not own the tenant, nor of what
// was taken over.
func TestReturnIsRefused(t *testing.T) {
	x := newReturnScene(t, nil)
	if _, err := x.a.Return(t.Context(), "c", 1, x.ends); !errors.Is(err, ErrStale) {
		t.Fatalf("Return to a holder: %v", err)
	}
	if _, err := x.b.Return(t.Context(), "a", 1, x.ends); !errors.Is(err, ErrBusy) {
		t.Fatalf("Return by the owner: %v", err)
	}
	h := messageCopy{id: x.half}
	if _, err := x.a.readContent(&h); err != nil {
		t.Fatal(err)
	}
	q := &returnPart{what: returnCopies, tenant: 1, ends: x.ends, copies: []messageCopy{h}}
	if _, err := x.b.takeReturn(context.Background(), q); !errors.Is(err, ErrStale) {
		t.Fatalf("message at or below the end: %v", err)
	}
	if err := x.b.Erase(1, 9, 9); !errors.Is(err, ErrBusy) {
		t.Fatalf("Erase of an adopted tenant: %v", err)
	}
	if err := x.a.Erase(1, 2, 9); !errors.Is(err, ErrNewer) { // its bar is at epoch 3
		t.Fatalf("Erase as of an epoch before the fence: %v", err)
	}
	if err := x.a.Erase(1, 3, 3); err != nil {
		t.Fatal(err)
	}
	if m := dump(t, x.a, 1); len(m) != 0 {
		t.Errorf("left after Erase: %d keys", len(m))
	}
	if h, err := x.a.Held(); err != nil || len(h) != 0 {
		t.Errorf("held after Erase: %+v, %v", h, err)
	}
	if err := x.c.Erase(1, 3, 2); !errors.Is(err, ErrNewer) {
		t.Errorf("Erase of a copy named since: %v", err)
	}
	if fs, _ := x.a.fs.List(x.a.chunks); len(fs) != 0 {
		t.Errorf("chunk files left: %v", fs)
	}
	if _, err := x.a.Adopt(1, 1); !errors.Is(err, ErrStale) {
		t.Errorf("Adopt after Erase: %v", err)
	}
}

// TestNothingUnreturnedIsDropped: a node that died as the owner becomes a holder
// before it handed anything over: the walk leaves alone what only it may have.
// One that handed the tenant over in good order has nothing of the kind.
func TestNothingUnreturnedIsDropped(t *testing.T) {
	x := newReturnScene(t, nil)
	fs := x.fsA.CrashClone(vfs.CrashCloneCfg{})
	closeStore(t, x.a)
	x.a = x.n.member(t, "a", fs, nil)
	mirror(t, x.b, 1, 3, 4, "a")
	until(t, "the copy is whole", synced(x.b, 1))
	for _, id := range []ID{x.late, x.big, x.doubt} {
		if _, err := x.a.Show(id); err != nil {
			t.Errorf("%s is gone before it was returned: %v", id, err)
		}
	}
	if n, err := x.a.Return(t.Context(), "b", 1, x.ends); err != nil || n < 3 {
		t.Fatalf("Return: %d %v", n, err)
	}
	if _, err := x.b.Show(x.late); err != nil {
		t.Errorf("late message at the owner: %v", err)
	}
	until(t, "the copy is whole", synced(x.b, 1))
	sameCopies(t, x.a, x.b, 1)
	checkFiles(t, x.a)
	if n, err := x.a.Return(t.Context(), "b", 1, x.ends); err != nil || n != 0 {
		t.Fatalf("Return by a holder: %d %v", n, err)
	}
	if !synced(x.b, 1)() {
		t.Error("the copy is not whole any more")
	}
}

func TestHandedOverIsDropped(t *testing.T) {
	n := newNetwork()
	a := n.member(t, "a", vfs.NewMem(), nil)
	b := n.member(t, "b", vfs.NewMem(), nil)
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "b")
	first := put(t, a, 1, []byte("x"), envelope("u@one.test"))
	until(t, "the copy is whole", synced(a, 1))
	if _, _, err := a.Quiesce(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if err := a.Release(1); err != nil {
		t.Fatal(err)
	}
	adopt(t, b, 1, 2)
	mirror(t, b, 1, 2, 2, "")
	deliver(t, b, takeOne(t, b))
	mirror(t, b, 1, 2, 3, "a")
	until(t, "the copy is whole", synced(b, 1))
	if _, err := a.Show(first); !errors.Is(err, ErrNotFound) {
		t.Errorf("delivered by the next owner and still here: %v", err)
	}
	sameCopies(t, a, b, 1)
}

// TestAFormerOwnerHoldsTheCopy: the node that died becomes the holder before it
// has returned its log. What the owner settled meanwhile is over there too, and
// what only it has stays for the return.
func TestAFormerOwnerHoldsTheCopy(t *testing.T) {
	n := newNetwork()
	a, b := n.member(t, "a", vfs.NewMem(), nil), n.member(t, "b", vfs.NewMem(), nil)
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "b")
	put(t, a, 1, []byte("settled by the next owner"), envelope("u@one.test"))
	both := put(t, a, 1, []byte("waits at both"), envelope("u@two.test"))
	until(t, "the copy is whole", synced(a, 1))
	mirror(t, a, 1, 1, 2, "")
	late := put(t, a, 1, []byte("nobody else has it"), envelope("u@three.test"))
	if err := a.Release(1); err != nil {
		t.Fatal(err)
	}
	st, err := b.Fence(t.Context(), "", 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	ends := []tenant.End{{Epoch: 1, Last: st.Last}}
	adopt(t, b, 1, 3)
	mirror(t, b, 1, 3, 3, "a", ends...)
	until(t, "the copy is whole", synced(b, 1))
	deliver(t, b, takeOf(t, b, "one.test"))
	mirror(t, b, 1, 3, 4, "", ends...)
	deliver(t, b, takeOf(t, b, "two.test")) // a does not hear of it live
	mirror(t, b, 1, 3, 5, "a", ends...)
	until(t, "the copy is whole again", synced(b, 1))
	list, _, err := a.statesIn(ID{Tenant: 1}, lastID(1), 10, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].id != late {
		t.Fatalf("the copy has %d messages, want %s only, not %s", len(list), late, both)
	}
	if _, err := a.Return(t.Context(), "b", 1, ends); err != nil {
		t.Fatal(err)
	}
	deliver(t, b, takeOf(t, b, "three.test"))
}

// TestReturnGivesWay: the owner wants its second copy on the very node that
// returns a log, and takes nothing before the copy is whole there.
func TestReturnGivesWay(t *testing.T) {
	n := newNetwork()
	a, b := n.member(t, "a", vfs.NewMem(), nil), n.member(t, "b", vfs.NewMem(), nil)
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "")
	put(t, a, 1, []byte("only here"), envelope("u@one.test"))
	if err := a.Release(1); err != nil {
		t.Fatal(err)
	}
	ends := []tenant.End{{Epoch: 1}}
	if _, err := b.Fence(t.Context(), "", 1, 2); err != nil {
		t.Fatal(err)
	}
	adopt(t, b, 1, 3)
	given := make(chan struct{})
	leave, err := a.beginCopying(1, sync.OnceFunc(func() { close(given) })) // as a Return does
	if err != nil {
		t.Fatal(err)
	}
	mirror(t, b, 1, 3, 2, "a", ends...)
	<-given
	leave()
	until(t, "the copy is whole", synced(b, 1))
	if _, err := a.Return(t.Context(), "b", 1, ends); err != nil {
		t.Fatal(err)
	}
	deliver(t, b, takeOf(t, b, "one.test"))
	until(t, "the copy is whole", synced(b, 1))
	sameCopies(t, b, a, 1)
}

// TestReturnWaitsForAWholeCopy: a holder leaves out what the walk has not passed.
// What was returned meanwhile would be on the owner's disk alone, and the node
// that had it would have dropped it.
func TestReturnWaitsForAWholeCopy(t *testing.T) {
	n := newNetwork()
	a, b, c := n.member(t, "a", vfs.NewMem(), nil), n.member(t, "b", vfs.NewMem(), nil), n.member(t, "c", vfs.NewMem(), nil)
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "")
	only := put(t, a, 1, []byte("only here"), envelope("u@one.test"))
	if err := a.Release(1); err != nil {
		t.Fatal(err)
	}
	ends := []tenant.End{{Epoch: 1}}
	adopt(t, b, 1, 3)
	n.wrapping(func(from, to string, c net.Conn) net.Conn {
		if from == "b" {
			return &callless{c}
		}
		return c
	})
	mirror(t, b, 1, 3, 2, "c", ends...)
	put(t, b, 1, []byte("live"), envelope("u@two.test"))
	if _, err := a.Return(t.Context(), "b", 1, ends); !errors.Is(err, ErrBusy) {
		t.Errorf("Return in the middle of a walk: %v", err)
	}
	closeStore(t, b)
	n.wrapping(nil)
	_, here := a.Show(only)
	_, there := c.Show(only)
	if here != nil && there != nil {
		t.Fatalf("%s is on the disk of the dead owner alone", only)
	}
}

// TestReturnHasAnEnd: the holder has the whole log, and then nothing comes
// through to it. Who returns a log is told so.
func TestReturnHasAnEnd(t *testing.T) {
	x := newReturnScene(t, nil)
	x.b.ship.mu.Lock()
	x.b.limits.word = 50 * time.Millisecond
	x.b.ship.mu.Unlock()
	x.n.sever("b", "c", true)
	done := make(chan error, 1)
	go func() {
		_, err := x.a.Return(t.Context(), "b", 1, x.ends)
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil {
			t.Fatal("returned without a second copy")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the return waits for ever")
	}
}
