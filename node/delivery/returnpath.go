package delivery

import (
	"postern/node/bounce"
	"postern/node/queue"
	"postern/tenant"
)

// returnPath is the reverse-path a message leaves with by a source: at the
// bounce subdomain of its sender's domain where that is ready, so that what
// fails later comes back to us, else the sender's own. Only the envelope differs;
// our own reports keep the null one (RFC 5321 §4.5.5).
//
// One transaction takes all recipients of a domain, so the path names the
// recipient only where there is no other: one transaction for each would
// multiply what is sent, and what a report says of the recipient is enough. The
// path depends on the message alone and not on who is still open, or greylisting
// would begin anew with each retry.
func (s *scheduler) returnPath(it *queue.Item, src tenant.SourceID) string {
	e := it.Envelope
	if s.cfg.Returns == nil || e.Kind != queue.Submitted {
		return e.From
	}
	_, domain, ok := cutAddress(e.From)
	if !ok {
		return e.From
	}
	st := s.cfg.State()
	at := st.ReturnDomain(domain, src)
	if at == "" || !st.MaySendAs(it.ID.Tenant, domain) {
		return e.From
	}
	p := bounce.ReturnPath{Tenant: it.ID.Tenant, Epoch: it.ID.Epoch, Seq: it.ID.Seq, Rcpt: bounce.AnyRcpt}
	if len(it.Rcpts) == 1 && sharing(e.Rcpts, e.Rcpts[it.Rcpts[0]].Addr) == 1 {
		p.Rcpt = it.Rcpts[0]
	}
	local, ok := s.cfg.Returns.Local(p)
	if !ok {
		return e.From
	}
	return local + "@" + at
}

// sharing counts the recipients in an address's domain.
func sharing(rcpts []queue.Rcpt, addr string) int {
	_, domain, _ := cutAddress(addr)
	n := 0
	for _, r := range rcpts {
		if _, d, _ := cutAddress(r.Addr); d == domain {
			n++
		}
	}
	return n
}
