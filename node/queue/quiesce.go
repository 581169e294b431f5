package queue

import (
	"context"
	"errors"
	"slices"
	"time"

	"postern/tenant"
)

// quietEvery is how often Quiesce looks: it is rare, and every settlement may be
// the one it waits for.
const quietEvery = 2 * time.Millisecond

// errResting says that the tenant is being handed over.
var errResting = errors.New("tenant is being handed over")

// Quiesce stops Take and Put for a tenant, waits until ctx ends for attempts
// under way, and until the mirror has everything. It returns the last sequence
// and the sequences of this epoch's messages whose dot still has no reply; to the
// holder those of older epochs are in doubt as well. Resume, Release or the end
// of the process end it.
func (s *Store) Quiesce(ctx context.Context, t tenant.ID) (last uint64, waiting []uint64, err error) {
	if err := s.broken(); err != nil {
		return 0, nil, err
	}
	s.mu.Lock()
	g := s.index.logs[t]
	if g == nil {
		s.mu.Unlock()
		return 0, nil, ErrStale
	}
	if !g.rest {
		g.rest, g.resume = true, make(chan struct{})
		for _, l := range g.lanes {
			s.index.place(g, l)
		}
	}
	aside := g.aside // of an earlier Quiesce
	g.aside, g.noDots = nil, false
	s.mu.Unlock()
	for _, x := range aside {
		s.Settle(x.x, x.tell)
	}
	if err := s.untilQuiet(ctx, g, func() bool { return g.putting == 0 && g.leased() == 0 }); err != nil {
		return 0, nil, err
	}
	s.mu.Lock()
	if s.index.logs[t] != g || !g.rest {
		s.mu.Unlock()
		return 0, nil, ErrStale
	}
	if g.putting > 0 { // their clients still wait for an answer
		s.mu.Unlock()
		return 0, nil, errors.Join(ctx.Err(), errResting)
	}
	g.noDots = true
	s.mu.Unlock()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) { // the attempts had their time, the disk and the holder need theirs
		over, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.limits.word)
		defer cancel()
		ctx = over
	}
	// What is settled from now on is put aside: this is the log's end.
	if err := s.untilQuiet(ctx, g, func() bool { return g.settling() == 0 }); err != nil {
		return 0, nil, err
	}
	s.mu.Lock()
	for _, e := range g.entries {
		if e.at.epoch == g.epoch && e.phase == phaseLeased && (e.started != nil || e.starting) {
			waiting = append(waiting, e.at.seq)
		}
	}
	last = g.seq
	s.mu.Unlock()
	slices.Sort(waiting)
	return last, slices.Compact(waiting), s.untilCopied(ctx, g)
}

// settling counts the items whose settlement is on its way to disk. The caller
// holds the store's lock.
func (g *tlog) settling() (n int) {
	for _, e := range g.entries {
		if e.phase == phaseSettled {
			n++
		}
	}
	return n
}

// leased counts the items that callers of Take hold, or settled just now. The
// caller holds the store's lock.
func (g *tlog) leased() (n int) {
	for _, e := range g.entries {
		if e.phase == phaseLeased || e.phase == phaseSettled {
			n++
		}
	}
	return n
}

// untilQuiet waits until the condition holds, or ctx ends; that is no error.
func (s *Store) untilQuiet(ctx context.Context, g *tlog, quiet func() bool) error {
	tick := time.NewTimer(quietEvery)
	defer tick.Stop()
	for {
		s.mu.Lock()
		done := quiet() || s.index.logs[g.tenant] != g
		s.mu.Unlock()
		if done {
			return nil
		}
		tick.Reset(quietEvery)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		case <-s.dead:
			return s.broken()
		}
	}
}

// untilCopied waits until the holder has everything durably.
func (s *Store) untilCopied(ctx context.Context, g *tlog) error {
	if s.ship == nil {
		return nil
	}
	s.mu.Lock()
	s.ship.mu.Lock()
	var o *outgoing
	if n := len(g.out.recs); n > 0 {
		o = g.out.recs[n-1]
	}
	s.ship.mu.Unlock()
	s.mu.Unlock()
	return s.wait(ctx, o)
}

// Resume takes a Quiesce back.
func (s *Store) Resume(t tenant.ID) error {
	s.mu.Lock()
	g := s.index.logs[t]
	if g == nil {
		s.mu.Unlock()
		return ErrStale
	}
	if !g.rest {
		s.mu.Unlock()
		return nil
	}
	aside := g.aside
	g.aside = nil
	g.rest, g.noDots = false, false
	close(g.resume)
	for _, l := range g.lanes {
		s.index.place(g, l)
	}
	s.mu.Unlock()
	s.poke()
	for _, x := range aside {
		s.Settle(x.x, x.tell)
	}
	return nil
}
