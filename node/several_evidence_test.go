package node

import (
	"crypto/tls"
	"net/netip"
	"testing"
	"time"

	"postern/node/lab"
	"postern/tenant"
)

// knownSites are mail domains whose hosts are those of providers we know.
var knownSites = []string{"comcast.net", "libero.it", "free.fr"}

// sendTo sends to these domains in turn.
func (c *several) sendTo(i int, count int64, who lab.Sender, domains ...string) {
	c.t.Helper()
	l := lab.Load{Addrs: c.cfgs[i].Submission, TLS: &tls.Config{InsecureSkipVerify: true}, Senders: []lab.Sender{who},
		Domains: domains, Sessions: 2, Count: count, Timeout: 40 * time.Second}
	sum, err := l.Send(c.t.Context())
	if err != nil || sum.Accepted != count {
		c.t.Fatalf("%d of %d accepted, %v", sum.Accepted, count, err)
	}
}

// A list whose word alone moves nobody lists a source, hours before its next
// round. Three providers refuse the source and name the list: it is asked at
// once, by all nodes; with what was refused the sum is enough, the tenant moves,
// and the mail that was refused leaves by its backup.
func TestRefusalsAreEvidence(t *testing.T) {
	t.Parallel()
	l := newLists(t, 3)
	c := &several{t: t, grace: time.Second, quiesce: quiesceWait, replies: func(*lab.Mail) {}, around: func(w *lab.World) {
		for i, name := range knownSites {
			w.Add(name, netip.AddrFrom4([4]byte{127, 78, 0, byte(60 + i)}), lab.Mood{Kind: lab.Blocked, List: heavyZone})
		}
	}}
	c.form(3, func(i int, cfg *Config) {
		cfg.DNSBL.Resolvers, cfg.Delivery.Retry = []string{l.servers[i].Addr.String()}, []time.Duration{5 * time.Second}
	})
	op, faults := readZones(`zones: [{name: zen.test, asks: [ipv4], heavy: true, every: 4h, codes: [{code: 127.0.0.2, weight: 60, means: spam}]}]`)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	await(t, "every node to know the commands", func() bool { return c.nodes[0].cluster.State().Version() >= tenant.NewestVersion })
	op.Rule.Apart, op.Rule.Fresh = time.Second, 9*time.Second
	c.propose(0, op)
	c.propose(0, tenant.SetContain{Contain: tenant.Usual(time.Second)})
	shoes, who := c.prepare(0, 1)
	c.settled(shoes, 0, 1)
	bad := c.source(0)
	l.list([]int{0, 1, 2}, bad)
	c.sendTo(0, 30, who, knownSites...)
	st := func() *tenant.State { return c.nodes[2].cluster.State() }
	src := c.nodes[0].cluster.State().SourceByAddr(bad).ID
	await(t, "the verdict", func() bool { return st().OpenCase(src) != nil })
	x := st().OpenCase(src)
	if last := x.Inputs[len(x.Inputs)-1]; x.Score != 110 || last.Zone != tenant.InputRefusals || last.Listed != 3 || last.Counts != 50 {
		t.Errorf("the verdict was %d by %+v", x.Score, x.Inputs)
	}
	for _, name := range knownSites {
		if err := c.world.SetMood(name, lab.Mood{Kind: lab.Fine}); err != nil {
			t.Fatal(err)
		}
	}
	c.delivered(30)
	if from, _ := c.arrived(); from[c.source(1).String()] != 30 {
		t.Errorf("left from %v", from)
	}
	// Nothing leaves by it any more: what was refused is forgotten.
	await(t, "the refusals to be over", func() bool { return st().Denial(src) == nil })
}
