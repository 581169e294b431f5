package tenant

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// listingOp reads the operations of DNS lists and listings.
func (x *transcript) listingOp(name string) Op {
	switch name {
	case "set-lists":
		op := SetLists{Rule: DefaultListingRule()}
		for _, line := range x.lines() {
			z := readZone(x.t, strings.Fields(line))
			z.Spaces = []Space{SpaceIPv4, SpaceIPv6}
			op.Zones = append(op.Zones, z)
		}
		return op
	case "observe":
		return x.observe()
	}
	return nil
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
		for _, t := range v.Terms {
			fmt.Fprintf(&b, "  %s %s: listed %d clean %d blind %d, %d counts\n", t.Zone, t.State, t.Listed, t.Clean, t.Blind, t.Counts)
		}
	}
	if l := x.s.Lists(); l != nil && len(l.Aside) > 0 {
		fmt.Fprintf(&b, "set aside: %s\n", strings.Join(l.Aside, " "))
	}
	return b.String()
}
