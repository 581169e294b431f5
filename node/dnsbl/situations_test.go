package dnsbl

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/tenant"
)

// mood is what the zone heavy.test looks like from one node, round by round.
type mood func(round int, name string) ([]netip.Addr, tenant.Why)

const (
	subject4 = "192.0.2.10"
	subject6 = "2001:db8:bad::1"
)

// about says whether a question is about the subject.
func about(name string) bool {
	for _, text := range []string{subject4, subject6} {
		if s, _ := ParseSubject(text); strings.HasPrefix(name, s.label()+".") {
			return true
		}
	}
	return false
}

func point(name string) bool {
	return strings.HasPrefix(name, "2.0.0.127.") || strings.HasPrefix(name, mapped(2).label())
}

func absentPoint(name string) bool {
	return strings.HasPrefix(name, "1.0.0.127.") || strings.HasPrefix(name, mapped(1).label())
}

// says is a healthy zone that answers these values about the subject.
func says(values ...string) mood {
	return func(_ int, name string) ([]netip.Addr, tenant.Why) {
		switch {
		case about(name):
			return addrs(values...), ""
		case point(name):
			return addrs("127.0.0.2"), ""
		}
		return nil, ""
	}
}

// all answers everything with these values.
func all(values ...string) mood {
	return func(int, string) ([]netip.Addr, tenant.Why) { return addrs(values...), "" }
}

// never answers nothing, for a reason.
func never(why tenant.Why) mood {
	return func(int, string) ([]netip.Addr, tenant.Why) { return nil, why }
}

// only is a healthy zone of which no answer about the subject comes.
func only(why tenant.Why) mood {
	return func(_ int, name string) ([]netip.Addr, tenant.Why) {
		if about(name) {
			return nil, why
		}
		return says()(0, name)
	}
}

// turns takes the first mood in rounds before at, then the second.
func turns(at int, before, after mood) mood {
	return func(round int, name string) ([]netip.Addr, tenant.Why) {
		if round < at {
			return before(round, name)
		}
		return after(round, name)
	}
}

// flaps takes the moods in turn.
func flaps(moods ...mood) mood {
	return func(round int, name string) ([]netip.Addr, tenant.Why) { return moods[round%len(moods)](round, name) }
}

// lists answers 127.0.0.2 where the name is meant.
func lists(meant func(name string) bool) mood {
	return func(_ int, name string) ([]netip.Addr, tenant.Why) {
		if meant(name) {
			return addrs("127.0.0.2"), ""
		}
		return nil, ""
	}
}

var (
	clean  = says()
	listed = says("127.0.0.2")
	silent = never(tenant.WhyTimeout)
	parked = all("203.0.113.7")
	open   = all("127.255.255.254")
	world  = lists(func(name string) bool { return strings.Count(name, ".") > 4 })
)

// What nodes may meet, and what the verdict must be after so many rounds three
// minutes apart. Where it says blind, the address is neither listed nor clean.
var situations = []struct {
	name   string
	nodes  []mood
	rounds int
	want   string
}{
	{"clean", []mood{clean, clean, clean}, 2, "clear"},
	{"listed, one round", []mood{listed, listed, listed}, 1, "warning"},
	{"listed, two rounds", []mood{listed, listed, listed}, 2, "move"},
	{"listed, two of three", []mood{listed, listed, clean}, 2, "move"},
	{"listed, two of five", []mood{listed, listed, clean, clean, clean}, 2, "move"},
	{"two nodes, both", []mood{listed, listed}, 2, "move"},
	{"two nodes, one", []mood{listed, clean}, 5, "warning"},
	{"two nodes, one blind", []mood{listed, silent}, 5, "warning, blind 2 of 3"},
	{"one node, three rounds, no refusals", []mood{listed}, 3, "warning"},
	{"one node, clean", []mood{clean}, 1, "clear"},
	{"one node, blind", []mood{silent}, 3, "blind 2 of 3"},
	{"listed, then clean", []mood{turns(2, listed, clean), turns(2, listed, clean), turns(2, listed, clean)}, 3, "clear"},
	{"clean, then listed once", []mood{turns(3, clean, listed), turns(3, clean, listed), turns(3, clean, listed)}, 4, "warning"},
	{"several codes", []mood{says("127.0.0.2", "127.0.0.9"), listed, clean}, 2, "move"},
	{"policy list", []mood{says("127.0.0.10"), says("127.0.0.10"), says("127.0.0.10")}, 3, "notice"},
	{"policy list, one told worse", []mood{listed, says("127.0.0.10"), says("127.0.0.10")}, 3, "warning"},
	{"logged list", []mood{says("127.0.0.20"), says("127.0.0.20"), says("127.0.0.20")}, 3, "info"},

	// One node deceived.
	{"one deceived: listed", []mood{listed, clean, clean}, 5, "warning"},
	{"one deceived: parked", []mood{parked, clean, clean}, 5, "clear"},
	{"one deceived: open resolver", []mood{open, clean, clean}, 5, "clear"},
	{"one deceived: wildcard", []mood{all("127.0.0.2"), clean, clean}, 5, "clear"},
	{"one deceived: says clean", []mood{clean, listed, listed}, 2, "move"},
	{"one deceived: NXDOMAIN for all", []mood{all(), listed, listed}, 2, "move"},
	{"one deceived, one blind", []mood{listed, silent, clean}, 5, "warning"},
	{"one deceived, two blind", []mood{listed, silent, open}, 5, "warning, blind 2 of 3"},
	// Two nodes deceived: three nodes do not withstand it; five neither, for the
	// rule asks for two. That is why each must have its own resolver.
	{"two deceived", []mood{listed, listed, clean}, 3, "move"},
	{"two deceived: parked", []mood{parked, parked, clean}, 5, "blind 2 of 3"},
	{"two deceived: wildcard", []mood{all("127.0.0.2"), all("127.0.0.2"), clean}, 5, "blind 2 of 3"},
	{"two deceived: open resolver", []mood{open, open, clean}, 5, "blind 2 of 3"},

	// Answers that are no listings (all nodes get them).
	{"252 typo", []mood{all("127.255.255.252"), all("127.255.255.252"), all("127.255.255.252")}, 5, "blind 2 of 3"},
	{"254 open resolver", []mood{open, open, open}, 5, "blind 2 of 3"},
	{"255 over limit", []mood{all("127.255.255.255"), all("127.255.255.255"), all("127.255.255.255")}, 5, "blind 2 of 3"},
	{"250 key disabled", []mood{all("127.255.255.250"), all("127.255.255.250"), all("127.255.255.250")}, 5, "blind 2 of 3"},
	{"251 key rejected", []mood{all("127.255.255.251"), all("127.255.255.251"), all("127.255.255.251")}, 5, "blind 2 of 3"},
	{"255.x of no meaning", []mood{all("127.255.255.7"), all("127.255.255.7"), all("127.255.255.7")}, 5, "blind 2 of 3"},
	{"254 for the address alone", []mood{says("127.255.255.254"), says("127.255.255.254"), says("127.255.255.254")}, 5, "blind 2 of 3"},
	{"255 for the address alone", []mood{says("127.255.255.255"), says("127.255.255.255"), says("127.255.255.255")}, 5, "blind 2 of 3"},
	{"a listing beside an error", []mood{says("127.0.0.2", "127.255.255.254"), says("127.255.255.254", "127.0.0.2"), says("127.0.0.2", "127.255.255.255")}, 5, "blind 2 of 3"},
	{"a listing beside a parked address", []mood{says("127.0.0.2", "203.0.113.7"), says("203.0.113.7", "127.0.0.2"), says("203.0.113.7")}, 5, "blind 2 of 3"},
	{"REFUSED", []mood{never(tenant.WhyRefused), never(tenant.WhyRefused), never(tenant.WhyRefused)}, 5, "blind 2 of 3"},
	{"SERVFAIL", []mood{never(tenant.WhyServFail), never(tenant.WhyServFail), never(tenant.WhyServFail)}, 5, "blind 2 of 3"},
	{"SERVFAIL for the address alone", []mood{only(tenant.WhyServFail), only(tenant.WhyServFail), only(tenant.WhyServFail)}, 5, "blind 2 of 3"},
	{"NXDOMAIN for everything", []mood{all(), all(), all()}, 5, "blind 2 of 3"},
	{"parking outside 127/8", []mood{parked, parked, parked}, 5, "blind 2 of 3"},
	{"captive DNS for the address alone", []mood{says("10.0.0.1"), says("10.0.0.1"), says("10.0.0.1")}, 5, "blind 2 of 3"},
	{"127.0.0.1: resolver blocked", []mood{says("127.0.0.1"), says("127.0.0.1"), says("127.0.0.1")}, 5, "blind 2 of 3"},
	{"127.0.0.255: resolver blocked", []mood{all("127.0.0.255"), all("127.0.0.255"), all("127.0.0.255")}, 5, "blind 2 of 3"},
	{"a code nobody knows", []mood{says("127.0.0.77"), says("127.0.0.77"), says("127.0.0.77")}, 5, "blind 2 of 3"},
	{"strict QNAME minimisation hides the point", []mood{says(), lists(about), clean}, 5, "clear"},
	{"it hides it from all", []mood{lists(about), lists(about), lists(about)}, 5, "blind 2 of 3"},

	// Lists that listed the world, and lists that closed.
	{"ORDB: everything listed", []mood{all("127.0.0.2"), all("127.0.0.2"), all("127.0.0.2")}, 5, "blind 2 of 3"},
	{"spamsources: 127.0.0.2 for all addresses", []mood{world, world, world}, 5, "blind 2 of 3"},
	{"AHBL: announced wildcard", []mood{turns(2, clean, all("127.0.0.2")), turns(2, clean, all("127.0.0.2")), turns(2, clean, all("127.0.0.2"))}, 6, "blind 2 of 3"},
	{"dul.ru, burnt-tech: lapsed, wildcard", []mood{turns(1, clean, parked), turns(1, clean, parked), turns(1, clean, parked)}, 6, "blind 2 of 3"},
	{"SpamCop 2021: parking page", []mood{turns(2, clean, parked), turns(3, clean, parked), turns(2, clean, parked)}, 6, "blind 2 of 3"},
	{"SpamCop 2021, on the way: one node sees it", []mood{turns(2, clean, parked), clean, clean}, 6, "clear"},
	{"inps.de, SORBS, NiX: emptied", []mood{turns(1, listed, all()), turns(1, listed, all()), turns(1, listed, all())}, 6, "blind 2 of 3"},
	{"closed, name servers gone", []mood{turns(1, clean, silent), turns(1, clean, silent), turns(1, clean, silent)}, 6, "blind 2 of 3"},
	{"the absent point is listed", []mood{lists(absentPoint), lists(absentPoint), lists(absentPoint)}, 5, "blind 2 of 3"},
	{"points right, wildcard behind them", []mood{lists(func(n string) bool { return !absentPoint(n) }), lists(func(n string) bool { return !absentPoint(n) }), clean}, 5, "blind 2 of 3"},

	// Resolvers.
	{"resolver dead", []mood{silent, silent, silent}, 5, "blind 2 of 3"},
	{"resolver dead on one", []mood{silent, clean, clean}, 5, "clear"},
	{"resolver gone", []mood{never(tenant.WhyNetwork), never(tenant.WhyNetwork), clean}, 5, "blind 2 of 3"},
	{"garbled", []mood{never(tenant.WhyGarbled), never(tenant.WhyGarbled), never(tenant.WhyGarbled)}, 5, "blind 2 of 3"},
	{"slow: the address alone times out", []mood{only(tenant.WhyTimeout), only(tenant.WhyTimeout), clean}, 5, "blind 2 of 3"},
	{"flapping resolver, clean", []mood{flaps(clean, silent), flaps(silent, clean), clean}, 6, "clear"},
	{"flapping resolver, listed", []mood{flaps(listed, silent), flaps(listed, silent), flaps(listed, silent)}, 3, "move"},
	{"flapping resolver, the last word is silence", []mood{flaps(listed, silent), flaps(listed, silent), flaps(listed, silent)}, 4, "blind 2 of 3"},
	{"flapping list", []mood{flaps(listed, clean), flaps(listed, clean), flaps(listed, clean)}, 5, "warning"},
	{"nodes disagree in turn", []mood{flaps(listed, clean), flaps(clean, listed), clean}, 6, "warning"},
	{"listed, then all go blind", []mood{turns(1, listed, silent), turns(1, listed, silent), turns(1, listed, silent)}, 5, "blind 2 of 3"},
}

const situationZones = `
zones:
  - name: heavy.test
    asks: [ipv4, ipv6]
    heavy: true
    every: 5m
    codes:
      - {code: 127.0.0.2-9, weight: 100, means: spam}
      - {code: 127.0.0.10, policy: hold, means: policy}
      - {code: 127.0.0.20, policy: log, means: range}
      - {code: 127.0.0.255, policy: refuse, means: blocked}
  - name: mid.test
    asks: [ipv4, ipv6]
    heavy: true
    every: 10m
    codes: [{code: 127.0.0.2, weight: 60, means: spam}]
  - name: cop.test
    asks: [ipv4, ipv6]
    heavy: true
    every: 10m
    codes: [{code: 127.0.0.2, weight: 50, means: spam}]
`

func TestSituations(t *testing.T) {
	if len(situations) < 60 {
		t.Errorf("%d situations", len(situations))
	}
	for _, text := range []string{subject4, subject6} {
		for _, c := range situations {
			t.Run(text+" "+c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					if got := meet(t, text, c.nodes, c.rounds); got != c.want {
						t.Errorf("%s, want %s", got, c.want)
					}
				})
			})
		}
	}
}

// meet lets each node observe a subject through its mood, and judges.
func meet(t *testing.T, text string, moods []mood, rounds int) string {
	t.Helper()
	subjects := subjectsOf(t, text)
	book := readBook(t, situationZones)
	var observers []*Observer
	var round int
	for i, m := range moods {
		f := &told{answer: func(name string) ([]netip.Addr, tenant.Why) {
			if !strings.HasSuffix(name, ".heavy.test.") {
				return clean(round, name)
			}
			return m(round, name)
		}}
		observers = append(observers, newObserver(t, Config{Node: fmt.Sprintf("n%d", i+1), Book: book}, f, subjects...))
	}
	for round = range rounds {
		for _, o := range observers {
			if err := o.Round(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * time.Minute)
	}
	v := Judge(time.Now(), observers, subjects).Subjects[0].Verdict
	text = v.Level.String()
	if v.Usable < v.Heavy {
		text = strings.TrimPrefix(text+fmt.Sprintf(", blind %d of %d", v.Usable, v.Heavy), "blind, ")
	}
	return text
}
