package queue

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// powerCuts takes what a power cut of some disks at once would leave, before
// each write, sync and rename on any of them.
type powerCuts struct {
	mu   sync.Mutex
	on   bool
	n    int
	mems []*vfs.MemFS
	rng  *rand.Rand
	cuts []powerCut
}

type powerCut struct {
	op  string
	fss []*vfs.MemFS
}

func (c *powerCuts) wrap(fs vfs.FS) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpCreate, errorfs.OpRename, errorfs.OpRemove, errorfs.OpLink, errorfs.OpReuseForWrite,
			errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			c.cut(fmt.Sprintf("%v %s", op.Kind, op.Path))
		}
		return nil
	}))
}

func (c *powerCuts) cut(op string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.on {
		return
	}
	p := []int{0, 100, 50}[c.n%3]
	c.n++
	x := powerCut{op: fmt.Sprintf("%s, %d %%", op, p)}
	for _, m := range c.mems {
		x.fss = append(x.fss, m.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: p, RNG: c.rng}))
	}
	c.cuts = append(c.cuts, x)
}

// during takes the cuts of f, of which at most so many, evenly.
func (c *powerCuts) during(most int, f func()) (cuts []powerCut) {
	c.mu.Lock()
	c.on = true
	c.mu.Unlock()
	f()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = false
	step := max(1, (len(c.cuts)+most-1)/most)
	for i := 0; i < len(c.cuts); i += step {
		cuts = append(cuts, c.cuts[i])
	}
	return cuts
}

func newPowerCuts(mems ...*vfs.MemFS) *powerCuts {
	return &powerCuts{mems: mems, rng: rand.New(rand.NewPCG(4, 4))}
}

// TestWalkAtEveryStep: a holder loses its power during the walk. What is left
// can be counted and read, and the walk makes it whole.
func TestWalkAtEveryStep(t *testing.T) {
	mem := vfs.NewCrashableMem()
	cuts := newPowerCuts(mem)
	n := newNetwork()
	a := n.member(t, "a", vfs.NewMem(), nil)
	n.member(t, "b", cuts.wrap(mem), nil)
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "")
	w := newTraffic(a, 5)
	for range 30 {
		w.put(t.Context())
	}
	all := cuts.during(20, func() {
		mirror(t, a, 1, 1, 2, "b")
		until(t, "the copy is whole", synced(a, 1))
	})
	for i, x := range all {
		node := fmt.Sprint("b", i)
		s := n.member(t, node, x.fss[0], nil)
		checkFiles(t, s)
		w.put(t.Context())
		mirror(t, a, 1, 1, uint64(3+i), node)
		until(t, "the copy is whole", synced(a, 1))
		sameCopies(t, a, s, 1)
		checkFiles(t, s)
		if t.Failed() {
			t.Fatalf("cut %d of %d: before %s", i, len(all), x.op)
		}
	}
	t.Logf("%d cuts", len(all))
}

// TestFetchAtEveryStep: the adopter loses its power while it fetches. What is
// left may be adopted as it is, and a fetch makes it whole.
func TestFetchAtEveryStep(t *testing.T) {
	mem := vfs.NewCrashableMem()
	cuts := newPowerCuts(mem)
	n := newNetwork()
	a := n.member(t, "a", vfs.NewMem(), nil)
	b := n.member(t, "b", vfs.NewMem(), nil)
	c := n.member(t, "c", cuts.wrap(mem), nil)
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "c")
	w := newTraffic(a, 6)
	for range 15 {
		w.put(t.Context())
	}
	until(t, "the first copy is whole", synced(a, 1))
	mirror(t, a, 1, 1, 2, "b")
	for range 15 {
		w.put(t.Context())
		w.work(t)
	}
	until(t, "the copy is whole", synced(a, 1))
	closeStore(t, a)
	all := cuts.during(20, func() {
		if err := c.Fetch(t.Context(), "b", 1, false); err != nil {
			t.Fatal(err)
		}
	})
	sameCopies(t, b, c, 1)
	for i, x := range all {
		s := n.member(t, fmt.Sprint("c", i), x.fss[0], nil)
		checkFiles(t, s)
		checkCounted(t, s, 1)
		if err := s.Fetch(t.Context(), "b", 1, false); err != nil {
			t.Fatal(err)
		}
		sameCopies(t, b, s, 1)
		checkFiles(t, s)
		adopt(t, s, 1, 3)
		if t.Failed() {
			t.Fatalf("cut %d of %d: before %s", i, len(all), x.op)
		}
	}
	t.Logf("%d cuts", len(all))
}

// TestReturnAtEveryStep: both nodes lose their power during a return. It is done
// again, by who starts again and to who adopts again; all of it is there, once.
func TestReturnAtEveryStep(t *testing.T) {
	cuts := newPowerCuts()
	x := newReturnScene(t, cuts.wrap)
	cuts.mems = []*vfs.MemFS{x.fsA, x.fsB}
	all := cuts.during(25, func() {
		if _, err := x.a.Return(t.Context(), "b", 1, x.ends); err != nil {
			t.Fatal(err)
		}
	})
	x.check(t)
	for i, cut := range all {
		y := *x
		y.n = newNetwork()
		y.a, y.b = y.n.member(t, "a", cut.fss[0], nil), y.n.member(t, "b", cut.fss[1], nil)
		adopt(t, y.b, 1, 5)
		mirror(t, y.b, 1, 5, 9, "")
		if _, err := y.a.Return(t.Context(), "b", 1, y.ends); err != nil {
			t.Fatal(err)
		}
		y.check(t)
		closeStore(t, y.b)
		if t.Failed() {
			t.Fatalf("cut %d of %d: before %s", i, len(all), cut.op)
		}
	}
	t.Logf("%d cuts", len(all))
}

// TestEraseAtEveryStep: all of it is gone, or all of it is there.
func TestEraseAtEveryStep(t *testing.T) {
	mem := vfs.NewCrashableMem()
	cuts := newPowerCuts(mem)
	s := testStore(t, cuts.wrap(mem), nil)
	adopt(t, s, 1, 1)
	adopt(t, s, 2, 1)
	w := newTraffic(s, 7)
	for range 10 {
		w.put(t.Context())
	}
	other := put(t, s, 2, make([]byte, 300<<10), envelope("u@one.test"))
	if err := s.Release(1); err != nil {
		t.Fatal(err)
	}
	whole := len(dump(t, s, 1))
	all := cuts.during(20, func() {
		if err := s.Erase(1, 1, 0); err != nil {
			t.Fatal(err)
		}
	})
	for i, x := range all {
		s := testStore(t, x.fss[0], nil)
		if n := len(dump(t, s, 1)); n != 0 && n != whole {
			t.Errorf("cut %d before %s: %d keys of %d", i, x.op, n, whole)
		}
		checkFiles(t, s)
		checkChunks(t, s)
		if len(readBody(t, s, other)) == 0 {
			t.Error("the other tenant's message is gone")
		}
	}
	if ids, err := s.List(Filter{Tenant: 1}); err != nil || len(ids) != 0 {
		t.Errorf("left: %v %v", ids, err)
	}
	if _, err := s.Trace(slices.Collect(maps.Keys(w.bodies))[0]); !errors.Is(err, ErrNotFound) {
		t.Errorf("trace of an erased message: %v", err)
	}
	t.Logf("%d cuts", len(all))
}
