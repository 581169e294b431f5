package submission

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"sync"
	"time"

	"postern/node/queue"
	"postern/tenant"
)

// lostAnswer finds out what became of a message whose end was sent and whose
// answer did not come, or that this node put and cannot answer for any more. It
// asks whoever owns the tenant, and never sends the message again.
//
// A process that was frozen meanwhile has not asked as long as it should, and
// begins anew, once.
func (s *Server) lostAnswer(t *tenant.Tenant, id [16]byte, put *queue.LostPut) (answer, error) {
	until, anew := time.Now().Add(s.waits.lost), false
	found := "unknown"
	var ans answer
	err := error(errNotHere)
	for {
		got, ok := s.takenIn(t.ID, put)
		if !ok {
			q := question{tenant: t.ID, transaction: id}
			if put != nil {
				q.place = put.Place
			}
			got, ok = s.askOwner(q, until)
		}
		if ok {
			ans, err = got, nil
			if found = "kept"; got.outcome == saysAbsent {
				found, err = "absent", errNotStored
			}
			break
		}
		if s.pause(until) {
			continue
		}
		if anew || time.Since(until) < s.waits.frozen {
			break
		}
		until, anew = time.Now().Add(s.waits.lost), true
	}
	s.metrics.lost.WithLabelValues(found).Inc()
	s.log.answerLost(t, hex.EncodeToString(id[:]), found, err)
	return ans, err
}

// takenIn answers from the state alone: it says how far the next owner took this
// node's log in. Later owners may not know of what has ended since. What was
// taken back here is on the next owner's disk alone, for a while: that one is
// asked.
func (s *Server) takenIn(id tenant.ID, put *queue.LostPut) (answer, bool) {
	t := s.cfg.State().Tenant(id)
	if t == nil || put == nil || put.Back {
		return answer{}, false
	}
	in := slices.ContainsFunc(t.Ends, func(e tenant.End) bool {
		return e.Epoch == put.Place.Epoch && e.Node == s.cfg.Node() && put.Place.Seq <= e.Last
	})
	return answer{outcome: saysKept, id: put.Place.String()}, in
}

// askOwner asks the present owner once; not ok means that it may know later.
func (s *Server) askOwner(q question, until time.Time) (answer, bool) {
	st := s.cfg.State()
	t := st.Tenant(q.tenant)
	if t == nil {
		return answer{}, false
	}
	if t.Owner == s.cfg.Node() {
		ans := s.find(q)
		return ans, ans.certain()
	}
	n := st.Node(t.Owner)
	if n == nil {
		return answer{}, false
	}
	k, err := s.links.get(s.hard, n.Name)
	if err != nil {
		s.log.peerFailed(n.Name, err)
		return answer{}, false
	}
	k.tag++
	q.tag = k.tag
	k.say(kindAsk, appendAsk(nil, q))
	k.flush()
	ans, err := s.await(k, time.Until(until), func() bool {
		now := s.cfg.State().Tenant(q.tenant)
		return now == nil || now.Owner != t.Owner
	})
	if err != nil {
		k.close()
		return answer{}, false
	}
	s.log.peerAnswers(n.Name)
	s.links.put(k)
	return ans, ans.certain()
}

// certain says that nobody will know better.
func (a answer) certain() bool { return a.outcome == saysKept || a.outcome == saysAbsent }

// reply to an ask, at the owner. It is certain only under the present epoch,
// and when no Put of that transaction is under way or can still begin.
func (s *Server) find(q question) answer {
	elsewhere := answer{tag: q.tag, outcome: saysElsewhere}
	if s.awaitRight(q.tenant) != nil {
		return elsewhere
	}
	if !s.pending.settled(s.hard, q.transaction, s.waits.owner) {
		return elsewhere
	}
	id, err := s.store.Find(q.tenant, q.transaction, q.place)
	if errors.Is(err, queue.ErrNotFound) {
		id, err = s.deny(q)
	}
	if err == nil {
		err = s.secured(id)
	}
	switch {
	case err == nil:
		return answer{tag: q.tag, outcome: saysKept, id: id.String()}
	case errors.Is(err, queue.ErrNotFound):
		return answer{tag: q.tag, outcome: saysAbsent}
	case errors.Is(err, queue.ErrStale), errors.Is(err, queue.ErrNoCopy):
		return elsewhere
	}
	s.log.internal(stageData, err, "")
	return elsewhere
}

// deny makes the absence of a message last before anybody is told of it: an
// earlier owner may have it on its disk, and hand it over when it is back.
func (s *Server) deny(q question) (queue.ID, error) {
	ctx, cancel := context.WithTimeout(s.hard, s.waits.owner)
	defer cancel()
	if err := s.store.Deny(ctx, q.tenant, q.transaction, q.place); err != nil {
		return queue.ID{}, err
	}
	return s.store.Find(q.tenant, q.transaction, q.place) // it may have been handed over just before
}

// secured keeps the 250 back until the message is on two nodes.
func (s *Server) secured(id queue.ID) error {
	ctx, cancel := context.WithTimeout(s.hard, s.waits.owner)
	defer cancel()
	return s.store.Secured(ctx, id)
}

// pending are the messages other nodes stream to this one. Whoever asks for
// one has given up its connection: it may be put no more, unless it is already.
type pending struct {
	mu   sync.Mutex // guards all below and the entries' states
	open map[[16]byte]*entrance
}

type entrance struct {
	entered, denied bool
	over            chan struct{} // closed when the transaction has ended
}

func (p *pending) begin(id [16]byte) *entrance {
	e := &entrance{over: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open == nil {
		p.open = map[[16]byte]*entrance{}
	}
	p.open[id] = e
	return e
}

// enter is the last word before Put.
func (p *pending) enter(e *entrance) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.denied {
		return errNotHere
	}
	e.entered = true
	return nil
}

func (p *pending) end(id [16]byte, e *entrance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[id] == e {
		delete(p.open, id)
	}
	close(e.over)
}

// settled forbids a Put that has not begun, and waits for one that has.
func (p *pending) settled(ctx context.Context, id [16]byte, wait time.Duration) bool {
	p.mu.Lock()
	e := p.open[id]
	if e == nil || !e.entered {
		if e != nil {
			e.denied = true
		}
		p.mu.Unlock()
		return true
	}
	p.mu.Unlock()
	late := time.NewTimer(wait)
	defer late.Stop()
	select {
	case <-e.over:
		return true
	case <-late.C:
	case <-ctx.Done():
	}
	return false
}
