package delivery

import (
	"net/netip"
	"sync/atomic"
	"testing"

	"postern/node/queue"
	"postern/tenant"
)

// knows makes the only node know all commands, which what is about listings
// needs.
func (w *world) knows() {
	version := uint32(tenant.NewestVersion)
	w.apply(tenant.SetNode{Node: 1, Version: &version})
}

func (w *world) listed(addr string) {
	w.apply(tenant.Drill{Source: w.state.Load().SourceByAddr(netip.MustParseAddr(addr)).ID})
}

// No dot follows the moment in which a source came to be listed, also of what
// is on its way; nothing is lost, and it goes on when the listing ends.
func TestNothingLeavesAListedSource(t *testing.T) {
	gate := make(chan struct{})
	var inBody atomic.Int32
	c := startCrowd(t, &crowd{say: func(verb, line string, _ int) string {
		if verb == "RCPT" { // the transaction is under way
			inBody.Add(1)
			<-gate
		}
		return ""
	}})
	w := newWorld(t)
	a, acc := w.customer("a", w.source("127.77.1.11", false))
	w.knows()
	w.route("*", c.addr)
	r := newRig(t, w, nil).start()
	for range 30 {
		r.send(a, acc, nil, "u@shop.test")
	}
	r.await("a transaction under way", func() bool { return inBody.Load() > 0 })
	w.listed("127.77.1.11")
	close(gate)
	r.await("items given back", func() bool { return r.metric("postern_delivery_connections") == 0 })
	if n := c.count(); n != 0 {
		t.Errorf("%d messages left by the listed source", n)
	}
	w.apply(tenant.EndCase{Case: 1, Reason: "over"})
	r.await("all delivered once it is over", func() bool { return r.outcomes()[queue.Delivered] == 30 })
}

// A pool drops its listed member: also a retry that would keep it leaves by
// another one.
func TestAPoolDropsItsListedMember(t *testing.T) {
	c := startCrowd(t, &crowd{})
	w := newWorld(t)
	for _, addr := range []string{"127.77.1.11", "127.77.1.12", "127.77.1.13"} {
		w.source(addr, true)
	}
	a, acc := w.customer("a", 0)
	w.knows()
	w.route("*", c.addr)
	r := newRig(t, w, nil).start()
	r.send(a, acc, nil, "u@shop.test")
	r.await("the first delivery", func() bool { return r.outcomes()[queue.Delivered] == 1 })
	by := r.seen()[0].Attempt.Source
	w.listed(by)
	for range 20 {
		r.send(a, acc, nil, "u@shop.test")
	}
	r.await("all delivered", func() bool { return r.outcomes()[queue.Delivered] == 21 })
	for _, e := range r.seen()[1:] {
		if e.Attempt.Source == by {
			t.Fatalf("a message left by %s", by)
		}
	}
}
