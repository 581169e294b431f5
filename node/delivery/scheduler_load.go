package delivery

import (
	"errors"
	"time"

	"postern/node/queue"
	"postern/tenant"
)

// load takes the next window of a lane. The caller set loading; mu is not held.
func (s *scheduler) load(l *lane) {
	items, more, err := s.spool.Take(l.key, window)
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	l.loading = false
	l.more = more || l.again
	l.again = false
	switch {
	case s.lanes[l.key] != l:
		s.spool.GiveBack(items...)
	case errors.Is(err, queue.ErrStale):
		// Released: whoever owns the tenant now takes it from its own log.
		s.forget(l)
	case err != nil:
		s.cfg.Log.Error("take due mail failed", "tenant", uint64(l.key.Tenant), "account", uint64(l.key.Account), "err", err)
		s.spool.GiveBack(items...)
		s.halt(l, now.Add(time.Second))
	case l.recall || l.primary == nil || s.closing:
		s.spool.GiveBack(items...)
		l.recall = false
		s.empty(l)
		l.more = true
		s.admit(l, now)
	case now.Before(l.primary.ready.target.until):
		s.spool.GiveBack(items...)
		s.park(l, l.primary.ready.target)
	default:
		s.distribute(l, items, now)
	}
}

// distribute puts loaded items into the parts they leave by.
func (s *scheduler) distribute(l *lane, items []*queue.Item, now time.Time) {
	home := l.primary.ready.target
	if l.site != nil {
		// The day may have changed since the lane was placed.
		home = s.target(tenant.Member(l.stand.sources, l.key.Tenant, dayOf(now)), l.site)
		if p := s.partAt(l, home); p != l.primary {
			s.moveHome(l, p)
		}
	}
	for _, it := range items {
		t := home
		if l.site != nil && len(l.stand.sources) > 1 {
			t = s.target(tenant.Member(l.stand.sources, l.key.Tenant, dayOf(it.Envelope.Arrived)), l.site)
		}
		p := s.partAt(l, t)
		t.items++
		l.held++
		if it.InDoubt {
			p.ready.doubt.push(doubtful{it, p, now})
			p.ready.stand()
		} else {
			p.items.push(it)
			p.enqueue()
		}
		if t != home {
			s.wake(t, now)
		}
	}
	l.primary.enqueue()
	s.dropSpent(l)
	s.wake(home, now)
	s.retire(l)
}

// moveHome makes p the lane's primary part.
func (s *scheduler) moveHome(l *lane, p *part) {
	old := l.primary
	for i, o := range l.others {
		if o == p {
			l.others[i] = old
		}
	}
	l.primary = p
}

// dropSpent ends parts of other days that have nothing left.
func (s *scheduler) dropSpent(l *lane) {
	kept := l.others[:0]
	for _, p := range l.others {
		if p.items.len() == 0 && !p.queued && !p.ready.doubts(p) {
			s.bury(p)
		} else {
			kept = append(kept, p)
		}
	}
	l.others = kept
}

// doubts reports whether an item in doubt of p waits.
func (r *ready) doubts(p *part) bool {
	for _, d := range r.doubt.items[r.doubt.head:] {
		if d.part == p {
			return true
		}
	}
	return false
}
