package queue

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// cutter takes what a power cut of the holder would leave, at steps of either
// store, while a story runs.
type cutter struct {
	mu    sync.Mutex
	mem   *vfs.MemFS // the holder's
	l     *ledger
	on    bool
	every int
	n     int
	rng   *rand.Rand
	cuts  []holderCut
}

type holderCut struct {
	fs           *vfs.MemFS
	before, then *ledger
	kernel       bool
	op           string
}

// wrap cuts before every write, sync and rename on fs.
func (c *cutter) wrap(fs vfs.FS, who string) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpCreate, errorfs.OpRename, errorfs.OpRemove, errorfs.OpLink, errorfs.OpReuseForWrite,
			errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			c.cut(fmt.Sprintf("%s: %v %s", who, op.Kind, op.Path))
		}
		return nil
	}))
}

func (c *cutter) cut(op string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n++; !c.on || c.n%c.every != 0 {
		return
	}
	p := []int{100, 0, 50}[c.n/c.every%3]
	before := c.l.copy()
	fs := c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: p, RNG: c.rng})
	c.cuts = append(c.cuts, holderCut{fs, before, c.l.copy(), p == 100, fmt.Sprintf("%s, %d %%", op, p)})
}

func (c *cutter) set(on bool) { c.mu.Lock(); defer c.mu.Unlock(); c.on = on }

// TestHolderAtEveryStep: whatever step either store is at, the holder alone has
// all that was acknowledged; also when it loses its own power then.
func TestHolderAtEveryStep(t *testing.T) {
	l := &ledger{msgs: map[int]*booked{}}
	memA, memB := vfs.NewMem(), vfs.NewCrashableMem()
	c := &cutter{mem: memB, l: l, every: 1, rng: rand.New(rand.NewPCG(3, 3))}
	if testing.Short() {
		c.every = 4
	}
	n, clk := newNetwork(), newClock()
	n.prepare = func(s *Store) { s.queue.gather = 0 }
	set := func(cfg *Config) { cfg.Now, cfg.InlineMax = clk.now, 40<<10 }
	a := n.member(t, "a", c.wrap(memA, "owner"), set)
	n.member(t, "b", c.wrap(memB, "holder"), set)
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "b")
	until(t, "the copy is whole", synced(a, 1))
	c.set(true)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(l.put(a, 0, 500, "a.test"))
	must(l.put(a, 1, 20<<10, "a.test", "b.test"))
	must(l.put(a, 2, 90<<10, "c.test"))
	must(l.attempt(a, takeOne(t, a), Deferred, clk.now().Add(time.Hour)))
	must(l.attempt(a, takeOne(t, a), Delivered, time.Time{}))
	must(l.attempt(a, takeOne(t, a), Bounced, time.Time{}))
	must(l.attempt(a, takeOne(t, a), Delivered, time.Time{}))
	clk.advance(2 * time.Hour)
	must(l.attempt(a, takeOne(t, a), Delivered, time.Time{}))
	until(t, "the copy is whole", synced(a, 1))
	c.cut("the end")
	c.set(false)
	checkEmpty(t, a)
	for i := range c.cuts {
		x := &c.cuts[i]
		checkDisk(t, x.fs, x.before, x.then, x.kernel, true)
		if t.Failed() {
			t.Fatalf("cut %d of %d: before %s", i, len(c.cuts), x.op)
		}
	}
	t.Logf("%d cuts", len(c.cuts))
}
