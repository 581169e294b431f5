package queue

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

func transactionAt(at time.Time, no uint64) (x [16]byte) {
	binary.BigEndian.PutUint64(x[:], uint64(at.UnixMilli())<<16)
	binary.BigEndian.PutUint64(x[8:], no)
	return x
}

// TestFind: an ingress that lost the answer learns what became of its
// transaction: here, at the holder that takes over, and for two hours.
func TestFind(t *testing.T) {
	n, c := newNetwork(), newClock()
	withClock := func(cfg *Config) { cfg.Now = c.now }
	a := n.member(t, "a", vfs.NewMem(), withClock)
	b := n.member(t, "b", vfs.NewMem(), withClock)
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "")
	e := envelope("u@one.test")
	e.Transaction, e.Remote = transactionAt(c.now(), 1), true
	old := put(t, a, 1, []byte("x"), e)
	mirror(t, a, 1, 1, 2, "b")
	until(t, "the copy is whole", synced(a, 1))
	f := envelope("u@one.test")
	f.Transaction, f.Remote = transactionAt(c.now(), 2), true
	live := put(t, a, 1, []byte("y"), f)
	deliver(t, a, takeOne(t, a)) // it is found also when it ended
	until(t, "all is there", synced(a, 1))
	for _, s := range []*Store{a, b} {
		for want, x := range map[ID][16]byte{old: e.Transaction, live: f.Transaction} {
			if id, err := s.Find(1, x, ID{}); err != nil || id != want {
				t.Errorf("Find: %v %v, want %v", id, err, want)
			}
		}
		for _, no := range []uint64{0, 3} {
			if _, err := s.Find(1, transactionAt(c.now(), no), ID{}); !errors.Is(err, ErrNotFound) {
				t.Errorf("Find of nothing: %v", err)
			}
		}
		if _, err := s.Find(2, e.Transaction, ID{}); !errors.Is(err, ErrNotFound) {
			t.Errorf("Find for another tenant: %v", err)
		}
	}
	c.advance(keepTransactions - time.Minute)
	g := envelope("u@one.test")
	g.Transaction, g.Remote = transactionAt(c.now(), 4), true
	put(t, a, 1, []byte("z"), g)
	if err := a.expire(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Find(1, e.Transaction, ID{}); err != nil {
		t.Errorf("forgotten too early: %v", err)
	}
	c.advance(2 * time.Minute)
	if err := a.expire(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Find(1, e.Transaction, ID{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("kept too long: %v", err)
	}
	if _, err := a.Find(1, g.Transaction, ID{}); err != nil {
		t.Errorf("the young one is gone: %v", err)
	}
}

// TestFindAfterWithdrawal: a message that was taken back is not found.
func TestFindAfterWithdrawal(t *testing.T) {
	n := newNetwork()
	a := n.member(t, "a", vfs.NewMem(), nil)
	setWord(a, 200*time.Millisecond)
	adopt(t, a, 1, 1)
	e := envelope("u@one.test")
	e.Transaction, e.Remote = transactionAt(time.Now(), 1), true
	if _, err := tryPut(a, 1, []byte("x"), e); !errors.Is(err, ErrNoCopy) {
		t.Fatalf("Put: %v", err)
	}
	if _, err := a.Find(1, e.Transaction, ID{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("Find: %v", err)
	}
}

// TestFindByPlace: an owner that lost the tenant learns from the next one what
// became of a message of its own client, of which there is no note.
func TestFindByPlace(t *testing.T) {
	n := newNetwork()
	a, b := n.member(t, "a", vfs.NewMem(), nil), n.member(t, "b", vfs.NewMem(), nil)
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "b")
	e := envelope("u@one.test")
	e.Transaction = transactionAt(time.Now(), 1)
	kept := put(t, a, 1, []byte("x"), e)
	until(t, "the copy is whole", synced(a, 1))
	mirror(t, a, 1, 1, 2, "")
	f := envelope("u@one.test")
	f.Transaction = transactionAt(time.Now(), 2)
	late := put(t, a, 1, []byte("y"), f)
	if err := a.Release(1); err != nil {
		t.Fatal(err)
	}
	st, err := b.Fence(t.Context(), "", 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	adopt(t, b, 1, 3)
	mirror(t, b, 1, 3, 3, "")
	find := func(x [16]byte, place ID) (ID, error) { return b.Find(1, x, ID{Epoch: place.Epoch, Seq: place.Seq}) }
	for range 2 { // also when it was delivered
		if id, err := find(e.Transaction, kept); err != nil || id != kept {
			t.Errorf("Find of one that came over: %v %v", id, err)
		}
		if err := b.Deny(t.Context(), 1, e.Transaction, kept); err != nil {
			t.Fatal(err)
		}
		if id, err := find(e.Transaction, kept); err != nil || id != kept {
			t.Errorf("Find after a denial that came too late: %v %v", id, err)
		}
		if s := b.Count()[1]; s.Messages == 1 {
			deliver(t, b, takeOne(t, b))
		}
	}
	if _, err := find(f.Transaction, late); !errors.Is(err, ErrNotFound) {
		t.Errorf("Find of one that did not come over: %v", err)
	}
	if err := b.Deny(t.Context(), 1, f.Transaction, late); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Return(t.Context(), "b", 1, []tenant.End{{Epoch: 1, Last: st.Last}}); err != nil {
		t.Fatal(err)
	}
	if _, err := find(f.Transaction, late); !errors.Is(err, ErrNotFound) {
		t.Errorf("Find of one that was denied: %v", err)
	}
	if s := b.Count()[1]; s.Messages != 0 {
		t.Errorf("denied and there: %+v", s)
	}
}

// TestDeny: a message whose absence was told does not come back with the node
// that had it on its disk alone, neither at the owner nor at who adopts next.
func TestDeny(t *testing.T) {
	for _, next := range []bool{false, true} {
		n := newNetwork()
		fs := vfs.NewCrashableMem()
		a := n.member(t, "a", fs, nil)
		b := n.member(t, "b", vfs.NewMem(), nil)
		c := n.member(t, "c", vfs.NewMem(), nil)
		adopt(t, a, 1, 1)
		mirror(t, a, 1, 1, 1, "")
		put1 := func(no uint64) (ID, [16]byte) {
			e := envelope("u@one.test", "v@one.test")
			e.Transaction, e.Remote = transactionAt(time.Now(), no), true
			return put(t, a, 1, []byte("x"), e), e.Transaction
		}
		asked, x := put1(1)
		other, y := put1(2)
		crashed := fs.CrashClone(vfs.CrashCloneCfg{})
		closeStore(t, a)
		adopt(t, b, 1, 3)
		mirror(t, b, 1, 3, 2, "c")
		if err := c.Deny(t.Context(), 1, x, ID{}); !errors.Is(err, ErrStale) {
			t.Errorf("Deny at a holder: %v", err)
		}
		for range 2 {
			if err := b.Deny(t.Context(), 1, x, ID{}); err != nil {
				t.Fatal(err)
			}
		}
		owner := b
		if next {
			until(t, "the copy is whole", synced(b, 1))
			closeStore(t, b)
			owner = c
			adopt(t, c, 1, 5)
			mirror(t, c, 1, 5, 3, "")
		}
		if _, err := owner.Find(1, x, ID{}); !errors.Is(err, ErrNotFound) {
			t.Errorf("Find of a denied one: %v", err)
		}
		e := envelope("u@one.test")
		e.Transaction, e.Remote = x, true
		if _, err := tryPut(owner, 1, []byte("x"), e); !errors.Is(err, ErrDenied) {
			t.Errorf("Put of a denied one: %v", err)
		}
		a = n.member(t, "a", crashed, nil)
		name := map[*Store]string{b: "b", c: "c"}[owner]
		until(t, "the copy is whole", synced(owner, 1)) // nothing is taken before
		if got, err := a.Return(t.Context(), name, 1, []tenant.End{{Epoch: 1}}); err != nil || got != 1 {
			t.Errorf("Return: %d %v", got, err)
		}
		for _, s := range []*Store{owner, a} {
			if _, err := s.Show(asked); !errors.Is(err, ErrNotFound) {
				t.Errorf("denied and there: %v", err)
			}
		}
		if id, err := owner.Find(1, y, ID{}); err != nil || id != other {
			t.Errorf("Find of one that nobody asked for: %v %v", id, err)
		}
		if err := owner.Deny(t.Context(), 1, y, ID{}); err != nil {
			t.Fatal(err)
		}
		if id, err := owner.Find(1, y, ID{}); err != nil || id != other {
			t.Errorf("Find of one that is a message already: %v %v", id, err)
		}
		checkCounted(t, owner, 1)
	}
}

// TestDeniedOnAFormerOwner: a node that was the owner has on its disk what a
// later one denied, becomes the holder and then the owner again before it
// returned that.
func TestDeniedOnAFormerOwner(t *testing.T) {
	n := newNetwork()
	a, b := n.member(t, "a", vfs.NewMem(), nil), n.member(t, "b", vfs.NewMem(), nil)
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "")
	var all [3]*Envelope
	var ids [3]ID
	for i := range all { // asked for by another node, by this one, by nobody
		e := envelope("u@one.test")
		e.Transaction, e.Remote = transactionAt(time.Now(), uint64(i+1)), i == 0
		all[i], ids[i] = e, put(t, a, 1, []byte("x"), e)
	}
	if err := a.Release(1); err != nil {
		t.Fatal(err)
	}
	ends := []tenant.End{{Epoch: 1}}
	adopt(t, b, 1, 3)
	mirror(t, b, 1, 3, 2, "")
	for i, place := range []ID{{}, ids[1]} {
		if err := b.Deny(t.Context(), 1, all[i].Transaction, place); err != nil {
			t.Fatal(err)
		}
	}
	mirror(t, b, 1, 3, 3, "a", ends...)
	until(t, "the copy is whole", synced(b, 1))
	closeStore(t, b)
	adopt(t, a, 1, 5)
	mirror(t, a, 1, 5, 4, "")
	if c := a.Count()[1]; c.Messages != 1 || c.Queued != 1 {
		t.Errorf("counts %+v, want the one message that nobody asked for", c)
	}
	for i, id := range ids {
		if _, err := a.Show(id); (err == nil) != (i == 2) {
			t.Errorf("message %d: %v", i, err)
		}
	}
	deliver(t, a, takeOne(t, a))
}
