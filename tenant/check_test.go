package tenant

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// rich is a state with a record of every kind.
func rich(t *testing.T) *State {
	t.Helper()
	s := New()
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	do := func(ops ...Op) {
		t.Helper()
		for _, op := range ops {
			next, _, err := Apply(s, s.Index()+1, Command{Request: RequestID{byte(s.Index() + 1)}, At: at, Op: op})
			if err != nil {
				t.Fatalf("%+v: %v", op, err)
			}
			s = next
		}
	}
	w := WindowAt(Month, at)
	version := uint32(NewestVersion)
	do(AddNode{Name: "one"}, AddNode{Name: "two"},
		AddSource{Node: 1, Addr: netip.MustParseAddr("127.77.1.1"), EHLO: "a.test", Shared: true},
		AddSource{Node: 2, Addr: netip.MustParseAddr("127.77.2.1"), EHLO: "b.test", Shared: true},
		AddSource{Node: 2, Addr: netip.MustParseAddr("127.77.2.2"), EHLO: "c.test"},
		AddTenant{Name: "acme", Hostname: "acme.test", Home: Place{Node: 1}, Backup: Place{Node: 2, Source: 3}},
		AddTenant{Name: "bolt", Hostname: "bolt.test", Home: Place{Node: 2}},
		SetToken{Tenant: 1, Hash: [32]byte{1}}, SetToken{Tenant: 2, Hash: [32]byte{2}},
		AddAccount{Tenant: 1, Username: "a@acme.test", Plan: Plan{MailsPerMonth: 100}, Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		AddAccount{Tenant: 2, Username: "b@bolt.test"},
		SetDomain{Tenant: 1, Name: "acme.example"},
		SetRoute{Route{Domain: "*", Host: "mx.example", Port: 25}},
		TakeGrant{Node: 1, Wants: []Want{{Account: 1, Window: w, Epoch: 1, Need: Amount{Mails: 5}}}},
		Own{Tenant: 1, Node: 1, Expect: 1, Spent: []Spent{{Account: 1, Window: w, Epoch: 1, Amount: Amount{Mails: 3}}}},
		TakeGrant{Node: 1, Wants: []Want{{Account: 1, Window: w, Epoch: 2, Need: Amount{Mails: 5}}}},
		Hold{Tenant: 2, Reason: "traps"}, Hold{Account: 1, Reason: "traps"},
		SetAuthority{Authority{Cluster: [16]byte{1}, Cert: []byte("c"), SealedKey: []byte("k"), SealedGossip: []byte("g")}},
		AddToken{JoinToken{Hash: [32]byte{7}, Expires: at.AddDate(1, 0, 0), Witness: true}},
		Join{Name: "three", Peer: "127.0.0.1:7", Key: [32]byte{3}, Witness: true, Version: 1, Token: [32]byte{7}},
		SetAccount{Account: 2, Limits: &[]CautionLimit{{Kind: Hour, Limit: Amount{Mails: 9}}}},
		Own{Tenant: 2, Node: 2, Expect: 1, Mirror: 3, Ends: []End{{Epoch: 1, Node: 2, Last: 4}}},
		SetPlace{Tenant: 2, Home: Place{Node: 2}, Backup: Place{Node: 1}},
		Handover{Tenant: 2, Expect: 2, To: 1},
		SetNode{Node: 1, Version: &version}, SetNode{Node: 2, Version: &version}, SetNode{Node: 3, Version: &version},
		SetLists{Rule: DefaultListingRule(), Groups: []ZoneGroup{{Name: "small", Cap: 20}}, Zones: []Zone{
			{Name: "zen.test", Spaces: []Space{SpaceIPv4}, Every: time.Minute, Heavy: true, Codes: []ZoneCode{code("127.0.0.2", 100, PolicyMove)}},
			{Name: "six.test", Spaces: []Space{SpaceIPv6}, Every: time.Minute, Codes: []ZoneCode{code("127.0.0.2", 100, PolicyMove)}}}},
		Observe{Node: 1, Seen: []Seen{{Source: 1, Zone: "zen.test", At: at, Values: []netip.Addr{netip.MustParseAddr("127.0.0.2")}, Text: "bad"},
			{Source: 2, Zone: "zen.test", At: at}}, Upto: []Upto{{Zone: "zen.test", At: at}}},
		Observe{Node: 2, Seen: []Seen{{Source: 1, Zone: "zen.test", At: at, Why: WhyTimeout}, {Source: 2, Zone: "zen.test", At: at}}},
		SetContain{Contain{Mode: AutomationOn, Rule: DefaultContainRule()}},
		Used{Node: 1, Uses: []Use{{1, 1, at, Counts{Tried: 50}}}}, AddEvidence{Account: 1, Source: 1, Note: "x"},
		SetConduct{Conduct{OnListing: OnListingMove}}, SetConduct{Conduct{Tenant: 2, Automation: AutomationShadow}}, SetPool{Source: 2, Class: PoolBulk},
		Found{Node: 1, Sources: []SourceFinding{{Source: 1, Plumbed: FindingRight, Names: FindingWrong, Text: "no PTR"}},
			Domains: []DomainFinding{{Domain: "acme.example", Passes: []SourceID{3}, Lacks: []SourceID{1}, Text: "none"}}},
		SetBounce{Domain: "acme.example", Name: "b.acme.example"},
		FoundBounces{Node: 1, Hosts: []string{"in.test"}, Paths: []BounceFinding{{Domain: "acme.example", Name: "b.acme.example", MX: FindingRight, Passes: []SourceID{1}, Lacks: []SourceID{3}, Text: "lacks"}}},
		ListTold{Node: 1, Notices: []ListNotice{{Zone: "cop.test", At: at, Account: 1, Ref: 9, Sources: []SourceID{1, 2}}}},
		Heard{Node: 1, Echoes: []Echo{{1, EchoComplaint, 1, at}, {1, EchoLogin, 7, at}}, Fed: []Fed{{1, at, 9}}},
		Denied{Node: 1, Denials: []Denial{{Source: 1, At: at, Attempts: 9, Refused: 2, Messages: 1, Providers: []ProviderDenial{{"gmx", 2, 1}}, Named: []Naming{{"zen.test", at}}}}},
	)
	at = time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC)
	do(Pause{Tenant: 1, Reason: "at rest"}, Hold{Account: 1},
		TakeGrant{Node: 1, Wants: []Want{{Account: 1, Window: WindowAt(Month, at), Epoch: 2, Need: Amount{Mails: 5}}}},
		Pause{Tenant: 1}, Drill{Source: 1, Only: 1})
	if s.closed.len() != 1 || s.open.len() != 1 {
		t.Fatal("the state has no book of each kind")
	}
	return s
}

// Every invariant of Check is broken once, behind Apply's back.
func TestCheckFindsBrokenStates(t *testing.T) {
	now := time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC)
	broken := map[string]func(d *draft){
		"a counter behind its ids": func(d *draft) { d.lastTenant = 1 },
		"a clock out of bounds":    func(d *draft) { d.now = maxNano },
		"a name twice":             func(d *draft) { d.changeTenant(2, func(t *Tenant) { t.Name = "acme" }) },
		"a host name twice":        func(d *draft) { d.changeTenant(2, func(t *Tenant) { t.Hostname = "acme.test" }) },
		"a token twice":            func(d *draft) { d.changeTenant(2, func(t *Tenant) { t.Token = [32]byte{1} }) },
		"epoch 0":                  func(d *draft) { d.changeTenant(1, func(t *Tenant) { t.Epoch = 0 }) },
		"no owner":                 func(d *draft) { d.changeTenant(1, func(t *Tenant) { t.Owner = 9 }) },
		"no home":                  func(d *draft) { d.changeTenant(1, func(t *Tenant) { t.Home = Place{} }) },
		"both on one node":         func(d *draft) { d.changeTenant(1, func(t *Tenant) { t.Home.Node = 2 }) },
		"a missing source":         func(d *draft) { d.changeTenant(1, func(t *Tenant) { t.Backup.Source = 9 }) },
		"a shared one dedicated":   func(d *draft) { d.changeTenant(1, func(t *Tenant) { t.Home.Source = 1 }) },
		"a dedicated one for two":  func(d *draft) { d.changeTenant(2, func(t *Tenant) { t.Home.Source = 3 }) },
		"a bad reason":             func(d *draft) { d.changeTenant(2, func(t *Tenant) { t.Held = "\n" }) },
		"a hold without a span":    func(d *draft) { d.changeTenant(2, func(t *Tenant) { t.Stopped = nil }) },
		"a span without a hold":    func(d *draft) { d.changeTenant(2, func(t *Tenant) { t.Held = "" }) },
		"spans out of order": func(d *draft) {
			d.changeTenant(2, func(t *Tenant) { t.Stopped = []Span{{From: now}, {From: now}} })
		},
		"a span to come": func(d *draft) {
			d.changeTenant(2, func(t *Tenant) { t.Stopped = []Span{{From: now.Add(time.Hour)}} })
		},
		"a node without a name":   func(d *draft) { put(d, &d.nodes, 2, &Node{ID: 2}) },
		"a node under another id": func(d *draft) { put(d, &d.nodes, 2, &Node{ID: 1, Name: "two"}) },
		"a source nowhere": func(d *draft) {
			put(d, &d.sources, 1, &Source{ID: 1, Node: 9, Addr: netip.MustParseAddr("127.77.1.1"), EHLO: "a.test", Shared: true})
		},
		"an address twice": func(d *draft) {
			put(d, &d.sources, 1, &Source{ID: 1, Node: 1, Addr: netip.MustParseAddr("127.77.2.1"), EHLO: "a.test", Shared: true})
		},
		"a source without EHLO": func(d *draft) {
			put(d, &d.sources, 1, &Source{ID: 1, Node: 1, Addr: netip.MustParseAddr("127.77.1.1"), Shared: true})
		},
		"a policy of nobody":                   func(d *draft) { put(d, &d.conducts, 9, &Conduct{Tenant: 9, Probation: true}) },
		"a policy of nothing":                  func(d *draft) { put(d, &d.conducts, 2, &Conduct{Tenant: 2}) },
		"a pool's class of a dedicated source": func(d *draft) { put(d, &d.pooled, 3, &poolMember{3, PoolBulk}) },
		"a finding of no source": func(d *draft) {
			put(d, &d.fitness, 9, &condition{source: 9, words: []conditionWord{{node: 1, names: FindingRight}}})
		},
		"a finding that says nothing": func(d *draft) { put(d, &d.fitness, 1, &condition{source: 1, words: []conditionWord{{node: 1}}}) },
		"a source in and out of SPF": func(d *draft) {
			put(d, &d.outlooks, "acme.example", &outlook{"acme.example", []outlookWord{{node: 1, passes: []SourceID{1}, lacks: []SourceID{1}}}})
		},
		"SPF of no domain": func(d *draft) {
			put(d, &d.outlooks, "no.example", &outlook{"no.example", []outlookWord{{node: 1, passes: []SourceID{1}}}})
		},
		"a domain of nobody": func(d *draft) { put(d, &d.domains, "x.example", &Domain{Name: "x.example", Tenant: 9}) },
		"a public domain":    func(d *draft) { put(d, &d.domains, "gmail.com", &Domain{Name: "gmail.com", Tenant: 1}) },
		"a key without a name": func(d *draft) {
			put(d, &d.domains, "x.example", &Domain{Name: "x.example", Tenant: 1, SealedKey: []byte{1}})
		},
		"a route without port": func(d *draft) { put(d, &d.routes, "x.example", &Route{Domain: "x.example", Host: "mx.example"}) },
		"an account of nobody": func(d *draft) { d.changeAccount(2, func(a *Account) { a.Tenant = 9 }) },
		"a username twice":     func(d *draft) { d.changeAccount(2, func(a *Account) { a.Username = "a@acme.test" }) },
		"a bad reference":      func(d *draft) { d.changeAccount(2, func(a *Account) { a.Reference = "x" }) },
		"a bad class":          func(d *draft) { d.changeAccount(2, func(a *Account) { a.Class = 9 }) },
		"a network twice":      func(d *draft) { d.changeAccount(2, func(a *Account) { a.Networks = d.accounts.get(1).Networks }) },
		"a book of nobody":     func(d *draft) { put(d, &d.open, 9, &book{account: 9, quotas: []quota{{window: WindowAt(Month, now)}}}) },
		"an empty book":        func(d *draft) { put(d, &d.open, 1, &book{account: 1}) },
		"a closed book open":   func(d *draft) { put(d, &d.open, 1, d.closed.get(1)) },
		"a grant of an epoch":  func(d *draft) { d.changeTenant(1, func(t *Tenant) { t.Epoch = 1 }) },
		"a grant never made":   func(d *draft) { d.lastGrant = 0 },
		"a grant in a closed": func(d *draft) {
			d.changeQuota(&d.closed, func(q *quota) { q.live = d.open.get(1).quotas[0].live; q.live.Window = q.window })
		},
		"a grant over limit":    func(d *draft) { d.changeQuota(&d.open, func(q *quota) { q.live.Given.Mails = 101 }) },
		"a grant without id":    func(d *draft) { d.changeQuota(&d.open, func(q *quota) { q.live.ID = 0 }) },
		"a base beyond the use": func(d *draft) { d.changeQuota(&d.open, func(q *quota) { q.live.base.Mails = 1 }) },
		"a window off its edge": func(d *draft) { d.changeQuota(&d.closed, func(q *quota) { q.window.Start++ }) },
		"use without an epoch":  func(d *draft) { d.changeQuota(&d.closed, func(q *quota) { q.used.Mails++ }) },
		"use that fell":         func(d *draft) { d.changeQuota(&d.closed, func(q *quota) { q.used.Mails-- }) },
		"epochs out of order": func(d *draft) {
			d.changeQuota(&d.closed, func(q *quota) { q.epochs = append([]epochUse{{epoch: 7}}, q.epochs...) })
		},
		"too many domains": func(d *draft) {
			for i := range maxOfTenant + 1 {
				name := fmt.Sprintf("x%d.example", i)
				put(d, &d.domains, name, &Domain{Name: name, Tenant: 2})
			}
		},
		"too many nodes": func(d *draft) {
			for range maxNodes {
				d.lastNode++
				put(d, &d.nodes, d.lastNode, &Node{ID: d.lastNode, Name: fmt.Sprintf("n%d", d.lastNode)})
			}
		},
		"other lists":                 func(d *draft) { put(d, &d.lists, 1, d.lists.get(0)) },
		"a rule of no nodes":          func(d *draft) { l := *d.Lists(); l.Rule.Nodes = 0; put(d, &d.lists, 0, &l) },
		"a zone of no group":          func(d *draft) { d.changeZone(func(z *Zone) { z.Group = "large" }) },
		"a zone that lists nothing":   func(d *draft) { d.changeZone(func(z *Zone) { z.Codes = nil }) },
		"a heavy code":                func(d *draft) { d.changeZone(func(z *Zone) { z.Codes[0].Weight = 101 }) },
		"a zone aside that is none":   func(d *draft) { l := *d.Lists(); l.Aside = []string{"x.test"}; put(d, &d.lists, 0, &l) },
		"sightings and no lists":      func(d *draft) { remove(d, &d.lists, 0) },
		"nothing sighted":             func(d *draft) { put(d, &d.seen, 1, &sightings{source: 1}) },
		"sightings of nothing":        func(d *draft) { put(d, &d.seen, 1, &sightings{source: 2, seen: d.seen.get(1).seen}) },
		"a sighting by nobody":        func(d *draft) { d.changeSighting(func(g *sighting) { g.node = 9 }) },
		"a sighting of another space": func(d *draft) { d.changeSighting(func(g *sighting) { g.zone = "six.test" }) },
		"a sighting to come":          func(d *draft) { d.changeSighting(func(g *sighting) { g.last = now.Add(1) }) },
		"a sighting of nothing":       func(d *draft) { d.changeSighting(func(g *sighting) { g.rounds = 0 }) },
		"a watch of nobody":           func(d *draft) { put(d, &d.watches, 9, &watch{node: 9}) },
		"a watch to come":             func(d *draft) { put(d, &d.watches, 1, &watch{node: 1, zones: []Upto{{"zen.test", now.Add(1)}}}) },
		"a listing of nothing":        func(d *draft) { put(d, &d.listings, 9, &Listing{Source: 9, Since: now}) },
		"a listing without a time":    func(d *draft) { put(d, &d.listings, 1, &Listing{Source: 1}) },
		"a rule without a slot":       func(d *draft) { c := *d.Contain(); c.Rule.Slot = 0; put(d, &d.contain, 0, &c) },
		"a mode of its own":           func(d *draft) { c := *d.Contain(); c.Mode = 9; put(d, &d.contain, 0, &c) },
		"uses of nobody":              func(d *draft) { put(d, &d.uses, 9, &uses{account: 9, spans: d.uses.get(1).spans}) },
		"uses of nothing":             func(d *draft) { put(d, &d.uses, 1, &uses{account: 1, spans: []useSpan{{slot: 1, source: 1}}}) },
		"uses of no source":           func(d *draft) { put(d, &d.uses, 1, &uses{account: 1, spans: []useSpan{{1, 9, Counts{Tried: 1}}}}) },
		"evidence without a note":     func(d *draft) { put(d, &d.evidence, 1, &Evidence{ID: 1, Account: 1}) },
		"evidence to come":            func(d *draft) { put(d, &d.evidence, 1, &Evidence{ID: 1, Account: 1, Note: "x", At: now.Add(1)}) },
		"a dismissal of nothing":      func(d *draft) { put(d, &d.dismissed, 9, &dismissal{9, now}) },
		"heard of nobody":             func(d *draft) { d.changeEcho(1, func(x *echoBook) { x.account = 9 }) },
		"heard to come":               func(d *draft) { d.changeEcho(1, func(x *echoBook) { x.echoes[0].at = now.Add(1) }) },
		"heard of no kind":            func(d *draft) { d.changeEcho(1, func(x *echoBook) { x.echoes[0].kind = 0 }) },
		"heard too heavily":           func(d *draft) { d.changeEcho(1, func(x *echoBook) { x.echoes[0].weight = 9 }) },
		"nothing heard":               func(d *draft) { d.changeEcho(1, func(x *echoBook) { x.echoes, x.fed = nil, nil }) },
		"fed nothing":                 func(d *draft) { d.changeEcho(1, func(x *echoBook) { x.fed[0].delivered = 0 }) },
		"a denial of nothing": func(d *draft) {
			put(d, &d.denials, 9, &Denial{Source: 9, At: now, Attempts: 1, Named: []Naming{{"zen.test", now}}})
		},
		"a denial to come":          func(d *draft) { d.changeDenial(1, func(x *Denial) { x.At = now.Add(1) }) },
		"a denial of nobody":        func(d *draft) { d.changeDenial(1, func(x *Denial) { x.Providers = nil }) },
		"a denial without attempts": func(d *draft) { d.changeDenial(1, func(x *Denial) { x.Attempts = 1 }) },
		"a case of nothing":         func(d *draft) { d.changeCase(1, func(c *Case) { c.Source = 0 }) },
		"a case of no mode":         func(d *draft) { d.changeCase(1, func(c *Case) { c.Mode = AutomationOff }) },
		"a case to come":            func(d *draft) { d.changeCase(1, func(c *Case) { c.Raised = now.Add(1) }) },
		"two cases at once":         func(d *draft) { c := *d.cases.get(1); c.ID = 2; put(d, &d.cases, 2, &c) },
		"an end without a reason":   func(d *draft) { d.changeCase(1, func(c *Case) { c.Ended = now }) },
		"a fate without a place":    func(d *draft) { d.changeCase(1, func(c *Case) { c.Fates[0].Kind, c.Fates[0].To = FateMove, Place{} }) },
		"a plight of nobody":        func(d *draft) { put(d, &d.plights, 9, &Plight{Tenant: 9}) },
		"a plight to come":          func(d *draft) { d.changePlight(1, func(p *Plight) { p.Since = now.Add(1) }) },
		"a plight without end":      func(d *draft) { d.changePlight(1, func(p *Plight) { p.Spans = []Span{{From: now}} }) },
		"a listed source in use":    func(d *draft) { remove(d, &d.plights, 1) },
		"a handover to a listed":    func(d *draft) { d.changeCase(1, func(c *Case) { c.Source = 3 }) },
		"a peer without a port":     func(d *draft) { d.changeNode(3, func(n *Node) { n.Peer = "x" }) },
		"a key of two":              func(d *draft) { d.changeNode(1, func(n *Node) { n.Key = [32]byte{3} }) },
		"down in time to come":      func(d *draft) { d.changeNode(1, func(n *Node) { n.Down = now.Add(1) }) },
		"up in time to come":        func(d *draft) { d.changeNode(1, func(n *Node) { n.Up = now.Add(1) }) },
		"a witness that owns":       func(d *draft) { d.changeTenant(2, func(t *Tenant) { t.Owner = 3 }) },
		"a witness with a source":   func(d *draft) { d.changeNode(2, func(n *Node) { n.Witness = true }) },
		"a handover to a draining":  func(d *draft) { d.changeNode(1, func(n *Node) { n.Draining = true }) },
		"a handover to no place":    func(d *draft) { d.changeTenant(2, func(t *Tenant) { t.Backup = Place{} }) },
		"a copy of nobody":          func(d *draft) { d.changeTenant(2, func(t *Tenant) { t.Copies = []Copy{{1, 9, 2, 1}} }) },
		"a copy to come":            func(d *draft) { d.changeTenant(2, func(t *Tenant) { t.Copies = []Copy{{2, 3, 2, 1}} }) },
		"a copy of an epoch":        func(d *draft) { d.changeTenant(2, func(t *Tenant) { t.Copies = []Copy{{1, 3, 3, 1}} }) },
		"a copy of the owner's":     func(d *draft) { d.changeTenant(2, func(t *Tenant) { t.Copies = []Copy{{1, 2, 2, 1}} }) },
		"a copy from nowhere":       func(d *draft) { d.changeTenant(2, func(t *Tenant) { t.Copies = []Copy{{1, 3, 2, 0}} }) },
		"an end to come":            func(d *draft) { d.changeTenant(2, func(t *Tenant) { t.Ends = []End{{2, 1, 1}} }) },
		"an end of nobody":          func(d *draft) { d.changeTenant(2, func(t *Tenant) { t.Ends = []End{{1, 9, 1}} }) },
		"ends out of order":         func(d *draft) { d.changeTenant(2, func(t *Tenant) { t.Ends = []End{{1, 1, 1}, {1, 1, 1}} }) },
		"waiting out of order":      func(d *draft) { d.changeTenant(2, func(t *Tenant) { t.Waiting = []uint64{2, 2} }) },
		"awaited unpaused":          func(d *draft) { d.changeTenant(2, func(t *Tenant) { t.Awaited = []NodeID{1} }) },
		"awaited nobody":            func(d *draft) { d.changeTenant(1, func(t *Tenant) { t.Awaited = []NodeID{9} }) },
		"an epoch of a later life":  func(d *draft) { d.changeTenant(2, func(t *Tenant) { t.Epoch = 1 << 48 }) },
		"two limits of a kind": func(d *draft) {
			d.changeAccount(2, func(a *Account) { l := a.Limits[0]; a.Limits = []CautionLimit{l, l} })
		},
		"a limit a month": func(d *draft) {
			d.changeAccount(2, func(a *Account) { a.Limits = []CautionLimit{{Kind: Month, Limit: Amount{Mails: 1}}} })
		},
		"a gap of a week": func(d *draft) { d.changeAccount(2, func(a *Account) { a.Gap = 7 * 24 * time.Hour }) },
		"a minute in the history": func(d *draft) {
			d.changeQuota(&d.closed, func(q *quota) { q.window.Kind = Minute })
		},
		"a token without a hash": func(d *draft) { put(d, &d.tokens, string(make([]byte, 32)), &JoinToken{Expires: now}) },
		"an authority without a key": func(d *draft) {
			put(d, &d.authority, 0, &Authority{Cluster: [16]byte{1}, Cert: []byte("c")})
		},
		"a request of no entry": func(d *draft) { d.header.index = 3 },
		"a digest of another":   func(d *draft) { d.sum[0]++ },
	}
	// What the snapshot does not say cannot come back broken.
	rebuilt := map[string]bool{"a digest of another": true, "a grant without id": true}
	if err := rich(t).Check(); err != nil {
		t.Fatal(err)
	}
	for name, breakIt := range broken {
		d := rich(t).draft()
		breakIt(d)
		s := d.publish()
		err := s.Check()
		if err == nil {
			t.Errorf("%s: Check says nothing", name)
			continue
		}
		if _, err := Decode(s.Encode()); err == nil && !rebuilt[name] {
			t.Errorf("%s: Decode takes it", name)
		}
	}
	// One too many on a node.
	d := rich(t).draft()
	for i := range NodeTenants {
		d.lastTenant++
		name := fmt.Sprintf("t%d", i)
		put(d, &d.tenants, d.lastTenant, &Tenant{ID: d.lastTenant, Name: name, Hostname: name + ".test", Home: Place{Node: 1}, Owner: 1, Epoch: 1})
	}
	if err := d.publish().Check(); err == nil {
		t.Error("21 tenants of one owner: Check says nothing")
	}
}

// The last gate of Apply: a command that broke something is refused as a whole.
func TestDraftCheckRefuses(t *testing.T) {
	b := rich(t).draft()
	b.incarnation = 1
	before := b.publish()
	for name, breakIt := range map[string]func(d *draft){
		"epoch falls":       func(d *draft) { d.changeTenant(2, func(t *Tenant) { t.Epoch = 0 }) },
		"counter falls":     func(d *draft) { d.lastGrant-- },
		"clock falls":       func(d *draft) { d.now-- },
		"generation falls":  func(d *draft) { d.changeTenant(2, func(t *Tenant) { t.Generation, t.Copies = 0, nil }) },
		"incarnation falls": func(d *draft) { d.incarnation-- },
		"level falls":       func(d *draft) { d.level = 0 },
		"bad book":          func(d *draft) { d.changeQuota(&d.open, func(q *quota) { q.live.Given.Mails = 101 }); d.touch(1) },
	} {
		d := before.draft()
		breakIt(d)
		if err := d.check(before); err == nil {
			t.Errorf("%s: it passes", name)
		}
	}
}

func (d *draft) changeNode(id NodeID, change func(*Node)) {
	n := *d.nodes.get(id)
	change(&n)
	put(d, &d.nodes, id, &n)
}

func (d *draft) changeAccount(id AccountID, change func(*Account)) {
	a := *d.accounts.get(id)
	change(&a)
	put(d, &d.accounts, id, &a)
}

func (d *draft) changeQuota(t *table[AccountID, *book], change func(*quota)) {
	b := *t.get(1)
	b.quotas = append([]quota(nil), b.quotas...)
	change(&b.quotas[0])
	put(d, t, 1, &b)
}

func (d *draft) changeZone(change func(*Zone)) {
	l := *d.Lists()
	l.Zones = slices.Clone(l.Zones)
	l.Zones[0].Codes = slices.Clone(l.Zones[0].Codes)
	change(&l.Zones[0])
	put(d, &d.lists, 0, &l)
}

func (d *draft) changeSighting(change func(*sighting)) {
	x := &sightings{source: 1, seen: slices.Clone(d.seen.get(1).seen)}
	change(&x.seen[0])
	put(d, &d.seen, 1, x)
}
