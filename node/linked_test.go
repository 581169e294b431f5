package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"postern/node/links"
	"postern/node/queue"
	"postern/tenant"
)

// linkState asks lists about domains.
func linkState(t *testing.T) *tenant.State {
	st := heardState(t)
	zone := tenant.Zone{Name: "dbl.test", Every: time.Hour, Spaces: []tenant.Space{tenant.SpaceDomain},
		Codes: []tenant.ZoneCode{{First: netip.MustParseAddr("127.0.1.2"), Last: netip.MustParseAddr("127.0.1.2"), Weight: 50, Means: "spam domain", Policy: tenant.PolicyMove}}}
	for _, op := range []tenant.Op{tenant.SetDomain{Tenant: 1, Name: "mail.shoes.test"}, tenant.SetLists{Rule: tenant.DefaultListingRule(), Zones: []tenant.Zone{zone}}} {
		var err error
		if st, _, err = tenant.Apply(st, st.Index()+1, tenant.Command{At: st.Now(), Op: op}); err != nil {
			t.Fatal(err)
		}
	}
	return st
}

// What accounts link to is told once, a few of the most used at a time, each as
// somebody registered it; what is the tenant's own, or nobody's, is not.
func TestLinkedIsToldOnce(t *testing.T) {
	st := linkState(t)
	w := newLinked("n1", nil, nil, slog.New(slog.DiscardHandler))
	now := st.Now()
	see := func(hosts ...string) {
		t.Helper()
		if !w.reads(1, 5000, now) {
			t.Fatal("a message is not read")
		}
		w.count(1, hosts)
	}
	for range 3 {
		see("www.shoes.test", "img.shoes.test", "a.pills.test", "b.pills.test", "co.uk", "www.acme.co.uk")
	}
	see("watches.test", "meds.test")
	see("meds.test")
	told := func(op *tenant.Linked) (all []string) {
		if op != nil {
			for _, l := range op.Links {
				all = append(all, fmt.Sprintf("%d:%s", l.Account, l.Domain))
			}
		}
		return all
	}
	op, id := w.batch(st, now)
	if got := told(op); !slices.Equal(got, []string{"1:acme.co.uk", "1:pills.test", "1:meds.test"}) {
		t.Fatalf("told %q", got)
	}
	if again, same := w.batch(st, now.Add(time.Hour)); again != op || same != id {
		t.Errorf("again it is %+v", again)
	}
	st, _, err := tenant.Apply(st, st.Index()+1, tenant.Command{At: now, Op: *op})
	if err != nil {
		t.Fatal(err)
	}
	w.told.done()
	if op, _ := w.batch(st, now.Add(usesEvery)); op != nil {
		t.Errorf("without a pause %q", told(op))
	}
	op, _ = w.batch(st, now.Add(linkPause))
	if got := told(op); !slices.Equal(got, []string{"1:watches.test"}) {
		t.Fatalf("then told %q", got)
	}
	if st, _, err = tenant.Apply(st, st.Index()+1, tenant.Command{At: now, Op: *op}); err != nil {
		t.Fatal(err)
	}
	w.told.done()
	see("a.pills.test", "watches.test")
	if op, _ := w.batch(st, now.Add(2*linkPause)); op != nil {
		t.Errorf("what is known is told again: %q", told(op))
	}
	if w.batch(tenant.New(), now); len(w.of) != 0 {
		t.Error("what nobody asks for is kept")
	}
}

// A message is read once, before its first attempt, when anybody asks.
func TestLinkedReadsWhatLeaves(t *testing.T) {
	st := linkState(t)
	for _, x := range []struct {
		what string
		item queue.Item
		st   *tenant.State
		reads,
		found int
	}{
		{"the first attempt", queue.Item{}, st, 1, 1},
		{"a retry", queue.Item{Attempts: 1}, st, 0, 0},
		{"another share of it", queue.Item{N: 1}, st, 0, 0},
		{"our own notice", queue.Item{Envelope: &queue.Envelope{Kind: queue.Report}}, st, 0, 0},
		{"no list is asked", queue.Item{}, heardState(t), 0, 0},
		{"it cannot be read", queue.Item{Lane: queue.Lane{Account: 2}}, st, 1, 0},
	} {
		read := 0
		w := newLinked("n1", nil, func(queue.ID) (queue.Body, error) {
			if read++; x.item.Lane.Account == 2 {
				return nil, errors.New("the disk is gone")
			}
			return &letterBody{Reader: bytes.NewReader([]byte("Subject: x\r\n\r\nhttp://www.pills.test/\r\n"))}, nil
		}, slog.New(slog.DiscardHandler))
		if x.item.Envelope == nil {
			x.item.Envelope = &queue.Envelope{Kind: queue.Submitted, Size: 500}
		}
		w.look(x.st, &x.item, x.st.Now())
		found := 0
		for _, l := range w.of {
			found += l.count["pills.test"]
		}
		if read != x.reads || found != x.found {
			t.Errorf("%s: read %d times, found %d", x.what, read, found)
		}
	}
}

type letterBody struct{ *bytes.Reader }

func (letterBody) Close() error  { return nil }
func (letterBody) Bytes() []byte { return nil }

var _ io.Reader = letterBody{}

// However much leaves, little of it is read, and more of who sends seldom.
func TestLinkedSample(t *testing.T) {
	w := newLinked("n1", nil, nil, slog.New(slog.DiscardHandler))
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	read := func(a tenant.AccountID, size int64, n int, every time.Duration) (yes int) {
		for i := range n {
			if w.reads(a, size, now.Add(time.Duration(i)*every)) {
				yes++
			}
		}
		return yes
	}
	if n := read(1, 5000, linkFirst, time.Second); n != linkFirst {
		t.Errorf("of the first ones %d are read", n)
	}
	// 20,000 messages and a sigma of 20: no chance to be so far off.
	now = now.Add(time.Minute)
	if n := read(1, 100, 20_000, time.Millisecond); n < 250 || n > 550 {
		t.Errorf("of 20,000 more %d are read", n)
	}
	now = now.Add(time.Hour)
	if n := read(1, 5000, linkFirst, time.Second); n != linkFirst {
		t.Errorf("of the first ones of another hour %d are read", n)
	}
	// A hundred seconds of large messages: what was saved, and a hundred seconds' worth.
	now = now.Add(time.Hour)
	var octets int64
	for i := range 10_000 {
		if w.reads(tenant.AccountID(10+i), 40<<20, now.Add(time.Duration(i)*10*time.Millisecond)) {
			octets += links.MaxRead
		}
	}
	if most := int64(linkBurst + 101*linkOctets); octets > most || octets < most/2 {
		t.Errorf("%d octets are read", octets)
	}
	// However many accounts find something new, lists are asked about few of them.
	st, told := linkState(t), 0
	now = st.Now()
	w = newLinked("n1", nil, nil, slog.New(slog.DiscardHandler))
	for beat := range 3600 {
		at := now.Add(time.Duration(beat) * time.Second)
		for a := range tenant.AccountID(3) {
			w.reads(a, 0, at)
			w.count(a, []string{fmt.Sprintf("d%d-%d.test", beat, a)})
			w.of[a].next = time.Time{}
		}
		if op, _ := w.batch(st, at); op != nil {
			told += len(op.Links)
			w.told.done()
		}
	}
	if told < linkHourly || told > 2*linkHourly {
		t.Errorf("%d domains are told in an hour", told)
	}
	// An account's domains are bounded.
	w.reads(1, 0, now)
	w.of[1].count = map[string]int{}
	for i := range 1000 {
		w.count(1, []string{fmt.Sprintf("d%d.test", i), "often.test"})
	}
	if c := w.of[1].count; len(c) > linkDomains || c["often.test"] < 900 {
		t.Errorf("%d domains, one of them %d times", len(c), c["often.test"])
	}
}
