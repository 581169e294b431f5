package tenant

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// listingOp reads the operations of DNS lists and listings.
func (x *transcript) listingOp(name string) Op {
	switch name {
	case "set-lists":
		op := SetLists{Rule: DefaultListingRule()}
		for _, line := range x.lines() {
			words := strings.Fields(line)
			spaces := []Space{SpaceIPv4, SpaceIPv6}
			if i := slices.Index(words, "domains"); i > 0 {
				spaces, words = []Space{SpaceDomain}, slices.Delete(words, i, i+1)
			}
			z := readZone(x.t, words)
			z.Spaces = spaces
			op.Zones = append(op.Zones, z)
		}
		return op
	case "observe":
		return x.observe()
	case "batch":
		op := Batch{After: x.num("after"), Name: "by hand", Ops: []Op{SetRoute{Route{Domain: "a.example", Host: "h.example", Port: 25}}}}
		if x.has("bad") {
			op.Ops = append(op.Ops, SetRoute{Route{Domain: "b.example", Host: "-", Port: 25}})
		}
		if x.has("nested") {
			op.Ops = append(op.Ops, Batch{Ops: op.Ops})
		}
		if x.has("hold") {
			op.Ops = append(op.Ops, Hold{Tenant: 1, Reason: "no setting"})
		}
		return op
	case "set-contain":
		op := SetContain{Contain{Mode: AutomationOn, Rule: DefaultContainRule()}}
		op.Contain.Rule.Culprit = 60
		if x.has("culprit") {
			op.Contain.Rule.Culprit = int(x.num("culprit"))
		}
		if x.has("mode") {
			var err error
			op.Contain.Mode, err = ParseAutomation(x.str("mode"))
			x.must(err)
		}
		if x.has("slot") {
			var err error
			op.Contain.Rule.Slot, err = time.ParseDuration(x.str("slot"))
			x.must(err)
		}
		if x.has("hourly") {
			op.Contain.Rule.Hourly = int(x.num("hourly"))
		}
		return op
	case "used":
		return x.uses()
	case "found":
		return x.found()
	case "set-bounce":
		return SetBounce{Domain: x.str("domain"), Name: x.str("name")}
	case "found-bounces":
		return x.bounces()
	case "list-told":
		op := ListTold{Node: NodeID(x.num("node"))}
		for _, line := range x.lines() {
			f := x.fields(line)
			n := ListNotice{Zone: f["zone"], At: x.at, Sources: []SourceID{SourceID(x.uint(f["source"]))}}
			if f["account"] != "" {
				n.Account, n.Ref = AccountID(x.uint(f["account"])), x.uint(f["ref"])
			}
			op.Notices = append(op.Notices, n)
		}
		return op
	case "set-conduct":
		op := SetConduct{Conduct{Tenant: ID(x.num("tenant")), Probation: x.has("probation")}}
		if x.has("automation") {
			op.Conduct.Automation, _ = ParseAutomation(x.str("automation"))
		}
		if x.has("on") {
			op.Conduct.OnListing, _ = ParseOnListing(x.str("on"))
		}
		return op
	case "set-pool":
		class, err := ParsePoolClass(x.str("class"))
		x.must(err)
		return SetPool{Source: SourceID(x.num("source")), Class: class}
	case "add-evidence":
		return AddEvidence{Account: AccountID(x.num("account")), Source: SourceID(x.num("source")), Note: x.text("note")}
	case "heard":
		return x.heard()
	case "wrote":
		return x.wrote()
	case "saw-domains":
		return x.sawDomains()
	case "sent-as":
		op := SentAs{Node: NodeID(x.num("node"))}
		for _, line := range x.lines() {
			f := x.fields(line)
			op.Sent = append(op.Sent, Sender{AccountID(x.uint(f["account"])), f["as"], x.at})
		}
		return op
	case "linked":
		op := Linked{Node: NodeID(x.num("node"))}
		for _, line := range x.lines() {
			f := x.fields(line)
			for _, name := range strings.Split(f["to"], ",") {
				op.Links = append(op.Links, Link{AccountID(x.uint(f["account"])), name, x.at})
			}
		}
		return op
	case "denied":
		return x.denied()
	case "review":
		return Review{}
	case "open-journal":
		return OpenJournal{}
	case "set-notices":
		n := Notices{Smarthost: x.str("smarthost"), From: x.str("from"), User: x.str("user"), Webhook: x.str("webhook"), Tenants: x.has("tenants"), Plain: x.has("plain"), Operators: x.args["ops"]}
		if x.has("password") {
			n.SealedPassword = []byte(x.str("password"))
		}
		if x.has("secret") {
			n.SealedSecret = []byte(x.str("secret"))
		}
		return SetNotices{n}
	case "add-hashed":
		return AddHashed{AddAccount: AddAccount{Tenant: ID(x.num("tenant")), Username: x.text("user")}, Hash: x.str("hash")}
	case "set-hash":
		return SetHash{Account: AccountID(x.num("account")), Hash: x.str("hash")}
	case "enrol":
		p, err := ParseProgramme(x.str("in"))
		x.must(err)
		e, err := ParseEnrolState(x.str("state"))
		x.must(err)
		return Enrol{Source: SourceID(x.num("source")), Programme: p, State: e, Note: x.str("note")}
	case "test-notices":
		return TestNotices{}
	case "notified":
		op := Notified{}
		for n := range x.s.Outbox() {
			if n.To == x.str("to") {
				op.Results = append(op.Results, NoticeResult{ID: n.ID, Error: x.str("error")})
			}
		}
		return op
	case "close":
		return Close{Tenant: ID(x.num("tenant")), Account: AccountID(x.num("account")), Reason: x.text("reason")}
	case "suspend":
		k, _ := SuspensionKindOf(x.str("kind"))
		return Suspend{Tenant: ID(x.num("tenant")), Account: AccountID(x.num("account")), Kind: k, Reason: x.text("reason")}
	case "set-retention":
		return SetRetention{Retention{uint32(x.num("recipients")), uint32(x.num("dialogues")), uint32(x.num("reports")), uint32(x.num("journal"))}}
	case "erase-tenant":
		return EraseTenant{ID(x.num("tenant"))}
	case "erased":
		return Erased{Node: NodeID(x.num("node")), Tenants: []ID{ID(x.num("tenant"))}}
	case "purged":
		return Purged{Tenant: ID(x.num("tenant")), Account: AccountID(x.num("account")), Messages: x.num("n")}
	case "set-warm":
		day, _ := ParseDay(x.str("since")) // none is a case
		return SetWarm{Source: SourceID(x.num("source")), Since: day}
	case "note-import":
		return NoteImport{Tenant: ID(x.num("tenant")), From: x.str("from"), Sources: []SourceID{SourceID(x.num("source"))}}
	case "disclosed":
		return Disclosed{What: Disclosure(x.num("what")), Tenant: ID(x.num("tenant"))}
	case "suppressed":
		return Suppressed{Tenant: ID(x.num("tenant")), Added: x.num("added"), Removed: x.num("removed")}
	case "ban":
		return AddBan{Tenant: ID(x.num("tenant")), Reason: x.text("reason"), Marks: x.marks()}
	case "lift":
		return LiftBan{Ban: x.num("ban")}
	case "set-customer":
		return SetCustomer{Tenant: ID(x.num("tenant")), Customer: x.str("customer")}
	case "asked-delisting":
		op := AskedDelisting{Source: SourceID(x.num("source")), Zone: x.str("zone"), Again: x.has("again")}
		if x.has("next") {
			d, err := time.ParseDuration(x.str("next"))
			x.must(err)
			op.Next = x.at.Add(d)
		}
		return op
	case "drill":
		return Drill{Source: SourceID(x.num("source")), Only: ID(x.num("tenant"))}
	case "end-case":
		return EndCase{Case: x.num("case"), Reason: x.text("reason")}
	case "passed":
		return Passed{Case: x.num("case"), Tenant: ID(x.num("tenant")), LastDot: x.at, First: x.at}
	}
	return nil
}

// found reads "source=1 plumbed=right names=wrong text=WORD" and "domain=NAME
// passes=1,2 lacks=3 text=WORD" lines.
func (x *transcript) found() Op {
	op := Found{Node: NodeID(x.num("node"))}
	finding := func(s string) Finding {
		for f, n := range findingNames {
			if n == s {
				return f
			}
		}
		return FindingNone
	}
	ids := func(s string) (all []SourceID) {
		for _, w := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) {
			all = append(all, SourceID(x.uint(w)))
		}
		return all
	}
	for _, line := range x.lines() {
		f := x.fields(line)
		if f["domain"] != "" {
			op.Domains = append(op.Domains, DomainFinding{Domain: f["domain"], Passes: ids(f["passes"]), Lacks: ids(f["lacks"]), Text: f["text"]})
			continue
		}
		op.Sources = append(op.Sources, SourceFinding{Source: SourceID(x.uint(f["source"])), Plumbed: finding(f["plumbed"]), Names: finding(f["names"]), Text: f["text"]})
	}
	return op
}

// bounces reads "name=NAME domain=NAME mx=right passes=1,2 lacks=3 text=WORD"
// lines.
func (x *transcript) bounces() Op {
	op := FoundBounces{Node: NodeID(x.num("node")), Hosts: x.args["hosts"]}
	ids := func(s string) (all []SourceID) {
		for _, w := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) {
			all = append(all, SourceID(x.uint(w)))
		}
		return all
	}
	for _, line := range x.lines() {
		f := x.fields(line)
		y := BounceFinding{Domain: f["domain"], Name: f["name"], Passes: ids(f["passes"]), Lacks: ids(f["lacks"]), Text: f["text"]}
		for k, n := range findingNames {
			if n == f["mx"] {
				y.MX = k
			}
		}
		op.Paths = append(op.Paths, y)
	}
	return op
}

// uses reads "account=1 source=1 tried=100 unknown=3 ..." lines.
func (x *transcript) uses() Op {
	op := Used{Node: NodeID(x.num("node"))}
	for _, line := range x.lines() {
		f := x.fields(line)
		num := func(key string) uint64 { return x.uint(orZero(f[key])) }
		op.Uses = append(op.Uses, Use{Account: AccountID(num("account")), Source: SourceID(num("source")), At: x.at,
			Counts: Counts{Tried: num("tried"), Delivered: num("delivered"), Unknown: num("unknown"), Content: num("content")}})
	}
	return op
}

// marks reads marks=(domain:shoes.test,name:shoes).
func (x *transcript) marks() (ms []Mark) {
	for _, text := range x.args["marks"] {
		for k, name := range markNames {
			if v, ok := strings.CutPrefix(text, strings.ReplaceAll(name, " ", "-")+":"); ok {
				ms = append(ms, Mark{Kind: k, Hash: sha256.Sum256([]byte(v))})
			}
		}
	}
	return ms
}

// outboxText shows the notices that wait.
func (x *transcript) outboxText() string {
	var b strings.Builder
	for n := range x.s.Outbox() {
		to := n.To
		if to == "" {
			to = "webhook"
		}
		fmt.Fprintf(&b, "%s: %s %s", to, n.Act, n.Subject)
		if n.Tenant != 0 {
			fmt.Fprintf(&b, " (to tenant %d)", n.Tenant)
		}
		if n.Tries > 0 {
			fmt.Fprintf(&b, " after %d tries: %s; next in %s", n.Tries, n.Error, n.Due().Sub(x.s.Now()))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// journalText shows the entries from one on.
func (x *transcript) journalText() string {
	var b strings.Builder
	for e := range x.s.Journal() {
		if e.Seq < x.num("from") {
			continue
		}
		fmt.Fprintf(&b, "%d %s %s: %s %s", e.Seq, e.At.Format(time.TimeOnly), e.Actor, e.Act, e.Subject)
		if e.Case != 0 {
			fmt.Fprintf(&b, " [case %d]", e.Case)
		}
		if e.Why != "" {
			b.WriteString(": " + e.Why)
		}
		b.WriteString("\n")
	}
	n, err := x.s.VerifyJournal()
	fmt.Fprintf(&b, "%d sound: %v\n", n, err == nil)
	return b.String()
}

// heard reads "account=1 complaints=3 bounces=2 traps=1 fed=1000 from=7" lines:
// as many of each, with references from one on.
func (x *transcript) heard() Op {
	op := Heard{Node: NodeID(x.num("node"))}
	for _, line := range x.lines() {
		f := x.fields(line)
		num := func(key string) uint64 { return x.uint(orZero(f[key])) }
		a := AccountID(num("account"))
		for kind, key := range map[EchoKind]string{EchoComplaint: "complaints", EchoBounce: "bounces", EchoTrap: "traps", EchoLogin: "logins"} {
			for i := range num(key) {
				op.Echoes = append(op.Echoes, Echo{Account: a, Kind: kind, Ref: num("from") + i, At: x.at})
			}
		}
		if n := num("fed"); n > 0 {
			op.Fed = append(op.Fed, Fed{Account: a, At: x.at, Delivered: n})
		}
	}
	return op
}

// wrote reads "account=1 all=100 first=20 from=7" lines: to so many, of whom so
// many have numbers from there on.
func (x *transcript) wrote() Op {
	op := Wrote{Node: NodeID(x.num("node"))}
	for _, line := range x.lines() {
		f := x.fields(line)
		num := func(key string) uint64 { return x.uint(orZero(f[key])) }
		a := AccountID(num("account"))
		if n := num("all"); n > 0 {
			op.Written = append(op.Written, Written{a, x.at, n})
		}
		for i := range num("first") {
			op.Recipients = append(op.Recipients, Recipient{a, uint32(num("from") + i), x.at})
		}
	}
	return op
}

// sawDomains reads "shoes.test dbl.test 127.0.1.2" lines: values, "clean", or why
// there are none.
func (x *transcript) sawDomains() Op {
	op := SawDomains{Node: NodeID(x.num("node"))}
	for _, line := range x.lines() {
		words := strings.Fields(line)
		s := SeenDomain{Domain: words[0], Zone: words[1], At: x.at}
		if a, err := netip.ParseAddr(words[2]); err == nil {
			s.Values = []netip.Addr{a}
		} else if rest := strings.Join(words[2:], " "); rest != "clean" {
			s.Why = Why(rest)
		}
		op.Seen = append(op.Seen, s)
	}
	return op
}

// domainsText shows what is told of domains, and the verdicts on those named.
func (x *transcript) domainsText() string {
	var b strings.Builder
	for _, d := range x.s.DomainListings() {
		fmt.Fprintf(&b, "%s:", d.Domain)
		if d.Relay {
			b.WriteString(" ours")
		}
		if len(d.Tenants) > 0 {
			fmt.Fprintf(&b, " of tenants %v", d.Tenants)
		}
		if len(d.Linkers) > 0 {
			fmt.Fprintf(&b, " linked by %v", d.Linkers)
		}
		if !d.Raised.IsZero() {
			fmt.Fprintf(&b, ", listed since %s", d.Raised.Format(time.TimeOnly))
		}
		for _, s := range d.Told {
			fmt.Fprintf(&b, "\n  %s told %s: %s %s", s.Zone, s.Node, s.Answer.Kind, s.Answer.Why)
		}
		b.WriteString("\n")
	}
	for _, name := range x.args["of"] {
		v := x.s.DomainVerdict(name)
		fmt.Fprintf(&b, "%s: %d points, known %v:", name, v.Points, v.Known)
		for _, t := range v.Terms {
			fmt.Fprintf(&b, " %s %s", t.Zone, t.State)
		}
		fmt.Fprintf(&b, " (%s)\n", v.Why())
	}
	return b.String()
}

// linksText shows who links to what, and which domains many link to.
func (x *transcript) linksText() string {
	var b strings.Builder
	for l := range x.s.links.all() {
		fmt.Fprintf(&b, "account %d:", l.account)
		for _, u := range l.used {
			b.WriteString(" " + u.domain)
		}
		b.WriteString("\n")
	}
	for l := range x.s.linked.all() {
		if l.common {
			fmt.Fprintf(&b, "%s: %d tenants\n", l.domain, len(l.by))
		}
	}
	return b.String()
}

// denied reads "source=1 attempts=400 by=comcast:10,gmx:5 named=zen.test" lines.
// Each refusal is of a message of its own.
func (x *transcript) denied() Op {
	op := Denied{Node: NodeID(x.num("node"))}
	for _, line := range x.lines() {
		f := x.fields(line)
		one := Denial{Source: SourceID(x.uint(f["source"])), At: x.at, Attempts: x.uint(orZero(f["attempts"]))}
		for by := range strings.SplitSeq(f["by"], ",") {
			if name, n, ok := strings.Cut(by, ":"); ok {
				p := ProviderDenial{name, x.uint(n), x.uint(n)}
				one.Providers, one.Refused, one.Messages = append(one.Providers, p), one.Refused+p.Refused, one.Messages+p.Messages
			}
		}
		if z := f["named"]; z != "" {
			one.Named = []Naming{{z, x.at}}
		}
		op.Denials = append(op.Denials, one)
	}
	return op
}

// caseText shows cases with their sums, and what waits.
func (x *transcript) caseText() string {
	var b strings.Builder
	for c := range x.s.Cases() {
		fmt.Fprintf(&b, "case %d: source %d, sum %d, %s", c.ID, c.Source, c.Score, c.Mode)
		if c.Drill {
			b.WriteString(", drill")
		}
		if !c.Ended.IsZero() {
			fmt.Fprintf(&b, ", ended %s: %s", c.Ended.Format(time.TimeOnly), c.Why)
		}
		b.WriteString("\n")
		for _, s := range c.Suspects {
			held := ""
			if s.Held {
				held = ", HELD"
			}
			fmt.Fprintf(&b, "  account %d: %s%s\n", s.Account, s.Sum(), held)
		}
		for _, f := range c.Fates {
			fmt.Fprintf(&b, "  tenant %d %s", f.Tenant, f.Kind)
			if f.Kind == FateMove {
				fmt.Fprintf(&b, " to node %d", f.To.Node)
			}
			fmt.Fprintf(&b, ": %s", f.Why)
			if !f.Owned.IsZero() {
				fmt.Fprintf(&b, "; owned %s", f.Owned.Format(time.TimeOnly))
			}
			if !f.First.IsZero() {
				fmt.Fprintf(&b, "; first %s", f.First.Format(time.TimeOnly))
			}
			b.WriteString("\n")
		}
	}
	for t := range x.s.Tenants() {
		if p := x.s.Plight(t.ID); p != nil && !p.Since.IsZero() {
			fmt.Fprintf(&b, "tenant %d waits since %s %s\n", t.ID, p.Since.Format(time.TimeOnly), p.Why)
		}
		var left []string
		for _, src := range x.s.SourcesFor(t.ID, t.Place()) {
			left = append(left, src.Addr.String())
		}
		fmt.Fprintf(&b, "tenant %d: owner %d, to %d, leaves by %s\n", t.ID, t.Owner, t.To, strings.Join(left, " "))
	}
	return b.String()
}

// observe reads "source=1 zone=zen.test VALUE...|clean|WHY" lines, and with
// "upto" that all else is as it was.
func (x *transcript) observe() Op {
	op := Observe{Node: NodeID(x.num("node"))}
	for _, line := range x.lines() {
		words := strings.Fields(line)
		at := x.at
		if strings.HasPrefix(words[0], "late=") {
			d, err := time.ParseDuration(words[0][len("late="):])
			x.must(err)
			at, words = at.Add(-d), words[1:]
		}
		if words[0] == "upto" {
			for _, z := range words[1:] {
				op.Upto = append(op.Upto, Upto{Zone: z, At: at})
			}
			continue
		}
		s := Seen{Source: SourceID(x.uint(words[0])), Zone: words[1], At: at}
		if i := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "text=") }); i > 0 {
			s.Text = strings.Join(words[i:], " ")[len("text="):]
			words = words[:i]
		}
		for _, w := range words[2:] {
			if a, err := netip.ParseAddr(w); err == nil {
				s.Values = append(s.Values, a)
			}
		}
		if rest := strings.Join(words[2:], " "); len(s.Values) == 0 && rest != "clean" {
			s.Why = Why(rest)
		}
		op.Seen = append(op.Seen, s)
	}
	return op
}

// listingText shows how each source stands.
func (x *transcript) listingText() string {
	var b strings.Builder
	for src := range x.s.Sources() {
		l := x.s.Listing(src.ID)
		if l == nil {
			fmt.Fprintf(&b, "source %d: nothing heard\n", src.ID)
			continue
		}
		fmt.Fprintf(&b, "source %d: %s since %s, sum %d", src.ID, l.Level, l.Since.Format(time.TimeOnly), l.Score)
		if !l.Raised.IsZero() {
			fmt.Fprintf(&b, ", listed since %s", l.Raised.Format(time.TimeOnly))
		}
		if !l.Calm.IsZero() {
			fmt.Fprintf(&b, ", calm since %s", l.Calm.Format(time.TimeOnly))
		}
		v := x.s.Verdict(src.ID)
		fmt.Fprintf(&b, "; %d of %d heavy", v.Usable, v.Heavy)
		if len(v.Needs) > 0 {
			fmt.Fprintf(&b, "; needs: %s", strings.Join(v.Needs, "; "))
		}
		b.WriteString("\n")
		if e := x.s.Denial(src.ID); e != nil {
			fmt.Fprintf(&b, "  refused %d of %d by %d groups, %d counts\n", e.Refused, e.Attempts, len(e.Providers), v.Evidence)
		}
		for _, t := range v.Terms {
			fmt.Fprintf(&b, "  %s %s: listed %d clean %d blind %d, %d counts\n", t.Zone, t.State, t.Listed, t.Clean, t.Blind, t.Counts)
		}
	}
	if l := x.s.Lists(); l != nil && len(l.Aside) > 0 {
		fmt.Fprintf(&b, "set aside: %s\n", strings.Join(l.Aside, " "))
	}
	return b.String()
}
