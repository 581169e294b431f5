package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// scrubRounds bounds how often the store's own log is made to begin anew, so
// that the old ones, which pebble keeps to write over them, leave.
const scrubRounds = 200

// scrubWait is how long files may be read by others.
const scrubWait = time.Minute

// Scrub leaves nothing on this node's disk of commands up to an index, nor of
// states from before it: a snapshot of a later state, the log behind it, and
// no file that held the rest. The state here must be that far.
func (c *Cluster) Scrub(ctx context.Context, upTo uint64) error {
	if have := c.fsm.state.Load().Index(); have < upTo {
		return fmt.Errorf("scrub log: the state is at %d and not at %d", have, upTo)
	}
	newest, err := c.snapshotAt(upTo)
	if err != nil {
		return fmt.Errorf("scrub log: %w", err)
	}
	if err := c.snaps.forget(newest); err != nil {
		return fmt.Errorf("scrub log: %w", err)
	}
	first, err := c.timed.FirstIndex()
	if err != nil {
		return fmt.Errorf("scrub log: %w", err)
	}
	last, err := c.timed.LastIndex()
	if err != nil {
		return fmt.Errorf("scrub log: %w", err)
	}
	// As raft itself does after a snapshot; the last entry stays.
	if end := min(upTo, newest.Index, last-1); first > 0 && first <= end && last > 0 {
		if err := c.timed.DeleteRange(first, end); err != nil {
			return fmt.Errorf("scrub log: %w", err)
		}
	}
	return c.store.scrub(ctx)
}

// snapshotAt gives a whole snapshot of a state at an index or later.
func (c *Cluster) snapshotAt(index uint64) (*raft.SnapshotMeta, error) {
	for range 2 {
		list, err := c.snaps.List()
		if err != nil {
			return nil, err
		}
		if len(list) > 0 && list[0].Index >= index {
			return list[0], nil
		}
		if _, err := c.snapshot(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("no snapshot of index %d could be made", index)
}

// forget removes all snapshots but one.
func (s *snapshotStore) forget(but *raft.SnapshotMeta) error {
	ids, err := s.names()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if id < but.ID {
			err = errors.Join(err, s.fs.Remove(s.path(id+snapSuffix)))
		}
	}
	return errors.Join(err, syncDir(s.fs, s.dir))
}

// freshFS makes new logs of nothing, instead of over old ones, while scrubbing.
type freshFS struct {
	vfs.FS
	on *atomic.Bool
}

func (f freshFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if !f.on.Load() {
		return f.FS.ReuseForWrite(from, to, c)
	}
	if err := f.FS.Remove(from); err != nil {
		return nil, fmt.Errorf("remove old log: %w", err)
	}
	return f.FS.Create(to, c)
}

func (f freshFS) Unwrap() vfs.FS { return f.FS }

// scrub writes anew what the store has, so that nothing deleted is in its files.
func (s *logStore) scrub(ctx context.Context) error {
	s.scrubs.Lock()
	defer s.scrubs.Unlock()
	s.mu.RLock()
	closed := s.closed
	s.mu.RUnlock()
	if closed { // while scrubs is held nobody closes it
		return fmt.Errorf("scrub log store: %w", ErrClosed)
	}
	s.fresh.Store(true)
	defer s.fresh.Store(false)
	old, err := s.files()
	if err != nil {
		return fmt.Errorf("scrub log store: %w", err)
	}
	// Nobody uses range keys: a deletion of all of them overlaps every table, so
	// that none is left out of the compaction, or moved as it is.
	err = s.flush(0x00, 0xff)
	if err == nil {
		err = s.db.Compact(ctx, []byte{0x00}, []byte{0xff}, false)
	}
	since := time.Now()
	for n := 0; err == nil; n++ {
		var now map[string]bool
		if now, err = s.files(); err != nil {
			break
		}
		left := ""
		for name := range now {
			if old[name] {
				left = name
			}
		}
		switch {
		case left == "":
			return nil
		case ctx.Err() != nil:
			err = ctx.Err()
		case n >= scrubRounds && time.Since(since) > scrubWait:
			err = fmt.Errorf("%s is still in use", left)
		default:
			err = s.flush(0x01, 0x02)
		}
	}
	return fmt.Errorf("scrub log store: %w", err)
}

func (s *logStore) flush(from, to byte) error {
	err := s.write("scrub", 64, func(b *pebble.Batch) error { return b.RangeKeyDelete([]byte{from}, []byte{to}, nil) }, nil)
	if err != nil {
		return err
	}
	return s.db.Flush()
}

// files are those that hold entries; manifests have their numbers only.
func (s *logStore) files() (map[string]bool, error) {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for _, name := range names {
		if strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".log") {
			all[name] = true
		}
	}
	return all, nil
}
