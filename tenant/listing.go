package tenant

import (
	"slices"
	"time"
)

// Listing is how a source stands with the DNS lists: the verdict as it last
// changed. Verdict has the arithmetic of this moment.
type Listing struct {
	Source SourceID
	Level  ListingLevel
	Since  time.Time // it has been at this level since
	Score  int
	// Raised is since when the source counts as listed; zero when it does not.
	// It stays so until the verdict has been calm for ListingRule.Calm.
	Raised time.Time
	// Calm is since when nothing speaks against the source and everything that
	// matters is seen; zero otherwise.
	Calm time.Time
}

// Listing returns how a source stands, or nil when nobody has judged it yet.
func (s *State) Listing(id SourceID) *Listing { return s.listings.get(id) }

// Sightings is what the nodes were told of a source, by node and zone.
func (s *State) Sightings(id SourceID) (all []Sighting) {
	x, l := s.seen.get(id), s.Lists()
	if x == nil || l == nil {
		return nil
	}
	for i := range x.seen {
		g := &x.seen[i]
		if z := l.Zone(g.zone); z != nil {
			all = append(all, g.sight(z, s.nodes.get(g.node).Name, s.watches.get(g.node).upto(g.zone)))
		}
	}
	return all
}

// SightingsBy is what one node was told of a source.
func (s *State) SightingsBy(id SourceID, node NodeID) (all []Sighting) {
	x, l, n := s.seen.get(id), s.Lists(), s.nodes.get(node)
	if x == nil || l == nil || n == nil {
		return nil
	}
	for i := range x.seen {
		if g := &x.seen[i]; g.node == node {
			if z := l.Zone(g.zone); z != nil {
				all = append(all, g.sight(z, n.Name, s.watches.get(node).upto(g.zone)))
			}
		}
	}
	return all
}

// WatchedUpto is until when a node has asked a zone about every source; zero
// when it never said so.
func (s *State) WatchedUpto(node NodeID, zone string) time.Time {
	return s.watches.get(node).upto(zone)
}

// Watchers counts the nodes whose word is waited for: those that are up. A
// witness counts once it has said something.
func (s *State) Watchers() (n int) {
	for x := range s.nodes.all() {
		if x.Down.IsZero() && (!x.Witness || s.watches.has(x.ID)) {
			n++
		}
	}
	return n
}

// Verdict judges a source by what the nodes that are up were told, at the
// state's clock.
func (s *State) Verdict(id SourceID) ListingVerdict {
	l, src := s.Lists(), s.sources.get(id)
	if l == nil || src == nil {
		return ListingVerdict{}
	}
	c := ListingCase{Zones: l.asks(src.Addr), Groups: l.Groups, Nodes: s.Watchers(), Evidence: s.Evident(id), Faulty: l.Aside, Now: s.Now()}
	x := s.seen.get(id)
	if x == nil {
		return l.Rule.Judge(c)
	}
	c.Sightings = make([]Sighting, 0, len(x.seen))
	for i := range x.seen {
		g := &x.seen[i]
		n, z := s.nodes.get(g.node), l.Zone(g.zone)
		if z != nil && n.Down.IsZero() {
			c.Sightings = append(c.Sightings, g.sight(z, n.Name, s.watches.get(g.node).upto(g.zone)))
		}
	}
	return l.Rule.Judge(c)
}

// judgeAll gives every source its verdict. It runs whenever something was seen
// or nodes came or went; between such commands nothing changes but the age of
// what is known, and nodes say at least three times in ListingRule.Fresh that
// they still see.
func (d *draft) judgeAll() {
	l := d.Lists()
	if l == nil {
		return
	}
	d.setAside(l)
	changed, raised := false, false
	for _, src := range d.sources.vals {
		before := d.listings.get(src.ID)
		d.judge(d.Lists(), src.ID)
		after := d.listings.get(src.ID)
		raised = raised || after != nil && !after.Raised.IsZero()
		if after != nil && (before == nil || before.Raised.IsZero()) != after.Raised.IsZero() {
			changed = true
			d.followUp(src, after)
		}
	}
	if changed || raised {
		was := d.lookup.ranges
		d.ranged()
		changed = changed || !slices.Equal(was, d.lookup.ranges)
	}
	if changed {
		d.review() // one decision for all that changed at once
	}
	d.judgeDomains()
}

// ranged looks anew which ranges are listed.
func (d *draft) ranged() {
	d.from(rangeVersion)
	d.lookup = buildIndex(&d.State)
}

// followUp opens a case when a source has come to be listed.
func (d *draft) followUp(src *Source, l *Listing) {
	c := d.Contain()
	if l.Raised.IsZero() || c == nil || c.Mode == AutomationOff {
		return
	}
	if open := d.OpenCase(src.ID); open != nil {
		if !open.Drill {
			return
		}
		d.end(open.ID, "the source is listed in earnest", time.Time{}, false)
	}
	v := d.Verdict(src.ID)
	id := d.openCase(src, &v, Case{Mode: c.Mode})
	d.emit(CaseOpened{Case: id, Source: src.ID})
}

// setAside finds the zones that list the world.
func (d *draft) setAside(l *Lists) {
	all := make([][]Sighting, d.sources.len())
	for i, id := range d.sources.keys {
		x := d.seen.get(id)
		if x == nil {
			continue
		}
		for k := range x.seen {
			g := &x.seen[k]
			if z := l.Zone(g.zone); z != nil && g.turned && len(g.values) > 0 && d.alive(g.node) {
				all[i] = append(all[i], g.sight(z, d.nodes.get(g.node).Name, time.Time{}))
			}
		}
	}
	nodes := 1 // once, the word of any was enough
	if d.from(worldVersion) {
		nodes = d.Watchers()
	}
	aside := l.Rule.Worldwide(all, nodes)
	if slices.Equal(aside, l.Aside) {
		return
	}
	for _, z := range aside {
		if !slices.Contains(l.Aside, z) {
			d.decided(Entry{Act: "set aside", Subject: "zone " + z, Why: "it began to list most sources at once"})
			d.emit(ZoneSetAside{Zone: z, Aside: true})
		}
	}
	for _, z := range l.Aside {
		if !slices.Contains(aside, z) {
			d.decided(Entry{Act: "trust again", Subject: "zone " + z})
			d.emit(ZoneSetAside{Zone: z})
		}
	}
	next := *l
	next.Aside = aside
	put(d, &d.lists, 0, &next)
}

// judge gives one source its verdict.
func (d *draft) judge(l *Lists, id SourceID) {
	v := d.Verdict(id)
	old := d.listings.get(id)
	next := Listing{Source: id, Since: d.Now()}
	if old != nil {
		next = *old
	} else if v.Level == LevelBlind {
		return // nothing was heard of it yet
	}
	d.delisted(id, &v)
	next.Score = v.Score
	if old == nil || v.Level != old.Level {
		next.Level, next.Since = v.Level, d.Now()
	}
	switch {
	case !v.calm():
		next.Calm = time.Time{}
	case d.dismissed.has(id):
		remove(d, &d.dismissed, id)
		fallthrough
	case next.Calm.IsZero():
		next.Calm = d.Now()
	}
	switch {
	case v.Level == LevelMove && next.Raised.IsZero() && !d.dismissed.has(id):
		next.Raised = d.Now()
	case !next.Raised.IsZero() && !next.Calm.IsZero() && d.Now().Sub(next.Calm) >= l.Rule.Calm:
		next.Raised = time.Time{}
	}
	if old != nil && next == *old {
		return
	}
	put(d, &d.listings, id, &next)
	switch was := old != nil && !old.Raised.IsZero(); {
	case !was && !next.Raised.IsZero():
		d.decided(Entry{Act: "listed", Subject: d.sourceText(id), Source: id, Why: verdictSum(&v)})
		d.emit(ListingRaised{Source: id, Score: v.Score})
	case was && next.Raised.IsZero():
		d.decided(Entry{Act: "clean", Subject: d.sourceText(id), Source: id, Why: "nothing has spoken against it for " + spell(l.Rule.Calm)})
		d.emit(ListingCleared{Source: id})
	case old == nil || next.Level != old.Level:
		d.emit(ListingChanged{Source: id, Level: next.Level})
	}
}

// dismissal says that a verdict was none: it counts no more until the source
// was calm.
type dismissal struct {
	source SourceID
	at     time.Time
}

// calm says that nothing speaks for a listing, and that one would be seen.
func (v *ListingVerdict) calm() bool {
	return v.Level > LevelBlind && v.Level < LevelWarning && v.Usable == v.Heavy
}
