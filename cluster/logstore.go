package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// Keys of the store: one letter, then the name or the big-endian index.
const (
	keyLog      = 'l' // + index: entry
	keyStable   = 's' // + raft's key: octets
	keyNumber   = 'u' // + raft's key: 64-bit number
	keyIdentity = 'i' // the name of the node the store belongs to
)

// errNotFound has this exact text because raft compares it as a string.
var errNotFound = errors.New("not found")

// logStore is raft's LogStore and StableStore on one pebble instance. Every
// write is one synced batch. After the first failed write it takes no more:
// what a failed fsync left on disk is unknown.
type logStore struct {
	db     *pebble.DB
	fs     vfs.FS
	dir    string
	failed *failure

	scrubs sync.Mutex // one scrub at a time, and no Close meanwhile; before mu
	fresh  *atomic.Bool

	// mu lets close wait for readers: raft's own metrics goroutine may still
	// read after raft's shutdown, and pebble panics when used after Close. It
	// guards first, last and closed.
	mu          sync.RWMutex
	first, last uint64 // 0, 0 when there are no entries
	closed      bool
}

var (
	_ raft.LogStore    = (*logStore)(nil)
	_ raft.StableStore = (*logStore)(nil)
)

// openLogStore opens or creates the store in options' file system.
func openLogStore(dir string, options *pebble.Options, failed *failure) (*logStore, error) {
	fs, fresh := options.FS, new(atomic.Bool)
	options.FS = freshFS{fs, fresh}
	db, err := pebble.Open(dir, options)
	if err != nil {
		return nil, fmt.Errorf("open log store: %w", err)
	}
	s := &logStore{db: db, fs: fs, dir: dir, fresh: fresh, failed: failed}
	if s.first, s.last, err = s.bounds(); err != nil {
		return nil, errors.Join(fmt.Errorf("open log store: %w", err), db.Close())
	}
	return s, nil
}

// bounds asks the database for the first and last index.
func (s *logStore) bounds() (first, last uint64, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{keyLog}, UpperBound: []byte{keyLog + 1}})
	if err != nil {
		return 0, 0, err
	}
	if it.First() {
		first = indexOf(it.Key())
	}
	if it.Last() {
		last = indexOf(it.Key())
	}
	return first, last, errors.Join(it.Error(), it.Close())
}

func logKey(index uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{keyLog}, index)
}

func indexOf(key []byte) uint64 {
	if len(key) != 9 {
		return 0
	}
	return binary.BigEndian.Uint64(key[1:])
}

// Close ends the store; later calls get ErrClosed.
func (s *logStore) Close() error {
	s.scrubs.Lock()
	defer s.scrubs.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close log store: %w", err)
	}
	return nil
}

// FirstIndex implements raft.LogStore.
func (s *logStore) FirstIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.first, nil
}

// LastIndex implements raft.LogStore.
func (s *logStore) LastIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.last, nil
}

// GetLog implements raft.LogStore. A missing entry is exactly
// raft.ErrLogNotFound: raft compares with ==, and sends a follower a snapshot
// only for that.
func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	value, err := s.get(logKey(index))
	if errors.Is(err, errNotFound) {
		return raft.ErrLogNotFound
	}
	if err != nil {
		return fmt.Errorf("read entry %d: %w", index, err)
	}
	return getLog(value, index, l)
}

// get returns a copy of what key holds.
func (s *logStore) get(key []byte) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, ErrClosed
	}
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, errNotFound
	}
	if err != nil {
		return nil, err
	}
	return append([]byte(nil), value...), closer.Close()
}

// StoreLog implements raft.LogStore.
func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore: all entries in one synced batch.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	size := 0
	for _, l := range logs {
		size += logSize(l) + 16
	}
	return s.write("store entries", size, func(b *pebble.Batch) error {
		for _, l := range logs {
			op := b.SetDeferred(9, logSize(l))
			op.Key[0] = keyLog
			binary.BigEndian.PutUint64(op.Key[1:], l.Index)
			putLog(op.Value, l)
			if err := op.Finish(); err != nil {
				return err
			}
		}
		return nil
	}, func() error {
		for _, l := range logs {
			if s.first == 0 || l.Index < s.first {
				s.first = l.Index
			}
			s.last = max(s.last, l.Index)
		}
		return nil
	})
}

// DeleteRange implements raft.LogStore; it removes min to max, both included.
// raft takes away a prefix after a snapshot and a suffix on a conflict.
func (s *logStore) DeleteRange(min, max uint64) error {
	if min > max {
		return nil
	}
	end := []byte{keyLog + 1}
	if max+1 != 0 {
		end = logKey(max + 1)
	}
	return s.write("delete entries", 64, func(b *pebble.Batch) error {
		return b.DeleteRange(logKey(min), end, nil)
	}, func() error {
		if min > s.first && max < s.last {
			return nil // a hole: the ends stay
		}
		first, last, err := s.bounds()
		if err == nil {
			s.first, s.last = first, last
		}
		return err
	})
}

// Set implements raft.StableStore.
func (s *logStore) Set(key, val []byte) error {
	return s.write("set "+string(key), 64, func(b *pebble.Batch) error {
		return b.Set(stableKey(keyStable, key), sealed(val), nil)
	}, nil)
}

// Get implements raft.StableStore.
func (s *logStore) Get(key []byte) ([]byte, error) {
	return s.stable(keyStable, key)
}

// SetUint64 implements raft.StableStore.
func (s *logStore) SetUint64(key []byte, val uint64) error {
	return s.write("set "+string(key), 64, func(b *pebble.Batch) error {
		return b.Set(stableKey(keyNumber, key), number(val), nil)
	}, nil)
}

// GetUint64 implements raft.StableStore; a missing key is 0.
func (s *logStore) GetUint64(key []byte) (uint64, error) {
	p, err := s.stable(keyNumber, key)
	if errors.Is(err, errNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if len(p) != 8 {
		return 0, fmt.Errorf("read %s: %d octets: %w", key, len(p), errStore)
	}
	return binary.LittleEndian.Uint64(p), nil
}

func number(val uint64) []byte {
	return sealed(binary.LittleEndian.AppendUint64(nil, val))
}

func stableKey(kind byte, key []byte) []byte {
	return append([]byte{kind}, key...)
}

func (s *logStore) stable(kind byte, key []byte) ([]byte, error) {
	value, err := s.get(stableKey(kind, key))
	if err == errNotFound {
		return nil, errNotFound // untouched: raft compares its text
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return unseal(value)
}

// write commits one synced batch. fill puts the changes in; done, when given,
// runs under the lock after the commit.
//
// A commit that fails does not return an error from pebble: it calls Fatalf
// and then reports success. So failed is asked after every commit.
func (s *logStore) write(what string, size int, fill func(*pebble.Batch) error, done func() error) error {
	if err := s.failed.error(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := s.commit(size, fill); err != nil {
		if errors.Is(err, ErrClosed) {
			return err
		}
		return fmt.Errorf("%s: %w", what, s.failed.set(fmt.Errorf("%s: %w", what, err)))
	}
	if err := s.failed.error(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if done == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := done(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (s *logStore) commit(size int, fill func(*pebble.Batch) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	b := s.db.NewBatchWithSize(size)
	if err := fill(b); err != nil {
		return errors.Join(err, b.Close())
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return err
	}
	return b.Close()
}
