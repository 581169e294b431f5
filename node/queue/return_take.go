package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// answerReturn takes in what a node that was the owner once hands over.
func (s *Store) answerReturn(ctx context.Context, c *call) error {
	return c.each(func(b []byte) ([]byte, error) {
		q, err := decodeReturn(b)
		if err != nil {
			return nil, err
		}
		n, err := s.takeReturn(ctx, q)
		return be32(nil, uint32(n)), err
	})
}

// takeReturn takes one part in. When it returns nil all of it is durable here
// and at the holder. That must have the whole log already: what the walk has not
// passed yet it leaves out, and what was returned would be here only; and a log
// adopted in part does not know what ended. A wait has
// an end, or calls of who gave up would take all connections in time.
func (s *Store) takeReturn(ctx context.Context, q *returnPart) (n int, err error) {
	s.mu.Lock()
	g := s.index.logs[q.tenant]
	s.mu.Unlock()
	if g == nil {
		return 0, ErrStale
	}
	generation, whole := s.wholeAt(g)
	if !whole {
		return 0, fmt.Errorf("take return: %w: its copy is not whole", ErrBusy)
	}
	ctx, cancel := context.WithTimeout(ctx, s.limits.word)
	defer cancel()
	if n, err = s.takePart(ctx, g, q); err != nil {
		return n, err
	}
	if now, whole := s.wholeAt(g); !whole || now != generation {
		return n, fmt.Errorf("take return: %w: its copy changed", ErrBusy)
	}
	return n, nil
}

// wholeAt tells under which generation the second copy of a log, which must have
// been adopted whole, is.
func (s *Store) wholeAt(g *tlog) (generation uint64, whole bool) {
	if s.ship == nil {
		return 0, true
	}
	s.ship.mu.Lock()
	defer s.ship.mu.Unlock()
	return g.out.generation, g.out.set && g.out.synced && g.since == 0
}

func (s *Store) takePart(ctx context.Context, g *tlog, q *returnPart) (n int, err error) {
	if err := s.openEpoch(g); err != nil {
		return 0, err
	}
	switch q.what {
	case returnCopies:
		for i := range q.copies {
			took, err := s.takeLate(ctx, g, q, &q.copies[i])
			if err != nil {
				return n, err
			}
			n += int(flagOctet(took))
		}
	case returnOutcomes:
		for i := range q.copies {
			took, err := s.takeOutcomes(g, &q.copies[i])
			if err != nil {
				return n, err
			}
			n += took
		}
	case returnSums:
		if err := s.takeSums(g, q.sums); err != nil {
			return n, err
		}
	}
	return n, s.barrier(ctx, g)
}

// barrier waits until all that was numbered so far is at the holder.
func (s *Store) barrier(ctx context.Context, g *tlog) error {
	_, err := s.writeOps(ctx, g, func(*pebble.Batch) (*chunkName, error) { return nil, nil }, true)
	return err
}

// writeOps gives the log a record of what f writes, between two settlements.
// f may name a chunk file that must be at the holder first.
func (s *Store) writeOps(ctx context.Context, g *tlog, f func(*pebble.Batch) (*chunkName, error), await bool) (*outgoing, error) {
	done := make(chan error, 1)
	var o *outgoing
	s.inCommitter(func(b *pebble.Batch) error {
		own := s.db.NewBatch()
		defer own.Close()
		chunk, err := f(own)
		if err != nil {
			return err
		}
		// The number first: what a log that was released does not say to its
		// holder must not be written here either.
		if o, err = s.appendOps(g, own, chunk); err != nil || own.Empty() {
			return err
		}
		if err := b.Apply(own, nil); err != nil {
			return fmt.Errorf("join batch: %w", err)
		}
		return nil
	}, func(err error) { done <- err })
	if err := <-done; err != nil {
		return nil, err
	}
	if !await || o == nil {
		return o, nil
	}
	return o, s.wait(ctx, o)
}

// appendOps is appendRecord for the operations of a batch.
func (s *Store) appendOps(g *tlog, b *pebble.Batch, chunk *chunkName) (*outgoing, error) {
	var ops []byte
	if !b.Empty() {
		ops = slices.Clone(b.Repr()[batchHead:])
	}
	s.mu.Lock()
	if s.index.logs[g.tenant] != g {
		s.mu.Unlock()
		return nil, ErrStale
	}
	_, o := s.next(g, recOps)
	if o != nil {
		o.chunk = chunk
	}
	s.mu.Unlock()
	s.dispatch(o, nil, ops)
	s.isLocal(o)
	return o, nil
}

// takeLate puts a message of an older epoch into the log, under the id it has.
// One that is or was known here, or denied, is left alone.
func (s *Store) takeLate(ctx context.Context, g *tlog, q *returnPart, c *messageCopy) (bool, error) {
	if c.message == nil || c.id.Epoch >= g.epoch || !beyond(q.ends, c.id) {
		return false, fmt.Errorf("take late message %s: %w", c.id, ErrStale)
	}
	h, err := checkCopy(c)
	if err != nil {
		return false, err
	}
	var held []*entry
	took := false
	var counts sum
	_, err = s.writeOps(ctx, g, func(b *pebble.Batch) (*chunkName, error) {
		known, err := s.knows(c.id)
		if err == nil && !known { // the client was told 451, and came again
			known, err = s.denied(g.tenant, h.env.Transaction)
		}
		if err != nil || known {
			return nil, err
		}
		w := &intake{s: s, b: b, t: g.tenant}
		if err := w.add(c); err != nil {
			return nil, err
		}
		if len(w.absent) > 0 {
			return nil, fmt.Errorf("take late message %s: %w", c.id, errNoFile)
		}
		w.finish()
		took, counts = true, w.counts
		held = s.holdDoubts(g, c.id, h, w.doubts)
		var chunk *chunkName
		if h.place == bodyChunk {
			chunk = &h.chunk
		}
		return chunk, nil
	}, false)
	if err != nil || !took {
		return false, err
	}
	return true, s.endLate(g, c.id, h, counts, held)
}

var errNoFile = errors.New("its chunk file is not here")

// knows reports whether a message lives here or ended here.
func (s *Store) knows(id ID) (bool, error) {
	err := s.get(messageKey(nil, tabMessage, id), func([]byte) error { return nil })
	if err == nil || !errors.Is(err, ErrNotFound) {
		return err == nil, err
	}
	c := messageCopy{id: id}
	if err := s.readRows(&c, tabOutcome); err != nil {
		return false, err
	}
	_, ended, err := advance(nil, c.rows, 0)
	return ended, err
}

// holdDoubts makes the entries of items in doubt before they can be scanned.
func (s *Store) holdDoubts(g *tlog, id ID, h *head, items []placed) (held []*entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index.logs[g.tenant] != g {
		return nil
	}
	due := s.cfg.Now().Add(s.cfg.Grace).UnixMicro()
	for _, p := range items {
		p.at.epoch, p.at.seq = id.Epoch, id.Seq
		l := s.index.laneOf(g, Lane{g.tenant, h.env.Account, h.env.Class, h.domains[p.n]})
		e := &entry{at: p.at, due: max(due, p.at.due), lane: l, inDoubt: true, phase: phasePut}
		s.index.hold(g, e)
		held = append(held, e)
	}
	return held
}

// endLate makes a late message's items takeable.
func (s *Store) endLate(g *tlog, id ID, h *head, counts sum, held []*entry) error {
	items, _, err := s.statesIn(id, ID{id.Tenant, id.Epoch, id.Seq + 1}, 1, stepOctets)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index.logs[g.tenant] != g {
		return nil
	}
	g.counts.Messages += int(counts.a)
	g.counts.Queued += int(counts.b)
	g.counts.InDoubt += len(held)
	for _, e := range held {
		s.index.makeReady(e)
		s.index.place(g, e.lane)
	}
	for i := range items {
		for n := range h.domains {
			p, err := stateOf(h, items[i].items, uint16(n))
			if err != nil || p.ended || g.entries[shareKey{id.Epoch, id.Seq, uint16(n)}] != nil {
				continue
			}
			p.at.epoch, p.at.seq = id.Epoch, id.Seq
			l := s.index.laneOf(g, Lane{g.tenant, h.env.Account, h.env.Class, h.domains[n]})
			if l.scanning {
				l.later = append(l.later, p.at)
			} else {
				l.lower(p.at)
			}
			s.index.place(g, l)
		}
	}
	s.poke()
	return nil
}
