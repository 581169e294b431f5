package node

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"slices"
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

// TestSeveralLinks lets an account send pages with a link that lists of domains have:
// a node reads it in what leaves, asks about it, warns the operator, and it speaks
// against that account alone once a source is listed.
func TestSeveralLinks(t *testing.T) {
	var servers []*lab.Rbldnsd
	for i := range 3 {
		var listed []string
		if i > 0 {
			listed = []string{"pills.example"}
		}
		s, err := lab.StartRbldnsd(map[string]string{"zen": listText(), "dom": domainText(listed...)}, heavyZone+":ip4set:zen", domainZone+":dnset:dom")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		servers = append(servers, s)
	}
	l := &lists{t: t, servers: servers}
	s := newStreetOf(t, l, domainZonesText)
	account := func(user string) tenant.AccountID { return s.state().AccountByUsername(user).ID }
	s.page("orders@shoes.test", "http://bank.example@www.%70ills.example/now")
	s.page("news@shoes.test", "https://shop.shoes.test/new", "https://flowers.example/")
	s.page("mail@bakery.test", "https://flour.example/")
	await(t, "the domain to count as listed", func() bool { return slices.Equal(raised(s.state()), []string{"pills.example"}) })
	await(t, "the others' links to be known", func() bool {
		return s.state().DomainVerdict("flowers.example").Known && s.state().DomainVerdict("flour.example").Known
	})
	x, _ := s.state().DomainListing("www.pills.example")
	if !slices.Equal(x.Linkers, []tenant.AccountID{account("orders@shoes.test")}) || x.Relay || len(x.Tenants) > 0 {
		t.Errorf("whose it is: %+v", x)
	}
	noted := ""
	for e := range s.state().Journal() {
		if e.Act == "domain listed" {
			noted += e.Subject
		}
	}
	if noted != "link domain pills.example of orders@shoes.test" {
		t.Errorf("the journal has %q", noted)
	}
	r := readings(t, newStateGauges(s.state, func() tenant.NodeID { return 1 }, time.Now))
	if r["postern_link_domains_listed{tenant=shoes}"] != 1 || r["postern_domain_listed{domain=pills.example,of=sender}"] != 0 {
		t.Errorf("the gauges are %v", r)
	}

	l.list([]int{0, 1, 2}, s.source(0))
	var c *tenant.Case
	await(t, "a case with suspects", func() bool {
		for x := range s.state().Cases() {
			c = x
		}
		return c != nil && len(c.Suspects) == 3
	})
	texts := map[tenant.AccountID]string{}
	for _, x := range c.Suspects {
		for _, term := range x.Terms {
			if term.Name == "domain lists" {
				texts[x.Account] = fmt.Sprintf("%d: %s", term.Points, term.Text)
			}
		}
	}
	for user, want := range map[string]string{
		"orders@shoes.test": "25: link domain pills.example is in dbl.test: spam domain",
		"news@shoes.test":   "0: none of 1 sender domains and of 1 in links is listed",
		"mail@bakery.test":  "0: none of 1 sender domains and of 1 in links is listed",
	} {
		if got := texts[account(user)]; got != want {
			t.Errorf("against %s speaks %q, want %q", user, got, want)
		}
	}
}

// page sends a page with links.
func (s *street) page(user string, urls ...string) {
	s.t.Helper()
	sender := s.senders[user]
	host, _, err := net.SplitHostPort(s.cfgs[0].Submission[0])
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := smtp.Dial(s.cfgs[0].Submission[0])
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	var b strings.Builder
	fmt.Fprintf(&b, "From: <%s>\r\nTo: <ada@inbox.test>\r\nSubject: page\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Look:\r\n", user)
	for _, u := range urls {
		fmt.Fprintf(&b, "<a href=\"%s\">here</a>\r\n", u)
	}
	body := func() error {
		w, err := c.Data()
		if err != nil {
			return err
		}
		_, err = io.WriteString(w, b.String())
		return errors.Join(err, w.Close())
	}
	for _, step := range []func() error{
		func() error { return c.StartTLS(&tls.Config{InsecureSkipVerify: true}) },
		func() error { return c.Auth(smtp.PlainAuth("", sender.Username, sender.Password, host)) },
		func() error { return c.Mail(user) },
		func() error { return c.Rcpt("ada@inbox.test") },
		body,
		c.Quit,
	} {
		if err := step(); err != nil {
			s.t.Fatal(err)
		}
	}
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
