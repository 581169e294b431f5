package delivery

import (
	"context"
	"sync"
	"time"
)

// cache keeps looked-up values until their end and lets one caller at a time
// look a key up while the others wait for what it finds.
type cache[V any] struct {
	max int
	now func() time.Time

	mu      sync.Mutex // guards both maps
	entries map[string]cached[V]
	flights map[string]*flight[V]
}

type cached[V any] struct {
	value V
	err   error
	until time.Time
}

type flight[V any] struct {
	done  chan struct{}
	entry cached[V]
	// alone says that the look-up ended with its caller's context, so its
	// outcome says nothing to those who waited.
	alone bool
}

func newCache[V any](max int, now func() time.Time) *cache[V] {
	return &cache[V]{max: max, now: now, entries: map[string]cached[V]{}, flights: map[string]*flight[V]{}}
}

// get returns the kept value of key or looks it up with load in the caller's
// goroutine. load says until when its answer, good or bad, may be kept.
func (c *cache[V]) get(ctx context.Context, key string, load func(context.Context) (V, time.Time, error)) (V, time.Time, error) {
	for {
		c.mu.Lock()
		if e, ok := c.entries[key]; ok && c.now().Before(e.until) {
			c.mu.Unlock()
			return e.value, e.until, e.err
		}
		f, busy := c.flights[key]
		if !busy {
			f = &flight[V]{done: make(chan struct{})}
			c.flights[key] = f
			c.mu.Unlock()
			c.fly(ctx, key, f, load)
			return f.entry.value, f.entry.until, f.entry.err
		}
		c.mu.Unlock()
		select {
		case <-f.done:
			if !f.alone {
				return f.entry.value, f.entry.until, f.entry.err
			}
		case <-ctx.Done():
			var zero V
			return zero, time.Time{}, ctx.Err()
		}
	}
}

func (c *cache[V]) fly(ctx context.Context, key string, f *flight[V], load func(context.Context) (V, time.Time, error)) {
	f.alone = true // also when load panics: nobody may wait for ever
	defer func() {
		c.mu.Lock()
		delete(c.flights, key)
		if !f.alone && c.now().Before(f.entry.until) {
			c.makeRoom()
			c.entries[key] = f.entry
		}
		c.mu.Unlock()
		close(f.done)
	}()
	f.entry.value, f.entry.until, f.entry.err = load(ctx)
	f.alone = ctx.Err() != nil && f.entry.err != nil
}

// makeRoom drops a few entries when the cache is full: ended ones among a
// random handful first, else whichever the map gives. Caller holds mu.
func (c *cache[V]) makeRoom() {
	if len(c.entries) < c.max {
		return
	}
	now, seen := c.now(), 0
	victim := ""
	for k, e := range c.entries {
		if !now.Before(e.until) {
			delete(c.entries, k)
		} else {
			victim = k
		}
		if seen++; seen == 16 {
			break
		}
	}
	if len(c.entries) >= c.max {
		delete(c.entries, victim)
	}
}
