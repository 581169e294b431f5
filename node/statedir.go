package node

import (
	"errors"
	"fmt"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// makeStateDir makes dir with its parents, so that it outlives a power cut: a
// directory's name is durable when its parent is synced, and the stores in dir
// sync no higher than dir itself.
func makeStateDir(fs vfs.FS, dir string) error {
	var parents []string // of what is missing, the deepest first
	for at := dir; ; {
		_, err := fs.Stat(at)
		if err == nil {
			break
		}
		up := fs.PathDir(at)
		if !errors.Is(err, os.ErrNotExist) || up == at {
			return fmt.Errorf("look for state directory: %w", err)
		}
		parents = append(parents, up)
		at = up
	}
	if len(parents) == 0 {
		return nil
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	for _, parent := range parents {
		if err := syncDirectory(fs, parent); err != nil {
			return fmt.Errorf("sync above state directory: %w", err)
		}
	}
	return nil
}

func syncDirectory(fs vfs.FS, name string) error {
	d, err := fs.OpenDir(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
