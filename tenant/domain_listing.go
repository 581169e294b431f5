package tenant

import (
	"slices"
	"strings"
	"time"
)

// DomainListing is a domain that some node was told to be listed, or that counts
// as listed.
type DomainListing struct {
	Domain  string      // as it was asked
	Raised  time.Time   // it counts as listed since; zero: it does not
	Relay   bool        // a name of ours is it, or lies below
	Tenants []ID        // whose sender domains are it, or lie below
	Linkers []AccountID // whose mail has links to it
	Verdict DomainVerdict
	Told    []Sighting // what nodes were told, by node and zone
}

// DomainListings lists them, ascending by name.
func (s *State) DomainListings() (all []DomainListing) {
	if !s.domainsTold() {
		return nil
	}
	w, relay := s.domainSight(), s.relayNames()
	for x := range s.domainSeen.all() {
		if len(x.seen) == 0 && x.raised.IsZero() {
			continue
		}
		all = append(all, w.listing(x, relay))
	}
	return all
}

// DomainListing is what is known of a name that lists are asked about, or that one
// lies below, or of what the name lies below when that was asked; false of others.
func (s *State) DomainListing(name string) (DomainListing, bool) {
	if !s.knownNames()[name] {
		for strings.Contains(name, ".") && !s.asksLink(name) {
			_, name, _ = strings.Cut(name, ".")
		}
		if !s.asksLink(name) {
			return DomainListing{}, false
		}
	}
	asked := &domainSeen{domain: name}
	for ; strings.Contains(name, "."); _, name, _ = strings.Cut(name, ".") {
		if x := s.domainSeen.get(name); x != nil && (len(x.seen) > 0 || !x.raised.IsZero()) {
			asked = x
			break
		}
	}
	return s.domainSight().listing(asked, s.relayNames()), true
}

func (w *domainSight) listing(x *domainSeen, relay map[string]bool) DomainListing {
	d := DomainListing{Domain: x.domain, Raised: x.raised, Relay: isBelow(relay, x.domain), Verdict: w.verdictOf(x), Told: w.told(x)}
	for p := range w.domains.all() {
		if below(p.Name, x.domain) && !slices.Contains(d.Tenants, p.Tenant) {
			d.Tenants = append(d.Tenants, p.Tenant)
		}
	}
	slices.Sort(d.Tenants)
	for _, a := range w.linkers(x.domain) {
		d.Linkers = append(d.Linkers, a.ID)
	}
	return d
}

// told is what nodes were told of a domain, as it was asked.
func (s *State) told(x *domainSeen) (all []Sighting) {
	for i := range x.seen {
		g := &x.seen[i]
		if z, n := s.Lists().domainZone(g.zone), s.nodes.get(g.node); z != nil && n != nil {
			all = append(all, Sighting{Node: n.Name, Zone: g.zone, Answer: z.answer(g.values, g.why), Since: g.since, Last: g.last})
		}
	}
	return all
}

// verdictOf judges a domain as it was asked, whether or not it is one of the names.
func (w *domainSight) verdictOf(x *domainSeen) DomainVerdict {
	every := *w
	every.every = true
	return every.verdict(x.domain)
}

func below(name, domain string) bool { return name == domain || strings.HasSuffix(name, "."+domain) }

func isBelow(names map[string]bool, domain string) bool {
	for n := range names {
		if below(n, domain) {
			return true
		}
	}
	return false
}
