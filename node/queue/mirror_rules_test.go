package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestFenceHolds: after a fence a former owner's records are refused, also when
// the holder restarted, and its own store stops when it is told.
func TestFenceHolds(t *testing.T) {
	n, memB := newNetwork(), vfs.NewMem()
	a, b := n.member(t, "a", vfs.NewMem(), nil), n.member(t, "b", memB, nil)
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "b")
	put(t, a, 1, []byte("x"), envelope("u@d.test"))
	c := n.member(t, "c", vfs.NewMem(), nil)
	st, err := c.Fence(t.Context(), "b", 1, 5)
	if err != nil || st != (LogState{1, 1, 1}) && st.Last < 1 {
		t.Fatalf("fence: %+v %v", st, err)
	}
	if _, err := c.Fence(t.Context(), "b", 1, 4); !errors.Is(err, ErrStale) {
		t.Fatalf("a lower fence: %v", err)
	}
	refused := func() bool { return a.Mirrors()[1].Broken > 0 }
	until(t, "the owner is told", refused)
	setWord(a, 100*time.Millisecond)
	if _, err := tryPut(a, 1, []byte("y"), envelope("u@d.test")); !errors.Is(err, ErrNoCopy) {
		t.Fatalf("Put behind a fence: %v", err)
	}
	closeStore(t, b)
	b = n.member(t, "b", memB, nil)
	if _, err := b.Adopt(1, 4); !errors.Is(err, ErrStale) {
		t.Fatalf("Adopt below the fence: %v", err)
	}
	adopt(t, b, 1, 5)
	if c := b.Count()[1]; c.Messages != 1 {
		t.Fatalf("counts %+v", c)
	}
	if _, err := a.Fence(t.Context(), "", 1, 5); err != nil {
		t.Fatal(err)
	}
	if _, ok := a.Count()[1]; ok {
		t.Fatal("still adopted behind a fence of its own")
	}
	if err := a.Mirror(1, 1, 2, "c", nil); !errors.Is(err, ErrStale) {
		t.Fatalf("Mirror of a log given up: %v", err)
	}
	h, err := b.Held()
	if err != nil || len(h) != 1 || !h[0].Adopted || h[0].Epoch != 5 || h[0].Messages != 1 {
		t.Fatalf("held %+v %v", h, err)
	}
}

// TestQuiesce: nothing is taken, started or put, until Resume.
func TestQuiesce(t *testing.T) {
	n := newNetwork()
	a := n.member(t, "a", vfs.NewMem(), nil)
	n.member(t, "b", vfs.NewMem(), nil)
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "b")
	for range 3 {
		put(t, a, 1, []byte("x"), envelope("u@d.test"))
	}
	started, idle := takeOne(t, a), takeOne(t, a)
	if err := a.Start(started); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	last, waiting, err := a.Quiesce(ctx, 1)
	cancel()
	if fmt.Sprint(waiting) != fmt.Sprint([]uint64{started.ID.Seq}) {
		t.Fatalf("waiting %v of %d, %v", waiting, last, err)
	}
	if err := a.Start(idle); !errors.Is(err, ErrStale) {
		t.Fatalf("Start: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	if ls, err := a.Wait(ctx); err == nil {
		t.Fatalf("lanes %v", ls)
	}
	w, err := a.NewMessage(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Put(ctx, nil, envelope("u@d.test"), nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Put: %v", err)
	}
	cancel()
	settled := make(chan error, 1)
	a.Settle(Settlement{Item: started, Outcomes: outcomes(started, Delivered)}, func(err error) { settled <- err })
	a.GiveBack(idle)
	if last, waiting, err = a.Quiesce(t.Context(), 1); err != nil || len(waiting) != 0 || last < 5 {
		t.Fatalf("quiesce: %d %v %v", last, waiting, err)
	}
	if err := <-settled; err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := tryPut(a, 1, []byte("y"), envelope("u@d.test")); done <- err }()
	if err := a.Resume(1); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for range 3 {
		deliver(t, a, takeOne(t, a))
	}
	checkEmpty(t, a)
}

// TestBothSyncBeforePutReturns: between the end of the body and the 250 each
// copy completed a sync of its log.
func TestBothSyncBeforePutReturns(t *testing.T) {
	var mu sync.Mutex
	syncs := map[string]int{}
	count := func(who string) vfs.FS {
		return &syncedFS{vfs.NewMem(), func() { mu.Lock(); syncs[who]++; mu.Unlock() }}
	}
	n := newNetwork()
	a := n.member(t, "a", count("a"), nil)
	n.member(t, "b", count("b"), nil)
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "b")
	until(t, "the copy is whole", synced(a, 1))
	for range 20 {
		mu.Lock()
		clear(syncs)
		mu.Unlock()
		put(t, a, 1, []byte("x"), envelope("u@d.test"))
		mu.Lock()
		if syncs["a"] == 0 || syncs["b"] == 0 {
			t.Fatalf("completed syncs: %v", syncs)
		}
		mu.Unlock()
	}
}

// syncedFS tells of completed syncs.
type syncedFS struct {
	vfs.FS
	told func()
}

type syncedFile struct {
	vfs.File
	told func()
}

func (f *syncedFS) wrap(x vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &syncedFile{x, f.told}, nil
}
func (f *syncedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.wrap(f.FS.Create(name, c))
}
func (f *syncedFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.wrap(f.FS.ReuseForWrite(from, to, c))
}
func (f *syncedFile) tell(err error) error {
	if err == nil {
		f.told()
	}
	return err
}
func (f *syncedFile) Sync() error     { return f.tell(f.File.Sync()) }
func (f *syncedFile) SyncData() error { return f.tell(f.File.SyncData()) }
func (f *syncedFile) SyncTo(n int64) (bool, error) {
	full, err := f.File.SyncTo(n)
	return full, f.tell(err)
}

// TestConnectionCutAnywhere: a connection that ends at any octet costs nothing
// but time.
func TestConnectionCutAnywhere(t *testing.T) {
	n := newNetwork()
	var mu sync.Mutex
	rng, calm := rand.New(rand.NewPCG(5, 5)), false
	n.wrap = func(_, _ string, c net.Conn) net.Conn {
		mu.Lock()
		defer mu.Unlock()
		if calm {
			return c
		}
		return &frailConn{Conn: c, left: rng.IntN(40_000)}
	}
	l := &ledger{msgs: map[int]*booked{}}
	clk := newClock()
	set := func(c *Config) { c.Now, c.InlineMax = clk.now, 40<<10 }
	a, memB := n.member(t, "a", vfs.NewMem(), set), vfs.NewMem()
	b := n.member(t, "b", memB, set)
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "b")
	for i := range 20 {
		size := []int{10, 3000, 20 << 10, 6000}[i%4]
		if err := l.put(a, i, size, "a.test"); err != nil && !errors.Is(err, ErrNoCopy) {
			t.Fatal(err)
		}
		if i == 10 {
			mu.Lock()
			calm = true
			mu.Unlock()
		}
	}
	until(t, "the copy is whole", synced(a, 1))
	before := l.copy()
	closeStore(t, a)
	closeStore(t, b)
	checkDisk(t, memB, before, before, true, true)
}

// frailConn ends after some octets.
type frailConn struct {
	net.Conn
	mu   sync.Mutex
	left int
}

func (c *frailConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	n := min(len(b), c.left)
	c.left -= n
	c.mu.Unlock()
	m, err := c.Conn.Write(b[:n])
	if err == nil && n < len(b) {
		_ = c.Close()
		err = io.ErrClosedPipe
	}
	return m, err
}

// TestDurable: an idle store finds out by itself whether its disk syncs.
func TestDurable(t *testing.T) {
	stuck := make(chan struct{})
	var on sync.Once
	hang := false
	var mu sync.Mutex
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		h := hang
		mu.Unlock()
		if h && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo) {
			<-stuck
		}
		return nil
	}))
	s := testStore(t, fs, nil)
	defer on.Do(func() { close(stuck) })
	adopt(t, s, 1, 1)
	s.beat.last.Store(int64(time.Since(s.beat.start) - 2*time.Second))
	if err := s.Durable(); err != nil {
		t.Fatal(err)
	}
	until(t, "a keep-alive", func() bool { return s.beat.age() < time.Second })
	mu.Lock()
	hang = true
	mu.Unlock()
	s.beat.last.Store(int64(time.Since(s.beat.start) - 6*time.Second))
	if err := s.Stuck(); err != nil {
		t.Errorf("stuck before it tried: %v", err)
	}
	until(t, "an error", func() bool { return s.Durable() != nil })
	if err := s.Stuck(); err != nil {
		t.Errorf("stuck at once: %v", err)
	}
	s.beat.began.Store(int64(time.Since(s.beat.start) - 6*time.Second))
	if err := s.Stuck(); !errors.Is(err, ErrFailed) {
		t.Errorf("a sync that does not end: %v", err)
	}
	mu.Lock()
	hang = false
	mu.Unlock()
	on.Do(func() { close(stuck) })
	until(t, "a sync", func() bool { return s.Durable() == nil && s.Stuck() == nil })
}
