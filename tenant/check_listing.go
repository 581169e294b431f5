package tenant

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

func (s *State) checkLists() error {
	for i, l := range s.lists.vals {
		if s.lists.keys[i] != 0 {
			return errors.New("lists: wrong key")
		}
		if why := l.wrong(); why != "" {
			return fmt.Errorf("lists: %s", why)
		}
	}
	return nil
}

// checkSeen judges what nodes saw, and what came of it.
func (s *State) checkSeen() error {
	l := s.Lists()
	if l == nil && s.seen.len()+s.watches.len()+s.listings.len() > 0 {
		return errors.New("sightings without lists")
	}
	past := func(ts ...time.Time) bool {
		return !slices.ContainsFunc(ts, func(t time.Time) bool { return t.After(s.Now()) })
	}
	for i, x := range s.seen.vals {
		src := s.sources.get(x.source)
		if src == nil || x.source != s.seen.keys[i] || len(x.seen) == 0 {
			return fmt.Errorf("sightings of source %d", x.source)
		}
		for k := range x.seen {
			g := &x.seen[k]
			z := l.Zone(g.zone)
			if z == nil || !z.Asks(spaceOf(src.Addr)) || !s.nodes.has(g.node) || k > 0 && compareSighting(x.seen[k-1], *g) >= 0 ||
				!past(g.since, g.last, g.counted, g.doubtSince) || g.rounds == 0 && g.doubtSince.IsZero() || !validText(g.text, maxWords) {
				return fmt.Errorf("sightings of source %d: node %d, zone %q", x.source, g.node, g.zone)
			}
		}
	}
	for i, w := range s.watches.vals {
		sorted := slices.IsSortedFunc(w.zones, func(a, b Upto) int { return strings.Compare(a.Zone, b.Zone) })
		if w.node != s.watches.keys[i] || !s.nodes.has(w.node) || !sorted ||
			slices.ContainsFunc(w.zones, func(u Upto) bool { return l.Zone(u.Zone) == nil || !past(u.At) }) {
			return fmt.Errorf("watch of node %d", w.node)
		}
	}
	for i, x := range s.listings.vals {
		if x.Source != s.listings.keys[i] || !s.sources.has(x.Source) || x.Level > LevelMove || x.Since.IsZero() || !past(x.Since, x.Raised, x.Calm) {
			return fmt.Errorf("listing of source %d", x.Source)
		}
	}
	return nil
}
