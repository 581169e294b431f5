package delivery

import (
	"net/netip"
	"testing"
	"time"

	"postern/node/queue"
	"postern/tenant"
)

func TestRetriesFollowTheSchedule(t *testing.T) {
	var a tenant.ID
	var acc tenant.AccountID
	inBubble(t, nil, func(w *world) { a, acc = w.customer("a", w.source("10.0.0.1", false)) },
		func(r *rig, p *pretend) {
			p.send = func(netip.Addr, outbound) result {
				return refusedAt(stageRcpt, 450, "4.2.0", "greylisted")
			}
			began := time.Now()
			r.send(a, acc, func(e *queue.Envelope) { e.Expires = e.Arrived.Add(30 * time.Hour) }, "u@shop.test")
			p.pass(31 * time.Hour)
			want := []time.Duration{0, 5 * time.Minute, 20 * time.Minute, 50 * time.Minute, 110 * time.Minute}
			tried := p.triedFor("u@shop.test")
			if len(tried) < 29 {
				t.Fatalf("tried %d times", len(tried))
			}
			for i, d := range want {
				if got := tried[i].Sub(began).Round(time.Minute); got != d {
					t.Errorf("attempt %d after %v, want %v", i+1, got, d)
				}
			}
			if gap := tried[28].Sub(tried[27]).Round(time.Minute); gap != 4*time.Hour {
				t.Errorf("late attempts %v apart, want 4h", gap)
			}
			if n := r.outcomes(); n[queue.Expired] != 1 {
				t.Errorf("outcomes %v, want one expired", n)
			}
			if n := r.metric("postern_bounced_total"); n != 1 {
				t.Errorf("bounced_total = %v", n)
			}
			if n := r.metric("postern_expired_total"); n != 1 {
				t.Errorf("expired_total = %v", n)
			}
		})
}

// unreach refuses every connection.
func unreach(host) *hostError {
	return &hostError{Stage: stageConnect, Reply: queue.Reply{Enhanced: "4.4.1", Text: "connection refused"}}
}

func TestADeadDestinationRestsAsAWhole(t *testing.T) {
	var a tenant.ID
	var acc tenant.AccountID
	inBubble(t, nil, func(w *world) { a, acc = w.customer("a", w.source("10.0.0.1", false)) },
		func(r *rig, p *pretend) {
			p.refus = unreach
			began := time.Now()
			for range 500 {
				r.send(a, acc, func(e *queue.Envelope) { e.Expires = e.Arrived.Add(3 * time.Hour) }, "u@dead.test")
			}
			p.pass(time.Hour)
			var gaps []time.Duration
			last := began
			for _, d := range p.dials {
				gaps, last = append(gaps, d.Sub(last).Round(time.Second)), d
			}
			// Mail that arrives while the first try fails is no reason for a second.
			want := []time.Duration{0, 300, 600, 1200}
			if len(gaps) < len(want) {
				t.Fatalf("dials %v", gaps)
			}
			for i, w := range want {
				if gaps[i] != w*time.Second {
					t.Errorf("dial %d came after %v, want %v", i+1, gaps[i], w*time.Second)
				}
			}
			// One item an attempt, whatever waits behind it.
			if n := r.outcomes()[queue.Deferred]; n != len(p.dials) {
				t.Errorf("%d items deferred in %d dials", n, len(p.dials))
			}
			// Their time is seen to although nothing gets through.
			p.pass(3 * time.Hour)
			if n := r.outcomes()[queue.Expired]; n != 500 {
				t.Errorf("%d expired, want 500", n)
			}
			for _, e := range r.seen() {
				if o := e.Outcomes[0]; o.Result == queue.Expired && (o.Reply.Enhanced != "4.4.7" || o.Reply.Text[:36] != "could not be delivered within 3 hour") {
					t.Fatalf("expired with %+v", o.Reply)
				}
			}
		})
}

func TestADestinationThatComesBackIsUsedAgain(t *testing.T) {
	var a tenant.ID
	var acc tenant.AccountID
	inBubble(t, nil, func(w *world) { a, acc = w.customer("a", w.source("10.0.0.1", false)) },
		func(r *rig, p *pretend) {
			p.refus = unreach
			for range 300 {
				r.send(a, acc, nil, "u@dead.test")
			}
			p.pass(2 * time.Minute)
			p.mu.Lock()
			p.refus = nil
			p.mu.Unlock()
			p.pass(5 * time.Minute)
			if n := r.outcomes()[queue.Delivered]; n != 300 {
				t.Errorf("%d delivered, want 300", n)
			}
		})
}

func TestFlushEndsARest(t *testing.T) {
	var a tenant.ID
	var acc tenant.AccountID
	inBubble(t, nil, func(w *world) { a, acc = w.customer("a", w.source("10.0.0.1", false)) },
		func(r *rig, p *pretend) {
			p.refus = unreach
			for range 3 {
				r.send(a, acc, nil, "u@dead.test")
			}
			p.pass(10 * time.Second)
			p.mu.Lock()
			p.refus = nil
			p.mu.Unlock()
			if _, err := r.store.Flush(queue.Filter{}); err != nil {
				t.Fatal(err)
			}
			p.pass(5 * time.Second)
			if n := r.outcomes()[queue.Delivered]; n != 3 {
				t.Errorf("%d delivered, want 3", n)
			}
		})
}

func TestNextHostTakesOverWithinTheAttempt(t *testing.T) {
	var a tenant.ID
	var acc tenant.AccountID
	inBubble(t, nil, func(w *world) { a, acc = w.customer("a", w.source("10.0.0.1", false)) },
		func(r *rig, p *pretend) {
			p.sites["two.test"] = siteOf("mx1.two.test", "mx2.two.test")
			p.refus = func(h host) *hostError {
				if h.Name == "mx1.two.test" {
					return &hostError{Stage: stageBanner, Reply: queue.Reply{Code: 421, Text: "busy"}}
				}
				return nil
			}
			r.send(a, acc, nil, "u@two.test")
			p.pass(time.Second)
			seen := r.seen()
			if len(seen) != 1 || seen[0].Outcomes[0].Result != queue.Delivered || seen[0].Attempt.Host != "mx2.two.test" {
				t.Errorf("outcome: %+v", seen)
			}
		})
}
