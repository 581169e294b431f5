package node

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"postern/node/dnsbl"
	"postern/tenant"
)

// As which domain an account sends is told once, and again when that grows old;
// a domain that is not its tenant's is nobody's.
func TestSentAsIsToldOnce(t *testing.T) {
	st := heardState(t)
	apply := func(op tenant.Op, at time.Time) {
		t.Helper()
		var err error
		if st, _, err = tenant.Apply(st, st.Index()+1, tenant.Command{At: at, Op: op}); err != nil {
			t.Fatal(err)
		}
	}
	now := st.Now()
	apply(tenant.SetDomain{Tenant: 1, Name: "shoes.test"}, now)
	w := newSentAs("n1", nil, slog.New(slog.DiscardHandler))
	for _, from := range []string{"news@shoes.test", "news@SHOES.test", "", "no address", "x@else.test"} {
		w.count(st, mailTo(1, from, now, "ada@far.test"))
	}
	op, id := w.batch(st, now)
	if op == nil || len(op.Sent) != 1 || op.Sent[0].Domain != "shoes.test" || op.Sent[0].Account != 1 {
		t.Fatalf("told %+v", op)
	}
	if again, same := w.batch(st, now.Add(time.Hour)); again != op || same != id {
		t.Errorf("again it is %+v", again)
	}
	apply(*op, now)
	w.told.done()
	w.count(st, mailTo(1, "news@shoes.test", now.Add(time.Hour), "ada@far.test"))
	if len(w.fresh) != 0 {
		t.Error("what is known is told again")
	}
	w.count(st, mailTo(1, "news@shoes.test", now.AddDate(0, 0, 2), "ada@far.test"))
	if len(w.fresh) != 1 {
		t.Error("what grew old is not told again")
	}
	if op, _ := w.batch(tenant.New(), now); op != nil || len(w.fresh) != 0 {
		t.Errorf("nobody asks: %+v", op)
	}
}

// Lists have what somebody registered.
func TestDomainsOf(t *testing.T) {
	got := domainsOf([]string{"mx1.relay.example", "mx2.relay.example", "shop.acme.co.uk", "acme.co.uk", "co.uk", "me.github.io", "192.0.2.1", "localhost", "news.acme.test"})
	if fmt.Sprint(got) != "[relay.example acme.co.uk co.uk me.github.io acme.test]" {
		t.Errorf("asked about %v", got)
	}
}

// What a domain's answers say of how far a zone was asked, and which of them are
// told: a lost packet is not, nor the ill health of a zone.
func TestDomainAnswers(t *testing.T) {
	z := &tenant.Zone{Name: "dbl.test", Every: time.Hour}
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	clean, lost := tenant.Answer{Kind: tenant.AnswerClean}, tenant.Answer{Why: tenant.WhyTimeout}
	was := tenant.Sighting{Answer: clean, Rounds: 3, Last: at.Add(-time.Hour)}
	doubtful := func(since time.Duration) tenant.Sighting {
		s := was
		s.Doubt, s.DoubtSince = lost, at.Add(-since)
		return s
	}
	for name, x := range map[string]struct {
		known  dnsbl.Known
		doubt  bool
		heard  int
		oldest time.Time
	}{
		"clean":                {dnsbl.Known{At: at, Latest: clean, Sighting: was}, false, 1, at},
		"lost once":            {dnsbl.Known{At: at, Latest: lost, Sighting: doubtful(0)}, false, 1, at.Add(-time.Hour)},
		"lost for a round":     {dnsbl.Known{At: at, Latest: lost, Sighting: doubtful(54 * time.Minute)}, true, 1, time.Time{}},
		"never an answer":      {dnsbl.Known{At: at, Latest: lost, Sighting: tenant.Sighting{Doubt: lost, DoubtSince: at}}, true, 1, time.Time{}},
		"the zone is ill":      {dnsbl.Known{At: at, Latest: lost, Sighting: doubtful(54 * time.Minute), Ill: true}, false, 1, at.Add(-time.Hour)},
		"it was ill from once": {dnsbl.Known{At: at, Latest: lost, Sighting: tenant.Sighting{Doubt: lost, DoubtSince: at}, Ill: true}, false, 0, time.Time{}},
	} {
		a := asking{zone: z}
		doubt := isDoubt(z, x.known)
		a.addDomain(x.known, doubt)
		if doubt != x.doubt || a.heard != x.heard || !a.oldest.Equal(x.oldest) {
			t.Errorf("%s: doubt %v, heard %d, oldest %v", name, doubt, a.heard, a.oldest)
		}
	}
}
