package tenant

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// journalOp notes an operation before it is carried out, while what it takes
// away still has its name. A refused one leaves with the draft. What comes every
// second, or with every message, is not noted: grants, copies, observations,
// uses; nor are facts whose consequences are (Own, Release, Reported, Review).
func (d *draft) journalOp(op Op, actor string) {
	if !d.heads.has(0) {
		return
	}
	if v, ok := op.(Vetted); ok {
		op = v.Op
	}
	e, ok := d.tenantEntry(op)
	if !ok {
		e, ok = d.clusterEntry(op)
	}
	if !ok {
		e, ok = d.listingEntry(op)
	}
	if !ok {
		e, ok = d.banEntry(op)
	}
	if ok {
		e.Actor = cmp.Or(actor, ActorAutomation)
		d.note(e)
	}
}

func (s *State) tenantText(id ID) string {
	if t := s.tenants.get(id); t != nil {
		return "tenant " + t.Name
	}
	return fmt.Sprintf("tenant %d", id)
}

func (s *State) accountText(id AccountID) string {
	a := s.accounts.get(id)
	if a == nil {
		return fmt.Sprintf("account %d", id)
	}
	return "account " + a.Username + " of " + s.tenantText(a.Tenant)
}

func (s *State) tenantOf(id AccountID) ID {
	if a := s.accounts.get(id); a != nil {
		return a.Tenant
	}
	return 0
}

func (s *State) nodeText(id NodeID) string {
	if n := s.nodes.get(id); n != nil {
		return n.Name
	}
	return fmt.Sprintf("node %d", id)
}

func (s *State) sourceText(id SourceID) string {
	if x := s.sources.get(id); x != nil {
		return "source " + x.Addr.String()
	}
	return fmt.Sprintf("source %d", id)
}

// placeText is "n1 127.77.1.1" or "n1 pool".
func (s *State) placeText(p Place) string {
	switch {
	case p == Place{}:
		return "none"
	case p.Source == 0:
		return s.nodeText(p.Node) + " pool"
	}
	return s.nodeText(p.Node) + " " + strings.TrimPrefix(s.sourceText(p.Source), "source ")
}

// tenantEntry notes what is done to tenants, accounts and domains.
func (d *draft) tenantEntry(op Op) (Entry, bool) {
	of := func(t ID, act, why string) (Entry, bool) {
		return Entry{Act: act, Subject: d.tenantText(t), Tenant: t, Why: why}, true
	}
	account := func(a AccountID, act, why string) (Entry, bool) {
		return Entry{Act: act, Subject: d.accountText(a), Tenant: d.tenantOf(a), account: a, Why: why}, true
	}
	switch op := op.(type) {
	case AddTenant:
		return Entry{Act: "add", Subject: "tenant " + op.Name, Tenant: d.lastTenant + 1,
			Why: "home " + d.placeText(op.Home) + ", backup " + d.placeText(op.Backup)}, true
	case RemoveTenant:
		return of(op.Tenant, "remove", "")
	case SetToken:
		return of(op.Tenant, "set", either(op.Hash == [32]byte{}, "API token ended", "new API token"))
	case SetPlace:
		return of(op.Tenant, "place", "home "+d.placeText(op.Home)+", backup "+d.placeText(op.Backup))
	case Pause:
		return of(op.Tenant, either(op.Reason == "", "resume", "pause"), op.Reason)
	case Hold:
		act := either(op.Reason == "", "release", "hold")
		if op.Account != 0 {
			return account(op.Account, act, op.Reason)
		}
		return of(op.Tenant, act, op.Reason)
	case Suspend:
		why := op.Kind.String() + ": " + op.Reason
		if op.Account != 0 {
			return account(op.Account, "suspend", why)
		}
		return of(op.Tenant, "suspend", why)
	case EraseTenant:
		return of(op.Tenant, actErase, d.eraseText())
	case Handover:
		return of(op.Tenant, "handover", either(op.To == 0, "taken back", "to "+d.nodeText(op.To)))
	case AddAccount:
		return Entry{Act: "add", Subject: "account " + lower(op.Username) + " of " + d.tenantText(op.Tenant), Tenant: op.Tenant}, true
	case AddHashed:
		return Entry{Act: "add", Subject: "account " + lower(op.Username) + " of " + d.tenantText(op.Tenant), Tenant: op.Tenant, Why: "with the password it had elsewhere"}, true
	case SetHash:
		return account(op.Account, "set", "password, to one it had elsewhere")
	case SetAccount:
		return account(op.Account, "set", changesOf(op))
	case RemoveAccount:
		return account(op.Account, "remove", "")
	case SetDomain:
		return Entry{Act: "set", Subject: "domain " + op.Name + " of " + d.tenantText(op.Tenant), Tenant: op.Tenant,
			Why: either(op.Selector == "", "not signed", "signed with key "+op.Selector)}, true
	case SetBounce:
		e := Entry{Act: "set", Subject: "domain " + op.Domain, Why: either(op.Name == "", "bounces go to its senders", "bounces come back to "+op.Name)}
		if x := d.domains.get(op.Domain); x != nil {
			e.Subject, e.Tenant = e.Subject+" of "+d.tenantText(x.Tenant), x.Tenant
		}
		return e, true
	case RemoveDomain:
		e := Entry{Act: "remove", Subject: "domain " + op.Name}
		if x := d.domains.get(op.Name); x != nil {
			e.Subject, e.Tenant = e.Subject+" of "+d.tenantText(x.Tenant), x.Tenant
		}
		return e, true
	}
	return Entry{}, false
}

// changesOf names what of an account changes, without its secrets.
func changesOf(op SetAccount) string {
	var what []string
	for _, x := range []struct {
		set  bool
		name string
	}{{op.Secret != nil, "password"}, {op.Networks != nil, "networks"}, {op.Reference != nil, "reference address"}, {op.Plan != nil, "plan"},
		{op.Class != nil, "class"}, {op.Limits != nil, "caution limits"}, {op.Gap != nil, "pause between messages"}} {
		if x.set {
			what = append(what, x.name)
		}
	}
	return strings.Join(what, ", ")
}

// clusterEntry notes what is done to nodes, sources and routes.
func (d *draft) clusterEntry(op Op) (Entry, bool) {
	of := func(n NodeID, act, why string) (Entry, bool) {
		return Entry{Act: act, Subject: "node " + d.nodeText(n), Why: why}, true
	}
	switch op := op.(type) {
	case AddNode:
		return Entry{Act: "add", Subject: "node " + op.Name}, true
	case Join:
		return Entry{Act: "join", Subject: "node " + op.Name, Why: "as " + op.Peer}, true
	case SetNode:
		return d.nodeEntry(op)
	case RemoveNode:
		return of(op.Node, "remove", either(op.Lost, "its copies are given up", ""))
	case NodesDown:
		return d.nodesEntry(op.Nodes, "down", "no lease", true)
	case NodesUp:
		return d.nodesEntry(op.Nodes, "up", "", false)
	case AddSource:
		return Entry{Act: "add", Subject: "source " + op.Addr.String(), Why: "on " + d.nodeText(op.Node) + either(op.Shared, ", in its pool", ", dedicated")}, true
	case RemoveSource:
		return Entry{Act: "remove", Subject: d.sourceText(op.Source), Source: op.Source}, true
	case SetRoute:
		return Entry{Act: "set", Subject: "route of " + op.Route.Domain,
			Why: either(op.Route.Host == "", "by MX", fmt.Sprintf("to %s port %d", op.Route.Host, op.Route.Port))}, true
	case SetAuthority:
		return Entry{Act: "set", Subject: "the cluster's authority"}, true
	case AddToken:
		return Entry{Act: "add", Subject: "join token", Why: "until " + op.Token.Expires.UTC().Format(time.DateTime)}, true
	case RemoveToken:
		return Entry{Act: "remove", Subject: "join token"}, true
	}
	return Entry{}, false
}

// nodeEntry notes what an operator says of a node; its address, key and program
// it says itself, and often.
func (d *draft) nodeEntry(op SetNode) (Entry, bool) {
	e := Entry{Act: "set", Subject: "node " + d.nodeText(op.Node)}
	switch {
	case op.Draining != nil:
		e.Act = either(*op.Draining, "drain", "undrain")
	case op.Away != nil:
		e.Act, e.Why = "maintenance", either(op.Away.After(d.Now()), "until "+op.Away.UTC().Format(time.TimeOnly), "over")
	case op.Key != nil:
		e.Why = "new key"
	default:
		return e, false
	}
	return e, true
}

// nodesEntry notes nodes whose standing changes; the others were told again.
func (d *draft) nodesEntry(ids []NodeID, act, why string, wasUp bool) (Entry, bool) {
	var names []string
	for _, id := range ids {
		if n := d.nodes.get(id); n != nil && n.Down.IsZero() == wasUp {
			names = append(names, n.Name)
		}
	}
	return Entry{Act: act, Subject: "node " + strings.Join(names, ", "), Why: why}, len(names) > 0
}

// listingEntry notes what is done about listings.
func (d *draft) listingEntry(op Op) (Entry, bool) {
	switch op := op.(type) {
	case SetLists:
		return Entry{Act: "set", Subject: "DNS lists", Why: fmt.Sprintf("%d zones, a sum of %d moves", len(op.Zones), op.Rule.Move)}, true
	case SetContain:
		return Entry{Act: "set", Subject: "automation", Why: op.Contain.Mode.String()}, true
	case SetConduct:
		e := Entry{Act: "set", Subject: "conduct of the cluster", Why: op.Conduct.String()}
		if op.Conduct.Tenant != 0 {
			e.Subject, e.Tenant = "conduct of "+d.tenantText(op.Conduct.Tenant), op.Conduct.Tenant
		}
		return e, true
	case SetPool:
		return Entry{Act: "set", Subject: d.sourceText(op.Source), Source: op.Source, Why: "in its pool for " + op.Class.String() + " mail"}, true
	case AddEvidence:
		return Entry{Act: "evidence", Subject: d.accountText(op.Account), Tenant: d.tenantOf(op.Account), Source: op.Source, Why: op.Note}, true
	case Drill:
		e := Entry{Act: "drill", Subject: d.sourceText(op.Source), Source: op.Source, Tenant: op.Only}
		if op.Only != 0 {
			e.Why = "for " + d.tenantText(op.Only) + " alone"
		}
		return e, true
	case EndCase:
		e := Entry{Act: "dismiss", Subject: fmt.Sprintf("case %d", op.Case), Case: op.Case, Why: op.Reason}
		if c := d.cases.get(op.Case); c != nil {
			e.Subject, e.Source = "source "+c.Addr.String(), c.Source
			e.Act = either(c.Drill, "end drill", e.Act)
		}
		return e, true
	}
	return Entry{}, false
}

// banEntry notes what is done for ever, and what was asked of lists.
func (d *draft) banEntry(op Op) (Entry, bool) {
	about := func(t ID, a AccountID) Entry {
		if a != 0 {
			return Entry{Subject: d.accountText(a), Tenant: d.tenantOf(a), account: a}
		}
		return Entry{Subject: d.tenantText(t), Tenant: t}
	}
	var e Entry
	switch op := op.(type) {
	case Close:
		e = about(op.Tenant, op.Account)
		e.Act, e.Why = "close", op.Reason
	case Purged:
		e = about(op.Tenant, op.Account)
		if op.Tenant == 0 && op.Account == 0 {
			e.Subject = "the queue"
		}
		e.Act, e.Why = "purge", fmt.Sprintf("%d messages ended without notices", op.Messages)
		if op.Domain != "" {
			e.Why += ", to " + op.Domain
		}
	case Suppressed:
		e = about(op.Tenant, 0)
		e.Act, e.Why = "suppress", op.why()
	case Disclosed:
		if e = about(op.Tenant, 0); op.Tenant == 0 {
			e.Subject = "the cluster"
		}
		e.Act, e.Why = "give out", op.What.what()
	case AddBan:
		if op.Tenant != 0 {
			e = about(op.Tenant, 0)
		} else {
			e.Subject = "a customer"
		}
		e.Act, e.Why = "ban", fmt.Sprintf("known by %d marks: %s", len(op.Marks), op.Reason)
	case LiftBan:
		e = Entry{Act: "lift", Subject: fmt.Sprintf("ban %d", op.Ban)}
		if b := d.bans.get(op.Ban); b != nil {
			e.Why = "of " + b.At.Format(time.DateOnly) + ": " + b.Reason
		}
	case SetCustomer:
		e = about(op.Tenant, 0)
		e.Act, e.Why = "set", "the customer's number"
	case AskedDelisting:
		e = Entry{Act: "ask delisting", Subject: d.sourceText(op.Source), Source: op.Source, Why: "of " + op.Zone}
	case Enrol:
		e = Entry{Act: "enrol", Subject: d.sourceText(op.Source), Source: op.Source, Why: op.Programme.String() + " is " + op.State.String()}
	case SetWarm:
		e = Entry{Act: "set", Subject: d.sourceText(op.Source), Source: op.Source, Why: either(op.Since.IsZero(), "not said to be warm", "warm since "+dayText(op.Since.UTC()))}
	case NoteImport:
		e = about(op.Tenant, 0)
		e.Act, e.Why = "import", op.why()
	case SetNotices:
		e = Entry{Act: "set", Subject: "notices", Why: noticesText(&op.Notices)}
	case SetRetention:
		e = Entry{Act: "set", Subject: "retention", Why: op.Retention.text()}
	case TestNotices:
		e = Entry{Act: "test notices", Subject: "notices"}
	default:
		return e, false
	}
	return e, true
}

// noticesText says which ways notices have.
func noticesText(n *Notices) string {
	var ways []string
	if n.Smarthost != "" {
		ways = append(ways, fmt.Sprintf("mail to %d operators by %s", len(n.Operators), n.Smarthost))
	}
	if n.Tenants {
		ways = append(ways, "mail to tenants")
	}
	if n.Webhook != "" {
		ways = append(ways, "a webhook")
	}
	return cmp.Or(strings.Join(ways, ", "), "none")
}

func either(yes bool, a, b string) string {
	if yes {
		return a
	}
	return b
}
