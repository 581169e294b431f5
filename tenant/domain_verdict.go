package tenant

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// MaxListNames is of how many names lists are asked; of more, the rest is known
// to nobody and never clean.
const MaxListNames = 3000

// ListNames are the names DNS lists are asked about, ours first: the sources'
// EHLO names, the tenants' host names, and the sender domains, those that
// accounts sent as before others and no tenant's many before another's few.
func (s *State) ListNames() []string {
	type ranked struct {
		name string
		rank int
	}
	var all []ranked
	seen := make(map[string]bool)
	add := func(name string, rank int) {
		if name = strings.TrimSuffix(lower(name), "."); strings.Contains(name, ".") && ValidHost(name) && !seen[name] {
			seen[name] = true
			all = append(all, ranked{name, rank})
		}
	}
	for name := range s.relayNames() {
		add(name, 0)
	}
	for x := range s.senders.all() {
		for _, u := range x.used {
			if s.domains.has(u.domain) {
				add(u.domain, 1)
			}
		}
	}
	nth := make(map[ID]int)
	for x := range s.domains.all() {
		nth[x.Tenant]++
		add(x.Name, 1+nth[x.Tenant])
	}
	slices.SortFunc(all, func(a, b ranked) int { return cmp.Or(cmp.Compare(a.rank, b.rank), strings.Compare(a.name, b.name)) })
	names := make([]string, 0, min(len(all), MaxListNames))
	for _, x := range all[:min(len(all), MaxListNames)] {
		names = append(names, x.name)
	}
	return names
}

// relayNames are the names of ours that receivers see.
func (s *State) relayNames() map[string]bool {
	all := make(map[string]bool)
	for x := range s.sources.all() {
		all[lower(x.EHLO)] = true
	}
	for t := range s.tenants.all() {
		all[lower(t.Hostname)] = true
	}
	return all
}

// knownNames are all names a list may be asked about, and what they lie below:
// lists have whole domains, and which part of a name that is nobody can tell
// without a list of public suffixes.
func (s *State) knownNames() map[string]bool {
	known := make(map[string]bool)
	add := func(name string) {
		for strings.Contains(name, ".") && !known[name] {
			if ValidHost(name) {
				known[name] = true
			}
			_, name, _ = strings.Cut(name, ".")
		}
	}
	for name := range s.relayNames() {
		add(strings.TrimSuffix(name, "."))
	}
	for x := range s.domains.all() {
		add(x.Name)
	}
	return known
}

// DomainVerdict is what the lists say of a name and of what it lies below.
type DomainVerdict struct {
	// Points are what a listing counts against who sent as the domain: half the
	// weight of the worst code that enough nodes were told, 25 at most.
	Points int
	// Known says that every heavy zone of domains, and one at least, gave an
	// answer to enough nodes; a listing is known in any case.
	Known bool
	Terms []ListingTerm
}

// maxDomainPoints is what a listed domain counts against its senders at most.
const maxDomainPoints = 25

// Listed says that enough nodes were told of a code that counts.
func (v *DomainVerdict) Listed() bool { return v.Points > 0 }

// Why names the worst listing in words, or "".
func (v *DomainVerdict) Why() string {
	worst, text := 0, ""
	for _, t := range v.Terms {
		if t.Counts > worst {
			worst = t.Counts
			for _, h := range t.Hits {
				if int(h.Weight) == t.Counts || text == "" {
					text = t.Zone + ": " + h.Means
				}
			}
		}
	}
	return text
}

// domainSight judges domains; what all of them share is looked up once.
type domainSight struct {
	*State
	zones []Zone
	c     ListingCase
	asked map[string]bool // nil: all names are
}

func (s *State) domainSight() *domainSight {
	w := &domainSight{State: s}
	l := s.Lists()
	if l == nil {
		return w
	}
	for i := range l.Zones {
		if l.Zones[i].Asks(SpaceDomain) {
			w.zones = append(w.zones, l.Zones[i])
		}
	}
	if len(w.zones) == 0 {
		return w
	}
	if 2*s.domains.len()+s.sources.len()+s.tenants.len() > MaxListNames {
		w.asked = make(map[string]bool)
		for _, n := range s.ListNames() {
			w.asked[n] = true
		}
	}
	w.c = ListingCase{Zones: w.zones, Nodes: s.Watchers(), Now: s.Now()}
	w.c.Faulty = w.worldwide(l.Rule)
	return w
}

// worldwide are the zones that list most of the sender domains: such a zone is at
// fault, not the domains.
func (w *domainSight) worldwide(r ListingRule) (zones []string) {
	if !w.domainsTold() {
		return nil
	}
	listed, all := make(map[string]int), 0
	for x := range w.domains.all() {
		if all++; !w.anyTold(x.Name) {
			continue
		}
		for _, t := range w.verdict(x.Name).Terms {
			if t.Counts > 0 {
				listed[t.Zone]++
			}
		}
	}
	for z, n := range listed {
		if n >= r.WorldLeast && n*100 > all*r.WorldPercent {
			zones = append(zones, z)
		}
	}
	slices.Sort(zones)
	return zones
}

// domainsTold says whether anything was told of any domain, or one counts as
// listed: mostly nothing was.
func (s *State) domainsTold() bool {
	return slices.ContainsFunc(s.domainSeen.vals, func(x *domainSeen) bool { return len(x.seen) > 0 || !x.raised.IsZero() })
}

// anyTold says whether anything was told of a name or what it lies below.
func (s *State) anyTold(name string) bool {
	for ; strings.Contains(name, "."); _, name, _ = strings.Cut(name, ".") {
		if x := s.domainSeen.get(name); x != nil && len(x.seen) > 0 {
			return true
		}
	}
	return false
}

// verdict judges a name.
func (w *domainSight) verdict(name string) (v DomainVerdict) {
	l := w.Lists()
	if len(w.zones) == 0 || w.asked != nil && !w.asked[name] {
		return v
	}
	added := time.Time{}
	var records []*domainSeen
	for at := name; strings.Contains(at, "."); _, at, _ = strings.Cut(at, ".") {
		if x := w.domainSeen.get(at); x != nil {
			records = append(records, x)
			if at == name {
				added = x.added
			}
		}
	}
	heavy, known := true, false
	for i := range w.zones {
		z, c := &w.zones[i], w.c
		c.Sightings = w.sightings(z, records, added)
		t := l.Rule.term(c, z)
		if blind := t.State == TermBlind || t.State == TermFaulty || t.State == TermAlone && t.Clean < l.Rule.quorum(c); blind {
			heavy = heavy && !z.Heavy
		} else {
			known = true
		}
		v.Points = max(v.Points, min(t.Counts/2, maxDomainPoints))
		v.Terms = append(v.Terms, t)
	}
	v.Known = heavy && known || v.Points > 0
	return v
}

// sightings are what the nodes that are up know from a zone. One that told
// nothing of the domain, and has asked about all since, was told "clean".
func (w *domainSight) sightings(z *Zone, records []*domainSeen, added time.Time) (all []Sighting) {
	for n := range w.nodes.all() {
		if !n.Down.IsZero() {
			continue
		}
		upto := w.watches.get(n.ID).upto(z.Name)
		s := Sighting{Node: n.Name, Zone: z.Name, Last: upto, Rounds: w.Lists().Rule.rounds(w.c)}
		s.Answer.Kind = AnswerClean
		told := false
		for _, x := range records {
			g := x.find(n.ID, z.Name)
			if g == nil {
				continue
			}
			a := z.answer(g.values, g.why)
			if told && a.Weight() <= s.Answer.Weight() {
				continue
			}
			told, s.Answer, s.Since = true, a, g.since
			if s.Last = g.last; upto.After(s.Last) {
				s.Last = upto
			}
			s.DoubtSince = time.Time{}
			if !a.Says() {
				s.DoubtSince = g.since
			}
		}
		if told || upto.After(added) {
			all = append(all, s)
		}
	}
	return all
}

// DomainVerdict judges one name by what the nodes that are up were told, at the
// state's clock.
func (s *State) DomainVerdict(name string) DomainVerdict { return s.domainSight().verdict(name) }

// DomainListing is a domain that some node was told to be listed, or that counts
// as listed.
type DomainListing struct {
	Domain  string    // as it was asked
	Raised  time.Time // it counts as listed since; zero: it does not
	Relay   bool      // a name of ours is it, or lies below
	Tenants []ID      // whose sender domains are it, or lie below
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
		return DomainListing{}, false
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
	every.asked = nil
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

// judgeDomains notes which domains have come to be listed, and which are no more.
// Nobody moves for a domain; who sent as it is weighed anew.
func (d *draft) judgeDomains() {
	if d.level < domainVersion || !d.domainsTold() {
		return
	}
	w := d.domainSight()
	var relay map[string]bool
	changed := false
	for _, old := range slices.Clone(d.domainSeen.vals) {
		if len(old.seen) == 0 && old.raised.IsZero() {
			continue
		}
		v := w.verdictOf(old)
		if !v.Known || v.Listed() != old.raised.IsZero() {
			continue // as it was, or nobody knows
		}
		if relay == nil {
			relay = d.relayNames()
		}
		x := *old
		whose := "sender domain "
		if isBelow(relay, x.domain) {
			whose = "relay domain "
		}
		e := Entry{Act: "domain clean", Subject: whose + x.domain, Why: "no list that counts has it"}
		x.raised = time.Time{}
		if v.Listed() {
			x.raised = d.Now()
			e.Act, e.Why = "domain listed", v.Why()
		}
		d.keepDomain(&x)
		d.decided(e)
		changed = true
	}
	if changed {
		d.review()
	}
}
