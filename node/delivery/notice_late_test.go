package delivery

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postern/node/queue"
	"postern/tenant"
)

// Who is told of what came back late, and of whom.
func TestLateNotice(t *testing.T) {
	w := newWorld(t)
	a, acc := w.customer("a", w.source("10.0.0.1", false))
	other, _ := w.customer("b", w.source("10.0.0.2", false))
	st := w.state.Load()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	rcpts := func(addrs ...string) (all []queue.Rcpt) {
		for _, x := range addrs {
			all = append(all, queue.Rcpt{Addr: x})
		}
		return all
	}
	env := func(change func(*queue.Envelope)) *queue.Envelope {
		e := &queue.Envelope{Account: acc, Kind: queue.Submitted, From: "post@a.test", MessageID: "<1@a.test>", Arrived: now, EnvID: "order 7",
			Rcpts: rcpts("x@far.test", "y@far.test", "z@near.test")}
		if change != nil {
			change(e)
		}
		return e
	}
	f := func(rcpt int, addr string) LateRcpt {
		return LateRcpt{Rcpt: rcpt, Addr: addr, Status: "4.2.2", Text: "550 no"}
	}
	for _, x := range []struct {
		name    string
		tenant  tenant.ID
		env     *queue.Envelope
		account tenant.AccountID
		ended   map[int]queue.Result
		failed  []LateRcpt
		to      string // "" is no notice
		about   string // final recipients
	}{
		{"by index, whatever address is named", a, env(nil), 0, nil, []LateRcpt{f(1, "else@where.test")}, "post@a.test", "y@far.test"},
		{"by address", a, env(nil), 0, nil, []LateRcpt{f(-1, "X@FAR.test"), f(-1, "z@near.test")}, "post@a.test", "x@far.test z@near.test"},
		{"each once", a, env(nil), 0, nil, []LateRcpt{f(-1, "x@far.test"), f(0, ""), f(-1, "X@far.test")}, "post@a.test", "x@far.test"},
		{"one stranger at most", a, env(nil), 0, nil, []LateRcpt{f(-1, "p@far.test"), f(-1, "q@far.test")}, "post@a.test", "p@far.test"},
		{"no stranger beside one that is known", a, env(nil), 0, nil, []LateRcpt{f(-1, "p@far.test"), f(-1, "x@far.test")}, "post@a.test", "x@far.test"},
		{"a stranger's address of an only recipient", a, env(func(e *queue.Envelope) { e.Rcpts = rcpts("x@far.test") }), 0, nil, []LateRcpt{f(-1, "fwd@else.test")}, "post@a.test", "x@far.test"},
		{"an index that it does not have", a, env(nil), 0, nil, []LateRcpt{f(7, "x@far.test")}, "", ""},
		{"an unreadable address", a, env(nil), 0, nil, []LateRcpt{f(-1, "a1b2c3")}, "", ""},
		{"told before", a, env(nil), 0, map[int]queue.Result{0: queue.Bounced, 1: queue.Delivered, 2: queue.Expired}, []LateRcpt{f(0, ""), f(1, ""), f(2, "")}, "post@a.test", "y@far.test"},
		{"who wants no notice", a, env(func(e *queue.Envelope) {
			e.Rcpts[0].Notify = queue.NotifyNever
			e.Rcpts[1].Notify = queue.NotifySuccess
		}), 0, nil,
			[]LateRcpt{f(0, ""), f(1, "")}, "", ""},
		{"a report is not answered", a, env(func(e *queue.Envelope) { e.Kind, e.From = queue.Report, "" }), 0, nil, []LateRcpt{f(0, "")}, "", ""},
		{"nor mail without a sender", a, env(func(e *queue.Envelope) { e.From = "" }), 0, nil, []LateRcpt{f(0, "")}, "", ""},
		{"a sender of others: the account's address", a, env(func(e *queue.Envelope) { e.From = "post@b.test" }), 0, nil, []LateRcpt{f(0, "")}, "boss@a.test", "x@far.test"},
		{"the envelope is gone", a, nil, acc, nil, []LateRcpt{f(3, "x@far.test"), f(-1, "y@far.test")}, "boss@a.test", "x@far.test"},
		{"all is gone", a, nil, 0, nil, []LateRcpt{f(-1, "x@far.test")}, "", ""},
		{"an account of another tenant", other, nil, acc, nil, []LateRcpt{f(-1, "x@far.test")}, "", ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			l := Late{ID: queue.ID{Tenant: x.tenant, Epoch: 1, Seq: 1}, Envelope: x.env, Account: x.account, Ended: x.ended, Failed: x.failed, At: now}
			n, err := LateNotice(st, "relay.test", l)
			if err != nil {
				t.Fatal(err)
			}
			if n == nil || x.to == "" {
				if n != nil || x.to != "" {
					t.Fatalf("notice %+v, want to %q", n, x.to)
				}
				return
			}
			var finals []string
			for line := range strings.Lines(string(n.Body)) {
				if rest, ok := strings.CutPrefix(line, "Final-Recipient: rfc822; "); ok {
					finals = append(finals, strings.TrimSpace(rest))
				}
			}
			e := n.Envelope
			if e.From != "" || e.Kind != queue.Report || len(e.Rcpts) != 1 || e.Rcpts[0] != (queue.Rcpt{Addr: x.to, Notify: queue.NotifyNever}) || strings.Join(finals, " ") != x.about {
				t.Errorf("%+v about %q; want to %s about %q", e, finals, x.to, x.about)
			}
			if want := fmt.Sprintf("Status: %s\r\n", "5.2.2"); !strings.Contains(string(n.Body), want) {
				t.Errorf("no %q in\n%s", want, n.Body)
			}
		})
	}
}
