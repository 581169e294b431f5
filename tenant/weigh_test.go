package tenant

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// street is an alley whose nodes know what weighing needs.
func street(t *testing.T, accounts int) *town {
	w := alley(t, accounts)
	version := uint32(weighVersion)
	w.must(t, SetNode{Node: 1, Version: &version},
		SetLists{Rule: DefaultListingRule(), Zones: []Zone{{Name: "zen.test", Spaces: []Space{SpaceIPv4}, Every: time.Minute, Codes: []ZoneCode{code("127.0.0.2", 100, PolicyMove)}}}})
	w.at = w.at.Truncate(24 * time.Hour).Add(13 * time.Hour)
	return w
}

// weighed is a term of the first source's listing now.
func weighed(t *testing.T, w *town, a AccountID, name string) SuspectTerm {
	t.Helper()
	for _, x := range w.s.weighing(1, w.s.Now()).terms(a, 1, 1) {
		if x.Name == name {
			return x
		}
	}
	t.Fatalf("no term %q", name)
	return SuspectTerm{}
}

// A day, or hours, that were bad speak as loud as three days would; a handful of
// recipients does not.
func TestWorstPartCounts(t *testing.T) {
	for _, x := range []struct {
		name          string
		before, today Counts
		points        int
	}{
		{"unknown users", Counts{Tried: 10000}, Counts{Tried: 1000, Unknown: 100}, 20},
		{"unknown users", Counts{Tried: 10000}, Counts{Tried: 1000, Unknown: 300}, 35},
		{"unknown users", Counts{Tried: 10000}, Counts{Tried: 60, Unknown: 9}, 0}, // too few
		{"unknown users", Counts{Tried: 10000}, Counts{Tried: 49, Unknown: 40}, 0},
		{"unknown users", Counts{Tried: 1000, Unknown: 100}, Counts{Tried: 10000}, 20}, // two days ago
		{"content refused", Counts{Tried: 10000}, Counts{Tried: 1000, Content: 50}, 15},
		{"content refused", Counts{Tried: 10000}, Counts{Tried: 100, Content: 9}, 0},
		{"content refused", Counts{Tried: 10000}, Counts{Tried: 100, Content: 10}, 25},
	} {
		w := street(t, 1)
		w.uses(t, 1, 1, x.before)
		w.at = w.at.AddDate(0, 0, 2)
		w.uses(t, 1, 1, x.today)
		if got := weighed(t, w, 1, x.name); got.Points != x.points || got.NoData {
			t.Errorf("%s of %+v after %+v: %+v, want %d points", x.name, x.today, x.before, got, x.points)
		}
	}
}

// What was as bad in the weeks before says half as much as what began now.
func TestBadAsEver(t *testing.T) {
	for _, x := range []struct {
		before, now Counts
		level       uint32
		points      int
	}{
		{Counts{Tried: 1000, Unknown: 150}, Counts{Tried: 1000, Unknown: 300}, pastVersion, 17},
		{Counts{Tried: 1000, Unknown: 149}, Counts{Tried: 1000, Unknown: 300}, pastVersion, 35},
		{Counts{Tried: 1000, Unknown: 300}, Counts{Tried: 1000, Unknown: 300}, weighVersion, 35},
		{Counts{Tried: leastVolume - 1, Unknown: 300}, Counts{Tried: 1000, Unknown: 300}, pastVersion, 35},
		{Counts{Tried: leastVolume, Unknown: 300}, Counts{Tried: 1000, Unknown: 300}, pastVersion, 17},
	} {
		w := street(t, 1)
		w.uses(t, 1, 1, x.before)
		w.at = w.at.AddDate(0, 0, 10)
		w.uses(t, 1, 1, x.now)
		w.s.level = x.level
		if got := weighed(t, w, 1, "unknown users"); got.Points != x.points {
			t.Errorf("%+v after %+v by version %d: %+v, want %d points", x.now, x.before, x.level, got, x.points)
		}
	}
}

// What is refused for its content says more since pointsVersion.
func TestContentPoints(t *testing.T) {
	for _, x := range []struct {
		content     uint64
		before, now int
	}{{19, 0, 0}, {20, 8, 12}, {49, 8, 12}, {50, 15, 25}, {99, 15, 25}, {100, 25, 40}, {1000, 25, 40}} {
		w := street(t, 1)
		w.uses(t, 1, 1, Counts{Tried: 1000, Content: x.content})
		for level, want := range map[uint32]int{pointsVersion - 1: x.before, pointsVersion: x.now} {
			if w.s.level = level; weighed(t, w, 1, "content refused").Points != want {
				t.Errorf("%d of 1000 by version %d: %+v, want %d points", x.content, level, weighed(t, w, 1, "content refused"), want)
			}
		}
	}
}

// Who sends on some days is compared with those; who always grew is not who
// exploded; and what was sent while the list took its time counts.
func TestUsualGrowth(t *testing.T) {
	every := func(n int, v uint64) func(int) uint64 {
		return func(day int) uint64 {
			if day%n == 0 {
				return v
			}
			return 0
		}
	}
	for _, x := range []struct {
		name   string
		days   int
		usual  func(day int) uint64
		today  uint64
		later  time.Duration // until the listing
		points int
	}{
		{"as ever", 27, every(1, 1000), 1000, 0, 0},
		{"ten times", 27, every(1, 100), 1000, 0, 20},
		{"twice a week", 27, every(4, 20000), 20000, 0, 0},
		{"twice a week, ten times", 27, every(4, 2000), 20000, 0, 20},
		{"twice ever", 27, every(20, 20000), 20000, 0, 20},
		{"listed in the night", 27, every(1, 100), 1000, 14 * time.Hour, 20},
		{"listed days after", 27, every(1, 100), 1000, 70 * time.Hour, 0},
		{"new", 3, every(1, 1000), 1000, 0, 10},
		{"new, ten times", 3, every(1, 100), 1000, 0, 10}, // nobody knows what is usual
		{"young, ten times", 5, every(1, 100), 1000, 0, 20},
		{"too little", 27, every(1, 10), 400, 0, 0},
	} {
		w := street(t, 1)
		end := w.at.AddDate(0, 0, x.days)
		for day := range x.days {
			if n := x.usual(day); n > 0 {
				w.uses(t, 1, 1, Counts{Tried: n})
			}
			w.at = w.at.AddDate(0, 0, 1)
		}
		w.at = end
		w.uses(t, 1, 1, Counts{Tried: x.today})
		w.at = w.at.Add(x.later)
		w.must(t, SetToken{Tenant: 1, Hash: [32]byte{1}}) // the clock goes on
		if got := weighed(t, w, 1, "growth"); got.Points != x.points {
			t.Errorf("%s: %+v, want %d points", x.name, got, x.points)
		}
	}
}

// Three complaints about a few mails are three of two hundred, or of five hundred
// since pointsVersion; and mail that got
// there after the listing is measured with what was said of it.
func TestComplaintsOfFew(t *testing.T) {
	for _, x := range []struct {
		complaints     int
		before, after  uint64
		points, now    int
		noData         bool
		complainsAfter bool
	}{
		{2, 50, 0, 0, 0, true, false},
		{2, 500, 0, 0, 0, false, false},
		{3, 50, 0, 40, 30, false, false},
		{4, 50, 0, 50, 30, false, false},
		{5, 50, 0, 50, 40, false, false},
		{3, 1000, 0, 20, 20, false, false},
		{6, 1000, 5000, 10, 10, false, true},
	} {
		w := street(t, 2)
		w.uses(t, 1, 1, Counts{Tried: 5000})
		echo := func(a AccountID, n int) {
			var all []Echo
			for i := range n {
				all = append(all, Echo{a, EchoComplaint, uint64(i)<<8 | uint64(a), w.at})
			}
			w.must(t, Heard{Node: 1, Echoes: all})
		}
		echo(2, 1) // there is a loop
		w.must(t, Heard{Node: 1, Fed: []Fed{{1, w.at, x.before}}})
		if !x.complainsAfter {
			echo(1, x.complaints)
		}
		raised := w.s.Now()
		if x.after > 0 {
			w.at = w.at.Add(12 * time.Hour)
			w.must(t, Heard{Node: 1, Fed: []Fed{{1, w.at, x.after}}})
			echo(1, x.complaints)
		}
		for level, want := range map[uint32]int{weighVersion: x.points, pointsVersion: x.now} {
			w.s.level = level
			if got := w.s.weighing(1, raised).complained(1); got.Points != want || got.NoData != x.noData {
				t.Errorf("%+v by version %d: %+v", x, level, got)
			}
		}
	}
}

// Complaints come hours after the mail: that of the day before the window is what
// the first of them are about, also days after the listing.
func TestComplaintsAreLate(t *testing.T) {
	for _, x := range []struct {
		version uint32
		points  int
		text    string
	}{{pointsVersion - 1, 50, "6 of 0"}, {pointsVersion, 10, "6 of 6000"}} {
		w := street(t, 2)
		w.must(t, SetNode{Node: 1, Version: &x.version})
		w.uses(t, 1, 1, Counts{Tried: 7000})
		w.must(t, Heard{Node: 1, Fed: []Fed{{1, w.at, 6000}}})
		w.at = w.at.Add(80 * time.Hour)
		var all []Echo
		for i := range 6 {
			all = append(all, Echo{1, EchoComplaint, uint64(i) << 8, w.at})
		}
		w.must(t, Heard{Node: 1, Echoes: all})
		if got := w.s.weighing(1, w.s.Now()).complained(1); got.Points != x.points || !strings.HasPrefix(got.Text, x.text+" at") {
			t.Errorf("by version %d: %+v, want %d points", x.version, got, x.points)
		}
	}
}

// Who began a few days before the listing has no past that excuses him.
func TestWeekBeforeIsNoExcuse(t *testing.T) {
	for _, x := range []struct {
		days        int // from the first mail to the listing
		before, now int
	}{{5, 17, 35}, {9, 17, 17}} {
		w := street(t, 1)
		w.uses(t, 1, 1, Counts{Tried: 1000, Unknown: 300})
		w.at = w.at.AddDate(0, 0, x.days)
		w.uses(t, 1, 1, Counts{Tried: 1000, Unknown: 300})
		for level, want := range map[uint32]int{pastVersion: x.before, pointsVersion: x.now} {
			if w.s.level = level; weighed(t, w, 1, "unknown users").Points != want {
				t.Errorf("%d days before by version %d: %+v, want %d points", x.days, level, weighed(t, w, 1, "unknown users"), want)
			}
		}
	}
}

// What a suspect sends after the listing speaks against it, by whichever source,
// and is looked at without anybody's asking.
func TestSendingOnSpeaks(t *testing.T) {
	w := street(t, 2)
	w.must(t, AddSource{Node: 1, Addr: netip.MustParseAddr("127.77.1.3"), EHLO: "c.test", Shared: true})
	w.uses(t, 1, 1, Counts{Tried: 1000, Unknown: 30})
	w.uses(t, 2, 1, Counts{Tried: 9000})
	d := w.s.draft()
	put(d, &d.listings, 1, &Listing{Source: 1, Level: LevelMove, Since: d.Now(), Raised: d.Now()})
	d.openCase(d.sources.get(1), nil, Case{Mode: AutomationOn, Seen: d.Now()})
	w.s = d.publish()
	if got := w.s.Case(1).Suspects[0]; got.Score >= 20 {
		t.Fatalf("%s before", got.Sum())
	}
	w.at = w.at.Add(12 * time.Hour)
	w.uses(t, 1, 2, Counts{Tried: 40, Unknown: 40}) // too little to look at
	if got := w.s.Case(1).Suspects[0]; got.Score >= 20 {
		t.Fatalf("%s of 40", got.Sum())
	}
	w.uses(t, 1, 2, Counts{Tried: 300, Unknown: 300, Content: 100})
	got := w.s.Case(1)
	if got.Culprit != 1 || w.s.Account(1).Held == "" {
		t.Errorf("culprit %d, suspects %+v", got.Culprit, got.Suspects)
	}
}

// One trap that was hit is less than evidence; two are evidence.
func TestOneTrap(t *testing.T) {
	for _, x := range []struct {
		refs        []uint64
		before, now int
	}{{[]uint64{7}, 50, 30}, {[]uint64{7, 7}, 50, 30}, {[]uint64{7, 8}, 50, 50}} {
		w := street(t, 1)
		w.uses(t, 1, 1, Counts{Tried: 1000})
		w.hear(t, EchoTrap, 1, x.refs...)
		for level, want := range map[uint32]int{pointsVersion - 1: x.before, pointsVersion: x.now} {
			if w.s.level = level; weighed(t, w, 1, "evidence").Points != want {
				t.Errorf("%d by version %d: %+v, want %d points", x.refs, level, weighed(t, w, 1, "evidence"), want)
			}
		}
	}
}
