package tenant

import (
	"net/netip"
	"slices"
	"time"
)

// Lists is which DNS lists are believed, and what their word leads to: a zones
// file, as it was applied.
type Lists struct {
	Zones  []Zone // in the order of the file
	Groups []ZoneGroup
	Rule   ListingRule
	// Aside are the zones that began to list the world: they count nothing.
	Aside []string
}

// SetLists replaces the DNS lists and the rule. What was seen in zones that
// stay is kept, and read anew by the new meanings. No zones end all judging.
type SetLists struct {
	Zones  []Zone
	Groups []ZoneGroup
	Rule   ListingRule
}

func (SetLists) op()           {}
func (SetLists) since() uint32 { return listingVersion }

// Bounds of zones, as of the file they come from.
const (
	maxZones  = 64
	maxCodes  = 64
	maxGroups = 16
	maxMeans  = 200
	maxEvery  = 24 * time.Hour
	maxSpan   = 366 * 24 * time.Hour // of any length of time in a rule
)

// Lists is what counts now; nil before any was applied. It is shared and must
// not be changed.
func (s *State) Lists() *Lists { return s.lists.get(0) }

// Zone finds a zone by its name, or nil.
func (l *Lists) Zone(name string) *Zone {
	for i := range l.Zones {
		if l.Zones[i].Name == name {
			return &l.Zones[i]
		}
	}
	return nil
}

// IsAside says whether a zone lists the world and counts nothing.
func (l *Lists) IsAside(zone string) bool { return slices.Contains(l.Aside, zone) }

func spaceOf(a netip.Addr) Space {
	if a.Is4() {
		return SpaceIPv4
	}
	return SpaceIPv6
}

// asks gives the zones that may be asked about an address.
func (l *Lists) asks(a netip.Addr) (zones []Zone) {
	space := spaceOf(a)
	for i := range l.Zones {
		if l.Zones[i].Asks(space) {
			zones = append(zones, l.Zones[i])
		}
	}
	return zones
}

func (d *draft) setLists(c SetLists) error {
	l := &Lists{Zones: c.Zones, Groups: c.Groups, Rule: c.Rule}
	if why := l.wrong(); why != "" {
		return refuse("the DNS lists cannot be used: %s", why)
	}
	if old := d.Lists(); old != nil {
		l.Aside = slices.DeleteFunc(slices.Clone(old.Aside), func(z string) bool { return l.Zone(z) == nil })
		if len(l.Aside) == 0 {
			l.Aside = nil
		}
	}
	put(d, &d.lists, 0, l)
	for _, x := range slices.Clone(d.seen.vals) {
		src := d.sources.get(x.source)
		d.keepSeen(x, func(g *sighting) bool {
			z := l.Zone(g.zone)
			return z != nil && z.Asks(spaceOf(src.Addr))
		})
	}
	d.keepSeenDomains(func(g *domainSighting) bool { return l.domainZone(g.zone) != nil })
	for _, w := range slices.Clone(d.watches.vals) {
		kept := without(w.zones, func(u Upto) bool { return l.Zone(u.Zone) == nil })
		if len(kept) < len(w.zones) {
			put(d, &d.watches, w.node, &watch{node: w.node, zones: kept})
		}
	}
	d.emit(ListsChanged{})
	d.judgeAll()
	return nil
}

// wrong says why the lists cannot be used, or "".
func (l *Lists) wrong() string {
	if len(l.Zones) > maxZones || len(l.Groups) > maxGroups || len(l.Aside) > maxZones {
		return "too many zones or groups"
	}
	groups := map[string]bool{"": true}
	for _, g := range l.Groups {
		if g.Name == "" || len(g.Name) > maxMeans || groups[g.Name] || g.Cap > MaxWeight {
			return "group " + clip(g.Name)
		}
		groups[g.Name] = true
	}
	names := map[string]bool{}
	for i := range l.Zones {
		z := &l.Zones[i]
		if names[z.Name] || !groups[z.Group] || !z.valid() {
			return "zone " + clip(z.Name)
		}
		names[z.Name] = true
	}
	for i, z := range l.Aside {
		if !names[z] || i > 0 && z <= l.Aside[i-1] {
			return "zone set aside " + clip(z)
		}
	}
	if !l.Rule.valid() {
		return "a number of its rule"
	}
	return ""
}

func (z *Zone) valid() bool {
	for i, s := range z.Spaces {
		if s < SpaceIPv4 || s > SpaceDomain || slices.Contains(z.Spaces[:i], s) {
			return false
		}
	}
	for _, c := range z.Codes {
		if !c.First.Is4() || !c.Last.Is4() || c.Last.Less(c.First) || c.Policy < PolicyMove || c.Policy > PolicyRefuse ||
			c.Weight > MaxWeight || !validText(c.Means, maxMeans) {
			return false
		}
	}
	return ValidHost(z.Name) && len(z.Spaces) > 0 && z.Every > 0 && z.Every <= maxEvery && len(z.Codes) > 0 && len(z.Codes) <= maxCodes &&
		z.Rate >= 0 && z.Rate <= 1000 && validText(z.Test, maxMeans) && validText(z.Delist, maxMeans) &&
		validText(z.KeyFile, maxMeans) && validText(z.KeyCredential, maxMeans)
}

func (r ListingRule) valid() bool {
	count := func(n, least, most int) bool { return n >= least && n <= most }
	span := func(d time.Duration) bool { return d >= 0 && d <= maxSpan }
	return count(r.Nodes, 1, maxNodes) && count(r.Rounds, 1, 1000) && count(r.Alone, 1, 1000) && count(r.Move, 1, 10000) &&
		count(r.Warn, 1, 10000) && count(r.Evidence, 0, 10000) && count(r.WorldLeast, 1, maxSources) && count(r.WorldPercent, 0, 100) &&
		span(r.Apart) && span(r.Fresh) && r.Fresh > 0 && span(r.WorldWindow) && span(r.Calm)
}

// Scaled makes every length of time as much shorter, or longer, as a round is
// than the two minutes that are usual: for trials that cannot wait.
func (c SetLists) Scaled(round time.Duration) SetLists {
	scale := func(d time.Duration) time.Duration {
		return scaled(d, round)
	}
	c.Zones = slices.Clone(c.Zones)
	for i := range c.Zones {
		c.Zones[i].Every = min(scale(c.Zones[i].Every), maxEvery)
	}
	for _, d := range []*time.Duration{&c.Rule.Apart, &c.Rule.Fresh, &c.Rule.WorldWindow, &c.Rule.Calm} {
		*d = min(scale(*d), maxSpan)
	}
	return c
}
