package queue

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestCrashWhileOpening cuts the power before every change of the file system
// while a store with mail in it is opened again: it always opens afterwards,
// with its mail.
func TestCrashWhileOpening(t *testing.T) {
	mem := vfs.NewCrashableMem()
	c, l := newClock(), &ledger{msgs: map[int]*booked{}}
	first := testStore(t, mem, func(cfg *Config) { cfg.Now = c.now })
	adopt(t, first, 1, 1)
	if err := l.put(first, 0, 500, "a.test"); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	type cut struct {
		fs *vfs.MemFS
		op string
	}
	var mu sync.Mutex
	var cuts []cut
	rng := rand.New(rand.NewPCG(3, 3))
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpCreate, errorfs.OpRename, errorfs.OpRemove, errorfs.OpLink, errorfs.OpReuseForWrite,
			errorfs.OpFileWrite, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			mu.Lock()
			defer mu.Unlock()
			for _, keep := range []int{0, 30, 60, 90} {
				clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: rng})
				cuts = append(cuts, cut{clone, fmt.Sprintf("%v %s, %d %% kept", op.Kind, op.Path, keep)})
			}
		}
		return nil
	}))
	second := testStore(t, fs, func(cfg *Config) { cfg.Now = c.now })
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	all := cuts
	mu.Unlock()
	if len(all) < 20 {
		t.Fatalf("only %d cuts: opening was not watched", len(all))
	}
	for _, x := range all {
		s, err := New(Config{Dir: "q", FS: x.fs, FreeFloor: 1, Now: c.now, Fatal: func(err error) { t.Errorf("fatal: %v", err) }})
		if err != nil {
			t.Fatalf("cut before %s: %v", x.op, err)
		}
		adopt(t, s, 1, 2)
		if got := s.Count()[1].Messages; got != 1 {
			t.Errorf("cut before %s: %d messages", x.op, got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d cuts", len(all))
}
