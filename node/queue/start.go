package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

// Starts are not in pebble: a record written there without a sync stays in the
// process's memory, so that a killed process would forget it. They go to small
// files of their own, one write each: the kernel has them before the dot.
const (
	startSize   = 64
	startSuffix = ".starts"
	startsMax   = 4 << 20 // a file is replaced at this size
)

// startFile counts the starts in it that are not settled; a full file goes
// when there are none.
type startFile struct {
	path string
	file vfs.File
	size int
	open int
}

type startLog struct {
	s    *Store
	dir  string
	mu   sync.Mutex // guards what follows and every startFile
	no   uint64
	cur  *startFile
	full []*startFile
}

// startRecord is one start.
type startRecord struct {
	id     ID
	n      uint16
	rev    uint32
	epoch  uint64 // the start's own place in the tenant's log
	logSeq uint64
}

func (r *startRecord) encode(b *[startSize]byte) {
	b[0] = recordVersion
	b[1] = startSize
	binary.BigEndian.PutUint16(b[2:], r.n)
	binary.BigEndian.PutUint32(b[4:], r.rev)
	binary.BigEndian.PutUint64(b[8:], uint64(r.id.Tenant))
	binary.BigEndian.PutUint64(b[16:], r.id.Epoch)
	binary.BigEndian.PutUint64(b[24:], r.id.Seq)
	binary.BigEndian.PutUint64(b[32:], r.epoch)
	binary.BigEndian.PutUint64(b[40:], r.logSeq)
	binary.BigEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
}

func (r *startRecord) decode(b []byte) bool {
	if len(b) != startSize || b[0] != recordVersion || b[1] != startSize ||
		crc32.Checksum(b[:60], castagnoli) != binary.BigEndian.Uint32(b[60:]) {
		return false
	}
	*r = startRecord{
		n:      binary.BigEndian.Uint16(b[2:]),
		rev:    binary.BigEndian.Uint32(b[4:]),
		epoch:  binary.BigEndian.Uint64(b[32:]),
		logSeq: binary.BigEndian.Uint64(b[40:]),
	}
	r.id = ID{tenant.ID(binary.BigEndian.Uint64(b[8:])), binary.BigEndian.Uint64(b[16:]), binary.BigEndian.Uint64(b[24:])}
	return true
}

// next opens a new file. The caller holds mu, or is alone.
func (l *startLog) next() error {
	l.no++
	path := l.s.fs.PathJoin(l.dir, fmt.Sprintf("%016x%s", l.no, startSuffix))
	f, err := l.s.fs.Create(path, spoolWriting)
	if err != nil {
		return fmt.Errorf("create start file: %w", err)
	}
	if l.cur != nil {
		_ = l.cur.file.Close()
		l.full = append(l.full, l.cur)
	}
	l.cur = &startFile{path: path, file: f}
	return l.s.syncDir(l.dir)
}

// write puts a start before the kernel.
func (l *startLog) write(r *startRecord) (*startFile, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cur.file == nil {
		return nil, errClosed
	}
	if l.cur.size >= startsMax {
		if err := l.next(); err != nil {
			return nil, err
		}
		l.sweep()
	}
	var b [startSize]byte
	r.encode(&b)
	if _, err := l.cur.file.Write(b[:]); err != nil {
		return nil, fmt.Errorf("write start: %w", err)
	}
	l.cur.size += startSize
	l.cur.open++
	return l.cur, nil
}

// settled forgets starts whose settlement is durable.
func (l *startLog) settled(fs []*startFile) {
	if len(fs) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	empty := false
	for _, f := range fs {
		f.open--
		empty = empty || f.open == 0 && f != l.cur
	}
	if empty {
		l.sweep()
	}
}

func (l *startLog) sweep() {
	keep := l.full[:0]
	for _, f := range l.full {
		if f.open > 0 {
			keep = append(keep, f)
			continue
		}
		if err := l.s.fs.Remove(f.path); err != nil {
			l.s.cfg.Log.Warn("start file not removed", "err", err)
		}
	}
	clear(l.full[len(keep):])
	l.full = keep
}

func (l *startLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.cur.file
	l.cur.file = nil
	return f.Close()
}

// Start records that the final dot is about to be sent. When it returns nil
// the start outlives the process, though not a power cut.
func (s *Store) Start(it *Item) error {
	if err := s.broken(); err != nil {
		return err
	}
	s.mu.Lock()
	g, e := s.index.leased(it)
	s.mu.Unlock()
	if e == nil {
		return ErrStale
	}
	if err := s.openEpoch(g); err != nil {
		return err
	}
	s.mu.Lock()
	if g, e = s.index.leased(it); e == nil { // released meanwhile
		s.mu.Unlock()
		return ErrStale
	}
	if g.noDots {
		s.mu.Unlock()
		return ErrStale
	}
	seq, o := s.next(g, recStart)
	e.starting = true
	r := startRecord{id: it.ID, n: it.N, rev: e.at.rev, epoch: g.epoch, logSeq: seq}
	s.mu.Unlock()
	if o != nil {
		var b [startSize]byte
		r.encode(&b)
		s.dispatch(o, nil, b[:])
	}
	f, err := s.starts.write(&r)
	s.isLocal(o)
	s.mu.Lock()
	old := e.started
	e.starting = false
	if err == nil {
		e.started = f
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if old != nil { // started before and given back
		s.starts.settled([]*startFile{old})
	}
	if err := s.await(context.Background(), o, false); err != nil {
		return fmt.Errorf("start attempt: %w", err)
	}
	return nil
}

// startAgain says once more what is under way: a holder whose power was cut has
// forgotten starts it had received.
func (s *Store) startAgain(g *tlog) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index.logs[g.tenant] != g {
		return
	}
	for _, e := range g.entries {
		if e.started == nil || e.phase != phaseLeased {
			continue
		}
		seq, o := s.next(g, recStart)
		r := startRecord{id: e.msg.id, n: e.at.n, rev: e.at.rev, epoch: g.epoch, logSeq: seq}
		var b [startSize]byte
		r.encode(&b)
		s.dispatch(o, nil, b[:])
		s.isLocal(o)
	}
}

// leased finds the entry of an item that a caller of Take holds.
func (x *index) leased(it *Item) (*tlog, *entry) {
	g := x.logs[it.ID.Tenant]
	if g == nil {
		return nil, nil
	}
	e := g.entries[shareKey{it.ID.Epoch, it.ID.Seq, it.N}]
	if e == nil || e.item != it || e.phase != phaseLeased {
		return nil, nil
	}
	return g, e
}

// recoverStarts reads what was started before the last end of the process and
// notes durably which of it was never settled.
func (s *Store) recoverStarts() error {
	l := &startLog{s: s, dir: s.fs.PathJoin(s.cfg.Dir, "starts")}
	s.starts = l
	names, err := s.fs.List(l.dir)
	if err != nil {
		return fmt.Errorf("list start files: %w", err)
	}
	b := s.db.NewBatch()
	defer b.Close()
	var old []string
	for _, name := range names {
		base, ok := strings.CutSuffix(name, startSuffix)
		if !ok {
			continue
		}
		var no uint64
		if _, err := fmt.Sscanf(base, "%x", &no); err == nil {
			l.no = max(l.no, no)
		}
		old = append(old, s.fs.PathJoin(l.dir, name))
		if err := s.readStarts(old[len(old)-1], b); err != nil {
			return err
		}
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("keep starts in doubt: %w", err)
	}
	if err := s.broken(); err != nil {
		return err
	}
	for _, path := range old {
		if err := s.fs.Remove(path); err != nil {
			return fmt.Errorf("remove start file: %w", err)
		}
	}
	return l.next()
}

func (s *Store) readStarts(path string, b *pebble.Batch) error {
	f, err := s.fs.Open(path)
	if err != nil {
		return fmt.Errorf("open start file: %w", err)
	}
	defer f.Close()
	seen := map[startRecord]bool{}
	buf := make([]byte, startSize*1024)
	for {
		n, err := io.ReadFull(f, buf)
		for i := 0; i+startSize <= n; i += startSize {
			var r startRecord
			if !r.decode(buf[i : i+startSize]) {
				continue // torn by a power cut
			}
			key := startRecord{id: r.id, n: r.n, rev: r.rev}
			if seen[key] {
				continue
			}
			seen[key] = true
			if err := s.doubt(b, r.id, r.n, r.rev); err != nil {
				return err
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read start file: %w", err)
		}
	}
}

// doubt notes an item as in doubt unless its attempt was settled.
func (s *Store) doubt(b *pebble.Batch, id ID, n uint16, rev uint32) error {
	_, open, err := s.attemptOpen(id, n, rev)
	if err != nil || !open {
		return err
	}
	key := revKey(nil, tabDoubt, id, n, rev)
	err = s.get(key, func([]byte) error { return nil })
	if err == nil { // known from an earlier start
		return nil
	}
	if !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("look up item in doubt: %w", err)
	}
	setFramed(b, key, nil, nil)
	return nil
}

// attemptOpen reports whether the attempt that would follow rev is not settled,
// and the item's due key.
func (s *Store) attemptOpen(id ID, n uint16, rev uint32) (dueAt, bool, error) {
	h, _, err := s.readMessage(id, false)
	if errors.Is(err, ErrNotFound) {
		return dueAt{}, false, nil
	}
	if err != nil || int(n) >= len(h.domains) {
		return dueAt{}, false, err
	}
	shares, err := s.readShares(id)
	if err != nil {
		return dueAt{}, false, err
	}
	at := dueAt{h.due0, id.Epoch, id.Seq, n, 0}
	if sh, ok := shares[n]; ok {
		at.rev, at.due = sh.rev, sh.due
		if sh.ended {
			return dueAt{}, false, nil
		}
	}
	return at, at.rev == rev, nil
}

// sharedAt is the newest state of an item.
type sharedAt struct {
	*shareState
	rev uint32
}

// readShares reads the state of all items of a message that were attempted.
func (s *Store) readShares(id ID) (map[uint16]sharedAt, error) {
	prefix := messageKey(nil, tabShare, id)
	it, err := s.newIter(prefix, after(prefix))
	if err != nil {
		return nil, fmt.Errorf("read items: %w", err)
	}
	defer it.Close()
	var m map[uint16]sharedAt
	for ok := it.First(); ok; ok = it.Next() {
		_, n, rev, good := parseRevKey(it.Key())
		v, err := it.ValueAndErr()
		if err != nil || !good {
			return nil, fmt.Errorf("read items of %s: %w", id, errors.Join(err, errCorrupt))
		}
		p, err := unseal(v)
		if err != nil {
			return nil, fmt.Errorf("read items of %s: %w", id, err)
		}
		st, err := readShare(p)
		if err != nil {
			return nil, fmt.Errorf("read items of %s: %w", id, err)
		}
		if m == nil {
			m = map[uint16]sharedAt{}
		}
		m[n] = sharedAt{st, rev} // keys of one item come in order of rev
	}
	return m, it.Error()
}
