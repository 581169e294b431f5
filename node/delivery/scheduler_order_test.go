package delivery

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"postern/node/queue"
	"postern/tenant"
)

func TestFaultsOfTheDomain(t *testing.T) {
	var a tenant.ID
	var acc tenant.AccountID
	inBubble(t, nil, func(w *world) { a, acc = w.customer("a", w.source("10.0.0.1", false)) },
		func(r *rig, p *pretend) {
			p.fault["gone.test"] = routeFault(true, "5.1.2", "domain does not exist", nil)
			p.fault["sick.test"] = routeFault(false, "4.4.3", "no answer", nil)
			for range 100 {
				r.send(a, acc, func(e *queue.Envelope) { e.From = "" }, "u@gone.test")
				r.send(a, acc, func(e *queue.Envelope) { e.From = "" }, "u@sick.test")
			}
			p.pass(30 * time.Second)
			if n := r.outcomes(); n[queue.Bounced] != 100 || n[queue.Deferred] != 1 {
				t.Errorf("outcomes %v, want 100 bounced and 1 deferred", n)
			}
			p.mu.Lock()
			p.fault = nil
			p.mu.Unlock()
			p.pass(6 * time.Minute)
			if n := r.outcomes(); n[queue.Delivered] != 100 {
				t.Errorf("outcomes %v, want 100 delivered once DNS works", n)
			}
			if len(p.dials) == 0 {
				t.Error("nothing dialled")
			}
		})
}

func TestARetryKeepsItsSourceOfThePool(t *testing.T) {
	var ids []tenant.ID
	var accs []tenant.AccountID
	inBubble(t, nil, func(w *world) {
		for _, a := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} {
			w.source(a, true)
		}
		for i := range 12 {
			id, acc := w.customer(string(rune('a'+i)), 0)
			ids, accs = append(ids, id), append(accs, acc)
		}
	}, func(r *rig, p *pretend) {
		from := map[string]map[netip.Addr]int{}
		p.send = func(src netip.Addr, m outbound) result {
			if from[m.From] == nil {
				from[m.From] = map[netip.Addr]int{}
			}
			from[m.From][src]++
			if from[m.From][src] < 4 {
				return refusedAt(stageRcpt, 451, "4.7.1", "greylisted, come again")
			}
			return result{Stage: stageDot, DotSent: true, Replies: repeat(queue.Reply{Code: 250}, 1)}
		}
		// An hour before the day changes: the retries come after it.
		day := 24 * time.Hour
		p.pass(day - time.Since(time.Now().Truncate(day)) - 40*time.Minute)
		for i, id := range ids {
			r.send(id, accs[i], nil, "u@grey.test")
		}
		p.pass(3 * time.Hour)
		used := map[netip.Addr]int{}
		for tn, srcs := range from {
			if len(srcs) != 1 {
				t.Errorf("%s left by %v", tn, srcs)
			}
			for s := range srcs {
				used[s]++
			}
		}
		if n := r.outcomes()[queue.Delivered]; n != 12 {
			t.Errorf("%d delivered, want 12", n)
		}
		if len(used) < 2 {
			t.Errorf("twelve tenants left by %v", used)
		}
	})
}

func TestAProviderThatAsksForRestGetsIt(t *testing.T) {
	var a tenant.ID
	var acc tenant.AccountID
	inBubble(t, nil, func(w *world) { a, acc = w.customer("a", w.source("10.0.0.1", false)) },
		func(r *rig, p *pretend) {
			for _, d := range []string{"one.test", "two.test"} {
				s := siteOf("mx-" + d[:3] + ".yahoodns.net")
				p.sites[d] = s
			}
			angry := true
			p.send = func(netip.Addr, outbound) result {
				if angry {
					return refusedAt(stageMail, 421, "4.7.0", "[TSS04] Messages from 10.0.0.1 temporarily deferred due to unexpected volume or user complaints")
				}
				return result{Stage: stageDot, DotSent: true, Replies: repeat(queue.Reply{Code: 250}, 1)}
			}
			r.send(a, acc, nil, "u@one.test")
			p.pass(time.Second)
			first := len(p.tried)
			for range 20 {
				r.send(a, acc, nil, "u@two.test")
			}
			p.pass(9 * time.Minute)
			if len(p.tried) != first {
				t.Errorf("%d more attempts while the provider rests", len(p.tried)-first)
			}
			p.mu.Lock()
			angry = false
			p.mu.Unlock()
			p.pass(10 * time.Minute)
			if n := r.outcomes()[queue.Delivered]; n != 21 {
				t.Errorf("%d delivered, want 21", n)
			}
		})
}

func TestInDoubtIsCountedAndTriedAgain(t *testing.T) {
	var a tenant.ID
	var acc tenant.AccountID
	inBubble(t, nil, func(w *world) { a, acc = w.customer("a", w.source("10.0.0.1", false)) },
		func(r *rig, p *pretend) {
			n := 0
			p.send = func(netip.Addr, outbound) result {
				if n++; n == 1 {
					return result{Stage: stageDot, DotSent: true, Err: context.DeadlineExceeded, Replies: []queue.Reply{{Text: "connection reset"}}}
				}
				return result{Stage: stageDot, DotSent: true, Replies: repeat(queue.Reply{Code: 250}, 1)}
			}
			r.send(a, acc, nil, "u@shop.test")
			p.pass(10 * time.Minute)
			seen := r.seen()
			if len(seen) != 2 || seen[0].Outcomes[0].Result != queue.Deferred || seen[1].Outcomes[0].Result != queue.Delivered {
				t.Fatalf("outcomes: %+v", seen)
			}
			if n := r.metric("postern_in_doubt_total"); n != 1 {
				t.Errorf("in_doubt_total = %v, want 1", n)
			}
		})
}

func TestMailBehindADeadDestinationExpiresOnTime(t *testing.T) {
	var a tenant.ID
	var acc tenant.AccountID
	inBubble(t, nil, func(w *world) { a, acc = w.customer("a", w.source("10.0.0.1", false)) },
		func(r *rig, p *pretend) {
			p.refus = unreach
			// A steady flow into it: whoever was tried must not fall behind the
			// younger ones for ever.
			const life = 2 * time.Hour
			for range 12 * 8 {
				r.send(a, acc, func(e *queue.Envelope) { e.Expires = e.Arrived.Add(life) }, "u@dead.test")
				p.pass(5 * time.Minute)
			}
			p.pass(4 * time.Hour)
			ended := 0
			for _, e := range r.seen() {
				if e.Outcomes[0].Result != queue.Expired || e.Item.Envelope.Kind != queue.Submitted {
					continue
				}
				ended++
				// The next look is at the end of a rest, an hour at most.
				if late := e.Attempt.At.Sub(e.Item.Envelope.Expires); late > 75*time.Minute {
					t.Errorf("expired %v late", late)
				}
			}
			if ended != 96 {
				t.Errorf("%d expired, want 96", ended)
			}
		})
}

func TestDelayIsToldOfMailThatWaitsUntried(t *testing.T) {
	var a tenant.ID
	var acc tenant.AccountID
	inBubble(t, nil, func(w *world) { a, acc = w.customer("a", w.source("10.0.0.1", false)) },
		func(r *rig, p *pretend) {
			p.refus = func(h host) *hostError {
				if h.Name == "mx.a.test" {
					return nil
				}
				return unreach(h)
			}
			var got told
			p.send = func(_ netip.Addr, m outbound) result {
				got.keep(m)
				return result{Stage: stageDot, DotSent: true, Replies: repeat(queue.Reply{Code: 250}, 1)}
			}
			for range 100 {
				r.send(a, acc, nil, "u@dead.test")
			}
			p.pass(12 * time.Hour)
			if len(got.bodies) != 100 {
				t.Errorf("%d delay notices for 100 messages", len(got.bodies))
			}
		})
}

func TestADomainThatMovesTakesItsMailAlong(t *testing.T) {
	var a tenant.ID
	var acc tenant.AccountID
	inBubble(t, nil, func(w *world) { a, acc = w.customer("a", w.source("10.0.0.1", false)) },
		func(r *rig, p *pretend) {
			p.sites["shop.test"] = siteOf("old.shop.test")
			p.refus = func(h host) *hostError {
				if h.Name == "old.shop.test" {
					return unreach(h)
				}
				return nil
			}
			for range 200 {
				r.send(a, acc, nil, "u@shop.test")
			}
			p.pass(30 * time.Second)
			p.mu.Lock()
			p.sites["shop.test"] = siteOf("new.shop.test")
			p.mu.Unlock()
			p.pass(6 * time.Minute)
			if n := r.outcomes()[queue.Delivered]; n != 200 {
				t.Errorf("%d delivered after the move, want 200", n)
			}
		})
}

func TestAnAddressThatIsNotHereNeverBounces(t *testing.T) {
	var a tenant.ID
	var acc tenant.AccountID
	inBubble(t, nil, func(w *world) { a, acc = w.customer("a", w.source("10.0.0.1", false)) },
		func(r *rig, p *pretend) {
			missing := true
			p.refus = func(h host) *hostError {
				if missing {
					return &hostError{Stage: stageConnect, Ours: true, Reply: queue.Reply{Enhanced: "4.3.5", Text: "address is not here"}}
				}
				return nil
			}
			r.send(a, acc, nil, "u@shop.test")
			p.pass(3 * time.Hour)
			if n := r.outcomes(); n[queue.Bounced]+n[queue.Expired] != 0 {
				t.Errorf("outcomes %v for a fault of ours", n)
			}
			p.mu.Lock()
			missing = false
			p.mu.Unlock()
			p.pass(2 * time.Minute)
			if n := r.outcomes()[queue.Delivered]; n != 1 {
				t.Errorf("not delivered two minutes after the address came")
			}
		})
}

func TestTransactionalOvertakesBulk(t *testing.T) {
	var a tenant.ID
	var acc tenant.AccountID
	inBubble(t, func(c *Config) { c.Shaping = &Shaping{Default: Limits{Conns: 1}} },
		func(w *world) { a, acc = w.customer("a", w.source("10.0.0.1", false)) },
		func(r *rig, p *pretend) {
			for range 1000 {
				r.send(a, acc, func(e *queue.Envelope) { e.Class = tenant.Bulk }, "bulk@shop.test")
			}
			p.pass(100 * time.Millisecond) // a hundred have left
			r.send(a, acc, nil, "urgent@shop.test")
			p.pass(2 * time.Second)
			for i, x := range p.tried {
				if x.rcpt == "urgent@shop.test" {
					if i > 110 {
						t.Errorf("left as number %d", i+1)
					}
					return
				}
			}
			t.Error("never left")
		})
}

func TestAccountsOfATenantTakeTurns(t *testing.T) {
	var a tenant.ID
	var acc, other tenant.AccountID
	inBubble(t, func(c *Config) { c.Shaping = &Shaping{Default: Limits{Conns: 1}} },
		func(w *world) {
			a, acc = w.customer("a", w.source("10.0.0.1", false))
			ev := w.apply(tenant.AddAccount{Tenant: a, Username: "two@a.test"})
			other = ev[0].(tenant.AccountAdded).Account
		},
		func(r *rig, p *pretend) {
			p.sites["shop0.test"], p.sites["shop1.test"], p.sites["shop2.test"] = siteOf("mx.x"), siteOf("mx.x"), siteOf("mx.x")
			for i := range 500 {
				r.send(a, acc, nil, fmt.Sprintf("one@shop%d.test", i%3))
			}
			for range 20 {
				r.send(a, other, nil, "two@shop0.test")
			}
			p.pass(2 * time.Second)
			at := 0
			for i, x := range p.tried {
				if x.rcpt == "two@shop0.test" {
					at = i
				}
			}
			if at == 0 || at > 60 {
				t.Errorf("the second account's last message left as number %d", at+1)
			}
		})
}
