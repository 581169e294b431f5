package queue

import (
	"errors"
	"fmt"
)

// Cancel ends one message without notices. ErrLeased while an attempt runs.
func (s *Store) Cancel(id ID) error {
	if err := s.broken(); err != nil {
		return err
	}
	h, _, err := s.readMessage(id, false)
	if err != nil {
		return err
	}
	s.mu.Lock()
	g := s.index.logs[id.Tenant]
	s.mu.Unlock()
	if g == nil {
		return ErrStale
	}
	var taken []*entry
	for n := range h.domains {
		e, err := s.reserve(g, id, h, uint16(n))
		if err != nil {
			s.unreserve(g, taken)
			return err
		}
		if e != nil {
			taken = append(taken, e)
		}
	}
	if len(taken) == 0 {
		return ErrNotFound
	}
	_, err = s.cancelAll(taken)
	return err
}

// reserve leases one item for cancelling; nil when it has ended.
func (s *Store) reserve(g *tlog, id ID, h *head, n uint16) (*entry, error) {
	key := shareKey{id.Epoch, id.Seq, n}
	s.mu.Lock()
	if s.index.logs[g.tenant] != g {
		s.mu.Unlock()
		return nil, ErrStale
	}
	e := g.entries[key]
	if e != nil {
		defer s.mu.Unlock()
		if e.phase != phaseReady {
			return nil, ErrLeased
		}
		s.index.unready(e)
		e.phase = phaseLeased
		s.index.place(g, e.lane)
		return e, nil
	}
	// Not in memory: stand in for it first, so that nobody takes it while its
	// place on disk is looked up.
	l := s.index.laneOf(g, Lane{g.tenant, h.env.Account, h.env.Class, h.domains[n]})
	e = &entry{at: dueAt{0, id.Epoch, id.Seq, n, 0}, lane: l, phase: phaseLeased}
	s.index.hold(g, e)
	s.mu.Unlock()
	at, live, err := s.whereIs(id, n)
	var written int64
	if err == nil && live {
		written, err = s.dueWritten(l.key, at)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || !live {
		if s.index.logs[g.tenant] == g {
			s.retire(g, e, nil)
			s.index.place(g, l)
		}
		return nil, err
	}
	e.at, e.due = at, at.due
	// A flush that its scan has not brought here yet, or passed over because of
	// the stand-in, holds for it all the same.
	if f := l.flush; written <= f.at && !f.end.before(at) {
		e.due = min(e.due, f.at)
	}
	return e, nil
}

// dueWritten says when an item's due key was written.
func (s *Store) dueWritten(l Lane, at dueAt) (int64, error) {
	it, err := s.newIter(dueKey(nil, l, at), after(dueKey(nil, l, at)))
	if err != nil {
		return 0, fmt.Errorf("read due key: %w", err)
	}
	defer it.Close()
	if !it.First() {
		return 0, errors.Join(fmt.Errorf("read due key: %w", ErrNotFound), it.Error())
	}
	_, written, err := readDueEntry(it)
	return written, err
}

// whereIs finds an item's due key.
func (s *Store) whereIs(id ID, n uint16) (at dueAt, live bool, err error) {
	h, _, err := s.readMessage(id, false)
	if errors.Is(err, ErrNotFound) {
		return at, false, nil
	}
	if err != nil {
		return at, false, err
	}
	if int(n) >= len(h.domains) {
		return at, false, fmt.Errorf("find item of %s: %w: no share %d", id, errCorrupt, n)
	}
	shares, err := s.readShares(id)
	if err != nil {
		return at, false, err
	}
	at = dueAt{h.due0, id.Epoch, id.Seq, n, 0}
	if sh, ok := shares[n]; ok {
		at.due, at.rev = sh.due, sh.rev
		return at, !sh.ended, nil
	}
	return at, true, nil
}

// unreserve gives reserved items back.
func (s *Store) unreserve(g *tlog, es []*entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index.logs[g.tenant] != g {
		return
	}
	for _, e := range es {
		s.index.makeReady(e)
		s.index.place(g, e.lane)
	}
	s.poke()
}

// cancelAll ends reserved items and waits for it. It returns how many messages
// ended with them.
func (s *Store) cancelAll(es []*entry) (ended int, err error) {
	results := make(chan *ending, len(es))
	n := 0
	for _, e := range es {
		s.mu.Lock()
		g := s.index.logs[e.lane.key.Tenant]
		s.mu.Unlock()
		if g == nil {
			err = ErrStale
			continue
		}
		it := s.fill(g, e)
		if it == nil {
			continue
		}
		x := Settlement{Item: it}
		for _, r := range it.Rcpts {
			x.Outcomes = append(x.Outcomes, Outcome{Rcpt: r, Result: Cancelled})
		}
		op := &ending{x: x, log: g, e: e}
		op.tell = func(error) { results <- op }
		s.mu.Lock()
		e.phase = phaseSettled
		s.mu.Unlock()
		if !s.queue.add(op) {
			return ended, errClosed
		}
		n++
	}
	for range n {
		op := <-results
		if op.err != nil {
			err = op.err
		} else if op.last {
			ended++
		}
	}
	return ended, err
}

const purgeChunk = 256

// Purge cancels what matches and returns how many messages that is. With a
// domain only the recipients there are cancelled; those elsewhere stay. What is
// being attempted is left alone. It goes in small steps and holds nobody up.
func (s *Store) Purge(f Filter) (int, error) {
	if err := s.broken(); err != nil {
		return 0, err
	}
	var lanes []Lane
	if err := s.eachLane(&f, func(l Lane) error { lanes = append(lanes, l); return nil }); err != nil {
		return 0, err
	}
	total := 0
	for _, l := range lanes {
		n, err := s.purgeLane(l, f.Domain != "")
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func (s *Store) purgeLane(l Lane, items bool) (total int, err error) {
	s.mu.Lock()
	g := s.index.logs[l.Tenant]
	s.mu.Unlock()
	if g == nil {
		return 0, nil
	}
	// What is put or deferred from now on stays.
	end := s.now()
	var pos dueAt
	for more := true; more; {
		var batch []dueAt
		batch, more, err = s.dueBehind(l, pos, end)
		if err != nil {
			return total, err
		}
		var taken []*entry
		for _, at := range batch {
			pos = at
			pos.rev++
			id := ID{l.Tenant, at.epoch, at.seq}
			h, _, err := s.readMessage(id, false)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				s.cfg.Log.Error("queued message unreadable; left alone", "id", id.String(), "err", err)
				continue
			}
			e, err := s.reserve(g, id, h, at.n)
			if errors.Is(err, ErrLeased) {
				continue
			}
			if err != nil {
				s.unreserve(g, taken)
				return total, err
			}
			if e != nil {
				taken = append(taken, e)
			}
		}
		ended, err := s.cancelAll(taken)
		if items {
			ended = len(taken)
		}
		total += ended
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// dueBehind reads the next due keys of a lane that were written before end.
func (s *Store) dueBehind(l Lane, pos dueAt, end int64) (batch []dueAt, more bool, err error) {
	prefix := lanePrefix(nil, l)
	it, err := s.newIter(appendDueTail(prefix[:len(prefix):len(prefix)], pos), after(prefix))
	if err != nil {
		return nil, false, fmt.Errorf("read lane: %w", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		at, written, err := readDueEntry(it)
		if err != nil {
			return nil, false, err
		}
		if written > end {
			continue
		}
		if len(batch) == purgeChunk {
			return batch, true, nil
		}
		batch = append(batch, at)
	}
	if err := it.Error(); err != nil {
		return nil, false, fmt.Errorf("read lane: %w", err)
	}
	return batch, false, nil
}
