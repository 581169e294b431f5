package queue

import (
	"github.com/cockroachdb/pebble/v2"

	"postern/tenant"
)

// Release stops all work for the tenant; leased items are given back. What was
// started and not settled is in doubt for whoever adopts the tenant next.
func (s *Store) Release(t tenant.ID) error {
	if err := s.broken(); err != nil {
		return err
	}
	s.owning.Lock()
	defer s.owning.Unlock()
	s.mu.Lock()
	g := s.index.logs[t]
	s.mu.Unlock()
	if g == nil {
		return nil
	}
	return s.release(g)
}

// release waits for puts under way, then lets the committer, which has all
// settlements behind it by then, take the log out of memory. Whoever adopts the
// tenant next finds everything on disk.
func (s *Store) release(g *tlog) error {
	s.mu.Lock()
	g.closing, g.quiet = true, make(chan struct{})
	if g.rest {
		g.rest = false
		close(g.resume)
	}
	if g.out != nil {
		select {
		case <-g.out.leaving:
		default:
			close(g.out.leaving)
		}
	}
	if g.putting == 0 {
		close(g.quiet)
	}
	quiet := g.quiet
	s.mu.Unlock()
	select {
	case <-quiet:
	case <-s.dead:
		return s.broken()
	}
	done := make(chan error, 1)
	if !s.queue.add(&ending{stop: g, tell: func(err error) { done <- err }}) {
		return errClosed
	}
	if err := <-done; err != nil {
		return err
	}
	s.giveUp(g)
	s.hold.giveBack(g.tenant)
	return nil
}

// writeRelease keeps the starts that will be in doubt: those whose settlement is
// not in the same batch. One that comes later finds the log gone.
func (s *Store) writeRelease(b *pebble.Batch, g *tlog, batch []*ending) error {
	ended := map[*entry]bool{}
	for _, op := range batch {
		if op.stop == nil && op.err == nil {
			ended[op.e] = true
		}
	}
	if g.noDots && g.open.Load() { // in good order: there is nothing to return
		if err := s.setReturned(b, g.tenant, g.epoch); err != nil {
			return err
		}
	}
	type started struct {
		id  ID
		n   uint16
		rev uint32
	}
	var list []started
	s.mu.Lock()
	for _, e := range g.entries {
		if e.started != nil && (e.phase == phaseLeased || e.phase == phaseSettled) && !ended[e] {
			list = append(list, started{e.msg.id, e.at.n, e.at.rev})
		}
	}
	s.mu.Unlock()
	for _, x := range list {
		if err := s.doubt(b, x.id, x.n, x.rev); err != nil {
			return err
		}
	}
	return nil
}

// endRelease takes the log out of the index. The caller holds mu.
func (s *Store) endRelease(g *tlog) (started []*startFile) {
	if s.index.logs[g.tenant] != g {
		return nil
	}
	s.leaveOpen(g)
	for _, e := range g.entries {
		if e.started != nil {
			started = append(started, e.started)
			e.started = nil
		}
	}
	for _, buf := range s.index.removeLog(g) {
		buf.release()
	}
	return started
}
