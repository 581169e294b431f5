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
	last    atomic.Int64 // in Unix nanoseconds of the monotonic start
	beating atomic.Bool  // a keep-alive is being written
	start   time.Time
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
	if age > beatEvery && s.beat.beating.CompareAndSwap(false, true) {
		if err := s.gate.enter(); err != nil {
			return err
		}
		go func() {
			defer s.gate.leave()
			defer s.beat.beating.Store(false)
			s.keepAlive()
		}()
	}
	if age > beatLate {
		return fmt.Errorf("%w: no sync completed for %v", ErrFailed, age.Round(time.Millisecond))
	}
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
