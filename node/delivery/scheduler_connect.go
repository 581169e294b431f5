package delivery

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"postern/node/bounce"
	"postern/node/queue"
	"postern/tenant"
)

// open opens the session for its first item. When it cannot, the item is put
// off (or back) and the target left alone.
func (c *courier) open(j job) bool {
	s, began := c.s, time.Now()
	sess, fault := c.connect(j)
	now := time.Now()
	if sess == nil && fault == nil {
		s.relocate(j, now)
		return false
	}
	if fault == nil {
		c.sess, c.sent = sess, 0
		p := sess.Peer()
		c.where.host, c.where.addr, c.where.tls = p.Host, p.Addr.String(), p.TLS
		s.mu.Lock()
		c.t.greeted, c.t.failures = true, 0
		s.grow(c.t, now)
		s.mu.Unlock()
		return true
	}
	if s.ctx.Err() != nil {
		s.putBack(j, now) // the node stops; nobody failed
		return false
	}
	if s.learnCap(c.t, now) {
		s.putBack(j, now)
		return false
	}
	if fault.Ours {
		s.cfg.Log.Error("source address cannot be used", "source", c.where.source, "err", fault.Err)
	}
	a := c.trace(j.item, began, now)
	a.Host, a.Dialogue = fault.Peer.Host, fault.Dialogue
	if fault.Peer.Addr.IsValid() {
		a.Addr = fault.Peer.Addr.String()
	}
	if fault.Reply.Code >= 400 {
		s.refusedEarly(c, j, fault, now)
	}
	s.unreachable(c.t, j, a, fault.Reply, fault.Ours, now)
	return false
}

// refusedEarly counts an attempt that the far end's own words ended before a
// transaction: a banner's refusal is the one that speaks of our IP most often.
func (s *scheduler) refusedEarly(c *courier, j job, fault *hostError, now time.Time) {
	v := terms{host: fault.Peer.Host, source: c.where.from}.classify(fault.Reply, fault.Stage)
	if v.Class != bounce.IPBlock {
		s.testify(c.t.key.source, j.item.ID, nil, "", now)
		return
	}
	s.testify(c.t.key.source, j.item.ID, &v, fault.Reply.Text, now)
}

// testify counts an attempt that the far end answered, and its refusal if that
// speaks of our IP.
func (s *scheduler) testify(src tenant.SourceID, id queue.ID, refused *bounce.Verdict, words string, now time.Time) {
	if refused != nil {
		provider := refused.Provider
		if provider == "" {
			provider = providerOther
		}
		s.m.refused.WithLabelValues(provider).Inc()
	}
	s.evidence.note(src, answer{message: id, refused: refused, text: words}, now)
}

// connect dials the site's hosts in order until one greets. It gives neither a
// session nor a fault when the domain has moved to another site.
func (c *courier) connect(j job) (session, *hostError) {
	s := c.s
	s.mu.Lock()
	src, found := c.t.source, c.t.site
	s.mu.Unlock()
	c.where = place{from: src.Addr, source: src.Addr.String(), ehlo: src.EHLO}
	if found = s.fresh(found, j.item.Lane.Domain); found == nil {
		return nil, nil
	}
	last := &hostError{Stage: stageConnect, Reply: queue.Reply{Enhanced: "4.4.1", Text: "no host of the destination can be reached from this source"}}
	for _, h := range found.Hosts {
		if h.Addrs = sameFamily(h.Addrs, src.Addr.Is4()); len(h.Addrs) == 0 || !s.borrow(c, h) {
			continue
		}
		sess, err := s.dial.Dial(s.ctx, src.Addr, src.EHLO, h)
		if err == nil && c.t.budget.limits.TLS && sess.Peer().TLS == "" {
			p := sess.Peer()
			sess.Close()
			err = &hostError{Stage: stageTLS, Peer: p, Reply: queue.Reply{Enhanced: "4.7.10", Text: "the provider is known to offer TLS and did not"}}
		}
		if err == nil && s.ctx.Err() != nil {
			// The end came while the session was opened and may have broken it.
			sess.Close()
			return nil, &hostError{Stage: stageConnect, Err: s.ctx.Err()}
		}
		if err == nil {
			return sess, nil
		}
		last = asHostError(err)
		s.mu.Lock()
		s.release(c)
		s.mu.Unlock()
		if last.Ours || s.ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

// fresh resolves a site again whose addresses are no longer to be trusted; nil
// when the domain has moved to another site. A failure keeps the old addresses:
// dead DNS must not be able to stop a running flow.
func (s *scheduler) fresh(found *site, domain string) *site {
	if time.Now().Before(found.Until) {
		return found
	}
	route := s.cfg.State().RouteFor(domain)
	if (route != nil) != found.Route {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.ctx, lookupFor)
	defer cancel()
	again, _ := s.lookUp(ctx, domain, route)
	switch {
	case again == nil:
		return found
	case again.Key != found.Key:
		return nil
	}
	return again
}

// relocate gives an item back whose domain has moved, and places its lane anew.
func (s *scheduler) relocate(j job, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[j.item.Lane]
	if l == nil || l.loading || s.closing {
		if l != nil {
			l.recall = true
		}
		s.giveBack(j.item, now)
		return
	}
	s.spool.GiveBack(j.item)
	s.empty(l)
	l.more = true
	s.admit(l, now)
}

// sameFamily keeps the addresses a source can reach at all.
func sameFamily(list []netip.Addr, four bool) []netip.Addr {
	kept := make([]netip.Addr, 0, len(list))
	for _, a := range list {
		if a.Unmap().Is4() == four {
			kept = append(kept, a)
		}
	}
	return kept
}

func asHostError(err error) *hostError {
	if h, ok := errors.AsType[*hostError](err); ok {
		return h
	}
	return &hostError{Stage: stageConnect, Reply: queue.Reply{Enhanced: "4.4.1", Text: "connection failed"}, Err: err}
}
