package queue

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is what is known of the free space.
type disk struct {
	full    atomic.Bool
	suspect atomic.Bool // a write stalled or failed since the last check
	free    atomic.Uint64
	wanted  atomic.Uint64 // Config.FreeFloor, until it is changed
	floor   atomic.Uint64 // in force
}

// defaultFloor is the free space below which mail is refused.
const defaultFloor = 1 << 30

// Full reports ErrFull when a new message may not be taken (452 4.3.1).
func (s *Store) Full() error {
	if err := s.broken(); err != nil {
		return err
	}
	if s.disk.suspect.Load() {
		if err := s.checkDisk(); err != nil {
			return err
		}
	}
	if s.disk.full.Load() {
		return ErrFull
	}
	return nil
}

// SetFreeFloor changes the octets that must stay free; 0 is the default of
// Config.FreeFloor. The next message is judged by it.
func (s *Store) SetFreeFloor(octets uint64) {
	s.disk.wanted.Store(octets)
	s.disk.suspect.Store(true)
}

// checkDisk measures the free space.
func (s *Store) checkDisk() error {
	s.disk.suspect.Store(false)
	u, err := s.fs.GetDiskUsage(s.cfg.Dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return nil // a file system in memory
	}
	if err != nil {
		return fmt.Errorf("measure free space: %w", err)
	}
	floor := s.disk.wanted.Load()
	if floor == 0 {
		floor = min(defaultFloor, u.TotalBytes/20)
	}
	s.disk.free.Store(u.AvailBytes)
	s.disk.floor.Store(floor)
	full := u.AvailBytes < floor
	if s.disk.full.Swap(full) != full {
		s.cfg.Log.Warn("queue disk", "full", full, "free", u.AvailBytes, "floor", floor)
	}
	return nil
}

// makeDirs makes what New needs. The directories are readable by the owner
// alone, whatever the umask.
func (s *Store) makeDirs() error {
	s.chunks = s.fs.PathJoin(s.cfg.Dir, "chunks")
	for _, d := range []string{s.cfg.Dir, s.chunks, s.fs.PathJoin(s.cfg.Dir, "starts"), s.fs.PathJoin(s.cfg.Dir, "log")} {
		if err := s.fs.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	if err := s.syncDir(s.cfg.Dir); err != nil {
		return err
	}
	return s.syncDir(s.fs.PathDir(s.cfg.Dir))
}

// privateFS makes what it creates readable by the owner alone: pebble asks for
// 0666 and leaves the rest to the umask.
type privateFS struct{ vfs.FS }

func newPrivateFS(fs vfs.FS) vfs.FS { return privateFS{fs} }

func (p privateFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := p.FS.Create(name, c)
	return p.private(name, f, err)
}

func (p privateFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := p.FS.ReuseForWrite(from, to, c)
	return p.private(to, f, err)
}

func (p privateFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := p.FS.OpenReadWrite(name, c, o...)
	return p.private(name, f, err)
}

func (p privateFS) Lock(name string) (io.Closer, error) {
	c, err := p.FS.Lock(name)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(name, 0o600); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("protect file: %w", err)
	}
	return c, nil
}

func (p privateFS) private(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(name, 0o600); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("protect file: %w", err)
	}
	return f, nil
}

func (p privateFS) MkdirAll(dir string, _ os.FileMode) error {
	if err := p.FS.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("protect directory: %w", err)
	}
	return nil
}

func (p privateFS) Unwrap() vfs.FS { return p.FS }
