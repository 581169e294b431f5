package delivery

import (
	"context"
	"net/netip"
	"time"

	"postern/node/queue"
	"postern/tenant"
)

// job is one item to attempt, with the standing it was chosen by.
type job struct {
	item  *queue.Item
	part  *part
	stand standing
}

// courier is the goroutine of one open session: it takes the next item of its
// target until there is none for a while or the session has done its share.
type courier struct {
	s        *scheduler
	t        *target
	tenant   tenant.ID // whose share of the node's connections it takes
	borrowed *budget   // of a fallback host
	woken    chan struct{}
	waits    bool // it stands among the idle
	evicted  bool

	// The courier's own, outside the lock.
	sess  session
	sent  int // transactions on sess
	where place
	timer *time.Timer
}

// place is what the trace keeps of a session, made once for all its messages.
type place struct {
	from                          netip.Addr
	source, ehlo, host, addr, tls string
}

func (c *courier) run() {
	c.timer = time.NewTimer(time.Hour)
	c.timer.Stop()
	defer c.s.leave(c)
	defer c.close()
	for {
		j, ok := c.next()
		if !ok || !c.carry(j) {
			return
		}
	}
}

func (c *courier) close() {
	if c.sess != nil {
		c.sess.Close()
		c.sess = nil
	}
}

// carry attempts one item and reports whether the courier may take another.
func (c *courier) carry(j job) bool {
	s := c.s
	now := time.Now()
	if s.endExpired(c.t, j, now) || s.endSuppressed(j, now) {
		return true
	}
	switch {
	case c.t.dead:
		return c.failRoute(j)
	case c.sess == nil:
		if s.tellDelay(c.t, j, now) {
			return true
		}
		if !c.open(j) {
			return false
		}
	}
	c.attempt(j)
	most := c.t.budget.limits.MessagesPerConn
	return c.sess != nil && c.sess.Alive() && (most == 0 || c.sent < most)
}

// next waits for the next item of the target. It loads lanes as they are needed.
func (c *courier) next() (job, bool) {
	s := c.s
	for {
		now := time.Now()
		s.mu.Lock()
		if s.closing || s.ctx.Err() != nil || c.evicted || now.Before(c.t.until) {
			s.mu.Unlock()
			return job{}, false
		}
		if c.t.waiting() > 0 && !c.t.dead {
			if wait := c.t.budget.messages.take(now); wait > 0 {
				s.mu.Unlock()
				c.pause(wait)
				continue
			}
		}
		it, p := c.t.next(now)
		if p == nil {
			if !c.rest() {
				return job{}, false
			}
			continue
		}
		l := p.lane
		if it == nil {
			c.t.budget.messages.put()
			l.loading = true
			s.mu.Unlock()
			s.load(l)
			continue
		}
		c.t.progress = now
		refill := l.held > 0 && p.loadable()
		l.loading = l.loading || refill
		j := job{it, p, l.stand}
		s.retire(l)
		s.mu.Unlock()
		if refill {
			s.load(l)
		}
		return j, true
	}
}

// rest waits among the idle for work; false when the session should end. It is
// called with mu held and returns without it.
func (c *courier) rest() bool {
	s := c.s
	if c.sess == nil || s.closing || s.ctx.Err() != nil {
		s.mu.Unlock()
		return false
	}
	if b := c.t.budget; b.full() && s.needed(b, c.t, time.Now()) {
		s.mu.Unlock()
		return false // another site of the provider waits for the place
	}
	c.waits = true
	c.t.idle = append(c.t.idle, c)
	c.t.budget.idle[c] = struct{}{}
	s.idle[c] = struct{}{}
	s.mu.Unlock()
	c.timer.Reset(s.cfg.Idle)
	select {
	case <-c.woken:
		c.timer.Stop()
		return true
	case <-c.timer.C:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !c.waits {
		<-c.woken // it was woken at the same time
		return true
	}
	s.notIdle(c)
	return false
}

// pause waits for the provider's message rate.
func (c *courier) pause(d time.Duration) {
	c.timer.Reset(d)
	select {
	case <-c.timer.C:
	case <-c.s.ctx.Done():
		c.timer.Stop()
	}
}

// wakeOne sends an idle courier back to look for work.
func (s *scheduler) wakeOne(c *courier) {
	if c.waits {
		s.notIdle(c)
		c.woken <- struct{}{}
	}
}

func (s *scheduler) notIdle(c *courier) {
	c.waits = false
	delete(s.idle, c)
	delete(c.t.budget.idle, c)
	for i, o := range c.t.idle {
		if o == c {
			last := len(c.t.idle) - 1
			c.t.idle[i] = c.t.idle[last]
			c.t.idle[last] = nil
			c.t.idle = c.t.idle[:last]
			return
		}
	}
}

// attempt makes one transaction and settles what came of it.
func (c *courier) attempt(j job) {
	s, it := c.s, j.item
	if s.cfg.Before != nil {
		s.cfg.Before(it)
	}
	began := time.Now()
	body, err := s.ledger.Body(it.ID)
	if err != nil {
		s.bodyLost(j, err, began)
		return
	}
	e := it.Envelope
	m := outbound{From: s.returnPath(it, c.t.key.source), Rcpts: rcptsOf(it), Body: body, EightBit: e.EightBit, UTF8: e.UTF8, Ret: e.Ret, EnvID: e.EnvID}
	var halted error
	res := c.sess.Send(s.hard, m, func() error {
		halted = s.beforeDot(j, c.t.key.source)
		return halted
	})
	body.Close()
	now := time.Now()
	used := c.sent > 0
	c.sent++
	switch {
	case halted != nil:
		c.close()
		s.refused(j, halted, now)
		return
	case used && !res.DotSent && res.Stage <= stageMail && staleSession(res):
		// The far end closed a session that lay idle: nobody's fault, and no
		// attempt. A fresh session decides.
		c.close()
		s.putBack(j, now)
		return
	}
	a := c.trace(it, began, now)
	a.DotSent, a.Dialogue = res.DotSent, res.Dialogue
	s.judged(c, j, a, res, now)
}

// trace is what is kept of an attempt over this session.
func (c *courier) trace(it *queue.Item, began, now time.Time) queue.Attempt {
	return queue.Attempt{
		N: it.Attempts + 1, At: began, Took: now.Sub(began), Source: c.where.source, EHLO: c.where.ehlo,
		Host: c.where.host, Addr: c.where.addr, TLS: c.where.tls,
	}
}

// beforeDot is the last word before the final dot: the state, the record of
// the start, then the lease (design: no lease, no dot).
func (s *scheduler) beforeDot(j job, source tenant.SourceID) error {
	if !s.mayAttempt(j.item, j.stand, source) {
		return errHalted
	}
	if err := s.ledger.Start(j.item); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.hard, leaseWait)
	defer cancel()
	if err := s.cfg.MayDot(ctx, j.item.ID.Tenant, j.stand.epoch); err != nil {
		return err
	}
	s.noDot.Well(j.item.ID.Tenant)
	return nil
}

// rcptsOf lists the recipients an item still has.
func rcptsOf(it *queue.Item) []queue.Rcpt {
	if len(it.Rcpts) == len(it.Envelope.Rcpts) {
		return it.Envelope.Rcpts
	}
	list := make([]queue.Rcpt, len(it.Rcpts))
	for i, n := range it.Rcpts {
		list[i] = it.Envelope.Rcpts[n]
	}
	return list
}

// staleSession reports whether a session was closed by the far end rather than
// this message refused.
func staleSession(res result) bool {
	if res.Err != nil {
		return true
	}
	for _, r := range res.Replies {
		if r.Code != 421 {
			return false
		}
	}
	return true
}
