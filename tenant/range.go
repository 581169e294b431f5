package tenant

import (
	"net/netip"
	"slices"
	"strings"
)

// Widths of a range that a list's words may name: a wider one is a network's
// policy, a narrower one is an address.
const (
	widest4, narrowest4 = 16, 31
	widest6, narrowest6 = 32, 127
)

// findRanges lists the ranges that are listed as such: where at least two and
// more than half of the cluster's sources in a range are listed, and what the
// words of lists about a listed source name, by as many nodes as a verdict needs.
func findRanges(s *State) (all []netip.Prefix) {
	if s.level < rangeVersion {
		return nil
	}
	has, listed := make(map[netip.Prefix]int), make(map[netip.Prefix]int)
	for src := range s.sources.all() {
		p := rangeOf(src.Addr)
		has[p]++
		if l := s.listings.get(src.ID); l != nil && !l.Raised.IsZero() {
			listed[p]++
			all = append(all, s.namedRanges(src)...)
		}
	}
	for p, n := range listed {
		if n >= 2 && 2*n > has[p] {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return slices.Compact(all)
}

// namedRanges are those that lists name in their words about a source.
func (s *State) namedRanges(src *Source) (all []netip.Prefix) {
	l, x := s.Lists(), s.seen.get(src.ID)
	if l == nil || x == nil {
		return nil
	}
	said := make(map[netip.Prefix][]NodeID)
	for i := range x.seen {
		g := &x.seen[i]
		z := l.Zone(g.zone)
		if z == nil || g.rounds == 0 || !g.doubtSince.IsZero() || !s.alive(g.node) || z.Read(g.values).Weight() == 0 {
			continue
		}
		if p, ok := rangeIn(g.text, src.Addr); ok && !slices.Contains(said[p], g.node) {
			said[p] = append(said[p], g.node)
		}
	}
	for p, nodes := range said {
		if len(nodes) >= max(1, min(l.Rule.Nodes, s.Watchers())) {
			all = append(all, p)
		}
	}
	return all
}

// rangeIn finds the first range in a text that holds an address.
func rangeIn(text string, a netip.Addr) (netip.Prefix, bool) {
	words := strings.FieldsFunc(text, func(r rune) bool {
		return !strings.ContainsRune("0123456789abcdefABCDEF.:/", r)
	})
	for _, w := range words {
		p, err := netip.ParsePrefix(strings.TrimRight(w, ".:/"))
		if err != nil || !p.Contains(a) {
			continue
		}
		if bits := p.Bits(); a.Is4() && bits >= widest4 && bits <= narrowest4 || a.Is6() && bits >= widest6 && bits <= narrowest6 {
			return p.Masked(), true
		}
	}
	return netip.Prefix{}, false
}

// inListedRange says which listed range an address is in.
func (s *State) inListedRange(a netip.Addr) (netip.Prefix, bool) {
	for _, p := range s.lookup.ranges {
		if p.Contains(a) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// outside leaves out sources in listed ranges as long as another is left.
func (s *State) outside(all []*Source) []*Source {
	in := func(x *Source) bool { _, in := s.inListedRange(x.Addr); return in }
	if len(s.lookup.ranges) == 0 || !slices.ContainsFunc(all, in) {
		return all
	}
	if out := slices.DeleteFunc(slices.Clone(all), in); len(out) > 0 {
		return out
	}
	return all
}
