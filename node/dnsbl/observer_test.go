package dnsbl

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postern/tenant"
)

// Six hours of running: every subject is asked about in time, by every zone, and
// no oftener than need be.
func TestRunKeepsIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &told{answer: sound(), slow: 20 * time.Millisecond}
		var subjects []Subject
		for i := range 40 {
			subjects = append(subjects, AddrSubject(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})))
		}
		subjects = append(subjects, subjectsOf(t, "2001:db8::1", "relay.example")...)
		b := readBook(t, fourZones)
		o := newObserver(t, Config{Book: b}, f, subjects...)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		began := time.Now()
		go func() { done <- o.Run(ctx) }()
		time.Sleep(6 * time.Hour)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		for i := range b.Zones {
			z := &b.Zones[i]
			for _, s := range subjects {
				if z.Asks(s.Space()) {
					checkTimes(t, z, s, began, f.times[z.question(s.label())])
				}
			}
		}
		if f.count("10.2.0.192.dom.test") > 0 {
			t.Error("a domain zone was asked about an address")
		}
	})
}

func checkTimes(t *testing.T, z *Zone, s Subject, began time.Time, times []time.Time) {
	t.Helper()
	last := began
	for i, at := range times {
		most := z.Every
		if i == 0 {
			most = 90 * time.Second // seen soon after the start
		}
		if gap := at.Sub(last); gap > most {
			t.Errorf("%s %s: %v without a question", s, z.Name, gap)
		}
		last = at
	}
	if gap := began.Add(6 * time.Hour).Sub(last); gap > z.Every {
		t.Errorf("%s %s: the last question was %v ago", s, z.Name, gap)
	}
	if most := int(6*time.Hour/(z.Every*8/10)) + 2; len(times) > most {
		t.Errorf("%s %s: %d questions, %d would do", s, z.Name, len(times), most)
	}
}

// The questions of a round are spread: no second sees a burst of them.
func TestRunSpreads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &told{answer: sound()}
		var subjects []Subject
		for i := range 100 {
			subjects = append(subjects, AddrSubject(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})))
		}
		b := readBook(t, fourZones)
		o := newObserver(t, Config{Book: b}, f, subjects...)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		began := time.Now()
		go func() { done <- o.Run(ctx) }()
		time.Sleep(time.Hour)
		cancel()
		<-done
		perSecond := map[int]int{}
		for name, times := range f.times {
			if !strings.HasSuffix(name, "heavy.test.") {
				continue
			}
			for _, at := range times {
				if s := int(at.Sub(began) / time.Second); s > 120 {
					perSecond[s]++
				}
			}
		}
		for s, n := range perSecond {
			if n > 12 { // 100 over 210 s; chance may heap some, and the tests of the zone
				t.Errorf("%d questions in second %d", n, s)
			}
		}
		if len(perSecond) < 700 {
			t.Errorf("questions in %d seconds of an hour only", len(perSecond))
		}
	})
}

// A round keeps to the zone's rate and to the bound of questions at once.
func TestRoundBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &told{answer: sound(), slow: time.Second}
		var subjects []Subject
		for i := range 60 {
			subjects = append(subjects, AddrSubject(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})))
		}
		b := readBook(t, strings.Replace(oneZone, "every", "rate: 10\n    every", 1))
		o := newObserver(t, Config{Book: b, Parallel: 4}, f, subjects...)
		began := time.Now()
		if err := o.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		if f.most > 4 {
			t.Errorf("%d at once", f.most)
		}
		// 60 questions of 1 s, 4 at once; then the rate alone.
		if took := time.Since(began); took < 15*time.Second || took > 30*time.Second {
			t.Errorf("took %v", took)
		}
		f.slow = 0
		began = time.Now()
		if err := o.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 6*time.Second || took > 7*time.Second {
			t.Errorf("63 questions at 10/s took %v", took)
		}
	})
}

// Zone health first: what a sick zone says about an address is never heard, and
// a zone that falls ill between its test and an answer is found out.
func TestIllZones(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &told{answer: func(string) ([]netip.Addr, tenant.Why) { return addrs("127.0.0.2"), "" }}
		s := subjectsOf(t, "192.0.2.10")
		var changes []string
		o := newObserver(t, Config{Book: readBook(t, oneZone), Changed: func(ob tenant.Observation) {
			changes = append(changes, fmt.Sprintf("%s %s %s %s %s", ob.Node, ob.Subject, ob.Zone, ob.Answer.Kind, ob.Answer.Why))
		}}, f, s...)
		if a := o.Latest(s[0], "bl.test"); a.Says() || a.Why != tenant.WhyNotAsked {
			t.Errorf("before the first round: %+v", a)
		}
		round := func() {
			t.Helper()
			if err := o.Round(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		round()
		if n := f.count("10.2.0.192"); n != 0 {
			t.Errorf("a zone that lists the world was asked %d times", n)
		}
		f.play(sound("10.2.0.192"))
		round()
		round() // the same again is no change
		// It falls ill after its test: the listing of a second address is not
		// believed when the test is a minute old.
		f.play(sound())
		round()
		ill := false
		f.play(func(name string) ([]netip.Addr, tenant.Why) {
			if strings.HasPrefix(name, "10.2.0.192") {
				ill = true
				time.Sleep(2 * proofAge)
			}
			if ill {
				return addrs("127.0.0.2"), ""
			}
			return sound()(name)
		})
		round()
		want := []string{"n1 192.0.2.10 bl.test unknown wildcard", "n1 192.0.2.10 bl.test listed ", "n1 192.0.2.10 bl.test clean ", "n1 192.0.2.10 bl.test unknown wildcard"}
		if fmt.Sprint(changes) != fmt.Sprint(want) {
			t.Errorf("changes %q\nwant    %q", changes, want)
		}
		if got := o.Sightings(s[0]); len(got) != 1 || got[0].Answer.Kind != tenant.AnswerClean || got[0].DoubtSince.IsZero() {
			t.Errorf("%+v", got)
		}
	})
}

// A zone that failed its test is tried again soon, however slow its interval.
func TestRunRetriesIllZones(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &told{answer: func(string) ([]netip.Addr, tenant.Why) { return nil, tenant.WhyTimeout }}
		s := subjectsOf(t, "192.0.2.10")
		o := newObserver(t, Config{Book: readBook(t, strings.Replace(oneZone, "5m", "2h", 1))}, f, s...)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- o.Run(ctx) }()
		time.Sleep(time.Minute)
		f.play(sound())
		time.Sleep(retryAge + 90*time.Minute)
		cancel()
		<-done
		if a := o.Latest(s[0], "bl.test"); a.Kind != tenant.AnswerClean {
			t.Errorf("%+v", a)
		}
		if h := o.Health(); len(h) != 1 || h[0].State != Usable {
			t.Errorf("%+v", h)
		}
	})
}

// New subjects are asked about at once; what is no longer watched is forgotten.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &told{answer: sound()}
		all := subjectsOf(t, "192.0.2.10", "192.0.2.11")
		o := newObserver(t, Config{Book: readBook(t, fourZones)}, f, all[0])
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- o.Run(ctx) }()
		time.Sleep(30 * time.Minute)
		if err := o.Watch([]Subject{all[1], all[1], {}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if got := o.Sightings(all[1]); len(got) != 3 {
			t.Errorf("new: %+v", got)
		}
		if got := o.Sightings(all[0]); got != nil {
			t.Errorf("old: %+v", got)
		}
		cancel()
		<-done
		if len(o.kept) != 1 {
			t.Errorf("%d kept", len(o.kept))
		}
		var many []Subject
		for i := range MaxSubjects + 1 {
			many = append(many, AddrSubject(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})))
		}
		if err := o.Watch(many); err == nil {
			t.Error("watches any number")
		}
	})
}

// A zone in a hurry is asked about everything at once, and once.
func TestHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &told{answer: sound()}
		subjects := subjectsOf(t, "192.0.2.10", "192.0.2.11")
		o := newObserver(t, Config{Book: readBook(t, fourZones)}, f, subjects...)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- o.Run(ctx) }()
		time.Sleep(30 * time.Minute)
		counts := func() map[string]int {
			f.mu.Lock()
			defer f.mu.Unlock()
			n := map[string]int{}
			for name, times := range f.times {
				n[name] = len(times)
			}
			return n
		}
		before := counts()
		slow := o.cfg.Book.Zones[0]
		for _, z := range o.cfg.Book.Zones {
			if z.Every > slow.Every && z.Asks(tenant.SpaceIPv4) {
				slow = z
			}
		}
		o.Hurry(slow.Name)
		time.Sleep(20 * time.Second)
		asked := map[Subject]int{}
		for name, n := range counts() {
			for _, s := range subjects {
				if strings.HasPrefix(name, s.label()+"."+slow.Name) {
					asked[s] += n - before[name]
				}
			}
		}
		cancel()
		<-done
		for _, s := range subjects {
			// Its place in the round may be just now, too.
			if n := asked[s]; slow.Every < 2*time.Hour || n < 1 || n > 2 {
				t.Errorf("%s was asked %d times about %s", slow.Name, n, s)
			}
		}
	})
}

func TestNewRefuses(t *testing.T) {
	b := readBook(t, oneZone)
	r := quick(t, time.Second, netip.MustParseAddrPort("127.0.0.1:1"))
	for _, cfg := range []Config{{Resolver: r, Metrics: prometheus.NewRegistry()}, {Book: &Book{}, Resolver: r, Metrics: prometheus.NewRegistry()},
		{Book: b, Metrics: prometheus.NewRegistry()}, {Book: b, Resolver: r}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v makes an observer", cfg)
		}
	}
	if _, err := NewResolver(nil, time.Second); err == nil {
		t.Error("no server is enough")
	}
	if _, err := NewResolver([]netip.AddrPort{{}}, time.Second); err == nil {
		t.Error("nothing is a server")
	}
}
