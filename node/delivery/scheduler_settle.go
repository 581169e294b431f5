package delivery

import (
	"postern/node/queue"
)

// settle writes down what came of an item, with the notice it calls for.
func (s *scheduler) settle(it *queue.Item, a queue.Attempt, v verdict, about subject) {
	st := s.cfg.State()
	now := a.At.Add(a.Took)
	if a.At.IsZero() { // none was made
		now = v.next
	}
	x := queue.Settlement{Item: it, Attempt: a, Outcomes: v.outcomes, Next: v.next, Failed: v.failed}
	x.Delayed = v.deferred > 0 && !it.Delayed && now.Sub(it.Envelope.Arrived) >= s.cfg.DelayAfter
	if v.ended > 0 || x.Delayed || v.delivered > 0 && wantsSuccess(it) {
		about.item, about.outcomes, about.now = it, v.outcomes, now
		about.delay, about.until = x.Delayed, deadline(st, it.Envelope)
		n, err := s.notice(st, about)
		if err != nil {
			s.cfg.Log.Error("compose notice failed", "id", it.ID.String(), "err", err)
		}
		if n != nil {
			x.Reports = []queue.Notice{*n}
		}
	}
	// When the disk falls behind, couriers wait here: what is sent and not yet
	// settled is what a crash would put in doubt.
	s.settling <- struct{}{}
	s.ledger.Settle(x, func(err error) {
		defer func() { <-s.settling }()
		s.settled(x, v, err)
	})
}

// settled counts, logs and shows a settlement once it is durable. It is called
// by the store and takes no lock of ours.
func (s *scheduler) settled(x queue.Settlement, v verdict, err error) {
	if err != nil {
		s.cfg.Log.Error("settle attempt failed", "id", x.Item.ID.String(), "err", err)
		return
	}
	n := s.tally(x.Item.ID.Tenant)
	if v.delivered > 0 {
		n.delivered.Add(float64(v.delivered))
		s.m.latency.Observe(x.Attempt.At.Add(x.Attempt.Took).Sub(x.Item.Envelope.Arrived).Seconds())
	}
	if v.ended > 0 {
		n.bounced.Add(float64(v.ended))
		n.expired.Add(float64(v.expired))
		n.suppressed.Add(float64(v.suppressed))
	}
	if v.deferred > 0 {
		n.deferred.Add(float64(v.deferred))
	}
	s.log.settled(x)
	if s.cfg.Observe != nil {
		s.cfg.Observe(Event{Item: x.Item, Attempt: x.Attempt, Outcomes: x.Outcomes})
	}
}

func wantsSuccess(it *queue.Item) bool {
	for _, i := range it.Rcpts {
		if it.Envelope.Rcpts[i].Notify&queue.NotifySuccess != 0 {
			return true
		}
	}
	return false
}
