package dnsbl

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postern/node/lab"
	"postern/tenant"
)

// The zone files of a real server.
const (
	soa = "$SOA 0 ns.bl.test hostmaster.bl.test 0 1h 10m 1w 30\n$NS 0 ns.bl.test\n$TTL 5\n"
	ip4 = soa + `:127.0.0.2:Listed, see https://bl.test/q?ip=$
127.0.0.2
192.0.2.10
192.0.2.12 :127.0.0.10:policy
198.51.100.0/24 :127.0.0.3:range
!198.51.100.7
`
	ip4b     = "$TTL 5\n:127.0.0.9:second\n192.0.2.10\n"
	ip6      = "$TTL 5\n:127.0.0.2:Listed v6 $\n::ffff:7f00:2\n2001:db8:bad::/48\n"
	dom      = soa + ":127.0.1.2:Domain $ listed\ntest\n.spam.example\n"
	worldIP4 = "$TTL 5\n0/0 :127.0.0.2:this list is dead\n"
	aclOpen  = "0.0.0.0/0 :127.255.255.254:Error: open resolver\n::/0 :127.255.255.254:Error: open resolver\n"
	aclNone  = "0.0.0.0/0 :refuse\n::/0 :refuse\n"
	aclEmpty = "0.0.0.0/0 :empty\n::/0 :empty\n"
	aclQuiet = "0.0.0.0/0 :ignore\n::/0 :ignore\n"
)

func startLists(t testing.TB, files map[string]string, zones ...string) *lab.Rbldnsd {
	t.Helper()
	r, err := lab.StartRbldnsd(files, zones...)
	if err != nil {
		t.Fatalf("%v (make packages installs it)", err)
	}
	t.Cleanup(r.Close)
	return r
}

const realZones = `
zones:
  - {name: bl.test, asks: [ipv4, ipv6], heavy: true, every: 5m, delist: "https://bl.test/{}", codes: [
      {code: 127.0.0.2-9, weight: 100, means: spam}, {code: 127.0.0.10, policy: hold, means: policy}]}
  - {name: dbl.test, asks: [domain], heavy: true, every: 5m, codes: [{code: 127.0.1.2, weight: 50, means: spam domain}]}
  - {name: world.test, asks: [ipv4], every: 5m, codes: [{code: 127.0.0.2, weight: 100, means: spam}]}
  - {name: open.test, asks: [ipv4], every: 5m, codes: [{code: 127.0.0.2, weight: 100, means: spam}]}
  - {name: refuse.test, asks: [ipv4], every: 5m, codes: [{code: 127.0.0.2, weight: 100, means: spam}]}
  - {name: empty.test, asks: [ipv4], every: 5m, codes: [{code: 127.0.0.2, weight: 100, means: spam}]}
  - {name: quiet.test, asks: [ipv4], every: 5m, codes: [{code: 127.0.0.2, weight: 100, means: spam}]}
  - {name: gone.test, asks: [ipv4], every: 5m, codes: [{code: 127.0.0.2, weight: 100, means: spam}]}
`

func TestRealLists(t *testing.T) {
	r := startLists(t, map[string]string{"ip4": ip4, "ip4b": ip4b, "ip6": ip6, "dom": dom, "world": worldIP4, "open": aclOpen, "refuse": aclNone, "empty": aclEmpty, "quiet": aclQuiet},
		"bl.test:ip4set:ip4", "bl.test:ip4set:ip4b", "bl.test:ip6trie:ip6", "dbl.test:dnset:dom", "world.test:ip4trie:world",
		"open.test:ip4set:ip4", "open.test:acl:open", "refuse.test:ip4set:ip4", "refuse.test:acl:refuse",
		"empty.test:ip4set:ip4", "empty.test:acl:empty", "quiet.test:ip4set:ip4", "quiet.test:acl:quiet")
	texts := []string{"192.0.2.10", "192.0.2.11", "192.0.2.12", "198.51.100.6", "198.51.100.7", "2001:db8:bad::1", "2001:db8::1", "a.spam.example", "good.example"}
	subjects := subjectsOf(t, texts...)
	o := newObserver(t, Config{Book: readBook(t, realZones), Resolver: quick(t, time.Second, r.Addr)}, nil, subjects...)
	if err := o.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"192.0.2.10": "listed [127.0.0.2 127.0.0.9] Listed, see https://bl.test/q?ip=192.0.2.10", "192.0.2.11": "clean [] ", "192.0.2.12": "listed [127.0.0.10] policy",
		"198.51.100.6": "listed [127.0.0.3] range", "198.51.100.7": "clean [] ",
		"2001:db8:bad::1": "listed [127.0.0.2] Listed v6 2001:db8:bad::1", "2001:db8::1": "clean [] ",
		"a.spam.example": "listed [127.0.1.2] Domain spam.example listed", "good.example": "clean [] ",
	}
	for i, s := range subjects {
		zone := "bl.test"
		if s.Space() == tenant.SpaceDomain {
			zone = "dbl.test"
		}
		a := o.Latest(s, zone)
		var codes []netip.Addr
		for _, h := range a.Hits {
			codes = append(codes, h.Code)
		}
		// The first text of two is whichever the server sends first.
		if got := fmt.Sprintf("%s %v %s", a.Kind, codes, a.Text); got != want[texts[i]] && got != "listed [127.0.0.2 127.0.0.9] second" {
			t.Errorf("%s: %s, want %s", texts[i], got, want[texts[i]])
		}
	}
	health := map[string]string{}
	for _, h := range o.Health() {
		health[h.Zone+" "+h.Space.String()] = h.State.String() + " " + string(h.Why)
	}
	for zone, want := range map[string]string{"bl.test ipv4": "usable ", "bl.test ipv6": "usable ", "dbl.test domain": "usable ", "world.test ipv4": "broken lists everything",
		"open.test ipv4": "refused open resolver", "refuse.test ipv4": "refused refused", "empty.test ipv4": "broken test point missing", "quiet.test ipv4": "unreachable timeout",
		"gone.test ipv4": "refused refused"} {
		if health[zone] != want {
			t.Errorf("%s: %q, want %q", zone, health[zone], want)
		}
	}
}

// Three nodes, a server each: one file decides what a node is told.
func TestRealWitnesses(t *testing.T) {
	book := readBook(t, strings.Join(strings.SplitAfterN(realZones, "\n", 5)[:4], ""))
	subjects := subjectsOf(t, "192.0.2.20")
	rule := tenant.DefaultListingRule()
	rule.Apart = time.Nanosecond // rounds as fast as they come
	var servers []*lab.Rbldnsd
	var observers []*Observer
	for i := range 3 {
		r := startLists(t, map[string]string{"ip4": ip4}, "bl.test:ip4set:ip4")
		servers = append(servers, r)
		observers = append(observers, newObserver(t, Config{Node: fmt.Sprintf("n%d", i), Book: book, Rule: rule, Resolver: quick(t, long, r.Addr)}, nil, subjects...))
	}
	rounds := func(n int) string {
		t.Helper()
		for range n {
			for _, o := range observers {
				if err := o.Round(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		r := Judge(time.Now(), observers, subjects)
		v := r.Subjects[0].Verdict
		return fmt.Sprintf("%s %d, %d listed", v.Level, v.Score, v.Terms[0].Listed)
	}
	set := func(i int, text string) {
		t.Helper()
		if err := servers[i].Set("ip4", text); err != nil {
			t.Fatal(err)
		}
	}
	if got := rounds(2); got != "clear 0, 0 listed" {
		t.Error(got)
	}
	set(0, ip4+"192.0.2.20\n")
	if got := rounds(3); got != "warning 0, 1 listed" {
		t.Error("one node deceived:", got)
	}
	set(1, ip4+"192.0.2.20\n")
	if got := rounds(1); got != "warning 0, 2 listed" {
		t.Error("two nodes, one round:", got)
	}
	if got := rounds(1); got != "move 100, 2 listed" {
		t.Error("two nodes, two rounds:", got)
	}
	set(0, ip4)
	set(1, ip4)
	if got := rounds(1); got != "clear 0, 0 listed" {
		t.Error("delisted:", got)
	}
}

// One round of 100 addresses and 12 zones must cost little: 2 s of this
// process's CPU are the bound.
const maxRoundCPU = 2 * time.Second

func twelveZones(t testing.TB) *Book {
	b := &Book{}
	code := readBook(t, oneZone).Zones[0].Codes
	for i := range 12 {
		b.Zones = append(b.Zones, Zone{Zone: tenant.Zone{Name: fmt.Sprintf("z%d.test", i), Spaces: []tenant.Space{tenant.SpaceIPv4}, Every: 5 * time.Minute, Codes: code, Rate: 1000}})
	}
	return b
}

// hundred makes an observer of 100 addresses, of which 10 are listed everywhere.
func hundred(t testing.TB) *Observer {
	var zones []string
	book := twelveZones(t)
	for _, z := range book.Zones {
		zones = append(zones, z.Name+":ip4set:ip4")
	}
	r := startLists(t, map[string]string{"ip4": soa + ":127.0.0.2:Listed $\n127.0.0.2\n192.0.2.0-192.0.2.9\n"}, zones...)
	var subjects []Subject
	for i := range 100 {
		subjects = append(subjects, AddrSubject(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})))
	}
	return newObserver(t, Config{Book: book, Resolver: quick(t, long, r.Addr), Metrics: prometheus.NewRegistry()}, nil, subjects...)
}

func cpu(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestRoundCost(t *testing.T) {
	if testing.Short() {
		t.Skip("with the race detector it says nothing")
	}
	o := hundred(t)
	before := cpu(t)
	if err := o.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	spent := cpu(t) - before
	t.Logf("a round of 100 addresses and 12 zones: %v of CPU", spent)
	if spent > maxRoundCPU {
		t.Errorf("a round cost %v of CPU, %v at most", spent, maxRoundCPU)
	}
	listed, clean := 0, 0
	for _, s := range o.subjects {
		for _, x := range o.Sightings(s) {
			switch x.Answer.Kind {
			case tenant.AnswerListed:
				listed++
			case tenant.AnswerClean:
				clean++
			}
		}
	}
	if listed != 120 || clean != 1080 {
		t.Errorf("%d listed, %d clean", listed, clean)
	}
}

func BenchmarkRound(b *testing.B) {
	o := hundred(b)
	before := cpu(b)
	for b.Loop() {
		if err := o.Round(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((cpu(b)-before).Seconds()/float64(b.N), "cpu-s/round")
}
