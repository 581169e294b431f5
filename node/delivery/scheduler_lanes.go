package delivery

import (
	"time"

	"postern/node/queue"
	"postern/tenant"
)

// lane is a line of due mail the store handed out and has not been told is
// drained. It is somewhere at any time: stopped, being looked up, or at a target.
type lane struct {
	key     queue.Lane
	stand   standing
	lookup  *lookup // while its domain is being resolved
	site    *site
	primary *part
	others  []*part // retries of another day that keep another source
	held    int     // items in memory, not being attempted
	more    bool    // the store may have more due
	loading bool    // a courier is taking from the store
	again   bool    // more fell due while loading
	recall  bool    // to be admitted anew once loading ended
	until   time.Time
}

// dayOf numbers the days on which a pool's members change hands.
func dayOf(t time.Time) int64 { return t.Unix() / (24 * 60 * 60) }

// arrive takes in lanes that fell due.
func (s *scheduler) arrive(keys []queue.Lane) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		l := s.lanes[key]
		if l == nil {
			l = &lane{key: key, more: true}
			s.lanes[key] = l
			s.admit(l, now)
			continue
		}
		l.more = true
		if l.loading {
			l.again = true
		} else if l.primary != nil {
			l.primary.enqueue()
			s.wake(l.primary.ready.target, now)
		}
	}
}

// admit finds out whether and where a lane may be attempted.
func (s *scheduler) admit(l *lane, now time.Time) {
	delete(s.stopped, l)
	delete(s.halted, l)
	l.site = nil // of an earlier standing or route
	l.stand = s.view.of(s.cfg.State(), s.cfg.Node(), l.key)
	if l.stand.removed && !s.closing {
		s.put(l, s.removedTarget(l.key.Account), now)
		return
	}
	if l.stand.why != "" || s.closing {
		s.stopped[l] = struct{}{}
		return
	}
	s.locate(l, now)
}

// halt keeps a lane from being attempted until then.
func (s *scheduler) halt(l *lane, until time.Time) {
	s.empty(l)
	l.more, l.until = true, until
	s.stopped[l] = struct{}{}
	s.halted[l] = struct{}{}
	s.nudge()
}

// place puts a lane at the target its domain resolved to.
func (s *scheduler) place(l *lane, found *site, fault *routeError, now time.Time) {
	var t *target
	if fault != nil {
		t = s.faultTarget(l.key.Domain, fault)
	} else {
		l.site = found
		t = s.target(tenant.Member(l.stand.sources, l.key.Tenant, dayOf(now)), found)
	}
	s.put(l, t, now)
}

// put makes a lane wait at its target, in the store while the target rests.
func (s *scheduler) put(l *lane, t *target, now time.Time) {
	if now.Before(t.until) {
		if _, ours := t.parked[l.key]; !ours || !s.spool.Flushed(l.key) {
			s.park(l, t)
			return
		}
		t.until = time.Time{} // the operator wants tried what was put aside
	}
	delete(t.parked, l.key)
	l.primary = s.partAt(l, t)
	l.primary.enqueue()
	s.wake(t, now)
}

// partAt finds or makes the lane's part at a target.
func (s *scheduler) partAt(l *lane, t *target) *part {
	if l.primary != nil && l.primary.ready.target == t {
		return l.primary
	}
	for _, p := range l.others {
		if p.ready.target == t {
			return p
		}
	}
	t.refs++
	p := &part{lane: l, ready: t.ready(l.key.Tenant)}
	if l.primary != nil {
		l.others = append(l.others, p)
	}
	return p
}

// empty gives a lane's items back and takes it away from its targets.
func (s *scheduler) empty(l *lane) {
	l.lookup = nil
	if l.primary != nil {
		s.bury(l.primary)
	}
	for _, p := range l.others {
		s.bury(p)
	}
	l.primary, l.others, l.held = nil, nil, 0
}

// bury gives a part's items back and ends it.
func (s *scheduler) bury(p *part) {
	r, t := p.ready, p.ready.target
	var back []*queue.Item
	for p.items.len() > 0 {
		back = append(back, p.items.pop())
	}
	for range r.doubt.len() {
		d := r.doubt.pop()
		if d.part == p {
			back = append(back, d.item)
		} else {
			r.doubt.push(d)
		}
	}
	t.items -= len(back)
	if p.queued {
		r.parts--
		t.parts--
	}
	p.queued, p.dead = false, true
	t.refs--
	if len(back) > 0 {
		s.spool.GiveBack(back...)
	}
}

// park puts a lane aside until its target's rest ends.
func (s *scheduler) park(l *lane, t *target) {
	s.forget(l)
	t.parked[l.key] = struct{}{}
	s.spool.Park(l.key, t.until)
}

// forget drops a lane; its items are given back.
func (s *scheduler) forget(l *lane) {
	s.empty(l)
	delete(s.lanes, l.key)
	delete(s.stopped, l)
	delete(s.halted, l)
}

// retire drops a lane that is drained.
func (s *scheduler) retire(l *lane) {
	if !l.more && l.held == 0 && !l.loading && l.lookup == nil && s.lanes[l.key] == l {
		s.forget(l)
	}
}

// putBack returns an item that was not attempted, to be the next one tried.
func (s *scheduler) putBack(j job, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := j.part
	l := p.lane
	if !p.dead && s.lanes[l.key] == l && !s.closing {
		p.items.unshift(j.item)
		l.held++
		p.ready.target.items++
		p.enqueue()
		s.wake(p.ready.target, now)
		return
	}
	s.giveBack(j.item, now)
}

// giveBack ends an item's lease and makes sure its lane is looked at again.
func (s *scheduler) giveBack(it *queue.Item, now time.Time) {
	s.spool.GiveBack(it)
	if s.closing {
		return
	}
	l := s.lanes[it.Lane]
	if l == nil {
		l = &lane{key: it.Lane, more: true}
		s.lanes[it.Lane] = l
		s.admit(l, now)
		return
	}
	l.more = true
	if l.loading {
		l.again = true
	} else if l.primary != nil {
		l.primary.enqueue()
		s.wake(l.primary.ready.target, now)
	}
}
