package delivery

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"postern/node/queue"
	"postern/tenant"
)

// TestChangeWhileRunning: waits and resolvers that are changed count for the
// next attempt and the next question.
func TestChangeWhileRunning(t *testing.T) {
	find, _ := newProtocol(Config{Resolvers: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}, Shaping: DefaultShaping()})
	s := &scheduler{cfg: Config{Retry: []time.Duration{time.Minute}, State: tenant.New}, find: find, random: func() float64 { return 0.5 }}
	sender := &Sender{s: s, setServers: find.dns.setServers}
	now := time.Now()
	first := func() time.Duration {
		e := &queue.Envelope{Arrived: now, Expires: now.Add(time.Hour)}
		return s.terms(&queue.Item{Envelope: e}, now).retry[0]
	}
	if d := first(); d != time.Minute {
		t.Errorf("first wait %s", d)
	}
	waits := []time.Duration{time.Hour}
	sender.SetRetry(waits)
	waits[0] = time.Second // the caller's to change again
	if d := first(); d != time.Hour {
		t.Errorf("after the change %s", d)
	}
	next := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:2"), netip.MustParseAddrPort("[::1]:53")}
	sender.SetResolvers(next)
	if got := *find.dns.servers.Load(); !slices.Equal(got, next) {
		t.Errorf("asks %v", got)
	}
}
