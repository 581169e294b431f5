package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/node/lab"
	"postern/node/report"
	"postern/node/submission"
	"postern/tenant"
)

// lists are real DNS list servers, one a node; each answers for two zones.
type lists struct {
	t       *testing.T
	servers []*lab.Rbldnsd
}

const (
	heavyZone = "zen.test"
	zonesText = `
zones:
  - name: zen.test
    asks: [ipv4]
    heavy: true
    every: 1m
    delist: https://zen.test/{}
    codes: [{code: 127.0.0.2, weight: 100, means: spam}, {code: 127.0.0.10, policy: hold, means: policy}]
`
)

func newLists(t *testing.T, n int) *lists {
	t.Helper()
	l := &lists{t: t}
	for range n {
		s, err := lab.StartRbldnsd(map[string]string{"zen": listText(), "guard": ""}, heavyZone+":ip4set:zen", heavyZone+":acl:guard")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		l.servers = append(l.servers, s)
	}
	return l
}

// listText is a zone file: the test point, and what is listed.
func listText(listed ...netip.Addr) string {
	var b strings.Builder
	b.WriteString("$SOA 0 ns.zen.test hostmaster.zen.test 0 1h 10m 1w 1\n$NS 0 ns.zen.test\n$TTL 1\n:127.0.0.2:Listed, see https://zen.test/$\n127.0.0.2\n")
	for _, a := range listed {
		fmt.Fprintln(&b, a)
	}
	return b.String()
}

// list makes the servers of some nodes list addresses, and no others.
func (l *lists) list(nodes []int, listed ...netip.Addr) {
	l.t.Helper()
	for _, i := range nodes {
		if err := l.servers[i].Set("zen", listText(listed...)); err != nil {
			l.t.Fatal(err)
		}
	}
}

// refuse makes a node's server answer every question with an error code.
func (l *lists) refuse(i int) {
	l.t.Helper()
	if err := l.servers[i].Set("guard", "0.0.0.0/0 :127.255.255.254:Error: open resolver\n"); err != nil {
		l.t.Fatal(err)
	}
}

// applyLists makes the cluster ask the servers, in rounds of that length.
func (c *several) applyLists(text string, round time.Duration) {
	c.t.Helper()
	op, faults := readZones(text)
	if len(faults) > 0 {
		c.t.Fatal(faults)
	}
	await(c.t, "every node to know the commands", func() bool { return c.nodes[0].cluster.State().Version() >= tenant.NewestVersion })
	op = op.Scaled(round)
	op.Rule.Calm = 2 * round
	c.propose(0, op)
}

// street is a cluster of three with a pool a node, and four tenants at home on
// the first: shoes has a spammer beside a good account, bakery and clinic have
// backups on two nodes, garden has none.
type street struct {
	*several
	lists   *lists
	senders map[string]lab.Sender // by username
	sent    int64
}

func newStreet(t *testing.T) *street { return newStreetOf(t, newLists(t, 3), zonesText) }

// newStreetOf asks these servers, one a node, as the zones file says.
func newStreetOf(t *testing.T, l *lists, zones string) *street {
	t.Helper()
	s := &street{several: newSeveral(t, 3, func(i int, cfg *Config) { cfg.DNSBL.Resolvers = []string{l.servers[i].Addr.String()} }), lists: l, senders: map[string]lab.Sender{}}
	st := s.nodes[0].cluster.State()
	id := func(i int) tenant.NodeID { return st.NodeByName(s.cfgs[i].Name).ID }
	for i := range s.cfgs {
		s.propose(0, tenant.AddSource{Node: id(i), Addr: s.source(i), EHLO: fmt.Sprintf("out-%d.relay.test", i+1), Shared: true})
	}
	for _, x := range []struct {
		name   string
		backup int
		users  []string
	}{{"shoes", 1, []string{"news", "orders"}}, {"bakery", 1, []string{"mail"}}, {"clinic", 2, []string{"mail"}}, {"garden", -1, []string{"mail"}}} {
		op := tenant.AddTenant{Name: x.name, Hostname: x.name + ".relay.test", Home: tenant.Place{Node: id(0)}}
		if x.backup >= 0 {
			op.Backup = tenant.Place{Node: id(x.backup)}
		}
		tn := s.propose(0, op).TenantByName(x.name).ID
		s.propose(0, tenant.SetDomain{Tenant: tn, Name: x.name + ".test"})
		for _, u := range x.users {
			password, secret := submission.NewPassword()
			user := u + "@" + x.name + ".test"
			s.propose(0, tenant.AddAccount{Tenant: tn, Username: user, Secret: secret, Plan: tenant.Plan{MailsPerMonth: 100000}})
			s.senders[user] = lab.Sender{Username: user, Password: password, From: user}
		}
	}
	s.applyLists(zones, time.Second)
	await(t, "the leader to open the journal", func() bool { return s.state().Journals() })
	s.propose(0, tenant.SetContain{Contain: tenant.Usual(time.Second)})
	for name, mirror := range map[string]int{"shoes": 1, "bakery": 1, "clinic": 2} {
		s.settled(s.nodes[0].cluster.State().TenantByName(name).ID, 0, mirror)
	}
	return s
}

func (s *street) give(user string, count int64) {
	s.t.Helper()
	n := s.send(0, count, s.senders[user])
	if s.sent += n; n != count {
		s.t.Fatalf("%d of %d were taken of %s", n, count, user)
	}
}

// flow lets tenants send without pause until what it returns is called.
func (s *street) flow(users ...string) (stop func()) {
	s.t.Helper()
	var (
		g    sync.WaitGroup
		sent atomic.Int64
	)
	ctx, end := context.WithCancel(s.t.Context())
	for i, user := range users {
		g.Go(func() {
			for ctx.Err() == nil {
				l := lab.Load{Addrs: s.cfgs[i%3].Submission, TLS: &tls.Config{InsecureSkipVerify: true}, Senders: []lab.Sender{s.senders[user]},
					Domains: []string{"inbox.test"}, Sessions: 1, Count: 10, Rate: 30, Timeout: 40 * time.Second}
				sum, err := l.Send(s.t.Context())
				if err != nil {
					s.t.Error(err)
					return
				}
				sent.Add(sum.Accepted)
			}
		})
	}
	return func() {
		s.t.Helper()
		end()
		g.Wait()
		s.sent += sent.Load()
		s.t.Logf("%d mails were taken meanwhile", sent.Load())
	}
}

func (s *street) state() *tenant.State { return s.nodes[2].cluster.State() }

func (s *street) tenant(name string) *tenant.Tenant { return s.state().TenantByName(name) }

func (s *street) fates() (c *tenant.Case) {
	for c = range s.state().Cases() {
	}
	return c
}

func (c *several) standing(i int, src netip.Addr) *tenant.Listing {
	st := c.nodes[i].cluster.State()
	return st.Listing(st.SourceByAddr(src).ID)
}

// Three nodes ask, each by its own resolver. One that says listed only warns;
// with two the source is listed, whatever the third is told; and it is so until
// it has been clean for a while.
func TestClusterSeesAListing(t *testing.T) {
	t.Parallel()
	l := newLists(t, 3)
	c := newSeveral(t, 3, func(i int, cfg *Config) { cfg.DNSBL.Resolvers = []string{l.servers[i].Addr.String()} })
	c.prepare(0, 1)
	c.applyLists(zonesText, time.Second)
	bad, good := c.source(0), c.source(1)
	level := func(src netip.Addr, want tenant.ListingLevel) func() bool {
		return func() bool {
			x := c.standing(2, src)
			return x != nil && x.Level == want
		}
	}
	await(t, "a clean start", func() bool { return level(bad, tenant.LevelClear)() && level(good, tenant.LevelClear)() })
	l.refuse(2)
	l.list([]int{0}, bad)
	await(t, "a warning", level(bad, tenant.LevelWarning))
	if x := c.standing(0, bad); !x.Raised.IsZero() {
		t.Fatalf("one node's word: %+v", x)
	}
	l.list([]int{1}, bad)
	await(t, "the verdict", level(bad, tenant.LevelMove))
	raised := c.standing(2, bad)
	if raised.Raised.IsZero() || raised.Score != 100 {
		t.Errorf("the verdict is %+v", raised)
	}
	v := c.nodes[2].cluster.State().Verdict(raised.Source)
	if v.Terms[0].Listed != 2 || v.Terms[0].Blind != 1 {
		t.Errorf("the term is %+v", v.Terms[0])
	}
	if x := c.standing(2, good); x.Level != tenant.LevelClear {
		t.Errorf("another source is %+v", x)
	}
	l.list([]int{0, 1})
	await(t, "the source to be clean", func() bool { return c.standing(2, bad).Raised.IsZero() })
	if x := c.standing(2, bad); x.Level != tenant.LevelClear || c.nodes[2].cluster.State().Now().Sub(x.Calm) < 2*time.Second {
		t.Errorf("clean after %+v", x)
	}
}

// An IP is listed while its tenants send: the culprit is held and nobody else,
// who has a backup goes on from there, who has none waits; nothing is lost and
// nothing comes twice. When the operator says it was none, all go home.
func TestListingMovesTheOthers(t *testing.T) {
	t.Parallel()
	s := newStreet(t)
	s.give("news@shoes.test", 520)
	for _, u := range []string{"orders@shoes.test", "mail@bakery.test", "mail@clinic.test", "mail@garden.test"} {
		s.give(u, 10)
	}
	s.delivered(int(s.sent))
	spammer := s.state().AccountByUsername("news@shoes.test").ID
	s.propose(0, tenant.AddEvidence{Account: spammer, Note: "a trap of the list was hit"})
	src := s.state().SourceByAddr(s.source(0)).ID
	await(t, "uses to be counted", func() bool {
		c := tenant.PlanCase(s.state(), src)
		return len(c.Suspects) == 5 && c.Suspects[0].Terms[5].Text == "520 of 560"
	})

	flow := s.flow("orders@shoes.test", "mail@bakery.test", "mail@clinic.test")
	s.lists.refuse(2)
	s.lists.list([]int{0, 1}, s.source(0))
	await(t, "the verdict", func() bool { return s.state().OpenCase(src) != nil })
	s.give("mail@garden.test", 20)
	flow()
	await(t, "the deliveries from the backups", func() bool {
		n := 0
		for _, f := range s.fates().Fates {
			if !f.First.IsZero() {
				n++
			}
		}
		return n == 3
	})
	s.delivered(int(s.sent) - 20) // the garden's wait
	c := s.fates()
	if c.Culprit != spammer || s.state().Account(spammer).Held == "" || c.Suspects[0].Score < 60 || s.tenant("shoes").Held != "" {
		t.Errorf("culprit %d, suspects %+v", c.Culprit, c.Suspects)
	}
	for name, owner := range map[string]int{"shoes": 1, "bakery": 1, "clinic": 2, "garden": 0} {
		if got := s.tenant(name).Owner; got != s.nodes[owner].id() {
			t.Errorf("%s is owned by node %d", name, got)
		}
	}
	for _, f := range c.Fates {
		x := s.state().Tenant(f.Tenant)
		t.Logf("%s %s: seen to verdict %v, last dot %v after the verdict, owned after %v, first delivery after %v", x.Name, f.Kind,
			c.Raised.Sub(c.Seen).Round(time.Millisecond), since(c.Raised, f.LastDot), since(c.Raised, f.Owned), since(c.Raised, f.First))
		if f.LastDot.After(c.Raised.Add(time.Second)) {
			t.Errorf("%s: a dot %v after the verdict", x.Name, f.LastDot.Sub(c.Raised))
		}
	}
	if why := s.state().Stopped(s.state().AccountByUsername("mail@garden.test").ID); !strings.Contains(why, "listed") {
		t.Errorf("the garden: %q", why)
	}

	s.propose(0, tenant.EndCase{Case: c.ID, Reason: "a mistake of the list"})
	for _, name := range []string{"shoes", "bakery", "clinic"} {
		mirror := map[string]int{"shoes": 1, "bakery": 1, "clinic": 2}[name]
		s.settled(s.tenant(name).ID, 0, mirror)
	}
	s.delivered(int(s.sent))
	if s.state().Account(spammer).Held != "" {
		t.Error("the account stays held for a listing that was none")
	}
	s.drill(src)
	s.journalled(c.ID)
}

// journalled proves that every node has the same sound journal, with all that was
// decided about a case.
func (s *street) journalled(id uint64) {
	s.t.Helper()
	got := map[string]int{}
	for e := range s.state().Journal() {
		if e.Case == id {
			got[e.Act+" "+e.Subject]++
		}
	}
	for _, want := range []string{"case source " + s.source(0).String(), "hold account news@shoes.test of tenant shoes", "move tenant shoes", "move tenant bakery",
		"move tenant clinic", "wait tenant garden", "moved tenant bakery", "come home tenant clinic", "dismiss source " + s.source(0).String()} {
		if got[want] != 1 {
			s.t.Errorf("%q is %d times in the journal: %v", want, got[want], got)
		}
	}
	await(s.t, "all nodes to have the same journal", func() bool {
		same := true
		_, _, head := s.state().JournalOf()
		for _, n := range s.nodes {
			st := n.cluster.State()
			_, err := st.VerifyJournal()
			_, _, x := st.JournalOf()
			same = same && err == nil && x == head
		}
		return same
	})
	if answer, next := report.Incident(s.state(), s.state().Case(id)); strings.Contains(answer, "shoes") || !strings.Contains(answer, s.source(0).String()) || len(next) == 0 {
		s.t.Errorf("the answer is %q, to do next %q", answer, next)
	}
}

// drill pretends a listing for one tenant while all send: it alone moves, comes
// home, and nothing is lost.
func (s *street) drill(src tenant.SourceID) {
	s.t.Helper()
	t, bakery := s.t, s.tenant("bakery").ID
	flow := s.flow("mail@bakery.test", "mail@clinic.test")
	s.propose(0, tenant.Drill{Source: src, Only: bakery})
	await(t, "the drill's move", func() bool { c := s.fates(); return c.Drill && len(c.Fates) == 1 && !c.Fates[0].First.IsZero() })
	c := s.fates()
	if c.Fates[0].Tenant != bakery || s.tenant("clinic").Owner != s.nodes[0].id() || s.tenant("bakery").Owner != s.nodes[1].id() {
		t.Errorf("the drill moved %+v", c.Fates)
	}
	t.Logf("drill: owned after %v, first delivery after %v", since(c.Raised, c.Fates[0].Owned), since(c.Raised, c.Fates[0].First))
	s.propose(0, tenant.EndCase{Case: c.ID, Reason: "the drill is over"})
	s.settled(bakery, 0, 1)
	flow()
	s.delivered(int(s.sent))
}

func since(from, at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.Sub(from).Round(time.Millisecond).String()
}
