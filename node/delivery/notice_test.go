package delivery

import (
	"bytes"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/node/bounce"
	"postern/node/queue"
	"postern/tenant"
)

// TestNotifyMatrix is RFC 3461 §4.1 and §5.2 as a table.
func TestNotifyMatrix(t *testing.T) {
	const n, s, f, d = queue.NotifyNever, queue.NotifySuccess, queue.NotifyFailure, queue.NotifyDelay
	for _, c := range []struct {
		notify  queue.Notify
		result  queue.Result
		dsn     bool // next hop offers DSN
		delay   bool // the message is late
		want    bounce.Action
		because string
	}{
		{0, queue.Bounced, false, false, bounce.Failed, "failure is told by default"},
		{0, queue.Expired, false, false, bounce.Failed, "expiry is a failure"},
		{0, queue.Deferred, false, true, bounce.Delayed, "delay is told by default"},
		{0, queue.Deferred, false, false, "", "not late yet"},
		{0, queue.Delivered, false, false, "", "success is told on request only"},
		{s, queue.Delivered, false, false, bounce.Relayed, "the next hop cannot tell"},
		{s, queue.Delivered, true, false, "", "the next hop tells"},
		{s, queue.Bounced, false, false, "", "success only"},
		{s, queue.Deferred, false, true, "", "success only"},
		{f, queue.Bounced, true, false, bounce.Failed, ""},
		{f, queue.Deferred, false, true, "", "failure only"},
		{d, queue.Deferred, false, true, bounce.Delayed, ""},
		{d, queue.Bounced, false, false, "", "delay only"},
		{s | f, queue.Expired, false, false, bounce.Failed, ""},
		{s | f | d, queue.Delivered, false, false, bounce.Relayed, ""},
		{n, queue.Bounced, false, false, "", "never"},
		{n, queue.Delivered, false, false, "", "never"},
		{n | s | f | d, queue.Bounced, false, false, "", "never wins"},
		{n | s | f | d, queue.Deferred, false, true, "", "never wins"},
		{0, queue.Cancelled, false, false, "", "the operator's act is not told"},
	} {
		if got := notifyAs(c.notify, c.result, c.dsn, c.delay); got != c.want {
			t.Errorf("notify %04b, result %d, dsn %v, delay %v: %q, want %q (%s)", c.notify, c.result, c.dsn, c.delay, got, c.want, c.because)
		}
	}
}

func TestNoticesGoOnlyToTheTenant(t *testing.T) {
	w := newWorld(t)
	a, acc := w.customer("a", w.source("10.0.0.1", false))
	w.customer("b", w.source("10.0.0.2", false))
	bare, _ := w.customer("c", w.source("10.0.0.3", false))
	ev := w.apply(tenant.AddAccount{Tenant: bare, Username: "x@c.test"})
	silent := ev[0].(tenant.AccountAdded).Account
	st := w.state.Load()
	for _, c := range []struct {
		tenant tenant.ID
		env    queue.Envelope
		want   string
	}{
		{a, queue.Envelope{Account: acc, Kind: queue.Submitted, From: "post@a.test"}, "post@a.test"},
		{a, queue.Envelope{Account: acc, Kind: queue.Submitted, From: "Post@A.TEST"}, "Post@A.TEST"},
		{a, queue.Envelope{Account: acc, Kind: queue.Submitted, From: "post@b.test"}, "boss@a.test"},
		{a, queue.Envelope{Account: acc, Kind: queue.Submitted, From: "no-address"}, "boss@a.test"},
		{a, queue.Envelope{Account: acc, Kind: queue.Submitted}, ""},
		{a, queue.Envelope{Account: acc, Kind: queue.Report, From: "post@a.test"}, ""},
		{bare, queue.Envelope{Account: silent, Kind: queue.Submitted, From: "post@elsewhere.test"}, ""},
		{a, queue.Envelope{Account: 99, Kind: queue.Submitted, From: "post@elsewhere.test"}, ""},
	} {
		if got := noticeTo(st, c.tenant, &c.env); got != c.want {
			t.Errorf("%+v: notice to %q, want %q", c.env, got, c.want)
		}
	}
}

// told is a pretended far end that keeps what comes for the tenant's own domain.
type told struct {
	envs   []outbound
	bodies []string
}

func (x *told) keep(m outbound) bool {
	if !strings.HasSuffix(m.Rcpts[0].Addr, "@a.test") {
		return false
	}
	var b bytes.Buffer
	io.Copy(&b, m.Body)
	x.envs, x.bodies = append(x.envs, m), append(x.bodies, b.String())
	return true
}

func TestNoticeOfAFailure(t *testing.T) {
	for _, c := range []struct {
		ret  string
		size int
		full bool
	}{{"", 0, false}, {"HDRS", 0, false}, {"FULL", 0, true}, {"FULL", returnMax, false}} {
		var a tenant.ID
		var acc tenant.AccountID
		inBubble(t, nil, func(w *world) { a, acc = w.customer("a", w.source("10.0.0.1", false)) },
			func(r *rig, p *pretend) {
				var got told
				p.send = func(_ netip.Addr, m outbound) result {
					got.keep(m) // refused too: no notice about a notice
					return result{Stage: stageRcpt, Replies: repeat(queue.Reply{Code: 550, Enhanced: "5.1.1", Text: "no such user"}, len(m.Rcpts))}
				}
				r.sendBody(a, acc, func(e *queue.Envelope) {
					e.Ret, e.EnvID = c.ret, "QQ314159"
					e.Rcpts[1].ORcpt = "rfc822;old@shop.test"
					e.Rcpts[2].Notify = queue.NotifyNever
				}, testBody+strings.Repeat("xxxxxxxxxxxxxx\r\n", c.size/16), "one@shop.test", "two@shop.test", "three@shop.test")
				p.pass(time.Minute)
				if len(got.envs) != 1 {
					t.Fatalf("%d notices, want 1", len(got.envs))
				}
				m, text := got.envs[0], got.bodies[0]
				if m.From != "" || len(m.Rcpts) != 1 || m.Rcpts[0].Addr != "post@a.test" {
					t.Errorf("envelope %+v", m)
				}
				seen := r.seen()
				e := seen[len(seen)-1].Item.Envelope
				if e.Kind != queue.Report || e.Account != acc || e.Expires.Sub(e.Arrived) != 48*time.Hour {
					t.Errorf("envelope %+v", e)
				}
				for _, want := range []string{
					"mailer-daemon@a.relay.test", "Original-Envelope-Id: QQ314159",
					"one@shop.test", "two@shop.test", "Original-Recipient: rfc822; old@shop.test",
					"Action: failed", "Status: 5.1.1", "550 5.1.1 no such user", "Message-ID: " + e.MessageID,
				} {
					if !strings.Contains(text, want) {
						t.Errorf("notice lacks %q", want)
					}
				}
				if !strings.HasSuffix(e.MessageID, "@a.relay.test>") {
					t.Errorf("message id %s", e.MessageID)
				}
				if strings.Contains(text, "three@shop.test") {
					t.Error("a recipient with NOTIFY=NEVER is in the notice")
				}
				if strings.Contains(text, "A line.") != c.full {
					t.Errorf("RET=%q, %d octets: body returned %v, want %v", c.ret, c.size, !c.full, c.full)
				}
				if !strings.Contains(text, "Subject: hello") {
					t.Error("headers not returned")
				}
				if n := r.store.Count()[a]; n.Messages != 0 {
					t.Errorf("queue ends with %+v", n)
				}
			})
	}
}

func TestDelayIsToldOnce(t *testing.T) {
	var a tenant.ID
	var acc tenant.AccountID
	inBubble(t, nil, func(w *world) { a, acc = w.customer("a", w.source("10.0.0.1", false)) },
		func(r *rig, p *pretend) {
			var got told
			p.send = func(_ netip.Addr, m outbound) result {
				if got.keep(m) {
					return result{Stage: stageDot, DotSent: true, Replies: repeat(queue.Reply{Code: 250}, 1)}
				}
				return refusedAt(stageRcpt, 450, "4.2.0", "greylisted")
			}
			r.send(a, acc, nil, "u@shop.test")
			p.pass(3 * time.Hour)
			if len(got.bodies) != 0 {
				t.Errorf("told of a delay after three hours")
			}
			p.pass(6 * time.Hour)
			if len(got.bodies) != 1 || !strings.Contains(got.bodies[0], "Action: delayed") || !strings.Contains(got.bodies[0], "Will-Retry-Until:") {
				t.Errorf("delay notices: %d %v", len(got.bodies), got.bodies)
			}
		})
}

func TestSuccessIsToldWhereTheNextHopCannot(t *testing.T) {
	for _, dsn := range []bool{false, true} {
		var a tenant.ID
		var acc tenant.AccountID
		inBubble(t, nil, func(w *world) { a, acc = w.customer("a", w.source("10.0.0.1", false)) },
			func(r *rig, p *pretend) {
				var got told
				p.send = func(_ netip.Addr, m outbound) result {
					got.keep(m)
					return result{Stage: stageDot, DotSent: true, DSN: dsn, Replies: repeat(queue.Reply{Code: 250}, len(m.Rcpts))}
				}
				r.send(a, acc, func(e *queue.Envelope) { e.Rcpts[0].Notify = queue.NotifySuccess }, "u@shop.test", "v@shop.test")
				p.pass(time.Minute)
				switch {
				case dsn && len(got.bodies) != 0:
					t.Error("told of a success the next hop will tell")
				case !dsn && (len(got.bodies) != 1 || !strings.Contains(got.bodies[0], "Action: relayed") || strings.Contains(got.bodies[0], "v@shop.test")):
					t.Errorf("success notices: %v", got.bodies)
				}
			})
	}
}
