package node

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/node/bounce"
	"postern/node/delivery"
	"postern/node/queue"
	"postern/tenant"
)

// heardState is a state with two accounts in which something follows from
// listings, and one source.
func heardState(t *testing.T) *tenant.State {
	version := uint32(tenant.NewestVersion)
	return applied(t, tenant.AddNode{Name: "n1"}, tenant.SetNode{Node: 1, Version: &version},
		tenant.AddSource{Node: 1, Addr: netip.MustParseAddr("127.77.1.11"), EHLO: "out.relay.test", Shared: true},
		tenant.AddTenant{Name: "shoes", Hostname: "shoes.relay.test", Home: tenant.Place{Node: 1}},
		tenant.AddAccount{Tenant: 1, Username: "news@shoes.test"}, tenant.AddAccount{Tenant: 1, Username: "orders@shoes.test"},
		tenant.SetContain{Contain: tenant.Usual(0)})
}

func newHashes(t *testing.T) *bounce.Signer {
	t.Helper()
	s, err := bounce.NewSigner([]byte("a secret of many octets"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What the state has already is not told, and what was proposed and may have
// been applied is proposed again as it was.
func TestHeardIsToldOnce(t *testing.T) {
	st := heardState(t)
	h := newHeard("n1", nil, newHashes(t), slog.New(slog.DiscardHandler))
	now := st.Now()
	for _, client := range []string{"192.0.2.10", "192.0.2.200", "::ffff:192.0.2.7", "198.51.100.1", "2001:db8:1:2::1", "2001:db8:1:ffff::1", "2001:db8:2::1"} {
		h.loggedIn(1, netip.MustParseAddr(client))
	}
	h.loggedIn(7, netip.MustParseAddr("192.0.2.10")) // an account that is gone
	for _, host := range []string{"mta5.am0.yahoodns.net", "mx00.gmx.net", "mx.any.test"} {
		h.settled(delivery.Event{Item: &queue.Item{Lane: queue.Lane{Account: 2}}, Attempt: queue.Attempt{Host: host},
			Outcomes: []queue.Outcome{{Result: queue.Delivered}, {Result: queue.Delivered}, {Result: queue.Bounced}}})
	}
	op, id := h.batch(st, now)
	if op == nil || len(op.Echoes) != 4 || len(op.Fed) != 1 || op.Fed[0].Delivered != 2 {
		t.Fatalf("told %+v", op)
	}
	if again, same := h.batch(st, now.Add(time.Hour)); again != op || same != id {
		t.Errorf("again it is %+v", again)
	}
	next, _, err := tenant.Apply(st, st.Index()+1, tenant.Command{Request: id, At: now, Op: *op})
	if err != nil {
		t.Fatal(err)
	}
	h.told.done()
	h.loggedIn(1, netip.MustParseAddr("192.0.2.99"))
	if op, _ := h.batch(next, now.Add(time.Hour)); op != nil {
		t.Errorf("a known network is told: %+v", op)
	}
	h.loggedIn(2, netip.MustParseAddr("192.0.2.99"))
	if op, _ := h.batch(next, now.Add(time.Second)); op != nil {
		t.Errorf("too early: %+v", op)
	}
	if op, other := h.batch(next, now.Add(usesEvery)); op == nil || other == id {
		t.Errorf("another account's: %+v", op)
	}
	// Many at once are bounded.
	h.told.done()
	for i := range 2 * maxEchoesPending {
		h.note(1, tenant.EchoTrap, now, fmt.Append(nil, i))
	}
	if op, _ := h.batch(next, now.Add(time.Hour)); len(op.Echoes) != tenant.MaxHeard || len(h.echoes) != maxEchoesPending-tenant.MaxHeard {
		t.Errorf("%d told, %d kept", len(op.Echoes), len(h.echoes))
	}
	h.told.done()
	if op, _ := h.batch(tenant.New(), now.Add(2*time.Hour)); op != nil || len(h.echoes) != 0 {
		t.Errorf("nobody asks: %+v", op)
	}
}

const complaint = `From: feedback@arf.far.test
Subject: complaint
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary=b

--b
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: far/1
Version: 1

--b
Content-Type: text/rfc822-headers

X-Relay-Ref: REF
From: news@shoes.test

--b--
`

// The same complaints come in at two nodes, some of them twice, with whatever
// recipient their writer likes: each message counts once, for its account.
func TestComplaintsCountOnce(t *testing.T) {
	ports := []string{unused(t), unused(t)}
	c := newSeveral(t, 3, func(i int, cfg *Config) {
		if i < len(ports) {
			cfg.Intake.Listen, cfg.Intake.Domains, cfg.Intake.Traps = []string{ports[i]}, []string{"bounces.relay.test"}, []string{"jane@old.test"}
		}
	})
	shoes, _ := c.prepare(0, 1)
	st := c.propose(0, tenant.SetContain{Contain: tenant.Usual(0)})
	account, src := st.AccountByUsername("news@shoes.test").ID, st.SourceByAddr(c.source(0)).ID
	c.propose(0, tenant.Used{Node: 1, Uses: []tenant.Use{{Account: account, Source: src, At: time.Now(), Counts: tenant.Counts{Tried: 400, Delivered: 400}}}})
	c.propose(0, tenant.Heard{Node: 1, Fed: []tenant.Fed{{Account: account, At: time.Now(), Delivered: 400}}})
	for i, n := range c.nodes[:len(ports)] {
		await(t, "the node to know the account", func() bool { return n.mayGreet() == nil && n.cluster.State().Account(account) != nil })
		for k := range 4 {
			ref := c.nodes[0].seal.references.Header(bounce.Reference{Tenant: shoes, Account: account, Transaction: [16]byte{byte(k)}})
			text := strings.ReplaceAll(complaint, "REF", ref)
			for claim := range 2 {
				claimed := strings.Replace(text, "Version: 1\n", fmt.Sprintf("Version: 1\nOriginal-Rcpt-To: u%d%d@far.test\n", i, claim), 1)
				bring(t, ports[i], "fbl@bounces.relay.test", strings.ReplaceAll(claimed, "\n", "\r\n"))
			}
			bring(t, ports[i], "bounces@bounces.relay.test", lateBounce(ref))
		}
		bring(t, ports[i], "fbl@bounces.relay.test", strings.ReplaceAll(strings.ReplaceAll(complaint, "REF", "v1.forged.token"), "\n", "\r\n"))
		ref := func(b byte) string {
			return c.nodes[0].seal.references.Header(bounce.Reference{Tenant: shoes, Account: account, Transaction: [16]byte{b}})
		}
		bring(t, ports[i], "Jane@old.test", "X-Relay-Ref: "+ref(9)+"\r\nFrom: news@shoes.test\r\nSubject: shoes\r\n\r\nBuy.\r\n")
		bring(t, ports[i], "jane@old.test", "From: news@shoes.test\r\nSubject: shoes\r\n\r\n> X-Relay-Ref: "+ref(8)+"\r\n")
	}
	terms := func() map[string]tenant.SuspectTerm {
		m := map[string]tenant.SuspectTerm{}
		for _, s := range tenant.PlanCase(c.nodes[1].cluster.State(), src).Suspects {
			for _, x := range s.Terms {
				m[x.Name] = x
			}
		}
		return m
	}
	// Each node tells within seconds of the last report; the second node's add
	// nothing, so there is nothing to wait for but that it has none left.
	await(t, "all to be told", func() bool {
		for _, n := range c.nodes {
			n.heard.mu.Lock()
			left := len(n.heard.echoes) > 0 || n.heard.told.op != nil
			n.heard.mu.Unlock()
			if left {
				return false
			}
		}
		return terms()["complaints"].Text != "none came in about anybody"
	})
	if got := terms()["complaints"]; got.Points != 30 || got.Text != "4 of 400 at providers that tell of them" {
		t.Errorf("complaints: %+v", got)
	}
	if got := terms()["evidence"]; got.Points != 30 || got.Text != "mail of it came to spam traps: 1" {
		t.Errorf("evidence: %+v", got)
	}
	if got := terms()["unknown users"]; got.Text != "4 of 400, 4 of them told later" {
		t.Errorf("unknown users: %+v", got)
	}
}
