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
