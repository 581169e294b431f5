package delivery

import (
	"time"

	"postern/node/bounce"
	"postern/node/queue"
)

// endSuppressed ends the recipients of an item whose addresses are on the
// tenant's list, before anything is dialled for it. It reports whether it took
// the item: recipients that are left come again at once. Notices are not judged,
// since what they tell is told nowhere else.
func (s *scheduler) endSuppressed(j job, now time.Time) bool {
	it := j.item
	// Whether it may be attempted is not asked: who was just handed a tenant would
	// dial for it. The settlement is refused where the log is another's by now.
	if it.Envelope.Kind != queue.Submitted {
		return false
	}
	var v verdict
	for _, i := range it.Rcpts {
		x, stops, err := s.ledger.Suppressed(it.ID.Tenant, it.Envelope.Class, it.Envelope.Rcpts[i].Addr)
		if err != nil {
			s.cfg.Log.Error("look for suppression failed, sending", "id", it.ID.String(), "err", err)
			return false
		}
		if stops {
			v.add(queue.Outcome{Rcpt: i, Result: queue.Suppressed, Reply: whySuppressed(x)})
		} else {
			v.outcomes = append(v.outcomes, queue.Outcome{Rcpt: i, Result: queue.Deferred, Reply: it.Last})
		}
	}
	if v.suppressed == 0 {
		return false
	}
	v.next = now
	s.settle(it, queue.Attempt{}, v, subject{})
	return true
}

// whySuppressed is the diagnosis of a recipient that was not tried.
func whySuppressed(x queue.Suppression) queue.Reply {
	day, said := x.Last.UTC().Format(time.DateOnly), ""
	if x.Reply != (queue.Reply{}) {
		said = ": " + replyText(x.Reply)
	}
	r := queue.Reply{Enhanced: "5.1.1"}
	switch x.Reason {
	case queue.Complaint:
		r.Enhanced, r.Text = "5.7.1", "not tried: the recipient complained of this sender's mail on "+day
	case queue.ByOperator:
		r.Enhanced, r.Text = "5.7.1", "not tried: the address is on the sender's suppression list since "+day+said
	default:
		r.Text = "not tried: the address failed on " + x.First.UTC().Format(time.DateOnly)
		if x.Count > 1 {
			r.Text += ", and on " + day
		}
		r.Text += said
	}
	r.Text = r.Text[:min(len(r.Text), 500)]
	return r
}

// hardFailure reads an outcome as a failure of the address itself, or gives nil.
// What a host says at the end of a message for several recipients names none.
func hardFailure(it *queue.Item, o queue.Outcome, c bounce.Verdict, at stage, now time.Time) *queue.Failure {
	if !c.Hard() || o.Result != queue.Bounced || at == stageDot && len(it.Rcpts) > 1 || at != stageDot && at != stageRcpt {
		return nil
	}
	return failureOf(it, o, c.Class, now)
}

func failureOf(it *queue.Item, o queue.Outcome, class string, now time.Time) *queue.Failure {
	return &queue.Failure{
		Addr: it.Envelope.Rcpts[o.Rcpt].Addr, Reason: queue.HardBounce, Class: class, Domain: class == bounce.BadDomain, Reply: o.Reply,
		Account: it.Envelope.Account, Message: it.ID, At: now,
	}
}

// note gathers what the attempt's replies say of addresses.
func (v *verdict) note(it *queue.Item, res result, t terms) {
	if it.Envelope.Kind != queue.Submitted {
		return
	}
	for _, o := range v.outcomes {
		if o.Result == queue.Bounced && o.Reply.Code != 0 {
			if f := hardFailure(it, o, t.classify(o.Reply, res.Stage), res.Stage, t.now); f != nil {
				v.failed = append(v.failed, *f)
			}
		}
	}
}

// noteRoute is note for a domain that no host takes mail for.
func (v *verdict) noteRoute(it *queue.Item, now time.Time) {
	if it.Envelope.Kind != queue.Submitted {
		return
	}
	for _, o := range v.outcomes {
		if o.Result == queue.Bounced {
			v.failed = append(v.failed, *failureOf(it, o, bounce.BadDomain, now))
		}
	}
}
