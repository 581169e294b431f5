package queue

import (
	"fmt"
	"slices"
	"time"

	"postern/tenant"
)

// giveUp ends a log's stream: the log is released.
func (s *Store) giveUp(g *tlog) {
	if s.ship == nil {
		return
	}
	p := s.ship
	p.mu.Lock()
	defer p.mu.Unlock()
	st := g.out
	select {
	case <-st.stopped:
		return
	default:
	}
	close(st.stopped)
	st.detach(g)
	for _, o := range st.recs {
		p.drop(o)
	}
	st.recs = nil
	p.announce()
}

// detach takes a stream off its link. The caller holds the ship's lock.
func (st *stream) detach(g *tlog) {
	if st.link != nil && st.link.logs[g.tenant] == g {
		delete(st.link.logs, g.tenant)
		st.link.kick()
	}
	st.link, st.state, st.queued = nil, streamIdle, false
	st.session++
	st.reason, st.brokenAt = nil, time.Time{}
}

// Mirror sends the tenant's log to node from now on, under a generation the
// cluster has agreed on; "" keeps one copy. Records that nobody else has go
// before are sent again; older messages are compared and copied meanwhile.
// First is the first sequence the new holder gets live: see NextFirst. ends say
// how far this log took the older ones in: what the holder wrote itself behind
// its end it keeps until it is returned, what ended here before it drops.
func (s *Store) Mirror(t tenant.ID, epoch, generation uint64, node string, ends []tenant.End) error {
	if s.ship == nil {
		return errAlone
	}
	if err := s.broken(); err != nil {
		return err
	}
	if node == s.cfg.Peers.Node {
		return fmt.Errorf("mirror log: %s is this node", node)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.index.logs[t]
	if g == nil || g.epoch != epoch {
		return ErrStale
	}
	p := s.ship
	p.mu.Lock()
	defer p.mu.Unlock()
	st := g.out
	if st.set && generation == st.generation && node == st.node {
		return nil
	}
	if st.set && generation <= st.generation {
		return fmt.Errorf("mirror log: %w: generation %d after %d", ErrStale, generation, st.generation)
	}
	st.detach(g)
	st.set, st.node, st.generation, st.pin, st.ends = true, node, generation, 0, slices.Clone(ends)
	st.synced, st.left, st.walk = node == "", 0, 0
	for _, o := range st.recs {
		if o.kind == recSync { // a step of a walk that is over
			o.kind, o.err, o.parts = recOps, ErrStale, [2][]byte{}
		}
		o.received, o.durable = o.filled && node == "", o.filled && node == ""
		o.tell()
	}
	p.trim(st)
	if node != "" {
		st.link = p.linkTo(node)
		st.link.logs[t] = g
		st.state = streamOpening
		st.link.mark(g)
	}
	p.announce()
	s.cfg.Log.Info("mirror", "tenant", t, "epoch", epoch, "generation", generation, "node", node)
	return nil
}

// NextFirst is the first sequence a new holder would get live. What is behind
// it is kept until Mirror names that holder.
func (s *Store) NextFirst(t tenant.ID) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.index.logs[t]
	if g == nil {
		return 0
	}
	if s.ship == nil {
		return g.seq + 1
	}
	s.ship.mu.Lock()
	defer s.ship.mu.Unlock()
	g.out.pin = g.out.base()
	return g.out.pin
}

// base is the number of the oldest record kept.
func (st *stream) base() uint64 {
	if len(st.recs) > 0 {
		return st.recs[0].seq
	}
	return st.last + 1
}
