package node

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postern/node/lab"
	"postern/tenant"
)

const (
	domainZone      = "dbl.test"
	domainZonesText = zonesText + `
  - name: dbl.test
    asks: [domain]
    heavy: true
    every: 1m
    test: dbltest.com
    delist: https://dbl.test/{}
    codes:
      - {code: 127.0.1.2, weight: 50, means: spam domain}
      - {code: 127.0.1.102-106, weight: 20, means: abused}
      - {code: 127.0.1.255, policy: refuse, means: asked about an address}
`
)

// domainText is a zone file of domains: the test point, and what is listed.
func domainText(listed ...string) string {
	var b strings.Builder
	b.WriteString("$SOA 0 ns.dbl.test hostmaster.dbl.test 0 1h 10m 1w 1\n$NS 0 ns.dbl.test\n$TTL 1\n:127.0.1.2:Listed, see https://dbl.test/$\ndbltest.com\n")
	for _, d := range listed {
		fmt.Fprintln(&b, d)
	}
	return b.String()
}

// TestSeveralDomainLists asks real servers, one a node, about our names and those
// of senders: one node that is deceived changes nothing, two make a domain count as
// listed, nobody moves for it, and it speaks against who sent as it.
func TestSeveralDomainLists(t *testing.T) {
	var servers []*lab.Rbldnsd
	for range 3 {
		s, err := lab.StartRbldnsd(map[string]string{"zen": listText(), "dom": domainText()}, heavyZone+":ip4set:zen", domainZone+":dnset:dom")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		servers = append(servers, s)
	}
	l := &lists{t: t, servers: servers}
	s := newStreetOf(t, l, domainZonesText)
	list := func(node int, domains ...string) {
		t.Helper()
		if err := servers[node].Set("dom", domainText(domains...)); err != nil {
			t.Fatal(err)
		}
	}
	verdict := func(name string) tenant.DomainVerdict { return s.state().DomainVerdict(name) }
	told := func(name string) (nodes []string) {
		x, _ := s.state().DomainListing(name)
		for _, g := range x.Told {
			nodes = append(nodes, g.Node)
		}
		return nodes
	}
	await(t, "clean, in the words of enough nodes", func() bool {
		v := verdict("bakery.test")
		return v.Known && !v.Listed() && v.Terms[0].Clean == 3
	})

	// One node's server lists two names that the others do not.
	list(0, "shoes.test", ".relay.test")
	await(t, "the deceived node to tell", func() bool { return len(told("shoes.test")) == 1 && len(told("out-1.relay.test")) == 1 })
	if v := verdict("shoes.test"); v.Listed() || len(raised(s.state())) > 0 {
		t.Fatalf("one node's word counts: %+v, %v", v, raised(s.state()))
	}

	// Two do.
	list(1, "shoes.test", ".relay.test :127.0.1.102:abused")
	await(t, "both to count as listed", func() bool { return len(raised(s.state())) == 2 })
	if v := verdict("shoes.test"); v.Points != 25 || !strings.Contains(v.Why(), "spam domain") {
		t.Errorf("the sender's: %+v", v)
	}
	if v := verdict("out-1.relay.test"); v.Points != 10 {
		t.Errorf("ours: %+v", v)
	}
	var noted []string
	for e := range s.state().Journal() {
		if e.Act == "domain listed" {
			noted = append(noted, e.Subject)
		}
	}
	if len(noted) != 2 || !strings.Contains(strings.Join(noted, " "), "relay domain relay.test") {
		t.Errorf("the journal has %q", noted)
	}
	g := newStateGauges(s.state, func() tenant.NodeID { return 1 }, time.Now)
	if r := readings(t, g); r["postern_domain_listed{domain=relay.test,of=relay}"] != 1 || r["postern_domain_listed{domain=shoes.test,of=sender}"] != 1 {
		t.Errorf("the gauges are %v", r)
	}
	for x := range s.state().Cases() {
		t.Errorf("case %d was opened for a domain", x.ID)
	}
	for x := range s.state().Tenants() {
		if x.Owner != x.Home.Node {
			t.Errorf("%s moved for a domain", x.Name)
		}
	}

	// Who sent as it is under more suspicion once the source is listed.
	s.give("news@shoes.test", 4)
	s.give("mail@bakery.test", 4)
	account := func(user string) tenant.AccountID { return s.state().AccountByUsername(user).ID }
	await(t, "the state to know as whom they sent", func() bool {
		now := time.Now()
		return !s.state().LacksSender(tenant.Sender{Account: account("news@shoes.test"), Domain: "shoes.test", At: now}) &&
			!s.state().LacksSender(tenant.Sender{Account: account("mail@bakery.test"), Domain: "bakery.test", At: now})
	})
	l.list([]int{0, 1, 2}, s.source(0))
	var c *tenant.Case
	await(t, "a case with suspects", func() bool {
		for x := range s.state().Cases() {
			c = x
		}
		return c != nil && len(c.Suspects) == 2
	})
	points := map[tenant.AccountID]int{}
	for _, x := range c.Suspects {
		for _, term := range x.Terms {
			if term.Name == "domain lists" {
				points[x.Account] = term.Points
				if term.NoData {
					t.Errorf("nothing is known of account %d: %s", x.Account, term.Text)
				}
			}
		}
	}
	if points[account("news@shoes.test")] != 25 || points[account("mail@bakery.test")] != 0 {
		t.Errorf("points are %v", points)
	}

	// Off the lists again.
	list(0)
	list(1)
	await(t, "both to be clean", func() bool { return len(raised(s.state())) == 0 && len(told("shoes.test")) == 0 })
}

// raised are the domains that count as listed.
func raised(st *tenant.State) (all []string) {
	for _, d := range st.DomainListings() {
		if !d.Raised.IsZero() {
			all = append(all, d.Domain)
		}
	}
	return all
}
