package node

import (
	"net/netip"
	"testing"
	"time"

	"postern/node/delivery"
	"postern/node/queue"
	"postern/tenant"
)

// Only what is the account's own doing counts against it: a refusal of our IP,
// a delay or a silence never does.
func TestOutcomesThatCount(t *testing.T) {
	reply := func(code int, enhanced, text string) queue.Reply {
		return queue.Reply{Code: code, Enhanced: enhanced, Text: text}
	}
	for _, x := range []struct {
		outcome queue.Outcome
		want    tenant.Counts
	}{
		{queue.Outcome{Result: queue.Delivered, Reply: reply(250, "2.0.0", "ok")}, tenant.Counts{Tried: 1, Delivered: 1}},
		{queue.Outcome{Result: queue.Bounced, Reply: reply(550, "5.1.1", "user unknown")}, tenant.Counts{Tried: 1, Unknown: 1}},
		{queue.Outcome{Result: queue.Bounced, Reply: reply(554, "5.7.1", "Message rejected as spam by Content Filtering.")}, tenant.Counts{Tried: 1, Content: 1}},
		{queue.Outcome{Result: queue.Deferred, Reply: reply(550, "5.7.1", "Service unavailable; client host [192.0.2.10] blocked using zen.spamhaus.org")}, tenant.Counts{Tried: 1}},
		{queue.Outcome{Result: queue.Deferred, Reply: reply(451, "4.7.1", "greylisted")}, tenant.Counts{Tried: 1}},
		{queue.Outcome{Result: queue.Deferred}, tenant.Counts{Tried: 1}},
	} {
		e := delivery.Event{Item: &queue.Item{}, Attempt: queue.Attempt{Host: "mx.shop.test"}, Outcomes: []queue.Outcome{x.outcome}}
		if got := countOutcomes(e, netip.MustParseAddr("192.0.2.10")); got != x.want {
			t.Errorf("%+v counts %+v, want %+v", x.outcome.Reply, got, x.want)
		}
	}
}

// A batch that was proposed and may have been applied is proposed again as it
// was, under the same id; the next one has another.
func TestUsesAreToldOnce(t *testing.T) {
	u := newUses("n1", nil, nil)
	now := time.Now()
	u.pending[useKey{1, 1}] = tenant.Counts{Tried: 3}
	first, id := u.batch(1, now)
	if first == nil || len(first.Uses) != 1 || first.Uses[0].Counts.Tried != 3 {
		t.Fatalf("the batch is %+v", first)
	}
	u.pending[useKey{1, 1}] = tenant.Counts{Tried: 4}
	if again, same := u.batch(1, now.Add(time.Hour)); again != first || same != id {
		t.Errorf("again it is %+v under %x", again, same)
	}
	u.told.done() // it was applied
	if early, _ := u.batch(1, now.Add(time.Second)); early != nil {
		t.Errorf("too early: %+v", early)
	}
	next, other := u.batch(1, now.Add(usesEvery))
	if next == nil || next.Uses[0].Counts.Tried != 4 || other == id {
		t.Errorf("the next one is %+v under %x", next, other)
	}
}
