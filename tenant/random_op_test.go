package tenant

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

func randomOp(c *choices, s *State, at time.Time) Op {
	t, a, n := ID(c.n(7)), AccountID(c.n(8)), NodeID(c.n(4))
	name := fmt.Sprintf("%s%d", pick(c, "n", "t", "A-", "x."), c.n(24))
	switch c.n(40) {
	case 36, 37, 38, 39:
		return randomBanOp(c, t, a, name, at)
	case 32, 33, 34, 35:
		return randomListingOp(c, at)
	case 24, 25, 26, 27, 28, 29, 30, 31:
		return randomClusterOp(c, s, at, name)
	case 0:
		return AddNode{Name: name}
	case 1, 2:
		addr := netip.AddrFrom4([4]byte{127, 77, byte(c.n(3)), byte(c.n(6))})
		return AddSource{Node: n, Addr: pick(c, addr, addr, addr, netip.Addr{}, netip.MustParseAddr("ff02::1")), EHLO: pick(c, "a.test", "b.test", "-.test"), Shared: c.one(2)}
	case 3:
		return RemoveSource{Source: SourceID(c.n(7))}
	case 4, 5:
		return AddTenant{Name: name, Hostname: name + pick(c, ".test", ".example", ""), Home: randomPlace(c), Backup: pick(c, Place{}, randomPlace(c))}
	case 6:
		if c.one(3) {
			return RemoveTenant{Tenant: t}
		}
		return SetToken{Tenant: t, Hash: [32]byte{byte(c.n(3))}}
	case 7:
		return SetPlace{Tenant: t, Home: randomPlace(c), Backup: pick(c, Place{}, randomPlace(c))}
	case 8, 9:
		return AddAccount{Tenant: t, Username: name + "@a.test", Secret: [32]byte{1}, Networks: randomNetworks(c), Reference: pick(c, "", "B@a.test", "b"), Plan: randomPlan(c), Class: Class(c.n(3))}
	case 10, 11:
		op := SetAccount{Account: a}
		if c.one(3) {
			p := randomNetworks(c)
			op.Networks = &p
		}
		if c.one(2) {
			p := randomPlan(c)
			op.Plan = &p
		}
		if c.one(4) {
			cl, ref, h := Class(c.n(3)), "c@a.test", [32]byte{2}
			op.Class, op.Reference, op.Secret = &cl, &ref, &h
		}
		if c.one(3) {
			ls, gap := randomLimits(c), pick(c, 0, time.Second, -1, 100*time.Hour)
			op.Limits, op.Gap = &ls, &gap
		}
		return op
	case 12:
		if c.one(2) {
			return RemoveAccount{Account: a}
		}
		return RemoveDomain{Name: name + ".example"}
	case 13:
		return SetDomain{Tenant: t, Name: name + pick(c, ".example", ""), Selector: pick(c, "", "s1", "s..1"), SealedKey: pick(c, nil, nil, []byte("k"))}
	case 14:
		return SetRoute{Route{Domain: pick(c, "*", "a.example", "b.example", "**"), Host: pick(c, "", "mx.example", "127.0.0.1", "x_y"), Port: uint16(c.n(3))}}
	case 15, 16, 17:
		op := Own{Tenant: t, Node: n, Expect: epochOf(c, s, t)}
		for range c.n(4) {
			if of := s.lookup.accounts[t]; len(of) > 0 && !c.one(10) {
				a = of[c.n(len(of))]
			}
			op.Spent = append(op.Spent, Spent{Account: a, Window: randomWindow(c, at), Epoch: epochFor(c, s, a, uint64(c.n(3))), Amount: randomAmount(c)})
		}
		if c.one(2) {
			op.Read, op.Mirror = c.one(2), NodeID(c.n(5))
			op.Ends = append(op.Ends, End{Epoch: minus(op.Expect, uint64(c.n(3))), Node: NodeID(c.n(4)), Last: uint64(c.n(9))})
		}
		return op
	case 18, 19, 20, 21:
		op := TakeGrant{Node: n}
		for range c.n(6) {
			a := AccountID(c.n(8))
			op.Wants = append(op.Wants, Want{Account: a, Window: randomWindow(c, at), Epoch: epochFor(c, s, a, 0), Spent: randomAmount(c), Need: randomAmount(c)})
		}
		return op
	case 22:
		return Pause{Tenant: t, Reason: randomText(c)}
	default:
		return Hold{Tenant: t, Account: a, Reason: randomText(c)}
	}
}

// randomBanOp makes what came with bans: three marks, so that some meet.
func randomBanOp(c *choices, t ID, a AccountID, name string, at time.Time) Op {
	marks := func() (ms []Mark) {
		for range c.n(4) {
			ms = append(ms, Mark{Kind: MarkKind(c.n(7)), Hash: [32]byte{byte(c.n(3))}})
		}
		return ms
	}
	hash := func() string {
		return pick(c, "{BLF-CRYPT}$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "$5$x$"+strings.Repeat("a", 43), "{PLAIN}x", "")
	}
	switch c.n(18) {
	case 15:
		return SetWarm{SourceID(c.n(6)), pick(c, at.Truncate(24*time.Hour), time.Time{}, at, at.AddDate(1, 0, 0))}
	case 16:
		return NoteImport{Tenant: t, New: c.one(2), From: randomText(c), Sources: pick(c, nil, []SourceID{SourceID(c.n(4))}), Accounts: pick(c, nil, []AccountID{a}),
			Domains: pick(c, nil, []string{"a.test"}), Routes: pick(c, nil, []string{"dest.test"})}
	case 17:
		return Disclosed{Disclosure(c.n(6)), pick(c, 0, t)}
	case 14:
		return Suppressed{Tenant: pick(c, 0, t), Added: uint64(c.n(3)), Removed: 1}
	case 11:
		return AddHashed{AddAccount{Tenant: t, Username: name + "@h.test"}, hash()}
	case 12:
		return SetHash{a, hash()}
	case 13:
		return Enrol{SourceID(c.n(6)), Programme(c.n(8)), EnrolState(c.n(5)), pick(c, "", "", "ticket 7", "tab\t")}
	case 8:
		n := Notices{Smarthost: pick(c, "", "mx.test:25", "x"), From: pick(c, "", "p@relay.test"), Tenants: c.one(2), Webhook: pick(c, "", "https://h.test/"), SealedSecret: pick(c, nil, []byte("s"))}
		if c.one(2) {
			n.Operators = []string{"ops@a.test"}
		}
		return SetNotices{n}
	case 9:
		return TestNotices{}
	case 10:
		return Notified{[]NoticeResult{{ID: uint64(c.n(100))<<10 | 1, Error: pick(c, "", "", "refused", "tab\t")}}}
	case 0:
		return Close{Tenant: pick(c, 0, t), Account: pick(c, 0, a), Reason: randomText(c)}
	case 1:
		return Purged{Tenant: t, Account: a, Domain: randomText(c), Messages: 3}
	case 2:
		return AddBan{Tenant: pick(c, 0, 0, t), Reason: randomText(c), Marks: marks()}
	case 3:
		return LiftBan{Ban: uint64(c.n(64))}
	case 4:
		return SetCustomer{Tenant: t, Customer: randomText(c)}
	case 5, 6:
		ref := "x@y.test"
		return Vetted{Marks: marks(), Override: c.one(3), Op: pick[Op](c, AddAccount{Tenant: t, Username: name + "@b.test"}, SetAccount{Account: a, Reference: &ref},
			SetDomain{Tenant: t, Name: name + ".example"}, SetCustomer{Tenant: t, Customer: "7"}, Review{})}
	default:
		return AskedDelisting{Source: SourceID(c.n(6)), Zone: pick(c, "zen.test", "cop.test"), Next: pick(c, time.Time{}, at.Add(time.Hour)), Again: c.one(3)}
	}
}

func randomLimits(c *choices) []CautionLimit {
	var ls []CautionLimit
	for range c.n(4) {
		ls = append(ls, CautionLimit{Kind: WindowKind(c.n(7)), Limit: Amount{Mails: pick(c, 0, 1, 20, maxPlan+1), Bytes: pick(c, 0, uint64(100))}})
	}
	return ls
}

func randomFound(c *choices) Op {
	op := Found{Node: NodeID(c.n(4))}
	for range c.n(3) {
		op.Sources = append(op.Sources, SourceFinding{Source: SourceID(c.n(6)), Plumbed: Finding(c.n(4)), Names: Finding(c.n(4)), Text: randomText(c)})
	}
	ids := func() (all []SourceID) {
		for range c.n(4) {
			all = append(all, SourceID(c.n(6)))
		}
		return all
	}
	for range c.n(3) {
		op.Domains = append(op.Domains, DomainFinding{Domain: pick(c, "a.test", "b.test", "c.test", "Bad"), Passes: ids(), Lacks: ids(), Text: randomText(c)})
	}
	return op
}

func randomBounces(c *choices) Op {
	domain := pick(c, "a.test", "b.test", "c.test")
	name := pick(c, "x.", "x.y.", "") + domain
	if c.one(3) {
		return SetBounce{Domain: domain, Name: pick(c, name, name, "")}
	}
	op := FoundBounces{Node: NodeID(c.n(4)), Hosts: pick(c, nil, []string{"in.test"}, []string{"z.test", "in.test"})}
	for range c.n(3) {
		x := BounceFinding{Domain: domain, Name: name, MX: Finding(c.n(4)), Text: randomText(c)}
		for id := range SourceID(6) {
			switch c.n(3) {
			case 1:
				x.Passes = append(x.Passes, id)
			case 2:
				x.Lacks = append(x.Lacks, id)
			}
		}
		op.Paths = append(op.Paths, x)
	}
	return op
}

// randomListingOp makes lists and sightings. Node 1 and 2 know the version
// they came with from setup on.
func randomListingOp(c *choices, at time.Time) Op {
	src, t, a := SourceID(c.n(6)), ID(c.n(7)), AccountID(c.n(8))
	switch c.n(20) {
	case 18:
		return SetConduct{Conduct{Tenant: pick(c, 0, t, t), Automation: Automation(c.n(5)), OnListing: OnListing(c.n(5)), Probation: c.one(3)}}
	case 19:
		return SetPool{Source: src, Class: PoolClass(c.n(5))}
	case 16:
		return randomBounces(c)
	case 17:
		return randomFound(c)
	case 0:
		op := SetContain{Contain{Mode: Automation(c.n(5)), Rule: DefaultContainRule()}}
		op.Contain.Rule.Hourly, op.Contain.Rule.Top = pick(c, 40, 1, 0), c.n(3)
		return op
	case 1, 2:
		counts := func() uint64 { return pick(c, 0, uint64(c.n(256)), 10000) }
		return Used{Node: NodeID(c.n(4)), Uses: []Use{{a, src, at.Add(time.Duration(c.n(5)-3) * time.Hour), Counts{counts(), counts(), counts(), counts()}}}}
	case 3:
		return AddEvidence{Account: a, Source: src, Note: randomText(c)}
	case 4:
		return Review{}
	case 5, 6:
		return Drill{Source: src, Only: pick(c, 0, 0, t)}
	case 7:
		return EndCase{Case: uint64(c.n(12)), Reason: randomText(c)}
	case 8:
		return Passed{Case: uint64(c.n(12)), Tenant: t, LastDot: at, First: pick(c, at, time.Time{})}
	}
	zones := []string{"zen.test", "cop.test", "six.test", "Bad"}
	if c.one(6) {
		return randomCustomerOp(c)
	}
	if c.one(8) {
		return randomDenied(c, at)
	}
	if c.one(8) {
		return randomHeard(c, at)
	}
	if c.one(8) {
		op := ListTold{Node: NodeID(c.n(4))}
		for range c.n(4) {
			n := ListNotice{Zone: pick(c, zones...), At: at.Add(time.Duration(c.n(5)-3) * time.Hour), Account: a, Ref: uint64(c.n(256)), Sources: []SourceID{src, SourceID(c.n(6))}}
			op.Notices = append(op.Notices, n)
		}
		return op
	}
	if c.one(8) {
		return randomWrote(c, at)
	}
	if c.one(6) {
		return randomSentAs(c, at)
	}
	if c.one(4) {
		return randomSawDomains(c, at, zones)
	}
	if c.one(4) {
		return randomLinked(c, at)
	}
	if c.one(8) {
		op := SetLists{Rule: DefaultListingRule(), Groups: pick(c, nil, []ZoneGroup{{Name: "g", Cap: 20}})}
		op.Rule.Apart, op.Rule.Nodes = pick(c, 0, 2*time.Minute, -1), pick(c, 1, 2, 2)
		for range c.n(4) {
			z := Zone{Name: pick(c, zones...), Spaces: []Space{Space(1 + c.n(4))}, Every: time.Minute, Heavy: c.one(2), Group: pick(c, "", "", "g"), Codes: []ZoneCode{
				code("127.0.0.2", pick(c, uint16(100), 50, 20), PolicyMove), code("127.0.0.4", 0, PolicyHold)}}
			op.Zones = append(op.Zones, z)
		}
		return op
	}
	op := Observe{Node: NodeID(c.n(4))}
	for range c.n(5) {
		x := Seen{Source: SourceID(c.n(6)), Zone: pick(c, zones...), At: at.Add(time.Duration(c.n(5)-3) * time.Minute), Text: randomText(c)}
		x.Why = pick(c, "", "", "", WhyTimeout, WhyRefused, "odd")
		if x.Why == "" {
			x.Values = pick(c, nil, []netip.Addr{netip.MustParseAddr("127.0.0.2")}, []netip.Addr{netip.MustParseAddr("127.0.0.2")}, []netip.Addr{netip.MustParseAddr("127.0.0.4")}, []netip.Addr{netip.MustParseAddr("127.255.255.254")})
		}
		op.Seen = append(op.Seen, x)
	}
	if c.one(3) {
		op.Upto = append(op.Upto, Upto{Zone: pick(c, zones...), At: at.Add(time.Duration(c.n(5)-3) * time.Minute)})
	}
	return op
}

// randomClusterOp makes the operations of several nodes.
func randomClusterOp(c *choices, s *State, at time.Time, name string) Op {
	t, n := ID(c.n(7)), NodeID(c.n(5))
	nodes := func() (ids []NodeID) {
		for range 1 + c.n(2) {
			ids = append(ids, NodeID(c.n(5)))
		}
		return ids
	}
	changes := func() (list []MirrorChange) {
		for range 1 + c.n(4) {
			m := MirrorChange{Tenant: ID(c.n(7)), Node: NodeID(c.n(5)), First: uint64(c.n(3))}
			m.Epoch = epochOf(c, s, m.Tenant)
			if x := s.Tenant(m.Tenant); x != nil && !c.one(5) {
				m.Generation = x.Generation
			}
			list = append(list, m)
		}
		return list
	}
	token := [32]byte{byte(1 + c.n(4))}
	switch c.n(20) {
	case 0:
		return SetAuthority{Authority{Cluster: [16]byte{1}, Cert: pick(c, []byte("c"), nil), SealedKey: []byte("k"), SealedGossip: []byte("g")}}
	case 1, 2:
		return AddToken{JoinToken{Hash: token, Expires: at.Add(pick(c, time.Hour, 100*24*time.Hour, -time.Hour)), Witness: c.one(3), Node: pick(c, "", "", "one", "X")}}
	case 3:
		return RemoveToken{token}
	case 4, 5, 6:
		return Join{Name: pick(c, name, "one", "two"), Peer: pick(c, "127.0.0.1:7", "n.test:65535", "[::1]:1", "n.test", ":1"), Key: [32]byte{byte(c.n(6))}, Witness: c.one(3), Version: uint32(c.n(3)), Token: token}
	case 7:
		op := SetNode{Node: n}
		if c.one(2) {
			drain := c.one(2)
			op.Draining = &drain
		}
		if c.one(4) {
			away := at.Add(pick(c, 20*time.Second, time.Hour, -time.Second))
			op.Away = &away
		}
		if c.one(3) {
			peer, key, v := pick(c, "127.0.0.1:9", "x"), [32]byte{byte(c.n(5))}, uint32(c.n(3))
			op.Peer, op.Key, op.Version = &peer, &key, &v
		}
		return op
	case 8:
		return RemoveNode{Node: n, Lost: c.one(2)}
	case 9, 10:
		return NodesDown{nodes()}
	case 11, 12, 13:
		return NodesUp{nodes()}
	case 14, 15:
		return SetMirrors{changes()}
	case 16:
		return CloseMirrors{changes()}
	case 17:
		return Handover{Tenant: t, Expect: epochOf(c, s, t), To: n}
	case 18:
		return Release{Tenant: t, Expect: epochOf(c, s, t), Last: uint64(c.n(9)), Waiting: pick(c, nil, []uint64{1, 3}, []uint64{3, 1})}
	default:
		r := Report{Tenant: t, Epoch: epochOf(c, s, t) + uint64(c.n(3))}
		r.Spent = append(r.Spent, Spent{Account: AccountID(c.n(8)), Window: randomWindow(c, at), Epoch: uint64(c.n(9)), Amount: randomAmount(c)})
		return Reported{Node: n, Tenants: []Report{r}}
	}
}

func randomDenied(c *choices, at time.Time) Op {
	op := Denied{Node: NodeID(c.n(4))}
	for range c.n(3) {
		n := pick(c, uint64(1), 7, uint64(c.n(256)))
		x := Denial{Source: SourceID(c.n(6)), At: at.Add(time.Duration(c.n(5)-3) * 10 * time.Minute), Attempts: 3*n + uint64(c.n(500))}
		for _, p := range []string{"comcast", "gmx", pick(c, "yahoo", "yahoo", "Bad", "gmx")} {
			if !c.one(4) {
				x.Providers = append(x.Providers, ProviderDenial{p, n, n})
				x.Refused, x.Messages = x.Refused+n, x.Messages+n
			}
		}
		if c.one(3) {
			x.Named = append(x.Named, Naming{pick(c, "zen.test", "cop.test", "odd.test"), at})
		}
		op.Denials = append(op.Denials, x)
	}
	return op
}

func randomHeard(c *choices, at time.Time) Op {
	op := Heard{Node: NodeID(c.n(4))}
	for range c.n(8) {
		op.Echoes = append(op.Echoes, Echo{Account: AccountID(c.n(8)), Kind: EchoKind(c.n(6)), Ref: uint64(c.n(256)) << c.n(60), At: at.Add(time.Duration(c.n(5)-3) * time.Hour)})
		op.Fed = append(op.Fed, Fed{AccountID(c.n(8)), at.Add(time.Duration(c.n(5)-3) * time.Hour), pick(c, 0, uint64(c.n(256)), 9000)})
	}
	return op
}

func randomSentAs(c *choices, at time.Time) Op {
	op := SentAs{Node: NodeID(c.n(4))}
	for range c.n(6) {
		op.Sent = append(op.Sent, Sender{AccountID(c.n(8)), pick(c, randomNames...), at.Add(time.Duration(c.n(5)-3) * time.Hour)})
	}
	return op
}

var randomNames = []string{"a.test", "acme.test", "b.test", "bravo.test", "test", "n1.test", "Bad", "mail.a.test", "start0.test", "start1.test", "out.test", "start0.example", "n7.example", "t3.example", "pills.test", "l0.test", "l1.test"}

func randomLinked(c *choices, at time.Time) Op {
	op := Linked{Node: NodeID(c.n(4))}
	for range c.n(16) {
		name := pick(c, pick(c, randomNames...), fmt.Sprintf("l%d.test", c.n(20)))
		op.Links = append(op.Links, Link{AccountID(c.n(8)), name, at.Add(time.Duration(c.n(5)-3) * time.Hour)})
	}
	return op
}

func randomSawDomains(c *choices, at time.Time, zones []string) Op {
	op := SawDomains{Node: NodeID(c.n(4))}
	for range c.n(6) {
		x := SeenDomain{Domain: pick(c, randomNames...), Zone: pick(c, zones...), At: at.Add(time.Duration(c.n(5)-3) * time.Minute)}
		if x.Why = pick(c, "", "", "", WhyTimeout, WhyRefused, "odd"); x.Why == "" {
			x.Values = pick(c, nil, []netip.Addr{netip.MustParseAddr("127.0.0.2")}, []netip.Addr{netip.MustParseAddr("127.0.0.2")}, []netip.Addr{netip.MustParseAddr("127.255.255.254")})
		}
		op.Seen = append(op.Seen, x)
	}
	return op
}

func randomCustomerOp(c *choices) Op {
	t, a := ID(c.n(5)), AccountID(c.n(8))
	switch c.n(8) {
	case 0:
		return SetRetention{Retention{uint32(c.n(40)), uint32(c.n(12)), uint32(c.n(40)), pick(c, 0, 0, 90, uint32(c.n(256)))}}
	case 1:
		return EraseTenant{t}
	case 2, 3:
		return Erased{Node: NodeID(c.n(4)), Tenants: []ID{t, ID(c.n(5))}}
	case 4:
		return Hold{Tenant: t, Account: pick(c, 0, a)}
	}
	return Suspend{Tenant: pick(c, 0, t), Account: pick(c, 0, a), Kind: SuspensionKind(c.n(5)), Reason: randomText(c)}
}

func randomWrote(c *choices, at time.Time) Op {
	op := Wrote{Node: NodeID(c.n(4))}
	for range c.n(8) {
		when := at.Add(time.Duration(c.n(5)-3) * time.Hour)
		op.Written = append(op.Written, Written{AccountID(c.n(8)), when, pick(c, 0, uint64(c.n(256)), 9000)})
		for range c.n(60) {
			op.Recipients = append(op.Recipients, Recipient{AccountID(c.n(8)), uint32(c.n(256)) << c.n(25), when})
		}
	}
	return op
}
