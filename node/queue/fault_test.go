package queue

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// faultStore opens a store whose file system fails where fail says so. Fatal
// only counts: the store must keep to ErrFailed even if nothing ends the process.
func faultStore(t *testing.T, fail func(errorfs.Op) error) (*Store, *atomic.Int64) {
	t.Helper()
	var fatals atomic.Int64
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(fail))
	s := testStore(t, fs, func(c *Config) {
		c.InlineMax = 40 << 10
		c.Fatal = func(err error) {
			if !errors.Is(err, ErrFailed) {
				t.Errorf("Fatal with %v", err)
			}
			fatals.Add(1)
		}
	})
	adopt(t, s, 1, 1)
	return s, &fatals
}

func TestFailedSyncPoisonsTheStore(t *testing.T) {
	for _, c := range []struct {
		name string
		path string
		size int
	}{{"log", ".log", 100}, {"chunk file", ".chunk", 100 << 10}} {
		t.Run(c.name, func(t *testing.T) {
			var on atomic.Bool
			s, fatals := faultStore(t, func(op errorfs.Op) error {
				sync := op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
				if on.Load() && sync && strings.HasSuffix(op.Path, c.path) {
					return syscall.EIO
				}
				return nil
			})
			put(t, s, 1, []byte("x"), envelope("u@d.test", "v@e.test"))
			it := takeOne(t, s)
			waiting := make(chan error, 1)
			go func() {
				for {
					if _, err := s.Wait(context.Background()); err != nil {
						waiting <- err
						return
					}
				}
			}()
			on.Store(true)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					if _, err := tryPut(s, 1, make([]byte, c.size), envelope("u@d.test")); err == nil {
						t.Error("Put succeeded without a sync")
					}
				})
			}
			wg.Wait()
			if fatals.Load() != 1 {
				t.Fatalf("Fatal called %d times", fatals.Load())
			}
			if err := <-waiting; !errors.Is(err, ErrFailed) {
				t.Errorf("Wait: %v", err)
			}
			calls := map[string]error{"Full": s.Full(), "Settle": trySettle(s, Settlement{Item: it, Outcomes: outcomes(it, Delivered)}),
				"Start": s.Start(it), "Release": s.Release(1), "Forget": s.Forget(1, 1), "Cancel": s.Cancel(it.ID)}
			_, calls["NewMessage"] = s.NewMessage(1)
			_, calls["Adopt"] = s.Adopt(2, 1)
			_, calls["Body"] = s.Body(it.ID)
			_, calls["Show"] = s.Show(it.ID)
			_, calls["List"] = s.List(Filter{})
			_, calls["Flush"] = s.Flush(Filter{})
			_, calls["Purge"] = s.Purge(Filter{})
			_, calls["Trace"] = s.Trace(it.ID)
			_, _, calls["Take"] = s.Take(it.Lane, 1)
			for name, err := range calls {
				if !errors.Is(err, ErrFailed) {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

func TestFullDiskRefusesMailBeforeItHurts(t *testing.T) {
	mem := vfs.NewMem()
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 100, TotalBytes: 1000, UsedBytes: 900})
	s := testStore(t, mem, func(c *Config) { c.FreeFloor = 101 })
	adopt(t, s, 1, 1)
	if err := s.Full(); !errors.Is(err, ErrFull) {
		t.Fatalf("Full: %v", err)
	}
	if _, err := s.NewMessage(1); !errors.Is(err, ErrFull) {
		t.Fatalf("NewMessage: %v", err)
	}
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 101, TotalBytes: 1000, UsedBytes: 899})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for end := time.Now().Add(time.Minute); s.Full() != nil; {
		if time.Now().After(end) {
			t.Fatal("still full")
		}
		time.Sleep(5 * time.Millisecond) // poll
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	put(t, s, 1, []byte("x"), envelope("u@d.test"))
	// A stalled write makes the next question measure at once.
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1, TotalBytes: 1000, UsedBytes: 999})
	if err := s.Full(); err != nil {
		t.Fatalf("Full before a check: %v", err)
	}
	s.disk.suspect.Store(true)
	if err := s.Full(); !errors.Is(err, ErrFull) {
		t.Fatalf("Full after a stall: %v", err)
	}
}

func TestNoSpaceForABigMessageIsNotTheEnd(t *testing.T) {
	var on atomic.Bool
	s, fatals := faultStore(t, func(op errorfs.Op) error {
		if on.Load() && op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".chunk") {
			return syscall.ENOSPC
		}
		return nil
	})
	on.Store(true)
	if _, err := tryPut(s, 1, make([]byte, 1<<20), envelope("u@d.test")); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("Put: %v", err)
	}
	on.Store(false)
	if fatals.Load() != 0 {
		t.Fatal("Fatal for a full disk")
	}
	if fs, _ := s.fs.List(s.chunks); len(fs) != 0 {
		t.Fatalf("chunk files left: %v", fs)
	}
	put(t, s, 1, make([]byte, 1<<20), envelope("u@d.test"))
}

func TestDamagedMessageDoesNotBlockItsLane(t *testing.T) {
	s := testStore(t, vfs.NewMem(), nil)
	adopt(t, s, 1, 1)
	bad := put(t, s, 1, []byte("x"), envelope("u@d.test"))
	good := put(t, s, 1, []byte("y"), envelope("u@d.test"))
	key := messageKey(nil, tabMessage, bad)
	v, c, err := s.db.Get(key)
	if err != nil {
		t.Fatal(err)
	}
	v = append([]byte(nil), v...)
	_ = c.Close()
	v[20] ^= 1
	if err := s.db.Set(key, v, nil); err != nil {
		t.Fatal(err)
	}
	adopt(t, s, 1, 2)
	if it := takeOne(t, s); it.ID != good {
		t.Fatalf("took %v", it.ID)
	}
	if _, err := s.Body(bad); !errors.Is(err, errCorrupt) {
		t.Fatalf("Body: %v", err)
	}
}

func TestDamagedChunkFileGivesAnErrorNotAnEnd(t *testing.T) {
	mem := vfs.NewMem()
	s := testStore(t, mem, func(c *Config) { c.InlineMax = 1000 })
	adopt(t, s, 1, 1)
	id := put(t, s, 1, make([]byte, 5000), envelope("u@d.test"))
	names, _ := mem.List("q/chunks")
	b, err := mem.UnsafeGetFileDataBuffer("q/chunks/" + names[0])
	if err != nil {
		t.Fatal(err)
	}
	b[4000] = 1
	body, err := s.Body(id)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.Copy(io.Discard, body); !errors.Is(err, errCorrupt) {
		t.Fatalf("read: %v", err)
	}
}

func TestFilesAreForTheOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool", "queue")
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	s := testStore(t, nil, func(c *Config) { c.Dir = dir })
	adopt(t, s, 1, 1)
	put(t, s, 1, make([]byte, 1<<20), envelope("u@d.test"))
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	files := 0
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := d.Info()
		if err != nil {
			return err
		}
		want := os.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		} else {
			files++
		}
		if i.Mode().Perm() != want {
			t.Errorf("%s: %v", p, i.Mode())
		}
		return nil
	})
	if err != nil || files < 5 {
		t.Fatalf("%d files, %v", files, err)
	}
}

func TestEpochsFenceOldWork(t *testing.T) {
	s := testStore(t, vfs.NewMem(), nil)
	if _, err := s.NewMessage(1); !errors.Is(err, ErrStale) {
		t.Fatalf("NewMessage before Adopt: %v", err)
	}
	adopt(t, s, 1, 5)
	put(t, s, 1, []byte("x"), envelope("u@d.test"))
	it := takeOne(t, s)
	w, err := s.NewMessage(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Adopt(1, 4); !errors.Is(err, ErrStale) {
		t.Fatalf("Adopt of a lower epoch: %v", err)
	}
	adopt(t, s, 1, 6)
	if _, err := w.Put(context.Background(), nil, envelope("u@d.test"), nil); !errors.Is(err, ErrStale) {
		t.Fatalf("Put under the old epoch: %v", err)
	}
	if err := s.Start(it); !errors.Is(err, ErrStale) {
		t.Fatalf("Start under the old epoch: %v", err)
	}
	if err := trySettle(s, Settlement{Item: it, Outcomes: outcomes(it, Delivered)}); !errors.Is(err, ErrStale) {
		t.Fatalf("Settle under the old epoch: %v", err)
	}
	again := takeOne(t, s)
	if again.ID != it.ID || again == it {
		t.Fatalf("took %+v", again)
	}
	if err := s.Release(1); err != nil {
		t.Fatal(err)
	}
	if ls, next := s.dueLanes(); len(ls) > 0 || next != never {
		t.Fatalf("lanes of a released tenant: %v", ls)
	}
}

// TestReleaseLosesNoPut hands the tenant from epoch to epoch while messages
// come in and leave: what Put acknowledged is delivered once, by someone.
func TestReleaseLosesNoPut(t *testing.T) {
	s := testStore(t, vfs.NewMem(), nil)
	s.queue.gather = 0
	s.limits = limits{cached: 20 << 10, ready: 8, scan: 4}
	adopt(t, s, 1, 1)
	var acked, delivered sync.Map
	var settled atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for g := range 3 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if s.Count()[1].Messages > 200 {
					runtime.Gosched()
					continue
				}
				id, err := tryPut(s, 1, []byte("x"), envelope("u@d.test", "v@e.test"))
				if err == nil {
					acked.Store(id, true)
				} else if !errors.Is(err, ErrStale) {
					t.Errorf("Put by %d: %v", g, err)
					return
				}
			}
		})
	}
	take := func() (n int) {
		lanes, _ := s.dueLanes()
		for _, l := range lanes {
			items, more, err := s.Take(l, 5)
			if err != nil {
				t.Errorf("Take: %v", err)
			}
			if more {
				s.Park(l, time.Time{})
			}
			for _, it := range items {
				n++
				s.Settle(Settlement{Item: it, Outcomes: outcomes(it, Delivered)}, func(err error) {
					if err != nil {
						return
					}
					settled.Add(1)
					type share struct {
						id ID
						n  uint16
					}
					if _, twice := delivered.LoadOrStore(share{it.ID, it.N}, true); twice {
						t.Errorf("%v delivered twice", it.ID)
					}
				})
			}
		}
		return n
	}
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					take()
				}
			}
		})
	}
	for epoch := uint64(2); epoch < 20; epoch++ {
		adopt(t, s, 1, epoch)
		for from, end := settled.Load(), time.Now().Add(5*time.Second); settled.Load() < from+20 && time.Now().Before(end); {
			runtime.Gosched()
		}
		s.mu.Lock()
		err := s.index.check()
		s.mu.Unlock()
		if err != nil && !strings.HasPrefix(err.Error(), "lane") { // scans may be under way
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	for end := time.Now().Add(time.Minute); s.Count()[1].Messages > 0; {
		if time.Now().After(end) {
			t.Fatalf("left: %+v", s.Count()[1])
		}
		take()
	}
	want, got := 0, 0
	acked.Range(func(any, any) bool { want += 2; return true })
	for end := time.Now().Add(time.Minute); got < want && time.Now().Before(end); { // the last are told after they are counted
		got = 0
		delivered.Range(func(any, any) bool { got++; return true })
	}
	if got != want || want == 0 {
		t.Fatalf("%d items delivered of %d", got, want)
	}
	for end := time.Now().Add(time.Minute); !idle(t, s) && time.Now().Before(end); {
	}
	checkEmpty(t, s)
}

func TestCallsAfterCloseFail(t *testing.T) {
	s := testStore(t, vfs.NewMem(), nil)
	adopt(t, s, 1, 1)
	id := put(t, s, 1, []byte("x"), envelope("u@d.test"))
	it := takeOne(t, s)
	w, err := s.NewMessage(1)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, perr := w.Put(context.Background(), nil, envelope("u@d.test"), nil)
	_, lerr := s.List(Filter{})
	_, aerr := s.Adopt(1, 9)
	for name, err := range map[string]error{"Put": perr, "List": lerr, "Adopt": aerr, "Start": s.Start(it), "Cancel": s.Cancel(id),
		"Settle": trySettle(s, Settlement{Item: it, Outcomes: outcomes(it, Delivered)}), "Close": s.Close()} {
		if !errors.Is(err, ErrFailed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
}

// TestUnusedEpochIsAdoptedAgain: a node that dies, or whose command is lost,
// between Adopt and the cluster's word tries the same epoch again.
func TestUnusedEpochIsAdoptedAgain(t *testing.T) {
	fs := vfs.NewMem()
	s := testStore(t, fs, nil)
	adopt(t, s, 1, 3)
	adopt(t, s, 1, 3)
	if err := s.Release(1); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = testStore(t, fs, nil)
	watchKeys(t, s)
	adopt(t, s, 1, 3)
	if id := put(t, s, 1, []byte("x"), envelope("u@d.test")); id.Seq != 1 {
		t.Fatalf("id %v", id)
	}
	// In the same process its numbers go on.
	if err := s.Release(1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Adopt(1, 2); !errors.Is(err, ErrStale) {
		t.Fatalf("Adopt of a lower epoch: %v", err)
	}
	adopt(t, s, 1, 3)
	if id := put(t, s, 1, []byte("x"), envelope("u@d.test")); id.Seq != 2 {
		t.Fatalf("id %v", id)
	}
	if n := s.Count()[1]; n.Messages != 2 {
		t.Fatalf("counts %+v", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = testStore(t, fs, nil)
	if _, err := s.Adopt(1, 3); !errors.Is(err, ErrStale) {
		t.Fatalf("Adopt of a used epoch: %v", err)
	}
	adopt(t, s, 1, 4)
}
