package delivery

import (
	"sync/atomic"
	"testing"
	"time"

	"postern/node/queue"
	"postern/tenant"
)

// Removing an account must not set its queue free, nor leave it there for ever.
func TestARemovedAccountsMailExpires(t *testing.T) {
	c := startCrowd(t, &crowd{})
	w := newWorld(t)
	a, acc := w.customer("a", w.source("127.77.1.11", false))
	w.route("*", c.addr)
	w.apply(tenant.Hold{Tenant: a, Account: acc, Reason: "spam"})
	r := newRig(t, w, func(cfg *Config) { cfg.Backoff = []time.Duration{20 * time.Millisecond} })
	r.send(a, acc, nil, "young@shop.test")
	for range 3 {
		r.send(a, acc, func(e *queue.Envelope) { e.Expires = e.Arrived.Add(300 * time.Millisecond) }, "u@shop.test", "v@other.test")
	}
	r.start()
	w.apply(tenant.RemoveAccount{Account: acc})
	r.await("the end of what is too old", func() bool { return r.outcomes()[queue.Expired] == 6 })
	if n := c.count(); n != 0 {
		t.Errorf("%d messages of a removed account left", n)
	}
	list, err := r.store.List(queue.Filter{Limit: 10})
	if err != nil || len(list) != 1 || list[0].Envelope.Rcpts[0].Addr != "young@shop.test" {
		t.Errorf("queue has %d messages (%v), want the young one", len(list), err)
	}
}

// The lane of an account that is removed in the midst of sending has a site
// already, and must forget it.
func TestAnAccountIsRemovedWhileItSends(t *testing.T) {
	gate := make(chan struct{})
	var under atomic.Int32
	c := startCrowd(t, &crowd{say: func(verb, _ string, _ int) string {
		if verb == "RCPT" {
			under.Add(1)
			<-gate
		}
		return ""
	}})
	w := newWorld(t)
	a, acc := w.customer("a", w.source("127.77.1.11", false))
	w.route("*", c.addr)
	r := newRig(t, w, func(cfg *Config) { cfg.Backoff = []time.Duration{20 * time.Millisecond} }).start()
	for range 100 {
		r.send(a, acc, func(e *queue.Envelope) { e.Expires = e.Arrived.Add(4 * time.Second) }, "u@shop.test")
	}
	r.await("a transaction under way", func() bool { return under.Load() > 0 })
	w.apply(tenant.RemoveAccount{Account: acc})
	close(gate)
	r.await("the end of all", func() bool { return r.outcomes()[queue.Expired] == 100 })
	if n := c.count(); n != 0 {
		t.Errorf("%d messages of a removed account left", n)
	}
}
