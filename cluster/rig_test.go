package cluster

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/goleak"
)

// TestMain looks for goroutines that nobody ended; those that end by a timeout
// of their own get the time.
func TestMain(m *testing.M) {
	if name := os.Getenv(childVar); name != "" {
		os.Exit(child(name))
	}
	code := m.Run()
	var leak error
	for end := time.Now().Add(30 * time.Second); code == 0 && time.Now().Before(end); {
		if leak = goleak.Find(); leak == nil {
			break
		}
	}
	if leak != nil {
		fmt.Fprintln(os.Stderr, leak)
		code = 1
	}
	os.Exit(code)
}

// soak multiplies the rounds of the long proofs.
func soak(rounds int) int {
	if os.Getenv("POSTERN_SOAK") != "" {
		return rounds * 20
	}
	return rounds
}

// eventually polls until ok, or fails the test.
func eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.After(within)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: not within %s", what, within)
		}
	}
}

// mustNot is a failure nobody expects.
func mustNot(t testing.TB) *failure {
	return &failure{fatal: func(err error) { t.Errorf("fatal: %v", err) }}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// openLog opens a store in dir of fs.
func openLog(t testing.TB, fs vfs.FS, dir string, failed *failure) *logStore {
	t.Helper()
	s, err := openLogStore(dir, storeOptions(privateFS{fs}, storeLog{quiet(), failed}), failed)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// powerCut is a file system that takes a picture of what a power cut would
// leave, right before its at-th change.
type powerCut struct {
	vfs.FS // what the program sees
	mem    *vfs.MemFS

	mu     sync.Mutex // guards what follows
	at     int
	seen   int
	rng    *rand.Rand
	onCut  func()
	remain *vfs.MemFS
}

// newPowerCut cuts before the at-th change (never for 0); cut is called at
// that moment, on the goroutine of the change.
func newPowerCut(mem *vfs.MemFS, at int, rng *rand.Rand, cut func()) *powerCut {
	p := &powerCut{mem: mem, at: at, rng: rng, onCut: cut}
	p.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			p.step()
		}
		return nil
	}))
	return p
}

func (p *powerCut) step() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen++
	if p.seen == p.at {
		p.take()
	}
}

// take makes the picture; the caller holds mu.
func (p *powerCut) take() {
	if p.remain != nil {
		return
	}
	if p.onCut != nil {
		p.onCut()
	}
	p.remain = p.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: p.rng.IntN(101), RNG: p.rng})
}

// left returns what the cut left, making it now if it has not happened.
func (p *powerCut) left() *vfs.MemFS {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.take()
	return p.remain
}

func (p *powerCut) steps() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen
}

func seeded(n int) *rand.Rand { return rand.New(rand.NewPCG(uint64(n), 77)) }

func numbered(prefix string, n int) string { return prefix + strconv.Itoa(n) }

// loud shows a node's log, for someone who looks for a fault.
func loud(name string) *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("at", name)
}
