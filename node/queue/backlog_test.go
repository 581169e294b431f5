package queue

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// resident is the process's resident memory in MB, 0 where it cannot be read.
func resident() int {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(rest)[0])
			return kb >> 10
		}
	}
	return 0
}

// deferAll attempts every due item and defers it.
func deferAll(t testing.TB, s *Store, next func() time.Time) (n int) {
	t.Helper()
	var wg sync.WaitGroup
	var failed atomic.Int64
	for {
		lanes, _ := s.dueLanes()
		if len(lanes) == 0 {
			wg.Wait()
			if failed.Load() > 0 {
				t.Fatalf("%d settlements failed", failed.Load())
			}
			return n
		}
		for _, l := range lanes {
			for more := true; more; {
				items, m, err := s.Take(l, 256)
				if err != nil {
					t.Fatal(err)
				}
				more = m
				for _, it := range items {
					n++
					wg.Add(1)
					s.Settle(Settlement{Item: it, Attempt: benchAttempt, Next: next(), Outcomes: outcomes(it, Deferred)}, func(err error) {
						if err != nil {
							failed.Add(1)
						}
						wg.Done()
					})
				}
			}
		}
		wg.Wait()
	}
}

// TestRestartWithABacklog measures what a backlog of deferred mail costs: the
// way from opening to the first delivery, memory, and new mail's rate.
func TestRestartWithABacklog(t *testing.T) {
	n, domains := 10_000, 200
	if raceOn {
		n, domains = 500, 50
	}
	if v := os.Getenv("POSTERN_SOAK"); v != "" {
		n, domains = 1_000_000, 1000
		if k, _ := strconv.Atoi(v); k > 1 {
			n = k // a smaller soak
		}
	}
	c := newClock()
	dir := t.TempDir()
	open := func() *Store {
		return testStore(t, nil, func(cfg *Config) { cfg.Dir, cfg.Now = dir, c.now })
	}
	s := open()
	adopt(t, s, 1, 1)
	body := bytes.Repeat([]byte("x"), 5<<10)
	rate := func() float64 {
		k := min(n, 50_000)
		began := time.Now()
		fillStore(t, s, 1, k, domains, body)
		return float64(k) / time.Since(began).Seconds()
	}
	empty := rate()
	began := time.Now()
	fillStore(t, s, 1, n-min(n, 50_000), domains, body)
	t.Logf("put: %.0f/s empty; all after %v, RSS %d MB", empty, time.Since(began), resident())
	began = time.Now()
	if got := deferAll(t, s, func() time.Time { return c.now().Add(time.Hour) }); got != n {
		t.Fatalf("deferred %d of %d", got, n)
	}
	t.Logf("deferred all: %.0f/s, RSS %d MB", float64(n)/time.Since(began).Seconds(), resident())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	runtime.GC()

	c.advance(2 * time.Hour)
	began = time.Now()
	s = open()
	opened := time.Since(began)
	adopt(t, s, 1, 2)
	adopted := time.Since(began)
	if got := s.Count()[1]; got != (Counts{Queued: n, Messages: n}) {
		t.Fatalf("counts after restart %+v", got)
	}
	it := takeOne(t, s)
	deliver(t, s, it)
	first := time.Since(began)
	s.mu.Lock()
	lanes := len(s.index.logs[1].lanes)
	s.mu.Unlock()
	t.Logf("restart: open %v, adopt %v, first delivery %v, RSS %d MB, %d lanes", opened, adopted, first, resident(), lanes)
	if lanes != domains || first > 30*time.Second {
		t.Errorf("%d lanes, first delivery after %v", lanes, first)
	}
	full := rate()
	t.Logf("put with the backlog: %.0f/s (%.0f %%), RSS %d MB", full, 100*full/empty, resident())
	began = time.Now()
	if err := drain(s, n-1+min(n, 50_000), true); err != nil {
		t.Fatal(err)
	}
	t.Logf("drained: %.0f/s, RSS %d MB", float64(n+min(n, 50_000))/time.Since(began).Seconds(), resident())
	c.advance(24 * time.Hour)
	idle(t, s)
	checkEmpty(t, s)
	m := s.db.Metrics()
	sum := m.Total()
	t.Logf("disk %d MB, WAL %d MB, write amplification %.2f", m.DiskSpaceUsage()>>20, m.WAL.BytesWritten>>20, sum.WriteAmp())
}
