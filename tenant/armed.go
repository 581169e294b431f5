package tenant

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// fault is a set of what is wrong with a source for a tenant.
type fault uint8

const (
	faultPlumbed fault = 1 << iota // its address is not on its machine
	faultNames                     // PTR, EHLO name and addresses do not agree
	faultSPF                       // a domain of the tenant lacks it
)

// faults are those of the sources that have any: of a source for everybody
// (under tenant 0), and of a source for a tenant.
type faults map[ID]map[SourceID]fault

func (f faults) add(t ID, src SourceID, x fault) {
	if f[t] == nil {
		f[t] = make(map[SourceID]fault)
	}
	f[t][src] |= x
}

func (f faults) of(t ID, src SourceID) fault { return f[0][src] | f[t][src] }

// tally adds up what nodes that are up say: it is wrong as long as none of them
// saw it right. A resolver that invents what is missing is rarer than one that
// does not find what is there.
type tally struct{ right, wrong bool }

func (x *tally) hear(s *State, n NodeID, f Finding) {
	if s.alive(n) {
		x.right = x.right || f == FindingRight
		x.wrong = x.wrong || f == FindingWrong
	}
}

func (x *tally) bad() bool { return x.wrong && !x.right }

// lacks says whether the SPF that receivers look at lacks a source: that of the
// bounce subdomain where mail leaves with it, else the domain's own.
func (x *outlook) lacks(s *State, src SourceID) bool {
	if s.ReturnDomain(x.domain, src) != "" {
		return false
	}
	var sum tally
	for _, w := range x.words {
		if _, in := slices.BinarySearch(w.lacks, src); in {
			sum.hear(s, w.node, FindingWrong)
		} else if _, in := slices.BinarySearch(w.passes, src); in {
			sum.hear(s, w.node, FindingRight)
		}
	}
	return sum.bad()
}

func (x *condition) misnamed(s *State) bool {
	var sum tally
	for _, w := range x.words {
		sum.hear(s, w.node, w.names)
	}
	return sum.bad()
}

// unplumbed rests on the word of the source's own node.
func (x *condition) unplumbed() bool {
	return slices.ContainsFunc(x.words, func(w conditionWord) bool { return w.plumbed == FindingWrong })
}

// text is what the first node that sees a fault says of it.
func (x *condition) text() string {
	for _, w := range x.words {
		if w.names == FindingWrong && w.text != "" {
			return w.text
		}
	}
	return "its PTR, its EHLO name and the address of that name do not agree"
}

func findFaults(s *State) faults {
	all := faults{}
	for x := range s.fitness.all() {
		if x.unplumbed() {
			all.add(0, x.source, faultPlumbed)
		}
		if x.misnamed(s) {
			all.add(0, x.source, faultNames)
		}
	}
	for x := range s.outlooks.all() {
		of := s.domains.get(x.domain)
		if of == nil {
			continue
		}
		for _, w := range x.words {
			for _, src := range w.lacks {
				if all.of(of.Tenant, src)&faultSPF == 0 && x.lacks(s, src) {
					all.add(of.Tenant, src, faultSPF)
				}
			}
		}
	}
	return all
}

// fittest leaves out sources of a place that have all the faults of another one
// and more: nothing leaves by an unprepared source as long as one is prepared.
func (s *State) fittest(t ID, all []*Source) []*Source {
	f := s.lookup.faults
	if len(all) < 2 || len(f) == 0 {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(x *Source) bool {
		return slices.ContainsFunc(all, func(y *Source) bool {
			a, b := f.of(t, x.ID), f.of(t, y.ID)
			return a != b && a&b == b
		})
	})
}

// maxUnready leaves room for what is said around it in a reason.
const maxUnready = maxReason - 130

// hinders says why mail of a tenant would not go well from its other place, or
// "": no source there is prepared, or clean. What is as wrong where it leaves
// from now does not count, for staying mends none of it.
func (s *State) hinders(t *Tenant) string {
	p := t.other()
	exits := s.SourcesFor(t.ID, p)
	if p == (Place{}) || len(exits) == 0 {
		return ""
	}
	usual := ^fault(0)
	for _, x := range s.exits(t.ID, t.Place()) {
		usual &= s.lookup.faults.of(t.ID, x.ID)
	}
	usual &^= faultPlumbed
	var why []string
	var lacking []*Source
	for _, x := range exits {
		f := s.lookup.faults.of(t.ID, x.ID) &^ usual
		r := s.unclean(x)
		switch {
		case f&faultPlumbed != 0:
			r = fmt.Sprintf("%s is not on its machine, node %q", x.Addr, s.nodes.get(x.Node).Name)
		case f&faultSPF != 0:
			lacking = append(lacking, x)
			continue
		case f&faultNames != 0:
			r = s.fitness.get(x.ID).text()
		case r == "":
			return ""
		}
		why = append(why, r)
	}
	if len(lacking) > 0 {
		why = append(why, s.spfText(t, lacking))
	}
	return shorten(strings.Join(why, "; "), maxUnready)
}

// Unprepared says what keeps mail of a tenant from going well from its other
// place: names, SPF, an address that is missing, lists; "" when nothing does, as
// far as nodes looked.
func Unprepared(s *State, t *Tenant) string {
	if p := t.other(); p != (Place{}) && len(s.exits(t.ID, p)) > 0 && !s.sends(t, p) {
		return fmt.Sprintf("what it would leave node %q by is listed", s.nodes.get(p.Node).Name)
	}
	return s.hinders(t)
}

// spfText says which domains lack which sources, and what to publish.
func (s *State) spfText(t *Tenant, lacking []*Source) string {
	var parts []string
	more := 0
	for d := range s.DomainsOf(t.ID) {
		x := s.outlooks.get(d.Name)
		if x == nil {
			continue
		}
		var addrs, terms []string
		why := ""
		for _, w := range x.words {
			if why == "" && w.text != "" {
				why = " (" + w.text + ")"
			}
		}
		for _, src := range lacking {
			if x.lacks(s, src.ID) {
				addrs, terms = append(addrs, src.Addr.String()), append(terms, spfTerm(src.Addr))
			}
		}
		if len(addrs) == 0 {
			continue
		}
		if len(parts) == 2 {
			more++
			continue
		}
		parts = append(parts, fmt.Sprintf("SPF of %s lacks %s%s: publish %s in its TXT record", d.Name, strings.Join(addrs, ", "), why, strings.Join(terms, " ")))
	}
	if more > 0 {
		parts = append(parts, fmt.Sprintf("and %d domains more", more))
	}
	return strings.Join(parts, "; ")
}

// unclean says why a source that has no case is not fit to take over, or "": a
// heavy list names it, by the word of enough nodes, or it is not to be given to
// a tenant.
func (s *State) unclean(src *Source) string {
	l := s.Lists()
	if l == nil {
		return ""
	}
	if p, in := s.inListedRange(src.Addr); in {
		return fmt.Sprintf("%s is in %s, which is listed", src.Addr, p)
	}
	if x := s.listings.get(src.ID); x == nil || x.Level < LevelNotice && x.Raised.IsZero() {
		return ""
	}
	v := s.Verdict(src.ID)
	for _, t := range v.Terms {
		z := l.Zone(t.Zone)
		if z != nil && z.Heavy && (t.State == TermCounts || t.State == TermEarly) {
			return fmt.Sprintf("%s lists %s", t.Zone, src.Addr)
		}
	}
	if v.Hold {
		return src.Addr.String() + " is on a list whose sources are not to be given to a tenant"
	}
	if x := s.listings.get(src.ID); !x.Raised.IsZero() {
		return src.Addr.String() + " is listed"
	}
	return ""
}

// cold says that nothing has left by a tenant's other place of late, though it
// sends much: receivers slow down a source they do not know. It is told and
// stops no move, for waiting warms nothing.
func (s *State) cold(t *Tenant) string {
	p, r := t.other(), s.containRule()
	exits := s.SourcesFor(t.ID, p)
	if len(exits) == 0 || s.uses.len() == 0 {
		return ""
	}
	now, window := slotOf(s.Now(), r.Slot), uint64(r.Window/r.Slot)
	var own uint64
	var addrs []string
	for a := range s.AccountsOf(t.ID) {
		if x := s.uses.get(a.ID); x != nil {
			for _, src := range s.exits(t.ID, t.Place()) {
				own = plus(own, x.in(src.ID, now, window).Tried)
			}
		}
	}
	if own < leastVolume {
		return ""
	}
	for _, src := range exits {
		if s.saidWarm(src.ID) {
			return ""
		}
		for x := range s.uses.all() {
			if x.in(src.ID, now, window).Tried > 0 {
				return ""
			}
		}
		addrs = append(addrs, src.Addr.String())
	}
	return fmt.Sprintf("nothing has left by %s within %s: it is not warm", strings.Join(addrs, ", "), spell(r.Window))
}

// shorten cuts a text at the end of a character.
func shorten(s string, most int) string {
	if len(s) <= most {
		return s
	}
	const dots = "..."
	s = s[:most-len(dots)]
	for len(s) > 0 && !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + dots
}
