package cluster

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// A snapshot is one file: a record with raft's metadata as JSON, the body, and
// a trailer with the body's length and crc32c. It has its name only once all
// of it is durable.
const (
	snapSuffix  = ".snap"
	tempSuffix  = ".temp"
	snapTrailer = 8 + 4
	// maxSnapshotMeta and maxSnapshot bound what a reader believes.
	maxSnapshotMeta = 1 << 20
	maxSnapshot     = 1 << 30
)

// snapshotStore is raft's SnapshotStore on the file system of the log.
type snapshotStore struct {
	fs   vfs.FS
	dir  string
	log  *slog.Logger
	took func(ok bool)
}

var _ raft.SnapshotStore = (*snapshotStore)(nil)

// openSnapshots makes the directory and takes away what a crash left half
// written.
func openSnapshots(fs vfs.FS, dir string, log *slog.Logger, took func(bool)) (*snapshotStore, error) {
	if err := makeDir(fs, dir); err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	s := &snapshotStore{fs: fs, dir: dir, log: log, took: took}
	names, err := fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, tempSuffix) {
			if err := fs.Remove(s.path(name)); err != nil {
				return nil, fmt.Errorf("open snapshots: %w", err)
			}
		}
	}
	return s, nil
}

func (s *snapshotStore) path(name string) string { return s.fs.PathJoin(s.dir, name) }

// snapshotID sorts as raft's age of a snapshot does.
func snapshotID(term, index uint64) string { return fmt.Sprintf("%020d-%020d", term, index) }

// Create implements raft.SnapshotStore.
func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, configIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.create(raft.SnapshotMeta{
		Version:            version,
		ID:                 snapshotID(term, index),
		Index:              index,
		Term:               term,
		Configuration:      c,
		ConfigurationIndex: configIndex,
	})
	if err != nil {
		s.took(false)
		return nil, fmt.Errorf("create snapshot: %w", err)
	}
	return sink, nil
}

func (s *snapshotStore) create(meta raft.SnapshotMeta) (*snapshotSink, error) {
	if meta.Version != raft.SnapshotVersionMax {
		return nil, fmt.Errorf("version %d is unknown", meta.Version)
	}
	head, err := json.Marshal(meta)
	if err != nil {
		return nil, err
	}
	if len(head) > maxSnapshotMeta {
		return nil, fmt.Errorf("configuration of %d octets", len(head))
	}
	f, err := s.fs.Create(s.path(meta.ID+tempSuffix), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	sink := &snapshotSink{store: s, id: meta.ID, file: f, buf: bufio.NewWriterSize(f, 64<<10)}
	if _, err := sink.buf.Write(sealed(head)); err != nil {
		return nil, errors.Join(err, sink.drop())
	}
	return sink, nil
}

// List implements raft.SnapshotStore: newest first, only whole ones.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	names, err := s.names()
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var list []*raft.SnapshotMeta
	for _, name := range names {
		meta, f, err := s.open(name)
		if err != nil {
			s.log.Error("snapshot is damaged", "name", name, "err", err)
			continue
		}
		_ = f.Close()
		list = append(list, meta)
		if len(list) == keepSnapshots {
			break
		}
	}
	return list, nil
}

// names lists the snapshots' ids, newest first.
func (s *snapshotStore) names() ([]string, error) {
	all, err := s.fs.List(s.dir)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, name := range all {
		if id, ok := strings.CutSuffix(name, snapSuffix); ok {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Compare(b, a) })
	return ids, nil
}

// Open implements raft.SnapshotStore. The whole body is checked before the
// first octet is given out, so that raft falls back to the older snapshot.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, f, err := s.open(id)
	if err != nil {
		return nil, nil, fmt.Errorf("open snapshot %s: %w", id, err)
	}
	return meta, f, nil
}

func (s *snapshotStore) open(id string) (*raft.SnapshotMeta, *snapshotBody, error) {
	f, err := s.fs.Open(s.path(id + snapSuffix))
	if err != nil {
		return nil, nil, err
	}
	meta, body, err := readSnapshot(f, id)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return meta, body, nil
}

// readSnapshot checks a whole file and returns a reader of its body.
func readSnapshot(f vfs.File, id string) (*raft.SnapshotMeta, *snapshotBody, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	size := info.Size()
	if size < recordHead+snapTrailer || size > maxSnapshot {
		return nil, nil, fmt.Errorf("%d octets: %w", size, errStore)
	}
	head := make([]byte, recordHead)
	if _, err := f.ReadAt(head, 0); err != nil {
		return nil, nil, err
	}
	metaSize := int64(binary.LittleEndian.Uint32(head[1:]))
	if metaSize > maxSnapshotMeta || metaSize > size-recordHead-snapTrailer {
		return nil, nil, fmt.Errorf("metadata of %d octets: %w", metaSize, errStore)
	}
	record := make([]byte, recordHead+metaSize)
	if _, err := f.ReadAt(record, 0); err != nil {
		return nil, nil, err
	}
	p, err := unseal(record)
	if err != nil {
		return nil, nil, err
	}
	meta := new(raft.SnapshotMeta)
	if err := json.Unmarshal(p, meta); err != nil {
		return nil, nil, fmt.Errorf("metadata: %w: %w", errStore, err)
	}
	if meta.ID != id || meta.Version != raft.SnapshotVersionMax {
		return nil, nil, fmt.Errorf("metadata of %q, version %d: %w", meta.ID, meta.Version, errStore)
	}
	meta.Size = size - recordHead - metaSize - snapTrailer
	trailer := make([]byte, snapTrailer)
	if _, err := f.ReadAt(trailer, size-snapTrailer); err != nil {
		return nil, nil, err
	}
	if binary.LittleEndian.Uint64(trailer) != uint64(meta.Size) {
		return nil, nil, fmt.Errorf("length: %w", errStore)
	}
	sum := crc32.New(castagnoli)
	if _, err := io.Copy(sum, io.NewSectionReader(f, recordHead+metaSize, meta.Size)); err != nil {
		return nil, nil, err
	}
	if binary.LittleEndian.Uint32(trailer[8:]) != sum.Sum32() {
		return nil, nil, fmt.Errorf("checksum: %w", errStore)
	}
	return meta, &snapshotBody{io.NewSectionReader(f, recordHead+metaSize, meta.Size), f}, nil
}

type snapshotBody struct {
	io.Reader
	io.Closer
}

// prune keeps the newest snapshots. What is older than the last one kept goes,
// damaged or not.
func (s *snapshotStore) prune() error {
	kept, err := s.List()
	if err != nil || len(kept) < keepSnapshots {
		return err
	}
	oldest := kept[len(kept)-1].ID
	ids, err := s.names()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if id < oldest {
			err = errors.Join(err, s.fs.Remove(s.path(id+snapSuffix)))
		}
	}
	return err
}

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
