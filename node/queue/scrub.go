package queue

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

// What was deleted is still in files: in tables until a compaction meets it, in
// blob files as long as they hold anybody's value, in logs that pebble uses
// again without clearing them, and keys in manifests. Scrub leaves none of these
// files that was there before.

// neverAgain is an epoch above all that are given out: a fence of it lets no
// record in any more.
const neverAgain = math.MaxInt64

// scrubRounds bounds how often log and manifest are made to begin anew, so that
// the old ones leave: pebble keeps some logs, and one manifest, for later.
const scrubRounds = 1000

// scrubWait is how long files may be read by others.
const scrubWait = time.Minute

// scrubbing changes how pebble writes while old values have to go.
type scrubbing struct{ on atomic.Bool }

// freshFS makes new logs of nothing, instead of over old ones, while scrubbing.
type freshFS struct {
	vfs.FS
	when *scrubbing
}

func (f freshFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if !f.when.on.Load() {
		return f.FS.ReuseForWrite(from, to, c)
	}
	if err := f.FS.Remove(from); err != nil {
		return nil, fmt.Errorf("remove old log: %w", err)
	}
	return f.FS.Create(to, c)
}

func (f freshFS) Unwrap() vfs.FS { return f.FS }

// depth is how many blob files a table may refer to: none while scrubbing, so
// that compactions write values anew.
func (s *scrubbing) depth() int {
	if s.on.Load() {
		return 0
	}
	return 10
}

// EraseForGood is Erase of a tenant that never comes back: its log ends here,
// if it is this store's, and no record of it is taken any more.
func (s *Store) EraseForGood(t tenant.ID) error {
	if _, err := s.fence(t, neverAgain); err != nil {
		return fmt.Errorf("erase log: %w", err)
	}
	return s.Erase(t, math.MaxUint64, math.MaxUint64)
}

// Scrub writes everything anew that is kept, so that what was deleted is in no
// file any more. It needs room for as much again as there is, and reads and
// writes all of it: it is for what must be gone, not for making room.
func (s *Store) Scrub(ctx context.Context) error {
	if err := s.broken(); err != nil {
		return err
	}
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	used, free := s.db.Metrics().DiskSpaceUsage(), s.disk.free.Load()
	if floor := s.disk.floor.Load(); floor > 0 && free < used+floor { // no floor: not measured
		return fmt.Errorf("scrub queue: %w: writing %d MB anew needs as much room", ErrFull, used>>20)
	}
	s.scrubs.Lock()
	defer s.scrubs.Unlock()
	s.scrub.on.Store(true)
	defer s.scrub.on.Store(false)
	old, err := s.logFiles()
	if err != nil {
		return fmt.Errorf("scrub queue: %w", err)
	}
	// Nobody uses range keys: a deletion of all of them overlaps every table, so
	// that none is left out, or moved as it is.
	if err := s.unsetRange(0x00, 0xff); err != nil {
		return err
	}
	if err := s.db.Compact(ctx, []byte{0x00}, []byte{0xff}, false); err != nil {
		return fmt.Errorf("scrub queue: %w", err)
	}
	return s.outlast(ctx, old)
}

// unsetRange writes something harmless over a range and flushes it.
func (s *Store) unsetRange(from, to byte) error {
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.RangeKeyDelete([]byte{from}, []byte{to}, nil); err != nil {
		return fmt.Errorf("scrub queue: %w", err)
	}
	if err := s.commit(b); err != nil {
		return err
	}
	if err := s.db.Flush(); err != nil {
		return fmt.Errorf("scrub queue: %w", err)
	}
	return nil
}

// outlast begins logs and manifests anew until no old file is left.
func (s *Store) outlast(ctx context.Context, old map[string]bool) error {
	since := time.Now()
	for n := 0; ; n++ {
		files, err := s.logFiles()
		if err != nil {
			return fmt.Errorf("scrub queue: %w", err)
		}
		left := ""
		for name := range files {
			if old[name] {
				left = name
			}
		}
		switch {
		case left == "":
			return nil
		case n >= scrubRounds && time.Since(since) > scrubWait:
			return fmt.Errorf("scrub queue: %s is still in use", left)
		case ctx.Err() != nil:
			return fmt.Errorf("scrub queue: %w", ctx.Err())
		}
		if err := s.unsetRange(0x01, 0x02); err != nil { // no table has this number
			return err
		}
	}
}

// logFiles are pebble's files that hold rows or keys.
func (s *Store) logFiles() (map[string]bool, error) {
	names, err := s.fs.List(s.fs.PathJoin(s.cfg.Dir, "log"))
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for _, name := range names {
		if strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob") || strings.HasSuffix(name, ".log") || strings.HasPrefix(name, "MANIFEST") {
			all[name] = true
		}
	}
	return all, nil
}
