package cluster

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// snapshotSink is a snapshot being written.
type snapshotSink struct {
	store *snapshotStore
	id    string
	file  vfs.File
	buf   *bufio.Writer
	size  uint64
	sum   uint32
	done  bool
}

// ID implements raft.SnapshotSink.
func (k *snapshotSink) ID() string { return k.id }

// Write implements io.Writer. It copies: a vfs.File may change what it is given.
func (k *snapshotSink) Write(p []byte) (int, error) {
	if k.size+uint64(len(p)) > maxSnapshot-maxSnapshotMeta-recordHead-snapTrailer {
		return 0, fmt.Errorf("write snapshot: over %d octets", maxSnapshot)
	}
	k.sum = crc32.Update(k.sum, castagnoli, p)
	k.size += uint64(len(p))
	for rest := p; len(rest) > 0; {
		// In parts smaller than the buffer, so that bufio copies and never
		// hands p itself on.
		n, err := k.buf.Write(rest[:min(len(rest), 32<<10)])
		if err != nil {
			return len(p) - len(rest) + n, fmt.Errorf("write snapshot: %w", err)
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// Close makes the snapshot durable and gives it its name. raft deletes log
// entries right after it.
func (k *snapshotSink) Close() error {
	if k.done {
		return nil
	}
	if err := k.publish(); err != nil {
		k.store.took(false)
		return fmt.Errorf("close snapshot: %w", err)
	}
	k.store.took(true)
	if err := k.store.prune(); err != nil {
		k.store.log.Warn("old snapshots stay", "err", err)
	}
	return nil
}

func (k *snapshotSink) publish() error {
	trailer := binary.LittleEndian.AppendUint64(nil, k.size)
	trailer = binary.LittleEndian.AppendUint32(trailer, k.sum)
	_, err := k.buf.Write(trailer)
	if err == nil {
		err = k.buf.Flush()
	}
	if err == nil {
		err = k.file.Sync()
	}
	if err != nil {
		return errors.Join(err, k.drop())
	}
	k.done = true
	if err := k.file.Close(); err != nil {
		return err
	}
	fs := k.store.fs
	if err := fs.Rename(k.store.path(k.id+tempSuffix), k.store.path(k.id+snapSuffix)); err != nil {
		return err
	}
	return syncDir(fs, k.store.dir)
}

// Cancel implements raft.SnapshotSink.
func (k *snapshotSink) Cancel() error {
	if k.done {
		return nil
	}
	k.store.took(false)
	return k.drop()
}

func (k *snapshotSink) drop() error {
	k.done = true
	return errors.Join(k.file.Close(), k.store.fs.Remove(k.store.path(k.id+tempSuffix)))
}
