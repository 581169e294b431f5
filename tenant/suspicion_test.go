package tenant

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// alley is one node with two sources of a pool, and a tenant with accounts.
func alley(t *testing.T, accounts int) *town {
	w := newTown()
	version := uint32(containVersion)
	w.must(t, AddNode{Name: "one"}, SetNode{Node: 1, Version: &version},
		AddSource{Node: 1, Addr: netip.MustParseAddr("127.77.1.1"), EHLO: "a.test", Shared: true},
		AddSource{Node: 1, Addr: netip.MustParseAddr("127.77.1.2"), EHLO: "b.test", Shared: true},
		AddTenant{Name: "shoes", Hostname: "shoes.test", Home: Place{Node: 1}}, SetContain{Usual(0)})
	for i := range accounts {
		w.must(t, AddAccount{Tenant: 1, Username: fmt.Sprintf("u%d@shoes.test", i+1)})
	}
	return w
}

func (w *town) uses(t *testing.T, a AccountID, src SourceID, c Counts) {
	t.Helper()
	w.must(t, Used{Node: 1, Uses: []Use{{a, src, w.at, c}}})
}

func termOf(t *testing.T, s *State, a AccountID, name string) SuspectTerm {
	t.Helper()
	for _, x := range s.suspects(1, s.Now()) {
		for _, term := range x.Terms {
			if x.Account == a && term.Name == name {
				return term
			}
		}
	}
	t.Fatalf("account %d has no term %q", a, name)
	return SuspectTerm{}
}

// What an account sent speaks against it by the steps of the rule, and what is
// not known counts nothing.
func TestSuspectTerms(t *testing.T) {
	for _, x := range []struct {
		term   string
		counts Counts
		points int
		noData bool
	}{
		{"unknown users", Counts{Tried: 49, Unknown: 49}, 0, true},
		{"unknown users", Counts{Tried: 1000, Unknown: 49}, 0, false},
		{"unknown users", Counts{Tried: 1000, Unknown: 50}, 10, false},
		{"unknown users", Counts{Tried: 1000, Unknown: 100}, 20, false},
		{"unknown users", Counts{Tried: 50, Unknown: 10}, 25, false},
		{"content refused", Counts{Tried: 19, Content: 19}, 0, true},
		{"content refused", Counts{Tried: 100, Content: 1}, 0, false},
		{"content refused", Counts{Tried: 100, Content: 2}, 8, false},
		{"content refused", Counts{Tried: 20, Content: 1}, 15, false},
		{"share", Counts{Tried: 300}, 8, false}, // of 400
		{"growth", Counts{Tried: 499}, 0, false},
		{"growth", Counts{Tried: 500}, 10, false}, // new
		{"complaints", Counts{Tried: 500}, 0, true},
	} {
		w := alley(t, 2)
		w.uses(t, 1, 1, x.counts)
		w.uses(t, 2, 1, Counts{Tried: 100})
		if got := termOf(t, w.s, 1, x.term); got.Points != x.points || got.NoData != x.noData {
			t.Errorf("%s of %+v: %+v, want %d points", x.term, x.counts, got, x.points)
		}
	}
}

// Growth is measured against the same hours of earlier days; a holiday does not
// make the usual suspicious, nor does one busy day become the usual.
func TestGrowth(t *testing.T) {
	for _, x := range []struct {
		days   int
		usual  func(day int) uint64
		today  uint64
		points int
	}{
		{27, func(int) uint64 { return 100 }, 100, 0},
		{27, func(int) uint64 { return 100 }, 499, 0},
		{27, func(int) uint64 { return 100 }, 500, 10},
		{27, func(int) uint64 { return 100 }, 1000, 20},
		{27, func(int) uint64 { return 10 }, 400, 0}, // too little to say
		{27, func(day int) uint64 {
			if day == 3 {
				return 100000
			}
			return 100
		}, 1000, 20},
		{6, func(int) uint64 { return 1000 }, 1000, 10}, // new
		{8, func(int) uint64 { return 1000 }, 1000, 0},
	} {
		w := alley(t, 1)
		w.at = w.at.Truncate(24 * time.Hour).Add(13 * time.Hour)
		end := w.at.AddDate(0, 0, x.days)
		for day := range x.days {
			w.uses(t, 1, 1, Counts{Tried: x.usual(day)})
			w.at = w.at.AddDate(0, 0, 1)
		}
		w.at = end
		w.uses(t, 1, 1, Counts{Tried: x.today})
		if got := termOf(t, w.s, 1, "growth"); got.Points != x.points {
			t.Errorf("%d days, today %d: %+v, want %d points", x.days, x.today, got, x.points)
		}
	}
}

// What is kept of an account is bounded however long and by however many
// sources it sends, and the window by source is never lost.
func TestUsesAreBounded(t *testing.T) {
	w := alley(t, 1)
	for i := range 400 {
		w.uses(t, 1, SourceID(1+i%2), Counts{Tried: 10})
		w.at = w.at.Add(3 * time.Hour)
		if n := len(w.s.uses.get(1).spans); n > 4*28+2*(4*3+2) {
			t.Fatalf("%d spans after %d uses", n, i+1)
		}
	}
	r := DefaultContainRule()
	if c := w.s.uses.get(1).in(1, slotOf(w.s.Now(), r.Slot), uint64(r.Window/r.Slot)); c.Tried < 110 || c.Tried > 140 {
		t.Errorf("%d by the first source within three days", c.Tried)
	}
}

// One culprit, or none: enough points, and twice the next one's, or half of enough
// more than the next one.
func TestCulprit(t *testing.T) {
	for _, x := range []struct {
		scores      []int
		before, now AccountID // pastVersion
		next        AccountID // pointsVersion, of a listing that follows another whose culprit is held
	}{{nil, 0, 0, 0}, {[]int{49}, 0, 0, 0}, {[]int{50}, 1, 1, 1}, {[]int{52, 26}, 1, 1, 1}, {[]int{52, 28}, 0, 0, 0}, {[]int{74, 50}, 0, 0, 0}, {[]int{75, 50}, 0, 1, 0},
		{[]int{90, 45, 44}, 1, 1, 1}} {
		var all []Suspect
		for i, n := range x.scores {
			all = append(all, Suspect{Account: AccountID(i + 1), Score: n, Terms: []SuspectTerm{{Name: "unknown users", Points: n}}})
		}
		s := New()
		for level, want := range map[uint32]AccountID{weighVersion: x.before, pastVersion: x.now, pointsVersion: x.now} {
			if s.level = level; s.culprit(&Case{ID: 2, Raised: aDay}, all) != want {
				t.Errorf("%v by version %d: account %d, want %d", x.scores, level, s.culprit(&Case{ID: 2, Raised: aDay}, all), want)
			}
		}
		s.level = pointsVersion
		for _, first := range []struct {
			name string
			Case
			want AccountID
		}{
			{"the day before", Case{}, x.next},
			{"a week before", Case{Raised: aDay.AddDate(0, 0, -7)}, x.now},
			{"a drill", Case{Drill: true}, x.now},
			{"dismissed", Case{Dismissed: true}, x.now},
		} {
			c := first.Case
			if c.ID = 1; c.Raised.IsZero() {
				c.Raised = aDay.AddDate(0, 0, -1)
			}
			c.Suspects = []Suspect{{Account: 9, Held: true}}
			d := s.draft()
			put(d, &d.cases, 1, &c)
			after := d.publish()
			if got := after.culprit(&Case{ID: 2, Raised: aDay}, all); got != first.want {
				t.Errorf("%v after %s: account %d, want %d", x.scores, first.name, got, first.want)
			}
			if got := after.culprit(&c, all); got != x.now {
				t.Errorf("%v of the first itself, %s: account %d, want %d", x.scores, first.name, got, x.now)
			}
		}
	}
}

// Who is named by a list, and has sent much, is held only if its mail was bad, too.
func TestCulpritByEvidenceAlone(t *testing.T) {
	for _, x := range []struct {
		unknown     int
		before, now AccountID // pointsVersion
	}{{0, 1, 0}, {5, 1, 0}, {10, 1, 1}} {
		all := []Suspect{{Account: 1, Score: 60 + x.unknown, Terms: []SuspectTerm{{Name: "evidence", Points: 50}, {Name: "share", Points: 10}, {Name: "unknown users", Points: x.unknown}}}}
		s := New()
		for level, want := range map[uint32]AccountID{pointsVersion - 1: x.before, pointsVersion: x.now} {
			if s.level = level; s.culprit(&Case{ID: 1}, all) != want {
				t.Errorf("%s by version %d: account %d, want %d", all[0].Sum(), level, s.culprit(&Case{ID: 1}, all), want)
			}
		}
	}
}

var aDay = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

// Mail that waits because of a listing does not grow older, up to the time its
// class may stand still.
func TestWaitingEndsExpiry(t *testing.T) {
	w := alley(t, 2)
	bulk := Bulk
	w.must(t, SetAccount{Account: 2, Class: &bulk})
	arrived := w.at
	w.must(t, RemoveSource{Source: 2}, Drill{Source: 1})
	if w.s.Stopped(1) == "" {
		t.Fatal("nothing waits")
	}
	w.at = w.at.Add(30 * time.Second)
	w.must(t, EndCase{Case: 1, Reason: "over"})
	if got := w.s.StoodStill(1, arrived); got != 30*time.Second || w.s.Stopped(1) != "" {
		t.Errorf("stood still %v, stopped %q", got, w.s.Stopped(1))
	}
	// A real one lasts.
	w.must(t, SetLists{Rule: DefaultListingRule(), Zones: []Zone{{Name: "zen.test", Spaces: []Space{SpaceIPv4}, Every: time.Minute, Codes: []ZoneCode{code("127.0.0.2", 100, PolicyMove)}}}})
	d := w.s.draft()
	put(d, &d.listings, 1, &Listing{Source: 1, Level: LevelMove, Since: d.Now(), Raised: d.Now()})
	d.openCase(d.sources.get(1), nil, Case{Mode: AutomationOn, Seen: d.Now()})
	d.level = containVersion
	d.review()
	w.s = d.publish()
	w.at = w.at.Add(100 * time.Hour)
	w.must(t, SetToken{Tenant: 1, Hash: [32]byte{1}}) // the clock goes on
	if a, b := w.s.StoodStill(1, arrived), w.s.StoodStill(2, arrived); a != 2*time.Hour+30*time.Second || b != 48*time.Hour+30*time.Second {
		t.Errorf("stood still %v and, of bulk mail, %v", a, b)
	}
}
