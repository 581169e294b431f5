package delivery

import (
	"net/netip"
	"time"

	"postern/node/bounce"
	"postern/node/queue"
)

// verdict is what one attempt came to, before notices.
type verdict struct {
	outcomes  []queue.Outcome
	next      time.Time       // zero when nothing stays in the queue
	throttle  bool            // the provider asked our source to slow down, or refuses it
	refused   *bounce.Verdict // what a refusal of our IP was read as, or nil
	words     string          // and its text
	unknown   int             // recipients whose dot was sent and its reply lost
	delivered int
	ended     int // bounced, expired and suppressed
	expired   int
	deferred  int

	suppressed int
	failed     []queue.Failure // addresses that are gone for good
}

// add counts one outcome.
func (v *verdict) add(o queue.Outcome) {
	v.outcomes = append(v.outcomes, o)
	switch o.Result {
	case queue.Delivered:
		v.delivered++
	case queue.Bounced:
		v.ended++
	case queue.Expired:
		v.ended++
		v.expired++
	case queue.Suppressed:
		v.ended++
		v.suppressed++
	case queue.Deferred:
		v.deferred++
	}
}

// terms is what judging needs besides the replies.
type terms struct {
	now     time.Time
	over    bool // the message's time is up
	life    time.Duration
	retry   []time.Duration
	limit   time.Time // when the time is up
	random  float64
	n       int // the attempt judged, 1 for the first
	arrived time.Time
	host    string     // of the session
	source  netip.Addr // its address on our side
}

// classify reads a reply that the session's host gave.
func (t terms) classify(r queue.Reply, at stage) bounce.Verdict {
	return bounce.Classify(bounce.Reply{
		Host: t.host, Source: t.source, Stage: at.said(), Code: r.Code, Enhanced: r.Enhanced, Text: r.Text,
	})
}

// inDoubt is told of the recipients whose final dot got no answer.
var inDoubt = queue.Reply{Enhanced: "4.4.2", Text: "connection lost after the message was sent; whether it arrived is unknown"}

// judge reads the replies of one transaction; replies[i] belongs to rcpts[i].
func judge(rcpts []int, res result, t terms) verdict {
	var v verdict
	v.outcomes = make([]queue.Outcome, 0, len(rcpts))
	for i, rcpt := range rcpts {
		var reply queue.Reply
		if i < len(res.Replies) {
			reply = res.Replies[i]
		}
		o := queue.Outcome{Rcpt: rcpt, Result: queue.Deferred, Reply: reply}
		switch {
		case reply.Code >= 200 && reply.Code < 300:
			// Only the reply to the dot delivers; RCPT's 250 does not.
			if res.DotSent {
				o.Result = queue.Delivered
			}
		case reply.Code == 0 && res.DotSent:
			// No words from the far end after the dot: nobody knows.
			v.unknown++
			o.Reply = inDoubt
			if reply.Text != "" {
				o.Reply.Text += " (" + reply.Text + ")"
			}
		case reply.Code != 0:
			c := t.classify(reply, res.Stage)
			if !c.Retry() {
				o.Result = queue.Bounced
			} else if c.Scope == bounce.ScopeSource {
				v.throttle = true
			}
			if c.Class == bounce.IPBlock && (v.refused == nil || c.Evidence()) {
				v.refused, v.words = &c, reply.Text
			}
		case permanentDiagnosis(reply):
			o.Result = queue.Bounced
		}
		v.add(o)
	}
	v.close(t)
	return v
}

// permanentDiagnosis reports whether our own diagnosis (code 0) is one of the
// two that no retry can mend: the bytes never change, so a host that cannot
// take them never will (RFC 6152 §3, RFC 6531 §3.2).
func permanentDiagnosis(r queue.Reply) bool {
	return r.Enhanced == "5.6.3" || r.Enhanced == "5.6.7"
}

// close turns deferrals into expiry when the time is up, else finds the next time.
func (v *verdict) close(t terms) {
	if v.deferred == 0 {
		return
	}
	if t.over {
		for i := range v.outcomes {
			if o := &v.outcomes[i]; o.Result == queue.Deferred {
				*o = expired(o.Rcpt, o.Reply, t.life)
				v.deferred--
				v.ended++
				v.expired++
			}
		}
		return
	}
	wait := jittered(retryWait(t.retry, t.n, t.now.Sub(t.arrived)), t.random)
	v.next = t.now.Add(wait)
	if v.next.After(t.limit) && t.limit.After(t.now) {
		v.next = t.limit
	}
}

// expired is the outcome of a recipient whose time is up; last says why it
// could not be reached before.
func expired(rcpt int, last queue.Reply, life time.Duration) queue.Outcome {
	text := "could not be delivered within " + spoken(life)
	if last.Text != "" {
		text += ": " + last.Text
	}
	if len(text) > 500 {
		text = text[:500]
	}
	return queue.Outcome{Rcpt: rcpt, Result: queue.Expired, Reply: queue.Reply{Code: last.Code, Enhanced: "4.4.7", Text: text}}
}

// allOf gives every recipient of an item the same outcome.
func allOf(it *queue.Item, result queue.Result, reply queue.Reply, t terms) verdict {
	v := verdict{outcomes: make([]queue.Outcome, 0, len(it.Rcpts))}
	for _, rcpt := range it.Rcpts {
		v.add(queue.Outcome{Rcpt: rcpt, Result: result, Reply: reply})
	}
	v.close(t)
	return v
}

// expireAll ends all recipients of an item whose time is up.
func expireAll(it *queue.Item, t terms) verdict {
	v := verdict{outcomes: make([]queue.Outcome, 0, len(it.Rcpts))}
	for _, rcpt := range it.Rcpts {
		v.add(expired(rcpt, it.Last, t.life))
	}
	return v
}

// spoken is a duration as a notice says it.
func spoken(d time.Duration) string {
	switch {
	case d >= 48*time.Hour && d%(24*time.Hour) == 0:
		return count(int(d/(24*time.Hour)), "day")
	case d >= time.Hour:
		return count(int((d+30*time.Minute)/time.Hour), "hour")
	case d >= time.Minute:
		return count(int(d/time.Minute), "minute")
	}
	return count(int(d/time.Second), "second")
}
