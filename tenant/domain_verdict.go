package tenant

import (
	"slices"
	"strings"
	"time"
)

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
	every bool            // all names are asked about
	asked map[string]bool // else these; made when it is wanted
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
	w.every = 2*s.domains.len()+s.sources.len()+s.tenants.len()+s.linked.len() <= MaxListNames
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

// asks says whether lists are asked about a name.
func (w *domainSight) asks(name string) bool {
	if w.every {
		return true
	}
	if w.asked == nil {
		w.asked = make(map[string]bool)
		for _, n := range w.ListNames() {
			w.asked[n] = true
		}
	}
	return w.asked[name]
}

// verdict judges a name.
func (w *domainSight) verdict(name string) (v DomainVerdict) {
	l := w.Lists()
	if len(w.zones) == 0 || !w.asks(name) {
		return v
	}
	added := time.Time{}
	if x := w.linked.get(name); x != nil && !w.domains.has(name) {
		added = x.first
	}
	var records []*domainSeen
	for at := name; strings.Contains(at, "."); _, at, _ = strings.Cut(at, ".") {
		if x := w.domainSeen.get(at); x != nil {
			records = append(records, x)
			if at == name && x.added.After(added) {
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
		e := Entry{Act: "domain clean", Subject: "sender domain " + x.domain, Why: "no list that counts has it"}
		link := false
		if isBelow(relay, x.domain) {
			e.Subject = "relay domain " + x.domain
		} else if link = d.asksLink(x.domain) && !d.isSent(x.domain); link {
			e.Subject = "link domain " + x.domain + " of " + d.linkerNames(x.domain)
		}
		x.raised = time.Time{}
		if v.Listed() {
			e.Act, e.Why = "domain listed", v.Why()
			if link && d.linksListed(x.domain) {
				e.Act = "link listed" // the operator was told of these accounts
			}
			x.raised = d.Now()
		}
		d.keepDomain(&x)
		d.decided(e)
		changed = true
	}
	if changed {
		d.review()
	}
}
