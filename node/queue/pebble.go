package queue

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	memtableSize = 24 << 20
	// pebble takes the memtables' memory out of the cache's: less than what two
	// of them need leaves no cache at all. This leaves 24 to 48 MB for blocks.
	cacheSize    = 3 * memtableSize
	minBlobValue = 1 << 10
)

// options of the queue's pebble. Several defaults are wrong for a queue; each
// line that differs says why.
func (s *Store) options() *pebble.Options {
	o := &pebble.Options{
		FS: s.fs,
		// The default is the oldest format; raising it later rewrites tables.
		FormatMajorVersion: pebble.FormatNewest,
		CacheSize:          cacheSize,
		// A message that leaves within a memtable's life never reaches a table.
		MemTableSize:                memtableSize,
		MemTableStopWritesThreshold: 4,
		// Keys stand in it, so that it has to begin anew sometimes; pebble does that
		// no more often than it writes as much again.
		MaxManifestFileSize:        8 << 10,
		L0CompactionThreshold:      16,
		L0StopWritesThreshold:      48,
		CompactionConcurrencyRange: func() (int, int) { return 1, 2 },
		Merger:                     sumMerger(),
		Logger:                     pebbleLog{s},
		EventListener:              s.events(),
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	o.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		return pebble.ValueSeparationPolicy{
			Enabled:               true,
			MinimumSize:           minBlobValue,
			MaxBlobReferenceDepth: s.scrub.depth(),
			RewriteMinimumAge:     5 * time.Minute,
			TargetGarbageRatio:    0.3,
		}
	}
	o.Experimental.CompactionScheduler = granter{pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()}
	o.WithFSDefaults() // disk-health checks: DiskSlow
	return o
}

// granter lets waiting compactions run. pebble's own looks for some ten times a
// second; how many may run at once changes only by a flush or a compaction, and
// the scheduler in it is told of both: of a compaction's end by itself, of a
// flush here.
type granter struct {
	*pebble.ConcurrencyLimitScheduler
}

// UpdateGetAllowedWithoutPermission is called after a flush, under pebble's
// locks. A permission that is given back goes to whoever waits for one.
func (g granter) UpdateGetAllowedWithoutPermission() {
	go func() {
		if ok, given := g.TrySchedule(); ok {
			given.Done()
		}
	}()
}

func (s *Store) events() *pebble.EventListener {
	log := s.cfg.Log
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			log.Error("queue background write failed", "err", err)
			s.metrics.background.Inc()
			s.disk.suspect.Store(true)
		},
		// The default would end the process from inside the library.
		DataCorruption: func(i pebble.DataCorruptionInfo) { s.fail(fmt.Errorf("data corruption: %v", i)) },
		DiskSlow: func(i vfs.DiskSlowInfo) {
			log.Warn("queue disk slow", "op", i.OpType.String(), "took", i.Duration)
			s.metrics.slow.Inc()
		},
		WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
			log.Warn("queue writes stalled", "reason", i.Reason)
			s.metrics.stalls.Inc()
			s.disk.suspect.Store(true)
		},
		LowDiskSpace: func(pebble.LowDiskSpaceInfo) { s.disk.suspect.Store(true) },
		PossibleAPIMisuse: func(i pebble.PossibleAPIMisuseInfo) {
			log.Error("queue key written twice", "info", i.String())
			s.metrics.misuse.Inc()
		},
	}
}

// pebbleLog takes pebble's own messages. Its Fatalf must not return by pebble's
// contract; Config.Fatal sees to that.
type pebbleLog struct{ s *Store }

func (l pebbleLog) Infof(f string, a ...any) {
	if l.s.cfg.Log.Enabled(context.Background(), slog.LevelDebug) {
		l.s.cfg.Log.Debug("pebble", "text", fmt.Sprintf(f, a...))
	}
}
func (l pebbleLog) Errorf(f string, a ...any) {
	l.s.cfg.Log.Error("pebble", "text", fmt.Sprintf(f, a...))
}
func (l pebbleLog) Fatalf(f string, a ...any) { l.s.fail(fmt.Errorf(f, a...)) }

// sum is a merge operand: two numbers that add up.
type sum struct{ a, b int64 }

func (v sum) append(b []byte) []byte {
	b = newRecord(b)
	return seal(binary.AppendVarint(binary.AppendVarint(b, v.a), v.b))
}

func readSum(b []byte) (sum, error) {
	p, err := unseal(b)
	if err != nil {
		return sum{}, err
	}
	r := &reader{b: p}
	v := sum{r.int(), r.int()}
	return v, r.done("sum")
}

// sumMerger adds operands. Its name is on disk.
func sumMerger() *pebble.Merger {
	return &pebble.Merger{
		Name: "postern.sum.1",
		Merge: func(_, value []byte) (pebble.ValueMerger, error) {
			v, err := readSum(value)
			return &summing{v}, err
		},
	}
}

type summing struct{ v sum }

func (m *summing) add(b []byte) error {
	v, err := readSum(b)
	m.v.a, m.v.b = m.v.a+v.a, m.v.b+v.b
	return err
}

func (m *summing) MergeNewer(b []byte) error { return m.add(b) }
func (m *summing) MergeOlder(b []byte) error { return m.add(b) }
func (m *summing) Finish(bool) ([]byte, io.Closer, error) {
	return m.v.append(nil), nil, nil
}
