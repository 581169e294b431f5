package queue

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
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
	e.Transaction = transactionAt(c.now(), 1)
	old := put(t, a, 1, []byte("x"), e)
	mirror(t, a, 1, 1, 2, "b")
	until(t, "the copy is whole", synced(a, 1))
	f := envelope("u@one.test")
	f.Transaction = transactionAt(c.now(), 2)
	live := put(t, a, 1, []byte("y"), f)
	deliver(t, a, takeOne(t, a)) // it is found also when it ended
	until(t, "all is there", synced(a, 1))
	for _, s := range []*Store{a, b} {
		for want, x := range map[ID][16]byte{old: e.Transaction, live: f.Transaction} {
			if id, err := s.Find(1, x); err != nil || id != want {
				t.Errorf("Find: %v %v, want %v", id, err, want)
			}
		}
		for _, no := range []uint64{0, 3} {
			if _, err := s.Find(1, transactionAt(c.now(), no)); !errors.Is(err, ErrNotFound) {
				t.Errorf("Find of nothing: %v", err)
			}
		}
		if _, err := s.Find(2, e.Transaction); !errors.Is(err, ErrNotFound) {
			t.Errorf("Find for another tenant: %v", err)
		}
	}
	c.advance(keepTransactions - time.Minute)
	g := envelope("u@one.test")
	g.Transaction = transactionAt(c.now(), 4)
	put(t, a, 1, []byte("z"), g)
	if err := a.expire(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Find(1, e.Transaction); err != nil {
		t.Errorf("forgotten too early: %v", err)
	}
	c.advance(2 * time.Minute)
	if err := a.expire(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Find(1, e.Transaction); !errors.Is(err, ErrNotFound) {
		t.Errorf("kept too long: %v", err)
	}
	if _, err := a.Find(1, g.Transaction); err != nil {
		t.Errorf("the young one is gone: %v", err)
	}
}

// TestFindAfterWithdrawal: a message that was taken back is not found.
func TestFindAfterWithdrawal(t *testing.T) {
	n := newNetwork()
	a := n.member(t, "a", vfs.NewMem(), nil)
	a.limits.word = 200 * time.Millisecond
	adopt(t, a, 1, 1)
	e := envelope("u@one.test")
	e.Transaction = transactionAt(time.Now(), 1)
	if _, err := tryPut(a, 1, []byte("x"), e); !errors.Is(err, ErrNoCopy) {
		t.Fatalf("Put: %v", err)
	}
	if _, err := a.Find(1, e.Transaction); !errors.Is(err, ErrNotFound) {
		t.Errorf("Find: %v", err)
	}
}
