package node

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/node/lab"
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
func (c *several) applyLists(round time.Duration) {
	c.t.Helper()
	op, faults := readZones(zonesText)
	if len(faults) > 0 {
		c.t.Fatal(faults)
	}
	await(c.t, "every node to know the commands", func() bool { return c.nodes[0].cluster.State().Version() >= tenant.NewestVersion })
	op = op.Scaled(round)
	op.Rule.Calm = 2 * round
	c.propose(0, op)
}

func (c *several) standing(i int, src netip.Addr) *tenant.Listing {
	st := c.nodes[i].cluster.State()
	return st.Listing(st.SourceByAddr(src).ID)
}

// Three nodes ask, each by its own resolver. One that says listed only warns;
// with two the source is listed, whatever the third is told; and it is so until
// it has been clean for a while.
func TestClusterSeesAListing(t *testing.T) {
	l := newLists(t, 3)
	c := newSeveral(t, 3, func(i int, cfg *Config) { cfg.DNSBL.Resolvers = []string{l.servers[i].Addr.String()} })
	c.prepare(0, 1)
	c.applyLists(time.Second)
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
