package queue

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// markerFS makes durable what a marker may name before the marker is made.
//
// pebble names its newest manifest in a file marker.* and syncs the directory
// only after both exist, at its creation and at every opening. A power cut in
// between may keep the marker and lose the manifest, and then the store never
// opens again.
type markerFS struct{ vfs.FS }

func (m markerFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(m.PathBase(name), "marker.") {
		if err := m.syncParent(name); err != nil {
			return nil, fmt.Errorf("sync before marker: %w", err)
		}
	}
	return m.FS.Create(name, c)
}

func (m markerFS) syncParent(name string) error {
	d, err := m.OpenDir(m.PathDir(name))
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		_ = d.Close()
		return err
	}
	return d.Close()
}

func (m markerFS) Unwrap() vfs.FS { return m.FS }
