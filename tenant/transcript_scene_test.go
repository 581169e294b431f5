package tenant

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// scene sets up, and summarizes, what would take hundreds of lines otherwise:
// whole nodes of tenants whose source is listed.
func (x *transcript) scene(name string) (out string, known bool) {
	switch name {
	case "scene":
		return x.newScene(int(x.num("nodes"))), true
	case "street":
		return x.street(), true
	case "listed":
		return x.observed("127.0.0.2"), true
	case "clean":
		return x.observed(""), true
	case "go":
		return x.letGo(), true
	case "due":
		return fmt.Sprintln(ReviewDue(x.s, x.at)), true
	case "brief":
		return x.brief(), true
	}
	return "", false
}

// newScene is nodes with a shared source each, of the same number, one list
// that is enough for a verdict, and automation.
func (x *transcript) newScene(nodes int) string {
	version := uint32(NewestVersion)
	for i := 1; i <= nodes; i++ {
		x.quiet(AddNode{Name: fmt.Sprintf("n%d", i)})
		x.quiet(SetNode{Node: NodeID(i), Version: &version})
	}
	for i := 1; i <= nodes; i++ {
		x.quiet(AddSource{Node: NodeID(i), Addr: netip.AddrFrom4([4]byte{127, 77, byte(i), 1}), EHLO: fmt.Sprintf("out-%d.test", i), Shared: true})
	}
	zone := readZone(x.t, strings.Fields("zen.test heavy 127.0.0.2=100"))
	zone.Spaces = []Space{SpaceIPv4, SpaceIPv6}
	x.quiet(SetLists{Rule: DefaultListingRule(), Zones: []Zone{zone}})
	x.quiet(SetContain{Contain{Mode: AutomationOn, Rule: DefaultContainRule()}})
	return ""
}

// street adds tenants with one account each; their copies are with their backup.
func (x *transcript) street() string {
	for range x.num("count") {
		id := x.s.lastTenant + 1
		op := AddTenant{Name: fmt.Sprintf("t%d", id), Hostname: fmt.Sprintf("t%d.test", id), Home: x.place("home"), Backup: x.place("backup")}
		if err := x.quiet(op); err != nil {
			return err.Error() + "\n"
		}
		x.quiet(AddAccount{Tenant: id, Username: "mail@" + op.Hostname})
		x.adopt(id, op.Backup.Node)
	}
	return ""
}

// adopt is what a new owner says once it has the whole log, and its mirror, too.
func (x *transcript) adopt(id ID, mirror NodeID) {
	t := x.s.Tenant(id)
	x.quiet(Own{Tenant: id, Node: t.Owner, Expect: t.Epoch, Read: true, Mirror: mirror})
	t = x.s.Tenant(id)
	x.quiet(CloseMirrors{Changes: []MirrorChange{{Tenant: id, Epoch: t.Epoch, Generation: t.Generation}}})
}

// observed makes two nodes that are up say the same of some sources, in rounds
// two minutes apart or, for a time, ten, and shows what came of it. Of the other
// sources they say nothing new.
func (x *transcript) observed(value string) (out string) {
	rounds, apart := 2, 2*time.Minute
	if x.has("for") {
		d, err := time.ParseDuration(x.str("for"))
		x.must(err)
		apart = 10 * time.Minute
		rounds = 1 + int(d/apart)
	}
	for round := range rounds {
		if round > 0 {
			x.at = x.at.Add(apart)
		}
		said := 0
		for n := range x.s.Nodes() {
			if !n.Down.IsZero() || said == 2 {
				continue
			}
			said++
			op := Observe{Node: n.ID, Upto: []Upto{{Zone: "zen.test", At: x.at}}}
			for _, v := range x.args["sources"] {
				seen := Seen{Source: SourceID(x.uint(v)), Zone: "zen.test", At: x.at}
				if value != "" {
					seen.Values = []netip.Addr{netip.MustParseAddr(value)}
				}
				op.Seen = append(op.Seen, seen)
			}
			out += x.apply(op)
		}
	}
	var kept []string // who changed is seen in the brief
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "TenantChanged") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// letGo releases whoever is handed over, as far as it is taken, and lets the new
// owners take over. The old ones keep the copies.
func (x *transcript) letGo() string {
	var b strings.Builder
	for {
		before := x.s
		for _, t := range slices.Clone(before.tenants.vals) {
			if now := x.s.Tenant(t.ID); now.To != 0 && x.s.Releasable(now) && now.Owner == t.Owner {
				if err := x.quiet(Release{Tenant: t.ID, Expect: now.Epoch, Last: 9}); err != nil {
					fmt.Fprintf(&b, "tenant %d: %v\n", t.ID, err)
				}
			}
		}
		for _, t := range slices.Clone(x.s.tenants.vals) {
			// Who gave it away is at the end of its ends until somebody owns it.
			if n := len(t.Ends); n > 0 && t.Ends[n-1].Epoch == t.Epoch-1 && t.Ends[n-1].Node != t.Owner {
				from := t.Ends[n-1].Node
				fmt.Fprintf(&b, "tenant %d: from node %d to node %d\n", t.ID, from, t.Owner)
				x.adopt(t.ID, from)
			}
		}
		if x.s == before {
			return b.String()
		}
	}
}

// quiet is apply without a word but a refusal.
func (x *transcript) quiet(op Op) error {
	x.index++
	next, _, err := Apply(x.s, x.index, Command{At: x.at, Op: op})
	x.s = next
	x.must(sound(next))
	var refused *Refused
	if err != nil && !errors.As(err, &refused) {
		x.must(err)
	}
	return err
}

// brief shows how many each node owns, and the fates of each case, equal ones
// together.
func (x *transcript) brief() string {
	var b strings.Builder
	for n := range x.s.Nodes() {
		state := ""
		if !n.Down.IsZero() {
			state = " (down)"
		}
		fmt.Fprintf(&b, "node %d%s owns %d\n", n.ID, state, x.s.owned(n.ID))
	}
	for c := range x.s.Cases() {
		fmt.Fprintf(&b, "case %d of source %d", c.ID, c.Source)
		if !c.Ended.IsZero() {
			fmt.Fprintf(&b, " (over: %s)", c.Why)
		}
		b.WriteString("\n")
		if c.Culprit != 0 {
			fmt.Fprintf(&b, "  culprit: account %d\n", c.Culprit)
		}
		groups := make(map[string][]string)
		for _, f := range c.Fates {
			key := f.Kind.String()
			if f.Kind == FateMove {
				key += fmt.Sprintf(" to node %d", f.To.Node)
			}
			key += ": " + f.Why
			if !f.Owned.IsZero() {
				key += " (there)"
			}
			groups[key] = append(groups[key], fmt.Sprint(f.Tenant))
		}
		for _, key := range slices.Sorted(maps.Keys(groups)) {
			fmt.Fprintf(&b, "  %s %s\n", strings.Join(groups[key], ","), key)
		}
	}
	var waits, held []string
	for t := range x.s.Tenants() {
		if p := x.s.Plight(t.ID); p != nil && !p.Since.IsZero() {
			waits = append(waits, fmt.Sprint(t.ID))
		}
		if t.Held != "" {
			held = append(held, fmt.Sprint(t.ID))
		}
	}
	fmt.Fprintf(&b, "waiting: %s\n", strings.Join(waits, ","))
	if held != nil {
		fmt.Fprintf(&b, "held: %s\n", strings.Join(held, ","))
	}
	return b.String()
}
