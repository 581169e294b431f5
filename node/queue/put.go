package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postern/tenant"
)

// Writer takes the bytes of one message; what exceeds InlineMax streams to a
// chunk file, so memory stays bounded. It is not safe for concurrent use.
type Writer struct {
	s     *Store
	log   *tlog
	buf   *buffer
	size  int64
	chunk *chunkWriter // set once the message is too big for memory
	err   error
	done  bool
}

var errDone = errors.New("write message: writer is done")

// NewMessage starts a message for a tenant this store has adopted.
func (s *Store) NewMessage(t tenant.ID) (*Writer, error) {
	if err := s.broken(); err != nil {
		return nil, err
	}
	if err := s.Full(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	g := s.index.logs[t]
	s.mu.Unlock()
	if g == nil {
		return nil, ErrStale
	}
	return &Writer{s: s, log: g}, nil
}

// Write adds octets to the message.
func (w *Writer) Write(p []byte) (int, error) {
	if w.done {
		return 0, errDone
	}
	if w.err != nil {
		return 0, w.err
	}
	w.size += int64(len(p))
	if w.chunk == nil && w.size > int64(w.s.cfg.InlineMax) {
		if w.err = w.spill(); w.err != nil {
			return 0, w.err
		}
	}
	if w.chunk != nil {
		if w.err = w.chunk.write(p); w.err != nil {
			return 0, w.err
		}
		return len(p), nil
	}
	if w.buf == nil {
		w.buf = w.s.pool.get(headroom + max(len(p), 4<<10))
		w.buf.off, w.buf.b = headroom, w.buf.b[:headroom]
	}
	w.buf = w.buf.grow(&w.s.pool, len(p))
	w.buf.b = append(w.buf.b, p...)
	return len(p), nil
}

// spill moves what is in memory to a chunk file.
func (w *Writer) spill() (err error) {
	if w.chunk, err = w.s.newChunk(); err != nil {
		return err
	}
	if w.buf != nil {
		err = w.chunk.write(w.buf.bytes())
		w.buf.release()
		w.buf = nil
	}
	return err
}

// Put makes the message durable: prefix (headers made here, first in the
// message), what was written, envelope, spending and due entries in one synced
// batch. When it returns nil the 250 may be said. The Writer is done either way.
// The store sets e.Size.
//
// A *LostPut is an error from behind the point where the message got its place.
func (w *Writer) Put(ctx context.Context, prefix []byte, e *Envelope, spend []Spend) (ID, error) {
	if w.done {
		return ID{}, errDone
	}
	defer w.Discard()
	if w.err != nil {
		return ID{}, w.err
	}
	if err := ctx.Err(); err != nil {
		return ID{}, err
	}
	env := *e
	env.Rcpts = append([]Rcpt(nil), e.Rcpts...)
	env.Size = int64(len(prefix)) + w.size
	e.Size = env.Size
	h := &head{env: &env, prefix: len(prefix)}
	if err := checkEnvelope(&env); err != nil {
		return ID{}, err
	}
	if err := h.split(); err != nil {
		return ID{}, err
	}
	if w.chunk != nil {
		if err := w.chunk.finish(); err != nil {
			return ID{}, err
		}
		h.place, h.chunk, h.crc = bodyChunk, w.chunk.name, w.chunk.crc
	}
	if w.buf == nil { // nothing written, or all in the chunk file
		w.buf = w.s.pool.get(max(len(prefix), 1))
	}
	w.buf = w.buf.prepend(&w.s.pool, prefix)
	p := &putting{head: h, buf: w.buf, spend: spend}
	if err := w.s.readyPut(ctx, w.log, p); err != nil {
		return ID{}, err
	}
	k := keep(w.s.db.NewBatchWithSize(len(w.buf.bytes()) + 1024))
	defer k.release()
	if err := w.s.enterPut(ctx, w.log, p); err != nil {
		return ID{}, err
	}
	defer w.s.leavePut(w.log, p)
	p.write(k.b)
	// From here the file belongs to the message: an error leaves open whether
	// the batch is on disk.
	w.chunk = nil
	w.s.dispatch(p.out, k, k.b.Repr()[batchHead:])
	if err := w.s.commit(k.b); err != nil {
		return ID{}, &LostPut{Place: p.id, Err: err}
	}
	w.s.isLocal(p.out)
	if err := w.s.await(ctx, p.out, true); err != nil {
		back, werr := w.s.withdraw(w.log, p, err)
		return ID{}, &LostPut{Place: p.id, Back: back, Err: errors.Join(err, werr)}
	}
	w.s.endPut(w.log, p)
	return p.id, nil
}

// A LostPut says that a message had its place in the log when its Put failed. It
// is kept nowhere if this store still owns the log; else perhaps by whoever took
// that in up to Place.
type LostPut struct {
	Place ID
	Back  bool // it was taken back here
	Err   error
}

func (e *LostPut) Error() string { return e.Err.Error() }
func (e *LostPut) Unwrap() error { return e.Err }

// batchHead is what stands before the operations in a batch of pebble.
const batchHead = 12

// readyPut brings everything that must be elsewhere before the message gets its
// place in the log.
func (s *Store) readyPut(ctx context.Context, g *tlog, p *putting) error {
	if err := s.openEpoch(g); err != nil {
		return err
	}
	if p.head.env.Remote {
		if no, err := s.denied(g.tenant, p.head.env.Transaction); err != nil {
			return err
		} else if no {
			return ErrDenied
		}
	}
	if s.ship == nil {
		return nil
	}
	if err := s.awaitRoom(ctx, g); err != nil {
		return err
	}
	if p.head.place != bodyChunk {
		return nil
	}
	node := s.ship.nodeOf(g)
	if node == "" { // none yet, or none wanted: the stream sees to the file
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.limits.word)
	defer cancel()
	if err := s.sendChunk(ctx, node, g.tenant, p.head.chunk); err != nil {
		s.cfg.Log.Warn("chunk not sent", "tenant", g.tenant, "node", node, "err", err)
		return fmt.Errorf("%w: %w", ErrNoCopy, err)
	}
	p.chunkAt = node
	return nil
}

// enterPut is beginPut for mail from outside, which waits while the tenant is
// being handed over.
func (s *Store) enterPut(ctx context.Context, g *tlog, p *putting) error {
	for {
		s.mu.Lock()
		rest, resume := g.rest, g.resume
		s.mu.Unlock()
		if !rest {
			err := s.beginPut(g, p)
			if !errors.Is(err, errResting) {
				return err
			}
			continue
		}
		select {
		case <-resume:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.dead:
			return s.broken()
		}
	}
}

// withdraw takes a message back whose second copy was not confirmed: the client
// is told 451 and comes again.
func (s *Store) withdraw(g *tlog, p *putting, why error) (back bool, err error) {
	if errors.Is(why, ErrFailed) {
		return false, nil // nothing is written here any more
	}
	done := make(chan error, 1)
	op := &ending{log: g, back: p, tell: func(err error) { done <- err }}
	if !s.queue.add(op) {
		return false, errClosed
	}
	err = <-done
	return err == nil, err
}

// Discard drops an unfinished message; harmless after Put.
func (w *Writer) Discard() {
	w.done = true
	if w.chunk != nil {
		w.chunk.discard()
		w.chunk = nil
	}
	if w.buf != nil {
		w.buf.release()
		w.buf = nil
	}
}

// limits bound what is in memory, over all lanes.
type limits struct {
	cached int64 // octets of messages that wait to be taken, or are
	ready  int   // items that wait to be taken
	scan   int   // due keys one scan brings into memory, at least
	taken  int   // messages in memory beyond which Take gives few at a time

	word   time.Duration // how long a holder's word is waited for
	unsent int64         // octets of records that are not at their holder yet
	again  time.Duration // before a lost connection is tried again
}

var defaultLimits = limits{cached: 24 << 20, ready: 100_000, scan: 256, taken: 16_000, word: 20 * time.Second, unsent: 64 << 20, again: 100 * time.Millisecond}

// retire takes an entry out of memory and notes the key it left on disk, if
// any; when its lane is being scanned, at the end of the scan.
func (s *Store) retire(g *tlog, e *entry, key *dueAt) {
	l := e.lane
	if l.scanning {
		l.gone = append(l.gone, e)
		if key != nil {
			l.later = append(l.later, *key)
		}
		return
	}
	s.leave(g, e)
	if key != nil {
		l.lower(*key)
	}
}

// leave takes an entry out of memory.
func (s *Store) leave(g *tlog, e *entry) {
	if buf := s.index.drop(g, e); buf != nil {
		buf.release()
	}
}
