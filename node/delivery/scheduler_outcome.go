package delivery

import (
	"errors"
	"time"

	"postern/node/queue"
)

// errHalted says that the account was stopped, or the tenant or its source
// moved, while the item was on its way.
var errHalted = errors.New("the item may not be attempted any more")

// leaseWait is how long the final dot waits for the lease; the far end waits
// with it, so it is far below its timeouts.
const leaseWait = 20 * time.Second

// terms gathers what judging an attempt of it needs.
func (s *scheduler) terms(it *queue.Item, now time.Time) terms {
	e := it.Envelope
	st := s.cfg.State()
	over := false
	if !now.Before(e.Expires) {
		s.mu.Lock()
		over = s.over(e, now)
		s.mu.Unlock()
	}
	return terms{
		now: now, over: over, life: e.Expires.Sub(e.Arrived), retry: s.retry(),
		limit: deadline(st, e), random: s.random(), n: it.Attempts + 1, arrived: e.Arrived,
	}
}

// endExpired settles an item whose time is up without another attempt. One
// that was never tried gets its one attempt, unless its destination is failing.
func (s *scheduler) endExpired(t *target, j job, now time.Time) bool {
	if now.Before(j.item.Envelope.Expires) {
		return false
	}
	s.mu.Lock()
	end := s.over(j.item.Envelope, now) && (j.item.Attempts > 0 || t.failures > 0)
	s.mu.Unlock()
	if end {
		s.expire(j.item, now)
	}
	return end
}

// expire ends all recipients of an item.
func (s *scheduler) expire(it *queue.Item, now time.Time) {
	a := queue.Attempt{N: it.Attempts + 1, At: now}
	s.settle(it, a, expireAll(it, s.terms(it, now)), subject{})
}

// failRoute settles an item whose domain has no site. A fault for good ends
// it; a temporary one counts against the domain, once for all its mail.
func (c *courier) failRoute(j job) bool {
	s, now := c.s, time.Now()
	s.mu.Lock()
	fault := c.t.fault
	s.mu.Unlock()
	a := queue.Attempt{N: j.item.Attempts + 1, At: now, Dialogue: "look-up: " + fault.Reply.Text}
	if !fault.Permanent {
		s.unreachable(c.t, j, a, fault.Reply, false, now)
		return false
	}
	v := allOf(j.item, queue.Bounced, fault.Reply, s.terms(j.item, now))
	v.noteRoute(j.item, now)
	s.settle(j.item, a, v, subject{})
	return true
}

// learnCap lowers the number of sessions where a site refuses another one while
// others work; then nothing failed. It reports whether that is so.
func (s *scheduler) learnCap(t *target, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.greeted || t.open < 2 {
		return false
	}
	t.cap, t.capUntil = t.open-1, now.Add(10*time.Minute)
	return true
}

// unreachable puts a target to rest and settles the one item that was tried.
// The item keeps its place before those behind it: it is the one to be tried
// again, and the first to expire. A fault of ours does not make rests longer.
func (s *scheduler) unreachable(t *target, j job, a queue.Attempt, reply queue.Reply, ours bool, now time.Time) {
	s.mu.Lock()
	if !ours {
		t.failures++
	}
	wait := backoffWait(s.cfg.Backoff, t.failures)
	alone := !j.part.lane.more && j.part.lane.held == 0
	ended := s.backOff(t, reply, wait, now)
	until, provider := t.until, t.budget.name
	s.mu.Unlock()
	for _, it := range ended {
		s.expire(it, now)
	}
	v := allOf(j.item, queue.Deferred, reply, s.terms(j.item, now))
	switch {
	case v.deferred == 0:
	case !alone:
		v.next = keepPlace(j.item)
	case until.Before(v.next):
		v.next = until
	}
	s.m.attempted(provider, &v)
	s.settle(j.item, a, v, subject{remote: a.Host})
}

// judged settles a finished transaction.
func (s *scheduler) judged(c *courier, j job, a queue.Attempt, res result, now time.Time) {
	s.m.attempt.Observe(a.Took.Seconds())
	on := s.terms(j.item, now)
	on.host, on.source = c.where.host, c.where.from
	v := judge(j.item.Rcpts, res, on)
	v.note(j.item, res, on)
	s.testify(c.t.key.source, j.item.ID, v.refused, v.words, now)
	broken := res.Err != nil && !res.DotSent
	s.mu.Lock()
	t := c.t
	switch {
	case broken:
		t.faults++
	default:
		t.faults = 0
	}
	if v.delivered > 0 {
		t.budget.worked()
	}
	provider := t.budget.name
	var ended []*queue.Item
	switch {
	case v.throttle:
		ended = s.throttle(t.budget, now)
	case t.faults >= maxFaults:
		t.failures++
		ended = s.backOff(t, v.outcomes[0].Reply, backoffWait(s.cfg.Backoff, t.failures), now)
	}
	s.mu.Unlock()
	for _, it := range ended {
		s.expire(it, now)
	}
	s.countDoubt(j.item, v)
	s.m.attempted(provider, &v)
	s.settle(j.item, a, v, subject{remote: a.Host, dsn: res.DSN})
}

// countDoubt counts recipients that may arrive twice, once for each lost reply:
// here where it was lost, or where the attempt of a process that died is made
// again.
func (s *scheduler) countDoubt(it *queue.Item, v verdict) {
	n := v.unknown
	if it.InDoubt {
		n += len(it.Rcpts)
	}
	if n > 0 {
		s.tally(it.ID.Tenant).inDoubt.Add(float64(n))
	}
}

// throttle leaves a provider alone from one source after it said that the
// source sends too much; afterwards one connection, then one more at a time.
func (s *scheduler) throttle(b *budget, now time.Time) (expired []*queue.Item) {
	wait := throttled
	if s.cfg.Backoff[0] < time.Minute {
		wait = s.cfg.Backoff[len(s.cfg.Backoff)-1] // shortened times are for tests and demos
	}
	b.until = now.Add(wait)
	b.cap = 1
	for _, t := range s.targets {
		if t.budget == b {
			expired = append(expired, s.backOff(t, queue.Reply{Enhanced: "4.7.0", Text: "the provider limits this source"}, wait, now)...)
		}
	}
	return expired
}

// halted gives an item back that may not be attempted now.
func (s *scheduler) refused(j job, why error, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spool.GiveBack(j.item)
	if errors.Is(why, queue.ErrStale) || s.closing {
		return
	}
	if !errors.Is(why, errHalted) {
		s.noDot.Bad(j.item.ID.Tenant, "epoch", j.stand.epoch, "err", why)
	}
	// Whatever it is, the lane pauses: without a lease each item would open a
	// transaction for nothing.
	l := s.lanes[j.item.Lane]
	if l == nil {
		l = &lane{key: j.item.Lane}
		s.lanes[l.key] = l
	}
	if l.loading {
		l.recall, l.again = true, true
		return
	}
	if l.primary != nil && l.stand.epoch > j.stand.epoch {
		// The item was chosen under an older epoch, and the lane goes on under
		// this one already: who was just handed a tenant must not wait.
		l.more = true
		l.primary.enqueue()
		s.wake(l.primary.ready.target, now)
		return
	}
	s.halt(l, now.Add(time.Second))
}

// bodyLost puts an item off whose bytes cannot be read: our own fault.
func (s *scheduler) bodyLost(j job, err error, now time.Time) {
	s.cfg.Log.Error("read message body failed", "id", j.item.ID.String(), "err", err)
	if errors.Is(err, queue.ErrNotFound) || errors.Is(err, queue.ErrFailed) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.spool.GiveBack(j.item)
		return
	}
	reply := queue.Reply{Code: 451, Enhanced: "4.3.0", Text: "the message could not be read"}
	a := queue.Attempt{N: j.item.Attempts + 1, At: now}
	s.settle(j.item, a, allOf(j.item, queue.Deferred, reply, s.terms(j.item, now)), subject{})
}

// keepPlace is when an item that waits for its destination, not for a time of
// its own, is due again: where it stood in its lane.
func keepPlace(it *queue.Item) time.Time { return it.Due.Add(time.Second) }

// tellDelay settles an item of a failing destination that is late and was not
// tried, so that its sender hears of the delay. Each item goes here once.
func (s *scheduler) tellDelay(t *target, j job, now time.Time) bool {
	it := j.item
	if it.Delayed || now.Sub(it.Envelope.Arrived) < s.cfg.DelayAfter {
		return false
	}
	s.mu.Lock()
	failing, reply := t.failures > 0, t.reply
	s.mu.Unlock()
	st := s.cfg.State()
	about := subject{item: it, outcomes: allOf(it, queue.Deferred, reply, s.terms(it, now)).outcomes, delay: true}
	if !failing || noticeTo(st, it.ID.Tenant, it.Envelope) == "" || len(about.reportable()) == 0 {
		return false
	}
	v := verdict{outcomes: about.outcomes, deferred: len(about.outcomes), next: keepPlace(it)}
	a := queue.Attempt{N: it.Attempts + 1, At: now, Dialogue: "not tried: the destination rests"}
	s.settle(it, a, v, subject{})
	return true
}
