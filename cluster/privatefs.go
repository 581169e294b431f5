package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	dirMode  = 0o700
	fileMode = 0o600

	// markerPrefix begins the names of pebble's marker files.
	markerPrefix = "marker."
)

// privateFS makes every file 0600 and every directory 0700, whatever the
// umask: pebble creates 0666 and 0755, and the log holds sealed keys and
// hashed secrets.
type privateFS struct{ vfs.FS }

// Unwrap implements vfs.FS.
func (fs privateFS) Unwrap() vfs.FS { return fs.FS }

// Create implements vfs.FS.
//
// pebble names its newest manifest in a marker file and syncs the directory
// only after both exist. A power cut in between may keep the marker's name and
// lose the manifest's, and then the store never opens again. So what a marker
// may name is made durable before the marker is.
func (fs privateFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(fs.PathBase(name), markerPrefix) {
		if err := syncDir(fs.FS, fs.PathDir(name)); err != nil {
			return nil, fmt.Errorf("sync before marker: %w", err)
		}
	}
	return private(fs.FS.Create(name, c))
}

// OpenReadWrite implements vfs.FS.
func (fs privateFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return private(fs.FS.OpenReadWrite(name, c, o...))
}

// ReuseForWrite implements vfs.FS.
func (fs privateFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return private(fs.FS.ReuseForWrite(from, to, c))
}

// MkdirAll implements vfs.FS.
func (fs privateFS) MkdirAll(dir string, _ os.FileMode) error {
	return fs.FS.MkdirAll(dir, dirMode)
}

// Lock implements vfs.FS. The file is made before it is locked: closing another
// descriptor of a locked file would give the lock away.
func (fs privateFS) Lock(name string) (io.Closer, error) {
	if _, err := fs.FS.Stat(name); errors.Is(err, os.ErrNotExist) {
		f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	return fs.FS.Lock(name)
}

// private sets the mode of a real file; the ones in memory have none.
func private(f vfs.File, err error) (vfs.File, error) {
	if err != nil || f.Fd() == vfs.InvalidFd {
		return f, err
	}
	if err := syscall.Fchmod(int(f.Fd()), fileMode); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("protect file: %w", err)
	}
	return f, nil
}

// makeDir makes dir with its parents and gives the leaf its mode, also when it
// was there before.
func makeDir(fs vfs.FS, dir string) error {
	if err := fs.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	if err := syncDir(fs, fs.PathDir(dir)); err != nil {
		return err
	}
	f, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if f.Fd() == vfs.InvalidFd {
		return f.Sync()
	}
	if err := syscall.Fchmod(int(f.Fd()), dirMode); err != nil {
		return fmt.Errorf("protect directory: %w", err)
	}
	return f.Sync()
}

// syncDir makes the names in dir durable.
func syncDir(fs vfs.FS, dir string) error {
	f, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
