package queue

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

const (
	beatEvery = time.Second
	beatLate  = 5 * time.Second
)

// heartbeat knows when the store last completed a sync.
type heartbeat struct {
	last  atomic.Int64 // in nanoseconds since start
	began atomic.Int64 // since when a keep-alive is being written, like last; 0: none is
	start time.Time
}

func (h *heartbeat) done(now time.Time) {
	if h.start.IsZero() {
		h.start = now
	}
	h.last.Store(int64(now.Sub(h.start)))
}

func (h *heartbeat) age() time.Duration { return time.Since(h.start) - time.Duration(h.last.Load()) }

// Durable reports an error when no sync was completed within 5 s; an idle
// store writes to find out.
func (s *Store) Durable() error {
	if err := s.broken(); err != nil {
		return err
	}
	age := s.beat.age()
	if err := s.tryBeat(age); err != nil {
		return err
	}
	if age > beatLate {
		return fmt.Errorf("%w: no sync completed for %v", ErrFailed, age.Round(time.Millisecond))
	}
	return nil
}

// Stuck reports an error when a sync that was begun does not end within 5 s.
// Unlike Durable it says nothing of a store that nobody asked for long; it
// begins a sync, and the next call knows.
func (s *Store) Stuck() error {
	if err := s.broken(); err != nil {
		return err
	}
	age := s.beat.age()
	if began := s.beat.began.Load(); began != 0 {
		if d := min(age, time.Since(s.beat.start)-time.Duration(began)); d > beatLate {
			return fmt.Errorf("%w: a sync does not end for %v", ErrFailed, d.Round(time.Millisecond))
		}
	}
	return s.tryBeat(age)
}

// tryBeat writes a keep-alive if the last sync was some time ago and none is
// being written.
func (s *Store) tryBeat(age time.Duration) error {
	if age <= beatEvery || !s.beat.began.CompareAndSwap(0, max(int64(time.Since(s.beat.start)), 1)) {
		return nil
	}
	if err := s.gate.enter(); err != nil {
		s.beat.began.Store(0)
		return err
	}
	go func() {
		defer s.gate.leave()
		defer s.beat.began.Store(0)
		s.keepAlive()
	}()
	return nil
}

// keepAlive syncs a few octets that only the log's file holds.
func (s *Store) keepAlive() {
	if err := s.db.LogData([]byte{recordVersion}, pebble.Sync); err != nil {
		s.fail(err)
		return
	}
	if s.broken() == nil {
		s.beat.done(time.Now())
	}
}
