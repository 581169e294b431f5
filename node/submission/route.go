package submission

import (
	"errors"
	"time"

	"postern/node/queue"
	"postern/tenant"
)

// mailing is a message under way, from MAIL to its end: put into the queue
// here, or passed on to the node that owns its tenant.
type mailing interface {
	recipient(queue.Rcpt) error
	// accepted counts the recipients, and says when all is in vain already.
	accepted() (int, error)
	take(*body) (id string, err error)
	drop()
}

// local is a message whose owner is this node.
type local struct{ *transaction }

func (l local) accepted() (int, error) { return len(l.rcpts), nil }

func (l local) take(b *body) (string, error) {
	id, err := l.transaction.take(b)
	if lost := (*unsure)(nil); errors.As(err, &lost) && l.srv.links != nil {
		return l.kept(lost.put)
	}
	if err != nil {
		return "", err
	}
	return id.String(), nil
}

// kept asks what became of a message that the next owner may have: it is said,
// logged and counted like one that was passed on.
func (l local) kept(put *queue.LostPut) (string, error) {
	s, begun := l.srv, time.Now()
	l.share.release() // what was spent is the next owner's business
	a, err := s.lostAnswer(l.tenant, l.opening.id, put)
	if err != nil {
		return "", err
	}
	l.turn.used()
	node := ""
	st := s.cfg.State()
	if t := st.Tenant(l.tenant.ID); t != nil && st.Node(t.Owner) != nil {
		node = st.Node(t.Owner).Name
	}
	s.metrics.passed.WithLabelValues(l.tenant.Name).Inc()
	s.log.passed(l.tenant, l.account, a.id, node, time.Since(begun))
	return a.id, nil
}

// route begins the message where its owner is, as the state says now.
func (s *session) route(t *tenant.Tenant, a *tenant.Account, o *opening, now time.Time) (mailing, error) {
	if t.Owner == s.srv.cfg.Node() {
		tx, err := s.srv.begin(o, &s.memory)
		if err == nil {
			return local{tx}, nil
		}
		if err != errNotHere || !s.srv.movedAway(t.ID) {
			return nil, err
		}
	}
	if s.srv.links == nil {
		return nil, errNotHere
	}
	o.quiet = s.srv.gaps.quiet(a, now)
	s.promised = true
	return newRemote(s.srv, s.w, t, a, o, now), nil
}

func (s *Server) movedAway(id tenant.ID) bool {
	t := s.cfg.State().Tenant(id)
	return t != nil && t.Owner != s.cfg.Node()
}
