package queue

import (
	"container/heap"
	"context"
	"fmt"
	"time"
)

const (
	waitLanes = 256 // the most lanes one Wait returns
	takenMore = 16  // the most items one Take gives while limits.taken is passed
)

// Wait blocks until some lane has mail due now or until ctx ends, and returns
// lanes not returned before that became due since; each lane is returned once
// until Take reported it drained.
func (s *Store) Wait(ctx context.Context) ([]Lane, error) {
	for {
		if err := s.broken(); err != nil {
			return nil, err
		}
		lanes, next := s.dueLanes()
		if len(lanes) > 0 {
			return lanes, nil
		}
		if err := s.sleep(ctx, next); err != nil {
			return nil, err
		}
	}
}

// sleep waits until next, a poke, or the end.
func (s *Store) sleep(ctx context.Context, next int64) error {
	var timer <-chan time.Time
	if next != never {
		// Never longer than a minute: the wall clock may be set meanwhile.
		d := min(time.Duration(max(next-s.now(), 0))*time.Microsecond, time.Minute)
		t := time.NewTimer(d + time.Microsecond)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.dead:
		return s.broken()
	case <-s.wake:
	case <-timer:
	}
	return nil
}

func (s *Store) dueLanes() (lanes []Lane, next int64) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	x := &s.index
	for len(x.heap) > 0 && len(lanes) < waitLanes {
		l := x.heap[0]
		if next = l.next(); next > now {
			return lanes, next
		}
		heap.Pop(&x.heap)
		l.announced = true
		lanes = append(lanes, l.key)
	}
	if len(x.heap) > 0 {
		s.poke() // for another caller, and for the next call
		return lanes, x.heap[0].next()
	}
	return lanes, never
}

// Take leases up to max due items of a lane, oldest due first; fewer when very
// many messages are in memory. more says that further items are due now. When more is false the lane is drained: Wait
// returns it again as soon as something in it falls due.
func (s *Store) Take(l Lane, max int) (items []*Item, more bool, err error) {
	if err := s.broken(); err != nil {
		return nil, false, err
	}
	now := s.now()
	var taken []*entry
	s.mu.Lock()
	g := s.index.logs[l.Tenant]
	if g == nil || g.lanes[l] == nil {
		s.mu.Unlock()
		return nil, false, nil
	}
	ln := g.lanes[l]
	if g.rest { // Resume brings the lane back to Wait
		ln.announced = false
		s.index.place(g, ln)
		s.mu.Unlock()
		return nil, false, nil
	}
	if s.index.messages > s.limits.taken {
		max = min(max, takenMore)
	}
	for len(taken) < max {
		first := int64(never)
		if len(ln.ready) > 0 {
			first = ln.ready[0].due
		}
		if ln.disk <= now && ln.disk <= first && !ln.scanning {
			if err = s.scan(g, ln, max-len(taken), now); err != nil || s.index.logs[l.Tenant] != g {
				break
			}
			continue
		}
		if first > now && ln.flush.on && !ln.scanning {
			if err = s.flushScan(g, ln, max-len(taken)); err != nil || s.index.logs[l.Tenant] != g {
				break
			}
			continue
		}
		if first > now {
			break
		}
		e := ln.ready[0]
		s.index.unready(e)
		e.phase = phaseLeased
		taken = append(taken, e)
	}
	if s.index.logs[l.Tenant] != g { // released while the disk was read
		s.mu.Unlock()
		return nil, false, err
	}
	more = ln.due() <= now
	if !more || err != nil {
		ln.announced = false
		s.index.place(g, ln)
	}
	s.mu.Unlock()
	if err != nil {
		s.unreserve(g, taken)
		return nil, false, err
	}
	for _, e := range taken {
		if it := s.fill(g, e); it != nil {
			items = append(items, it)
		}
	}
	return items, more, nil
}

// scan brings the lane's next due keys into memory. The caller holds mu, which
// is let go while the disk is read; settlements and puts of that time that
// could be missed or seen twice wait in the lane for its end.
func (s *Store) scan(g *tlog, l *lane, want int, now int64) error {
	l.scanning = true
	from, n := l.cursor, s.window(want)
	s.mu.Unlock()
	found, next, err := s.readDue(l, from, n, now)
	s.mu.Lock()
	if err == nil && s.index.logs[g.tenant] == g {
		l.disk = never
		if next != nil {
			l.cursor, l.disk = *next, next.due
		} else if len(found) > 0 {
			l.cursor = found[len(found)-1]
			l.cursor.rev++
		}
		s.admit(g, l, found, never)
	}
	s.endScan(g, l)
	return err
}

// window is how many due keys a scan for want items brings into memory. With
// much there already it is no more than those: a thousand lanes with a whole
// window each would be the largest part of the process. The caller holds mu.
func (s *Store) window(want int) int {
	if s.index.ready > s.limits.ready/4 {
		return want
	}
	return max(want, s.limits.scan)
}

// admit makes scanned items takeable that are not in memory already.
func (s *Store) admit(g *tlog, l *lane, found []dueAt, due int64) {
	for _, at := range found {
		if _, held := g.entries[at.key()]; held {
			continue
		}
		e := &entry{at: at, due: min(at.due, due), lane: l}
		s.index.hold(g, e)
		s.index.makeReady(e)
	}
}

// endScan carries out what waited for the end of a scan.
func (s *Store) endScan(g *tlog, l *lane) {
	l.scanning = false
	gone, later := l.gone, l.later
	l.gone, l.later = nil, nil
	if s.index.logs[g.tenant] != g {
		return // all of it was forgotten meanwhile
	}
	for _, e := range gone {
		s.leave(g, e)
	}
	for _, at := range later {
		l.lower(at)
	}
}

// readDue reads up to n due keys from a position on, and where the lane goes on
// behind them; nil when it does not.
func (s *Store) readDue(l *lane, from dueAt, n int, now int64) (found []dueAt, next *dueAt, err error) {
	it, err := s.newIter(appendDueTail(append([]byte(nil), l.prefix...), from), after(l.prefix))
	if err != nil {
		return nil, nil, fmt.Errorf("read lane: %w", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if len(it.Key()) != len(l.prefix)+dueTailLen {
			continue
		}
		at, _ := parseDueTail(it.Key())
		if at.due > now || len(found) == n {
			return found, &at, nil
		}
		found = append(found, at)
	}
	if err := it.Error(); err != nil {
		return nil, nil, fmt.Errorf("read lane: %w", err)
	}
	return found, nil, nil
}

// fill completes a leased entry's item. It gives nil when the item cannot be
// read: it is left alone then, loudly, and does not block its lane.
func (s *Store) fill(g *tlog, e *entry) *Item {
	if e.item != nil {
		return e.item
	}
	for {
		s.mu.Lock()
		if s.index.logs[g.tenant] != g {
			s.mu.Unlock()
			return nil
		}
		ends := g.ends
		id := ID{g.tenant, e.at.epoch, e.at.seq}
		m := g.msgs[id]
		s.mu.Unlock()
		m, sh, err := s.load(id, e.at, m)
		s.mu.Lock()
		if s.index.logs[g.tenant] != g {
			s.mu.Unlock()
			return nil
		}
		if err != nil {
			e.phase = phaseBroken
			s.mu.Unlock()
			s.metrics.corrupt.Inc()
			s.cfg.Log.Error("queued message unreadable; left alone", "id", id.String(), "err", err)
			return nil
		}
		if have := g.msgs[id]; have != nil {
			if have != m && m.buf != nil {
				m.buf.release()
				m.buf = nil
			}
			m = have
		} else if g.ends != ends {
			if m.buf != nil {
				m.buf.release()
				m.buf = nil
			}
			s.mu.Unlock()
			continue // what was read of its other items may be old
		}
		if m.refs == 0 && m.buf != nil && s.index.cached > s.limits.cached {
			m.buf.release() // Body reads it again when its turn comes
			m.buf, m.cost = nil, cacheCost(m.head, nil)
		}
		s.attach(g, e, m, sh)
		s.mu.Unlock()
		return e.item
	}
}

// attach joins a leased entry and its message. The caller holds mu.
func (s *Store) attach(g *tlog, e *entry, m *message, sh *shareState) {
	e.msg = m
	s.index.link(g, m)
	h := m.head
	it := &Item{ID: m.id, N: e.at.n, Lane: e.lane.key, Envelope: h.env, Due: fromMicro(e.at.due), InDoubt: e.inDoubt}
	if sh != nil {
		it.Rcpts, it.Attempts, it.Last, it.Delayed = sh.rcpts, sh.attempts, sh.last, sh.delayed
	} else {
		it.Rcpts = h.rcptsOf(e.at.n)
	}
	e.item = it
}

// load reads what an entry needs: its message, unless it is in memory, and its
// state, if it was attempted before.
func (s *Store) load(id ID, at dueAt, m *message) (*message, *shareState, error) {
	if m == nil {
		h, buf, err := s.readMessage(id, true)
		if err != nil {
			return nil, nil, err
		}
		if h.place == bodyChunk {
			buf.release()
			buf = nil
		}
		m = &message{id: id, head: h, buf: buf, cost: cacheCost(h, buf), live: len(h.domains)}
		if len(h.domains) > 1 {
			shares, err := s.readShares(id)
			if err != nil {
				return nil, nil, err
			}
			for n, sh := range shares {
				if sh.ended {
					m.end(n, sh.rev)
				}
			}
		}
	}
	if int(at.n) >= len(m.head.domains) {
		return nil, nil, fmt.Errorf("read item: %w: no share %d", errCorrupt, at.n)
	}
	if at.rev == 0 {
		return m, nil, nil
	}
	var sh *shareState
	err := s.get(revKey(nil, tabShare, id, at.n, at.rev), func(p []byte) (err error) {
		sh, err = readShare(p)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read item of %s: %w", id, err)
	}
	for _, r := range sh.rcpts {
		if r >= len(m.head.env.Rcpts) {
			return nil, nil, fmt.Errorf("read item of %s: %w: recipient %d", id, errCorrupt, r)
		}
	}
	return m, sh, nil
}

// end notes that an item of the message ended with the marker rev.
func (m *message) end(n uint16, rev uint32) {
	if m.ended == nil {
		m.ended = map[uint16]uint32{}
	}
	m.ended[n] = rev
	m.live--
}

// Park puts a lane aside until t: Wait does not return it before. For a
// destination that does not answer; costs the same for one message or a million.
func (s *Store) Park(l Lane, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.index.logs[l.Tenant]
	if g == nil || g.lanes[l] == nil {
		return
	}
	ln := g.lanes[l]
	ln.parked, ln.flushed, ln.announced = until.UnixMicro(), false, false
	s.index.place(g, ln)
	s.poke()
}

// Waiting counts what a lane holds, due or not, up to most. It may count too
// little: what lies behind the cursor is read, because before it are the graves
// of a long queue, and that is compared with what memory holds.
func (s *Store) Waiting(key Lane, most int) (n int, err error) {
	var at dueAt
	held := 0
	s.mu.Lock()
	if g := s.index.logs[key.Tenant]; g != nil && g.lanes[key] != nil {
		held, at = g.lanes[key].held, g.lanes[key].cursor
	} else {
		most = 0
	}
	s.mu.Unlock()
	if held >= most {
		return most, nil
	}
	prefix := lanePrefix(nil, key)
	it, err := s.newIter(appendDueTail(prefix[:len(prefix):len(prefix)], at), after(prefix))
	if err != nil {
		return 0, fmt.Errorf("count lane: %w", err)
	}
	defer it.Close()
	for ok := it.First(); ok && n < most; ok = it.Next() {
		n++
	}
	if err := it.Error(); err != nil {
		return 0, fmt.Errorf("count lane: %w", err)
	}
	return max(n, held), nil
}

// Flushed reports whether a flush brought the lane back since it was last
// parked. Wait may still hand out a lane that was parked meanwhile; this tells
// the two apart.
func (s *Store) Flushed(l Lane) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.index.logs[l.Tenant]
	return g != nil && g.lanes[l] != nil && g.lanes[l].flushed
}

// GiveBack ends the lease of items that were not attempted; they stay due.
func (s *Store) GiveBack(items ...*Item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range items {
		g, e := s.index.leased(it)
		if e == nil {
			delete(s.left.open, it)
			continue
		}
		s.index.makeReady(e)
		s.index.place(g, e.lane)
	}
	s.poke()
}
