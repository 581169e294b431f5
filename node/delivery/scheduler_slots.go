package delivery

import (
	"time"

	"postern/tenant"
)

// connect opens a session for a ready queue, or lets it wait for its turn at
// the provider's budget or the node's connections. It reports whether one was opened.
func (s *scheduler) connect(r *ready, now time.Time) bool {
	t := r.target
	b := t.budget
	if s.closing || r.inBudget || r.inNode {
		return false
	}
	if b.full() || b.conns.wait(now) > 0 || now.Before(b.until) {
		b.waiting.push(r.tenant, r)
		r.inBudget = true
		s.pending[b] = struct{}{}
		s.nudge()
		if b.full() && b.evicting < b.waiting.len() {
			b.evicting += s.evict(b.idle, t)
		}
		return false
	}
	if !s.roomFor(r.tenant) {
		s.waiting.push(r.tenant, r)
		r.inNode = true
		if s.open >= s.cfg.MaxConns {
			s.evict(s.idle, t)
		}
		return false
	}
	b.conns.take(now)
	b.open++
	t.open++
	t.progress = now
	s.open++
	s.opened[r.tenant]++
	s.m.open.WithLabelValues(b.name).Inc()
	c := &courier{s: s, t: t, tenant: r.tenant, woken: make(chan struct{}, 1)}
	s.couriers.Go(c.run)
	return true
}

// roomFor reports whether the node has a connection for the tenant: as many as
// it has open must still be free, so that one tenant's slow sites never take
// the last connection from the others.
func (s *scheduler) roomFor(t tenant.ID) bool {
	free := s.cfg.MaxConns - s.open
	return free > 0 && (s.opened[t] < free || s.opened[t] == 0)
}

// evict sends one idle session of another target home to make room for t. It
// returns how many went.
func (s *scheduler) evict(idle map[*courier]struct{}, t *target) int {
	for c := range idle {
		if c.evicted || c.t == t {
			continue
		}
		c.evicted = true
		s.wakeOne(c)
		return 1
	}
	return 0
}

// needed reports whether another target than t waits for a connection of b.
// Those that no longer need one stop waiting.
func (s *scheduler) needed(b *budget, t *target, now time.Time) bool {
	for range b.waiting.len() {
		r, _ := b.waiting.pop(anyone)
		if r.empty() || !r.target.wants(now) {
			r.inBudget = false
			continue
		}
		b.waiting.push(r.tenant, r)
		if r.target != t {
			return true
		}
	}
	return false
}

// grant passes free connections of a budget on to who waits, tenants in turn.
func (s *scheduler) grant(b *budget, now time.Time) {
	for range b.waiting.len() {
		if b.full() || b.conns.wait(now) > 0 || now.Before(b.until) {
			break
		}
		r, _ := b.waiting.pop(anyone)
		r.inBudget = false
		s.serve(r, now)
	}
	if b.waiting.len() == 0 {
		delete(s.pending, b)
	}
}

// grantNode passes free connections of the node on.
func (s *scheduler) grantNode(now time.Time) {
	for range s.waiting.len() {
		r, ok := s.waiting.pop(s.roomFor)
		if !ok {
			return
		}
		r.inNode = false
		s.serve(r, now)
	}
}

// serve opens a session for a ready queue that waited, if it still needs one.
func (s *scheduler) serve(r *ready, now time.Time) {
	if !r.empty() && r.target.wants(now) {
		s.connect(r, now)
	}
}

// leave ends a courier's session: its places go to who waits longest, then to
// its own target.
func (s *scheduler) leave(c *courier) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	t, b := c.t, c.t.budget
	if c.evicted && b.evicting > 0 {
		b.evicting--
	}
	s.release(c)
	t.open--
	b.open--
	s.open--
	if s.opened[c.tenant]--; s.opened[c.tenant] == 0 {
		delete(s.opened, c.tenant)
	}
	s.m.open.WithLabelValues(b.name).Dec()
	s.grant(b, now)
	s.grantNode(now)
	s.grow(t, now)
}

// borrow takes a place in the budget of a fallback host that belongs to another
// provider than the site's best host. It reports false when there is none.
func (s *scheduler) borrow(c *courier, h host) bool {
	site := &site{Key: h.Name, Hosts: []host{h}}
	group, name, limits := s.cfg.Shaping.group(site)
	key := budgetKey{c.t.key.source, group}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.t.site == nil || c.t.site.Route || name == c.t.budget.name {
		return true
	}
	b := s.budget(key, name, limits)
	if b.full() || now.Before(b.until) || b.conns.take(now) > 0 {
		return false
	}
	b.open++
	c.borrowed = b
	return true
}

// release gives a borrowed place back. mu is held.
func (s *scheduler) release(c *courier) {
	if b := c.borrowed; b != nil {
		c.borrowed = nil
		b.open--
		s.grant(b, time.Now())
	}
}
