package tenant

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// SawDomains records what a node was told about domains that it had not said
// before: what is listed, what is listed no more, and what it got no answer
// about. That nothing else is listed says Observe.Upto of the same zones. It is
// a fact and never refused for what it says.
type SawDomains struct {
	Node NodeID
	Seen []SeenDomain
}

// SeenDomain is one answer to a node's question about a domain.
type SeenDomain struct {
	Domain string // as it was asked: a name of ours or of a sender, what that lies below, or a link's domain
	Zone   string
	At     time.Time // the node's clock; no later than the state's
	Values []netip.Addr
	Why    Why // why there is no answer; "" with one, and "not listed" is one
}

func (SawDomains) op()           {}
func (SawDomains) since() uint32 { return domainVersion }

// MaxSawDomains is the most answers of one SawDomains; a node with more sends
// several.
const MaxSawDomains = 128

// domainSeen is what is known of one domain. What is listed nowhere, and was
// always there, has none: most domains.
type domainSeen struct {
	domain string
	// added is when a sender domain was proved: what was asked before says
	// nothing about it. Zero: before domains were asked about.
	added  time.Time
	raised time.Time // it counts as listed since; zero: it does not
	seen   []domainSighting
}

// domainSighting is what one zone last told one node, unless it was "clean".
type domainSighting struct {
	node        NodeID
	zone        string
	values      []netip.Addr
	why         Why
	since, last time.Time
}

func compareDomainSighting(a, b domainSighting) int {
	return cmp.Or(cmp.Compare(a.node, b.node), strings.Compare(a.zone, b.zone))
}

func (x *domainSeen) empty() bool { return x.added.IsZero() && x.raised.IsZero() && len(x.seen) == 0 }

// find is what a zone last told a node, or nil.
func (x *domainSeen) find(node NodeID, zone string) *domainSighting {
	if x == nil {
		return nil
	}
	if i, ok := slices.BinarySearchFunc(x.seen, domainSighting{node: node, zone: zone}, compareDomainSighting); ok {
		return &x.seen[i]
	}
	return nil
}

// LacksDomain says whether the state would learn from an answer: a node need not
// tell of others.
func (s *State) LacksDomain(node NodeID, x SeenDomain) bool {
	l := s.Lists()
	z := l.domainZone(x.Zone)
	if z == nil {
		return false
	}
	was, is := s.domainSeen.get(x.Domain).find(node, x.Zone), z.answer(x.Values, x.Why)
	if was == nil {
		return is.Kind != AnswerClean
	}
	old := z.answer(was.values, was.why)
	return !slices.Equal(was.values, x.Values) && x.At.After(was.last) || old.Kind != is.Kind || old.Why != is.Why
}

// domainZone finds a zone that is asked about domains, or nil.
func (l *Lists) domainZone(name string) *Zone {
	if l == nil {
		return nil
	}
	if z := l.Zone(name); z != nil && z.Asks(SpaceDomain) {
		return z
	}
	return nil
}

func (d *draft) sawDomains(c SawDomains) error {
	if len(c.Seen) > MaxSawDomains {
		return refuse("more than %d answers in one command", MaxSawDomains)
	}
	l := d.Lists()
	if !d.nodes.has(c.Node) || l == nil {
		return nil
	}
	known := d.knownNames()
	for _, x := range c.Seen {
		if d.asksAbout(known, x.Domain) {
			d.sawDomain(l, c.Node, x)
		}
	}
	d.judgeDomains()
	return nil
}

func (d *draft) sawDomain(l *Lists, node NodeID, x SeenDomain) {
	z := l.domainZone(x.Zone)
	if z == nil || !inRange(x.At) || x.At.IsZero() || len(x.Values) > maxValues {
		return
	}
	if _, known := whyTexts[x.Why]; x.Why != "" && !known {
		return
	}
	if x.At.After(d.Now()) {
		x.At = d.Now() // a clock that is ahead: the fact stays one
	}
	next := domainSeen{domain: x.Domain}
	if old := d.domainSeen.get(x.Domain); old != nil {
		next = *old
		next.seen = slices.Clone(old.seen)
	}
	is := domainSighting{node: node, zone: x.Zone, values: x.Values, why: x.Why, since: x.At, last: x.At}
	i, found := slices.BinarySearchFunc(next.seen, is, compareDomainSighting)
	if found && x.At.Before(next.seen[i].last) {
		return
	}
	switch a := z.answer(x.Values, x.Why); {
	case a.Kind == AnswerClean && !found:
		return
	case a.Kind == AnswerClean:
		next.seen = slices.Delete(next.seen, i, i+1)
	case !found:
		next.seen = slices.Insert(next.seen, i, is)
	default:
		if z.answer(next.seen[i].values, next.seen[i].why).Kind == a.Kind {
			is.since = next.seen[i].since
		}
		next.seen[i] = is
	}
	d.keepDomain(&next)
}

// keepDomain stores what is known of a domain, or drops it when that is nothing.
func (d *draft) keepDomain(x *domainSeen) {
	if len(x.seen) == 0 {
		x.seen = nil
	}
	if x.empty() {
		remove(d, &d.domainSeen, x.domain)
		return
	}
	put(d, &d.domainSeen, x.domain, x)
}

// newDomain notes since when a sender domain is there.
func (d *draft) newDomain(name string) {
	if d.level < domainVersion {
		return
	}
	x := domainSeen{domain: name}
	if old := d.domainSeen.get(name); old != nil {
		x = *old
	}
	x.added = d.Now()
	put(d, &d.domainSeen, name, &x)
}

// forgetDomains drops what is known of domains that nobody has any more, and when
// a sender domain came that went again.
func (d *draft) forgetDomains() {
	if d.domainSeen.len() == 0 {
		return
	}
	known := d.knownNames()
	for _, old := range slices.Clone(d.domainSeen.vals) {
		x := *old
		if !d.asksAbout(known, x.domain) {
			x = domainSeen{domain: x.domain}
		} else if !d.domains.has(x.domain) {
			x.added = time.Time{}
		}
		if x.empty() || x.added != old.added {
			d.keepDomain(&x)
		}
	}
}

// keepSeenDomains drops sightings that are not kept.
func (d *draft) keepSeenDomains(keep func(*domainSighting) bool) {
	for _, old := range slices.Clone(d.domainSeen.vals) {
		kept := without(old.seen, func(g domainSighting) bool { return !keep(&g) })
		if len(kept) < len(old.seen) {
			x := *old
			x.seen = kept
			d.keepDomain(&x)
		}
	}
}

func (s *State) checkDomainSeen() error {
	l := s.Lists()
	bad := func(t time.Time) bool { return t.After(s.Now()) }
	known := s.knownNames()
	for i, x := range s.domainSeen.vals {
		wrong := x.domain != s.domainSeen.keys[i] || x.empty() || bad(x.added) || bad(x.raised) || !s.asksAbout(known, x.domain) || !x.added.IsZero() && !s.domains.has(x.domain)
		for k := range x.seen {
			g := &x.seen[k]
			wrong = wrong || !s.nodes.has(g.node) || l.domainZone(g.zone) == nil || g.last.IsZero() || bad(g.last) || g.last.Before(g.since) ||
				len(g.values) > maxValues || k > 0 && compareDomainSighting(x.seen[k-1], *g) >= 0
		}
		if wrong {
			return fmt.Errorf("sightings of domain %q", x.domain)
		}
	}
	return nil
}
