package queue

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// backlog is a store that has a compaction waiting.
type backlog struct {
	allowed   atomic.Int64
	waiting   atomic.Bool
	scheduled chan pebble.CompactionGrantHandle
}

func (b *backlog) GetAllowedWithoutPermission() int { return int(b.allowed.Load()) }

func (b *backlog) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	return b.waiting.Load(), pebble.WaitingCompaction{}
}

func (b *backlog) Schedule(h pebble.CompactionGrantHandle) bool {
	if !b.waiting.Swap(false) {
		return false
	}
	b.scheduled <- h
	return true
}

// TestGranter: a compaction that waits begins when a flush lets more of them
// run, or one ends; and none after the store has left.
func TestGranter(t *testing.T) {
	g := (&Store{cfg: Config{}}).options().Experimental.CompactionScheduler
	db := &backlog{scheduled: make(chan pebble.CompactionGrantHandle, 4)}
	db.allowed.Store(1)
	g.Register(1, db)
	begins := func(why string) pebble.CompactionGrantHandle {
		t.Helper()
		select {
		case h := <-db.scheduled:
			return h
		case <-time.After(10 * time.Second):
			t.Fatalf("nothing began after %s", why)
			return nil
		}
	}
	ok, first := g.TrySchedule()
	if !ok {
		t.Fatal("the first one may not run")
	}
	if ok, _ := g.TrySchedule(); ok {
		t.Fatal("two may run")
	}
	db.waiting.Store(true)
	db.allowed.Store(2)
	g.UpdateGetAllowedWithoutPermission()
	second := begins("a flush")
	if ok, _ := g.TrySchedule(); ok {
		t.Fatal("three may run")
	}
	db.waiting.Store(true)
	first.Done()
	third := begins("another's end")
	second.Done()
	third.Done()
	g.Unregister()
	db.waiting.Store(true)
	g.UpdateGetAllowedWithoutPermission()
	if ok, _ := g.TrySchedule(); ok || !db.waiting.Load() {
		t.Error("it goes on after the end")
	}
}
