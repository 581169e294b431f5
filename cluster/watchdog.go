package cluster

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// stopwatch notes when the calls now running began. It measures only: a hung
// write is never given up on, since its data may still arrive after a later
// one's. The two slots are raft's main loop and its snapshot loop.
type stopwatch struct {
	what  string
	base  time.Time
	began [2]atomic.Int64 // nanoseconds since base; 0 is free
}

func newStopwatch(what string) *stopwatch {
	return &stopwatch{what: what, base: time.Now()}
}

// begin takes a slot; end gives it back.
func (s *stopwatch) begin() (slot int, began time.Time) {
	now := time.Now()
	at := max(now.Sub(s.base).Nanoseconds(), 1)
	for i := range s.began {
		if s.began[i].CompareAndSwap(0, at) {
			return i, now
		}
	}
	return -1, now
}

func (s *stopwatch) end(slot int) {
	if slot >= 0 {
		s.began[slot].Store(0)
	}
}

// longest is how long the oldest running call runs, not counting what was
// before since.
func (s *stopwatch) longest(since time.Time) time.Duration {
	now, from := time.Since(s.base).Nanoseconds(), since.Sub(s.base).Nanoseconds()
	var longest int64
	for i := range s.began {
		if at := s.began[i].Load(); at != 0 {
			longest = max(longest, now-max(at, from))
		}
	}
	return time.Duration(longest)
}

// watchdog ends the process when a call runs for longer than limit. raft would
// not notice: a leader whose disk hangs keeps its leadership, because its
// heartbeats come from another goroutine. Time in which the process itself stood
// still, frozen with its machine, is not the disk's.
type watchdog struct {
	limit   time.Duration
	watches []*stopwatch
	failed  *failure

	awake, looked time.Time // since when the process runs, and its last look
}

// run looks until ctx ends or something hangs.
func (w *watchdog) run(ctx context.Context) {
	every := max(w.limit/10, time.Millisecond)
	tick := time.NewTimer(0)
	defer tick.Stop()
	w.awake, w.looked = time.Now(), time.Now()
	for {
		tick.Reset(untilBeat(every))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := w.look(); err != nil {
			_ = w.failed.set(err)
			return
		}
	}
}

// look says what hangs.
func (w *watchdog) look() error {
	now := time.Now()
	if now.Sub(w.looked) > w.limit/2 {
		w.awake = now
	}
	w.looked = now
	for _, s := range w.watches {
		if d := s.longest(w.awake); d > w.limit {
			return fmt.Errorf("%s hangs since %s", s.what, d.Round(time.Millisecond))
		}
	}
	return nil
}

// timedStore is the log store under the stopwatch and the histogram.
type timedStore struct {
	store *logStore
	watch *stopwatch
	wrote func(time.Duration)
}

var (
	_ raft.LogStore    = (*timedStore)(nil)
	_ raft.StableStore = (*timedStore)(nil)
)

func (t *timedStore) FirstIndex() (uint64, error) { return t.store.FirstIndex() }
func (t *timedStore) LastIndex() (uint64, error)  { return t.store.LastIndex() }

func (t *timedStore) GetLog(index uint64, l *raft.Log) error {
	slot, _ := t.watch.begin()
	defer t.watch.end(slot)
	return t.store.GetLog(index, l)
}

func (t *timedStore) StoreLog(l *raft.Log) error { return t.StoreLogs([]*raft.Log{l}) }

func (t *timedStore) StoreLogs(logs []*raft.Log) error {
	slot, began := t.watch.begin()
	defer t.watch.end(slot)
	err := t.store.StoreLogs(logs)
	t.wrote(time.Since(began))
	return err
}

func (t *timedStore) DeleteRange(min, max uint64) error {
	slot, _ := t.watch.begin()
	defer t.watch.end(slot)
	return t.store.DeleteRange(min, max)
}

func (t *timedStore) Set(key, val []byte) error {
	slot, _ := t.watch.begin()
	defer t.watch.end(slot)
	return t.store.Set(key, val)
}

func (t *timedStore) Get(key []byte) ([]byte, error) { return t.store.Get(key) }

func (t *timedStore) SetUint64(key []byte, val uint64) error {
	slot, _ := t.watch.begin()
	defer t.watch.end(slot)
	return t.store.SetUint64(key, val)
}

func (t *timedStore) GetUint64(key []byte) (uint64, error) { return t.store.GetUint64(key) }
