package cluster

import (
	"fmt"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// failure is the one way out of the process: the first error set calls fatal,
// once. fatal does not return in a running node; if it does, the stores stay
// poisoned and refuse every write.
type failure struct {
	fatal func(error)

	mu  sync.Mutex // guards err
	err error
}

// set records err, calls fatal when it is the first, and returns the first.
func (f *failure) set(err error) error {
	f.mu.Lock()
	first := f.err == nil
	if first {
		f.err = err
	}
	err = f.err
	f.mu.Unlock()
	if first {
		f.fatal(err)
	}
	return err
}

func (f *failure) error() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// storeLog is pebble's logger. pebble's own Fatalf would end the process past
// everyone's back.
type storeLog struct {
	log    *slog.Logger
	failed *failure
}

func (l storeLog) Infof(format string, args ...any) {
	l.log.Debug("log store", "text", fmt.Sprintf(format, args...))
}

func (l storeLog) Errorf(format string, args ...any) {
	l.log.Error("log store", "text", fmt.Sprintf(format, args...))
}

func (l storeLog) Fatalf(format string, args ...any) {
	_ = l.failed.set(fmt.Errorf("log store: "+format, args...))
}

// listener tells of what pebble does in the background. Errors there repeat
// while the disk is full and end by themselves; a write that they block is the
// watchdog's.
func (l storeLog) listener() *pebble.EventListener {
	listener := &pebble.EventListener{
		BackgroundError: func(err error) {
			l.log.Error("log store: background work failed", "err", err)
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			_ = l.failed.set(fmt.Errorf("log store: damaged file %s: %w", info.Path, info.Details))
		},
		DiskSlow: func(info pebble.DiskSlowInfo) {
			l.log.Warn("log store: disk is slow", "path", info.Path, "duration", info.Duration)
		},
		LowDiskSpace: func(info pebble.LowDiskSpaceInfo) {
			l.log.Warn("log store: disk is filling up", "available", info.AvailBytes, "total", info.TotalBytes)
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			l.log.Warn("log store: writes stand still", "reason", info.Reason)
		},
		WriteStallEnd: func() { l.log.Warn("log store: writes go on") },
	}
	listener.EnsureDefaults(l)
	return listener
}
