package queue

import (
	"container/heap"
	"fmt"
)

// flushing is a lane's flush under way: a second scan, beyond the present, up
// to what was last due when the flush was asked for. It leaves the lane's
// cursor alone: what it brings into memory the first scan finds held or gone.
// It changes nothing on disk, so it costs the same for one message or a
// million; a restart forgets it.
type flushing struct {
	on  bool
	at  int64 // what was written after this was deferred since: not due
	end dueAt // last key
	pos dueAt // where to go on
}

// Flush makes matching items due now and unparks their lanes; it returns how
// many were not due before.
func (s *Store) Flush(f Filter) (int, error) {
	if err := s.broken(); err != nil {
		return 0, err
	}
	total := 0
	err := s.eachLane(&f, func(key Lane) error {
		now := s.now()
		n := 0
		var last dueAt
		err := s.eachDue(key, func(at dueAt, written int64) bool {
			if at.due > now && written <= now {
				n, last = n+1, at
			}
			return true
		})
		if err != nil {
			return err
		}
		if s.flushLane(key, now, n, last) {
			total += n
		}
		return nil
	})
	if err == nil {
		s.unpark(&f)
	}
	return total, err
}

// unpark lets matching lanes go whose mail has all left: what is put into them
// next must not wait for a rest the flush was to end.
func (s *Store) unpark(f *Filter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, g := range s.index.logs {
		if f.Tenant != 0 && f.Tenant != id {
			continue
		}
		for key, l := range g.lanes {
			if l.parked != 0 && f.lane(&key) {
				l.parked, l.flushed = 0, true
				s.index.place(g, l)
			}
		}
	}
	s.poke()
}

func (s *Store) flushLane(key Lane, now int64, n int, last dueAt) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.index.logs[key.Tenant]
	if g == nil {
		return false
	}
	l := g.lanes[key]
	if l == nil {
		return false // drained since
	}
	l.parked, l.flushed = 0, true
	if n > 0 {
		l.flush = flushing{on: true, at: now, end: last, pos: dueAt{due: now + 1}}
	}
	for _, e := range l.ready { // in doubt, waiting for the end of their grace
		e.due = min(e.due, now)
	}
	heap.Init(&l.ready)
	s.index.place(g, l)
	s.poke()
	return true
}

// flushScan brings the next keys of a flush into memory. The caller holds mu.
func (s *Store) flushScan(g *tlog, l *lane, want int) error {
	l.scanning = true
	f, n := l.flush, s.window(want)
	s.mu.Unlock()
	found, pos, end, err := s.readFlush(l, f, n)
	s.mu.Lock()
	if err == nil && s.index.logs[g.tenant] == g && l.flush.at == f.at {
		l.flush.pos, l.flush.on = pos, !end
		s.admit(g, l, found, f.at)
	}
	s.endScan(g, l)
	return err
}

func (s *Store) readFlush(l *lane, f flushing, n int) (found []dueAt, pos dueAt, end bool, err error) {
	it, err := s.newIter(appendDueTail(append([]byte(nil), l.prefix...), f.pos), after(l.prefix))
	if err != nil {
		return nil, pos, false, fmt.Errorf("read lane: %w", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		at, written, err := readDueEntry(it)
		if err != nil {
			return nil, pos, false, err
		}
		if f.end.before(at) {
			break
		}
		if len(found) == n {
			return found, at, false, nil
		}
		if written <= f.at {
			found = append(found, at)
		}
	}
	if err := it.Error(); err != nil {
		return nil, pos, false, fmt.Errorf("read lane: %w", err)
	}
	return found, pos, true, nil
}
