package tenant

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// domainWorld has nodes that each asked about every domain, and a sender domain.
func domainWorld(t *testing.T, nodes int) (*State, func(Op)) {
	s, index, at := New(), uint64(0), time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	do := func(op Op) {
		t.Helper()
		index++
		var err error
		if s, _, err = Apply(s, index, Command{At: at, Op: op}); err != nil {
			t.Fatalf("%T: %v", op, err)
		}
	}
	version := uint32(domainVersion)
	for i := range nodes {
		do(AddNode{Name: fmt.Sprintf("n%d", i)})
		do(SetNode{Node: NodeID(i + 1), Version: &version})
	}
	do(AddSource{Node: 1, Addr: netip.MustParseAddr("192.0.2.1"), EHLO: "mx.relay.test", Shared: true})
	do(AddTenant{Name: "shoes", Hostname: "shoes.relay.test", Home: Place{Node: 1}})
	do(AddAccount{Tenant: 1, Username: "news@shoes.test"})
	do(SetDomain{Tenant: 1, Name: "shoes.test"})
	zone := Zone{Name: "dbl.test", Every: time.Hour, Spaces: []Space{SpaceDomain}, Heavy: true, Codes: []ZoneCode{
		code("127.0.1.2", 50, PolicyMove), code("127.0.1.4", 50, PolicyMove), code("127.0.1.102", 20, PolicyMove), code("127.0.1.255", 0, PolicyRefuse)}}
	bits := Zone{Name: "uri.test", Every: time.Hour, Spaces: []Space{SpaceDomain}, Bits: true, Codes: []ZoneCode{
		code("127.0.0.1", 0, PolicyRefuse), code("127.0.0.2", 50, PolicyMove), code("127.0.0.4", 0, PolicyLog), code("127.0.0.8", 0, PolicyLog)}}
	do(SetLists{Zones: []Zone{zone, bits}, Rule: DefaultListingRule()})
	do(SetContain{Contain{Mode: AutomationOn, Rule: DefaultContainRule()}})
	at = at.Add(time.Minute)
	for i := range nodes {
		do(Observe{Node: NodeID(i + 1), Upto: []Upto{{Zone: "dbl.test", At: at}, {Zone: "uri.test", At: at}}})
	}
	return s, func(op Op) { do(op) }
}

// TestDomainSituations has a row for each value and fault of lists of domains.
func TestDomainSituations(t *testing.T) {
	value := func(a string) SeenDomain { return SeenDomain{Values: []netip.Addr{netip.MustParseAddr(a)}} }
	why := func(w Why) SeenDomain { return SeenDomain{Why: w} }
	for _, x := range []struct {
		what   string
		zone   string
		told   []SeenDomain // one a node; nil of all: they stay at "clean"
		points int
		known  bool
	}{
		{"nobody lists it", "dbl.test", nil, 0, true},
		{"spam", "dbl.test", []SeenDomain{value("127.0.1.2"), value("127.0.1.2")}, 25, true},
		{"phishing", "dbl.test", []SeenDomain{value("127.0.1.4"), value("127.0.1.2")}, 25, true},
		{"a good domain that is abused", "dbl.test", []SeenDomain{value("127.0.1.102"), value("127.0.1.102")}, 10, true},
		{"the worse word of one counts no more than the other's", "dbl.test", []SeenDomain{value("127.0.1.102"), value("127.0.1.2")}, 10, true},
		{"asked about an address", "dbl.test", []SeenDomain{value("127.0.1.255"), value("127.0.1.255")}, 0, false},
		{"public resolver", "dbl.test", []SeenDomain{value("127.255.255.254"), value("127.255.255.254")}, 0, false},
		{"too many questions", "dbl.test", []SeenDomain{value("127.255.255.255"), value("127.255.255.255")}, 0, false},
		{"parked", "dbl.test", []SeenDomain{value("203.0.113.9"), value("203.0.113.9")}, 0, false},
		{"a code nobody knows", "dbl.test", []SeenDomain{value("127.0.1.77"), value("127.0.1.77")}, 0, false},
		{"timeouts", "dbl.test", []SeenDomain{why(WhyTimeout), why(WhyTimeout)}, 0, false},
		{"REFUSED", "dbl.test", []SeenDomain{why(WhyRefused), why(WhyRefused)}, 0, false},
		{"one node alone", "dbl.test", []SeenDomain{value("127.0.1.2")}, 0, true},
		{"one node, and the other knows nothing", "dbl.test", []SeenDomain{value("127.0.1.2"), why(WhyServFail), why(WhyServFail)}, 0, false},
		{"bits: black", "uri.test", []SeenDomain{value("127.0.0.2"), value("127.0.0.2")}, 25, true},
		{"bits: black and grey", "uri.test", []SeenDomain{value("127.0.0.6"), value("127.0.0.6")}, 25, true},
		{"bits: grey", "uri.test", []SeenDomain{value("127.0.0.4"), value("127.0.0.4")}, 0, true},
		{"bits: red", "uri.test", []SeenDomain{value("127.0.0.8"), value("127.0.0.8")}, 0, true},
		{"bits: refused, whatever else", "uri.test", []SeenDomain{value("127.0.0.3"), value("127.0.0.3")}, 0, true}, // the heavy one was heard
	} {
		t.Run(x.what, func(t *testing.T) {
			s, _ := domainWorld(t, 3)
			now := s.Now()
			for i, one := range x.told {
				one.Domain, one.Zone, one.At = "shoes.test", x.zone, now
				var err error
				if s, _, err = Apply(s, s.Index()+1, Command{At: now, Op: SawDomains{Node: NodeID(i + 1), Seen: []SeenDomain{one}}}); err != nil {
					t.Fatal(err)
				}
			}
			v := s.DomainVerdict("shoes.test")
			if v.Points != x.points || v.Known != x.known {
				t.Fatalf("%d points, known %v; want %d, %v (%+v)", v.Points, v.Known, x.points, x.known, v.Terms)
			}
			term := s.weighing(1, now).domainLists(1)
			if s.level < domainVersion { // nobody said a word of domains: as before
				if !term.NoData || term.Text != "" {
					t.Fatalf("%+v", term)
				}
			} else if term.Points != x.points || term.NoData == x.known {
				t.Fatalf("%+v", term)
			}
			raised := slices.ContainsFunc(s.DomainListings(), func(d DomainListing) bool { return !d.Raised.IsZero() })
			if raised != (x.points > 0) {
				t.Fatalf("raised %v with %d points", raised, x.points)
			}
		})
	}
}

// TestListNamesBound asks about ours and about the domains that are sent as before
// the many of one tenant.
func TestListNamesBound(t *testing.T) {
	s, _ := domainWorld(t, 1)
	d := s.draft()
	for i := range MaxListNames + 100 {
		name := fmt.Sprintf("d%05d.test", i)
		put(d, &d.domains, name, &Domain{Name: name, Tenant: 1})
	}
	put(d, &d.domains, "few.test", &Domain{Name: "few.test", Tenant: 2})
	put(d, &d.senders, AccountID(1), &sender{account: 1, used: []usedDomain{{domain: "d03099.test", last: 9}}})
	names := d.ListNames()
	if len(names) != MaxListNames {
		t.Fatalf("%d names", len(names))
	}
	for _, n := range []string{"mx.relay.test", "shoes.relay.test", "d03099.test", "few.test"} {
		if !slices.Contains(names, n) {
			t.Errorf("%s is not asked about", n)
		}
	}
	if slices.Contains(names, "d03098.test") {
		t.Error("the last of many is asked about")
	}
	if v := d.DomainVerdict("d03098.test"); v.Known {
		t.Error("what nobody asked about is known")
	}
}

// TestListNamesOfLinks asks about what mail links to behind all names, about what is
// listed first, and about no tenant's many before another's few.
func TestListNamesOfLinks(t *testing.T) {
	s, _ := domainWorld(t, 1)
	d := s.draft()
	link := func(a AccountID, of ID, n int) {
		x := &links{account: a}
		for i := range n {
			name := fmt.Sprintf("l%d-%02d.test", a, i)
			x.used = append(x.used, usedDomain{domain: name, last: 9})
			put(d, &d.linked, name, &linkDomain{domain: name, first: s.Now(), by: []linkTenant{{tenant: of}}})
		}
		put(d, &d.links, a, x)
	}
	put(d, &d.accounts, AccountID(2), &Account{ID: 2, Tenant: 1})
	put(d, &d.accounts, AccountID(3), &Account{ID: 3, Tenant: 2})
	link(1, 1, 10)
	link(2, 1, 10)
	link(3, 2, 2)
	put(d, &d.domainSeen, "l2-09.test", &domainSeen{domain: "l2-09.test", raised: s.Now()})
	names := len(d.ListNames()) - 22
	if names != 3 {
		t.Fatalf("%d names without links", names)
	}
	for i := range MaxListNames - names - 5 {
		name := fmt.Sprintf("d%05d.test", i)
		put(d, &d.domains, name, &Domain{Name: name, Tenant: 1})
	}
	all := d.ListNames()
	if len(all) != MaxListNames {
		t.Fatalf("%d names", len(all))
	}
	for _, want := range []string{"d02991.test", "l2-09.test", "l1-00.test", "l3-00.test", "l3-01.test"} {
		if !slices.Contains(all, want) {
			t.Errorf("%s is not asked about", want)
		}
	}
	if slices.Contains(all, "l2-08.test") {
		t.Error("the last of many is asked about")
	}
	if v := d.domainSight().verdict("l2-08.test"); v.Known {
		t.Error("what nobody asked about is known")
	}
}
