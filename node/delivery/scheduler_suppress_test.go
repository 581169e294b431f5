package delivery

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/node/queue"
	"postern/tenant"
)

// goneMX refuses gone@ and takes the rest.
func goneMX(_ netip.Addr, m outbound) result {
	res := result{Stage: stageRcpt}
	taken := 0
	for _, r := range m.Rcpts {
		if strings.HasPrefix(strings.ToLower(r.Addr), "gone@") {
			res.Replies = append(res.Replies, queue.Reply{Code: 550, Enhanced: "5.1.1", Text: "user unknown"})
			continue
		}
		taken++
		res.Replies = append(res.Replies, queue.Reply{Code: 250, Enhanced: "2.0.0", Text: "ok"})
	}
	res.DotSent = taken > 0
	return res
}

// TestSuppressed: an address that its host does not know is tried once. What
// comes for it later ends at once and opens no connection, with a notice that
// says why; the others of such a message leave. A transactional message is worth
// a try a day.
func TestSuppressed(t *testing.T) {
	var a tenant.ID
	var acc tenant.AccountID
	inBubble(t, nil, func(w *world) { a, acc = w.customer("a", w.source("10.0.0.1", false)) },
		func(r *rig, p *pretend) {
			p.send = goneMX
			bulk := func(e *queue.Envelope) { e.Class = tenant.Bulk }
			r.send(a, acc, bulk, "gone@shop.test")
			p.pass(time.Minute)
			if n := r.outcomes(); n[queue.Bounced] != 1 {
				t.Fatalf("outcomes %v, want one bounced", n)
			}
			dials := len(p.dials)
			second := r.send(a, acc, bulk, "Gone@Shop.test")
			p.pass(time.Minute)
			tr, err := r.store.Trace(second)
			if err != nil || len(tr.Outcomes) != 1 || tr.Outcomes[0].Result != queue.Suppressed || len(tr.Attempts) != 0 {
				t.Fatalf("trace %+v %v", tr, err)
			}
			why := tr.Outcomes[0].Reply
			if why.Enhanced != "5.1.1" || !strings.Contains(why.Text, "failed on 20") || !strings.Contains(why.Text, "550 5.1.1 user unknown") {
				t.Errorf("why: %+v", why)
			}
			if n := len(p.triedFor("Gone@Shop.test")); n != 0 || len(p.dials) > dials+1 { // one more is the notice's
				t.Errorf("tried %d times, dialled %d times", n, len(p.dials)-dials)
			}
			third := r.send(a, acc, bulk, "gone@shop.test", "here@shop.test")
			p.pass(time.Minute)
			tr, err = r.store.Trace(third)
			if err != nil || len(tr.Outcomes) != 2 || len(tr.Attempts) != 1 || tr.Attempts[0].N != 1 {
				t.Fatalf("trace of two %+v %v", tr, err)
			}
			if n := len(p.triedFor("here@shop.test")); n != 1 {
				t.Errorf("the other one tried %d times", n)
			}
			if n := r.metric("postern_suppressed_total"); n != 2 {
				t.Errorf("suppressed_total = %v", n)
			}
			if n := r.metric("postern_bounced_total"); n != 3 {
				t.Errorf("bounced_total = %v, suppressed ones included", n)
			}
			urgent := func(e *queue.Envelope) { e.Class = tenant.Transactional }
			r.send(a, acc, urgent, "gone@shop.test")
			p.pass(25 * time.Hour)
			r.send(a, acc, urgent, "gone@shop.test")
			p.pass(time.Minute)
			if n := len(p.triedFor("gone@shop.test")); n != 2 {
				t.Errorf("tried %d times in two days, want 2", n)
			}
		})
}

// TestNotSuppressed: what speaks of our IP, of the moment, of the message or of
// nobody in particular puts no address on a list.
func TestNotSuppressed(t *testing.T) {
	for name, res := range map[string]result{
		"our IP":       refusedAt(stageRcpt, 550, "5.7.1", "Service unavailable; client host [10.0.0.1] blocked using zen.spamhaus.org"),
		"mailbox full": refusedAt(stageRcpt, 552, "5.2.2", "mailbox full"),
		"later":        refusedAt(stageRcpt, 450, "4.1.1", "user unknown"),
		"content":      refusedAt(stageDot, 554, "5.7.1", "message rejected as spam"),
		"no words":     refusedAt(stageRcpt, 550, "", "no"),
		"the sender":   refusedAt(stageMail, 550, "5.1.1", "user unknown"),
	} {
		t.Run(name, func(t *testing.T) {
			var a tenant.ID
			var acc tenant.AccountID
			inBubble(t, nil, func(w *world) { a, acc = w.customer("a", w.source("10.0.0.1", false)) },
				func(r *rig, p *pretend) {
					p.send = func(netip.Addr, outbound) result { return res }
					r.send(a, acc, func(e *queue.Envelope) { e.Class = tenant.Bulk }, "u@shop.test")
					p.pass(time.Minute)
					if len(p.triedFor("u@shop.test")) == 0 {
						t.Fatal("not tried")
					}
					if list, _, err := r.store.Suppressions(a, "", 10); err != nil || len(list) != 0 {
						t.Errorf("list %+v %v", list, err)
					}
				})
		})
	}
}
