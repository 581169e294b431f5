package delivery

import (
	"fmt"
	"testing"

	"postern/node/queue"
)

func TestMailLeavesByTheTenantsSource(t *testing.T) {
	c := startCrowd(t, &crowd{})
	w := newWorld(t)
	a, acc := w.customer("a", w.source("127.77.1.11", false))
	w.route("*", c.addr)
	r := newRig(t, w, nil).start()
	for i := range 50 {
		r.send(a, acc, nil, fmt.Sprintf("u%d@shop%d.test", i, i%7), "v@other.test")
	}
	r.await("all delivered", func() bool { return r.outcomes()[queue.Delivered] == 100 })
	if n := r.metric("postern_delivered_total"); n != 100 {
		t.Errorf("delivered_total = %v, want 100", n)
	}
	if len(c.most) != 1 || c.most["127.77.1.11"] == 0 {
		t.Errorf("connections came from %v, want 127.77.1.11 alone", c.most)
	}
	if n := r.store.Count()[a]; n.Queued != 0 {
		t.Errorf("still queued: %+v", n)
	}
	for _, e := range r.seen() {
		if e.Attempt.Source != "127.77.1.11" || e.Attempt.EHLO != "out-11.relay.test" || !e.Attempt.DotSent {
			t.Fatalf("trace: %+v", e.Attempt)
		}
	}
}

func BenchmarkOneRoute(b *testing.B) {
	c := startCrowd(b, &crowd{})
	w := newWorld(b)
	a, acc := w.customer("a", w.source("127.77.1.11", false))
	w.route("*", c.addr)
	r := newRig(b, w, func(cfg *Config) { cfg.Observe = nil })
	for range b.N {
		r.send(a, acc, nil, "u@shop.test")
	}
	b.ResetTimer()
	r.start()
	await(b, 1<<40, "all delivered", func() bool { return c.count() == b.N })
}
