package queue

import (
	"errors"
	"slices"
	"time"

	"postern/tenant"
)

// Mirrors tells how the copies of all adopted tenants stand.
func (s *Store) Mirrors() map[tenant.ID]MirrorStatus {
	all := map[tenant.ID]MirrorStatus{}
	if s.ship == nil {
		return all
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ship.mu.Lock()
	defer s.ship.mu.Unlock()
	now := time.Now()
	for t, g := range s.index.logs {
		all[t] = g.out.status(now)
	}
	return all
}

func (st *stream) status(now time.Time) MirrorStatus {
	m := MirrorStatus{Generation: st.generation, Node: st.node, Synced: st.set && st.synced, Left: st.left}
	if st.set && st.node == "" {
		return m
	}
	if i := slices.IndexFunc(st.recs, func(o *outgoing) bool { return !o.durable }); i >= 0 {
		m.Behind = now.Sub(st.recs[i].began)
	}
	switch {
	case !st.brokenAt.IsZero():
		m.Broken = now.Sub(st.brokenAt)
	case st.link != nil && !st.link.up:
		m.Broken = now.Sub(st.link.down)
	}
	return m
}

// OneCopy counts the messages queued here that no second node surely keeps.
func (s *Store) OneCopy() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.index.logs {
		if s.ship == nil {
			n += g.counts.Messages
			continue
		}
		s.ship.mu.Lock()
		if st := g.out; !st.set || st.node == "" {
			n += g.counts.Messages
		} else if !st.synced {
			n += min(max(st.left, 0), g.counts.Messages)
		}
		s.ship.mu.Unlock()
	}
	return n
}

// MirrorsChanged returns a channel that is closed at the next change of a
// Broken, Synced or long Behind.
func (s *Store) MirrorsChanged() <-chan struct{} {
	if s.ship == nil {
		return nil
	}
	s.ship.mu.Lock()
	defer s.ship.mu.Unlock()
	return s.ship.changed
}

// longBehind is how old a record without the holder's word must be to be told.
const longBehind = 2 * time.Second

// watch announces what changes by time alone, and asks busy holders again.
func (p *ship) watch() {
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		tick.Reset(untilBeat(500 * time.Millisecond))
		select {
		case <-p.ctx.Done():
			return
		case now := <-tick.C:
			p.look(now)
		}
	}
}

func (p *ship) look(now time.Time) {
	s := p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	changed := false
	for _, g := range s.index.logs {
		st := g.out
		if st.state == streamRefused && errors.Is(st.reason, ErrBusy) && st.link.up {
			st.link.reopen(g)
		}
		m := st.status(now)
		broken, late := m.Broken > 0, m.Behind > longBehind
		changed = changed || broken != st.broken || late != st.late
		st.broken, st.late = broken, late
	}
	if changed {
		p.announce()
	}
}
