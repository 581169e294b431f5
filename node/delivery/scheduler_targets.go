package delivery

import (
	"strconv"
	"time"

	"postern/node/queue"
	"postern/tenant"
)

// targetKey names one source's way to one site.
type targetKey struct {
	source tenant.SourceID
	site   string
}

// target is one source's way to one site: what waits for it, its open
// sessions, and how it fares.
type target struct {
	key    targetKey
	source *tenant.Source // nil where there is no site
	addr   string         // of the source
	site   *site          // as last resolved
	dead   bool           // mail only waits here, or ends: fault says why; never changes
	fault  *routeError    // instead of a site
	budget *budget

	readies map[tenant.ID]*ready
	ring    fifo[*ready]
	items   int // in memory
	parts   int // in lines
	refs    int // parts that point here

	open     int
	idle     []*courier
	greeted  bool // a session was opened since the last failure
	cap      int  // learned: the site refused more connections than this
	capUntil time.Time
	progress time.Time // when an item was last taken

	faults   int         // broken transactions in a row
	failures int         // failed connections in a row
	until    time.Time   // it rests
	reply    queue.Reply // why it last had to
	parked   map[queue.Lane]struct{}
}

// maxFaults is how many transactions in a row may break off before the dot
// until the site counts as out of reach.
const maxFaults = 3

// stuckAfter is how long waiting items may see no progress before another
// connection is tried beside the busy ones.
const stuckAfter = time.Second

// target finds or makes a source's way to a site.
func (s *scheduler) target(src *tenant.Source, found *site) *target {
	key := targetKey{src.ID, found.Key}
	t := s.targets[key]
	if t == nil {
		group, name, limits := s.cfg.Shaping.group(found)
		t = &target{key: key, budget: s.budget(budgetKey{src.ID, group}, name, limits)}
		s.addTarget(t)
	}
	t.source, t.addr = src, src.Addr.String()
	if t.site == nil || !found.Until.Before(t.site.Until) {
		t.site = found
	}
	return t
}

// faultTarget is where the mail of a domain without a site meets its end, or
// waits for the next look-up.
func (s *scheduler) faultTarget(domain string, fault *routeError) *target {
	return s.deadEnd("fault:"+domain, fault)
}

// removedTarget is where a removed account's mail waits for its end: it never
// leaves any more, and it expires as if nothing could be reached.
func (s *scheduler) removedTarget(a tenant.AccountID) *target {
	return s.deadEnd("removed:"+strconv.FormatUint(uint64(a), 10), errRemoved)
}

var errRemoved = &routeError{Reply: queue.Reply{Enhanced: "4.7.0", Text: "the sending account was removed"}}

func (s *scheduler) deadEnd(site string, fault *routeError) *target {
	key := targetKey{site: site}
	t := s.targets[key]
	if t == nil {
		t = &target{key: key, dead: true, budget: s.budget(budgetKey{group: key.site}, providerOther, Limits{})}
		s.addTarget(t)
	}
	t.fault = fault
	return t
}

func (s *scheduler) addTarget(t *target) {
	t.readies, t.parked = map[tenant.ID]*ready{}, map[queue.Lane]struct{}{}
	t.budget.targets++
	s.targets[t.key] = t
}

func (s *scheduler) budget(key budgetKey, name string, l Limits) *budget {
	b := s.budgets[key]
	if b == nil {
		b = newBudget(key, name, l)
		s.budgets[key] = b
	}
	return b
}

// ready finds or makes a tenant's ready queue at the target.
func (t *target) ready(id tenant.ID) *ready {
	r := t.readies[id]
	if r == nil {
		r = &ready{tenant: id, target: t}
		t.readies[id] = r
	}
	return r
}

func (t *target) empty() bool { return t.items == 0 && t.parts == 0 }

// memory is how long failures are remembered after a rest.
func (t *target) memory() time.Duration {
	if t.failures == 0 {
		return 0
	}
	return time.Hour
}

// mayOpen reports whether one more session may be opened as far as the site is
// concerned: one until it greets, then as many as it takes.
func (t *target) mayOpen(now time.Time) bool {
	switch {
	case now.Before(t.until):
		return false
	case !t.greeted:
		return t.open == 0
	case t.cap > 0 && now.Before(t.capUntil):
		return t.open < t.cap
	}
	return true
}

// wants reports whether the target has work for one more session.
func (t *target) wants(now time.Time) bool {
	n := t.waiting()
	stuck := n > 0 && len(t.idle) == 0 && now.Sub(t.progress) > stuckAfter
	return (n > t.open || stuck) && t.mayOpen(now)
}

// wake lets idle sessions take what waits and opens more where it is allowed.
func (s *scheduler) wake(t *target, now time.Time) {
	n := t.waiting()
	if n == 0 {
		return
	}
	if _, known := s.working[t]; !known {
		s.working[t] = struct{}{}
		s.nudge()
	}
	for ; n > 0 && len(t.idle) > 0; n-- {
		s.wakeOne(t.idle[len(t.idle)-1])
	}
	s.grow(t, now)
}

// grow opens sessions for the tenants that wait at t, in turn.
func (s *scheduler) grow(t *target, now time.Time) {
	for range t.ring.len() {
		if !t.wants(now) {
			return
		}
		r := t.ring.pop()
		t.ring.push(r)
		for !r.empty() && t.wants(now) && s.connect(r, now) {
			if t.ring.len() > 1 {
				break
			}
		}
	}
}

// unstick is called from time to time while something waits at t.
func (s *scheduler) unstick(t *target, now time.Time) {
	if t.empty() {
		delete(s.working, t)
		return
	}
	s.wake(t, now)
}

// backOff leaves a target alone after a failure: its lanes are put aside in
// the store, their items given back; the expired ones among them end first.
// It returns those, to be settled by the caller without mu.
func (s *scheduler) backOff(t *target, reply queue.Reply, wait time.Duration, now time.Time) (expired []*queue.Item) {
	t.until = now.Add(jittered(wait, s.random()))
	t.greeted, t.faults, t.reply = false, 0, reply
	lanes := 0
	for _, r := range t.readies {
		for c := range r.classes {
			q := &r.classes[c]
			for p := q.pop(); p != nil; p = q.pop() {
				if p.dead {
					continue
				}
				p.queued = false
				r.parts--
				t.parts--
				expired = append(expired, s.sweep(p, now)...)
				if !p.primary() {
					// Another source may still reach the site: only what must
					// leave by this one waits, in memory.
					defer p.enqueue()
					continue
				}
				s.park(p.lane, t)
				lanes++
			}
		}
	}
	s.log.Rested(t, reply, wait, lanes)
	return expired
}

// sweep takes the items out of a part whose time is up.
func (s *scheduler) sweep(p *part, now time.Time) (expired []*queue.Item) {
	for range p.items.len() {
		it := p.items.pop()
		if s.over(it.Envelope, now) {
			expired = append(expired, it)
			p.lane.held--
			p.ready.target.items--
		} else {
			p.items.push(it)
		}
	}
	return expired
}

// over reports whether a message's time is up: when the wall clock and the
// state's clock both say so. mu is held.
func (s *scheduler) over(e *queue.Envelope, now time.Time) bool {
	if now.Before(e.Expires) {
		return false
	}
	st := s.cfg.State()
	limit := deadline(st, e)
	return !now.Before(limit) && !s.clock.now(st, now).Before(limit)
}
