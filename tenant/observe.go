package tenant

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Observe records what a node was told about the cluster's sources since it
// last said so. It is a fact and never refused for what it says: what is not
// known any more is passed over.
type Observe struct {
	Node NodeID
	Seen []Seen
	// Upto says of zones that nothing else has changed: every source whose
	// answer was told before was asked again, and answered the same.
	Upto []Upto
}

// Seen is one answer to a node's question: values, or why there are none.
type Seen struct {
	Source SourceID
	Zone   string
	At     time.Time // the node's clock; no later than the state's
	Values []netip.Addr
	Why    Why    // why there is no answer; "" with one, and "not listed" is one
	Text   string // the list's own words
}

// Upto is until when a node has asked a zone about every source.
type Upto struct {
	Zone string
	At   time.Time
}

func (Observe) op()           {}
func (Observe) since() uint32 { return listingVersion }

// MaxSeen is the most answers of one Observe; a node with more sends several.
const MaxSeen = 256

// Bounds of what is kept of an answer.
const (
	maxValues = 16
	maxWords  = 200
	maxWhy    = 40
)

// sightings is what all nodes were told of one source, by node and zone.
type sightings struct {
	source SourceID
	seen   []sighting
}

// sighting is a Sighting as it is kept: values, whose meaning the zones give.
type sighting struct {
	node                 NodeID
	zone                 string
	values               []netip.Addr
	text                 string
	since, last, counted time.Time
	rounds               uint32 // 0: no answer yet
	turned               bool
	doubt                []netip.Addr
	why                  Why // of the doubt
	doubtSince           time.Time
}

// watch is how far a node has asked.
type watch struct {
	node  NodeID
	zones []Upto // ascending by name
}

func (w *watch) upto(zone string) time.Time {
	if w == nil {
		return time.Time{}
	}
	if i, ok := slices.BinarySearchFunc(w.zones, zone, func(u Upto, z string) int { return strings.Compare(u.Zone, z) }); ok {
		return w.zones[i].At
	}
	return time.Time{}
}

func compareSighting(a, b sighting) int {
	return cmp.Or(cmp.Compare(a.node, b.node), strings.Compare(a.zone, b.zone))
}

// sight gives a kept sighting its meaning. upto is how far the node has asked
// without another answer.
func (g *sighting) sight(z *Zone, name string, upto time.Time) Sighting {
	s := Sighting{Node: name, Zone: g.zone, Since: g.since, Last: g.last, Rounds: int(g.rounds), Counted: g.counted, Turned: g.turned,
		DoubtSince: g.doubtSince}
	if g.rounds > 0 {
		s.Answer = z.Read(g.values)
		s.Answer.Text = g.text
	}
	if !g.doubtSince.IsZero() {
		s.Doubt = z.answer(g.doubt, g.why)
	} else if g.rounds > 0 && upto.After(s.Last) {
		s.Last = upto
	}
	return s
}

// answer is what a look-up came to.
func (z *Zone) answer(values []netip.Addr, why Why) Answer {
	switch why {
	case "":
		return z.Read(values)
	case WhyRefused:
		return Answer{Kind: AnswerRefused, Why: why}
	}
	return Answer{Why: why}
}

func (d *draft) observe(c Observe) error {
	if len(c.Seen) > MaxSeen || len(c.Upto) > maxZones {
		return refuse("more than %d answers in one command", MaxSeen)
	}
	l := d.Lists()
	if !d.nodes.has(c.Node) || l == nil {
		return nil
	}
	for _, x := range c.Seen {
		d.see(l, c.Node, x)
	}
	d.watched(l, c)
	d.judgeAll()
	return nil
}

// see adds one answer to what is known of its source.
func (d *draft) see(l *Lists, node NodeID, x Seen) {
	src, z := d.sources.get(x.Source), l.Zone(x.Zone)
	if src == nil || z == nil || !z.Asks(spaceOf(src.Addr)) || !inRange(x.At) || x.At.IsZero() || len(x.Values) > maxValues {
		return
	}
	if _, known := whyTexts[x.Why]; x.Why != "" && !known {
		return
	}
	if x.At.After(d.Now()) {
		x.At = d.Now() // a clock that is ahead: the fact stays one
	}
	if !validText(x.Text, maxWords) {
		x.Text = ""
	}
	old := d.seen.get(src.ID)
	next := &sightings{source: src.ID}
	if old != nil {
		next.seen = slices.Clone(old.seen)
	}
	i, found := slices.BinarySearchFunc(next.seen, sighting{node: node, zone: x.Zone}, compareSighting)
	if !found {
		next.seen = slices.Insert(next.seen, i, sighting{node: node, zone: x.Zone})
	}
	g := &next.seen[i]
	was := g.sight(z, "", d.watches.get(node).upto(x.Zone))
	a := z.answer(x.Values, x.Why)
	is := l.Rule.Fold(was, Observation{At: x.At, Answer: a})
	g.since, g.last, g.counted, g.rounds, g.turned, g.doubtSince = is.Since, is.Last, is.Counted, uint32(is.Rounds), is.Turned, is.DoubtSince
	switch {
	case !is.DoubtSince.IsZero():
		g.doubt, g.why = x.Values, a.Why
	case is.Last.Equal(x.At):
		g.values, g.text, g.doubt, g.why = x.Values, x.Text, nil, ""
	}
	put(d, &d.seen, src.ID, next)
}

// watched notes how far the node has asked.
func (d *draft) watched(l *Lists, c Observe) {
	old := d.watches.get(c.Node)
	w := &watch{node: c.Node}
	if old != nil {
		w.zones = slices.Clone(old.zones)
	}
	changed := old == nil
	for _, u := range c.Upto {
		if l.Zone(u.Zone) == nil || !inRange(u.At) || u.At.IsZero() {
			continue
		}
		if u.At.After(d.Now()) {
			u.At = d.Now()
		}
		i, found := slices.BinarySearchFunc(w.zones, u.Zone, func(x Upto, z string) int { return strings.Compare(x.Zone, z) })
		switch {
		case !found:
			w.zones, changed = slices.Insert(w.zones, i, u), true
		case u.At.After(w.zones[i].At):
			w.zones[i], changed = u, true
		}
	}
	if changed {
		put(d, &d.watches, c.Node, w)
	}
}

// keepSeen drops what is not kept of a source's sightings.
func (d *draft) keepSeen(x *sightings, keep func(*sighting) bool) {
	kept := without(x.seen, func(g sighting) bool { return !keep(&g) })
	switch {
	case len(kept) == 0:
		remove(d, &d.seen, x.source)
	case len(kept) < len(x.seen):
		put(d, &d.seen, x.source, &sightings{source: x.source, seen: kept})
	}
}

// forgetSource drops what was seen of a source that is gone.
func (d *draft) forgetSource(id SourceID) {
	remove(d, &d.seen, id)
	remove(d, &d.listings, id)
	remove(d, &d.dismissed, id)
	d.forgetFound(id, 0)
	remove(d, &d.pooled, id)
	remove(d, &d.denials, id)
	remove(d, &d.enrolled, id)
	remove(d, &d.warmths, id)
	d.forgetImported(func(x *Import) { x.Sources = dropped(x.Sources, id) })
	remove(d, &d.listWords, id)
	d.forgetUses(id)
	d.forgetDelistings(id)
	d.forgetDomains()
}

// forgetWatcher drops what a node saw that is gone.
func (d *draft) forgetWatcher(n NodeID) {
	remove(d, &d.watches, n)
	d.forgetFound(0, n)
	for _, x := range slices.Clone(d.seen.vals) {
		d.keepSeen(x, func(g *sighting) bool { return g.node != n })
	}
	d.keepSeenDomains(func(g *domainSighting) bool { return g.node != n })
	d.judgeAll()
}
