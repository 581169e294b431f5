package tenant

import "net/netip"

func (*Lists) kind() recordKind { return kindLists }

func (l *Lists) code(c *coder) {
	codeZones(c, &l.Zones, &l.Groups, &l.Rule)
	list(c, &l.Aside, maxZones, codeHost)
}

func (c *coder) setLists(o *SetLists) { codeZones(c, &o.Zones, &o.Groups, &o.Rule) }

func codeZones(c *coder, zones *[]Zone, groups *[]ZoneGroup, rule *ListingRule) {
	list(c, zones, maxZones, codeZone)
	list(c, groups, maxGroups, func(c *coder, g *ZoneGroup) { c.str(&g.Name, maxMeans); number(c, &g.Cap) })
	for _, n := range []*int{&rule.Nodes, &rule.Rounds, &rule.Alone, &rule.Move, &rule.Warn, &rule.Evidence, &rule.WorldLeast, &rule.WorldPercent} {
		size(c, n)
	}
	size(c, &rule.Apart)
	size(c, &rule.Fresh)
	size(c, &rule.WorldWindow)
	size(c, &rule.Calm)
}

func codeHost(c *coder, s *string) { c.str(s, maxHost) }

func codeZone(c *coder, z *Zone) {
	c.str(&z.Name, maxHost)
	list(c, &z.Spaces, 3, number[Space])
	c.bool(&z.Heavy)
	size(c, &z.Every)
	c.str(&z.Group, maxMeans)
	c.bool(&z.Bits)
	list(c, &z.Codes, maxCodes, func(c *coder, x *ZoneCode) {
		c.addr(&x.First)
		c.addr(&x.Last)
		c.str(&x.Means, maxMeans)
		number(c, &x.Weight)
		number(c, &x.Policy)
	})
	c.str(&z.Delist, maxMeans)
	size(c, &z.Rate)
	c.str(&z.Test, maxMeans)
	c.str(&z.KeyFile, maxMeans)
	c.str(&z.KeyCredential, maxMeans)
}

func codeValues(c *coder, values *[]netip.Addr) { list(c, values, maxValues, (*coder).addr) }

func codeWhy(c *coder, w *Why) {
	text := string(*w)
	c.str(&text, maxWhy)
	if c.reading {
		*w = Why(text) // writing must not touch what readers share
	}
}

func (c *coder) observe(o *Observe) {
	number(c, &o.Node)
	list(c, &o.Seen, MaxSeen, func(c *coder, x *Seen) {
		number(c, &x.Source)
		c.str(&x.Zone, maxHost)
		c.time(&x.At)
		codeValues(c, &x.Values)
		codeWhy(c, &x.Why)
		c.str(&x.Text, maxWords)
	})
	list(c, &o.Upto, maxZones, codeUpto)
}

func codeUpto(c *coder, u *Upto) {
	c.str(&u.Zone, maxHost)
	c.time(&u.At)
}

func (*sightings) kind() recordKind { return kindSightings }

func (x *sightings) code(c *coder) {
	number(c, &x.source)
	list(c, &x.seen, maxNodes*maxZones, func(c *coder, g *sighting) {
		number(c, &g.node)
		c.str(&g.zone, maxHost)
		codeValues(c, &g.values)
		c.str(&g.text, maxWords)
		c.time(&g.since)
		c.time(&g.last)
		c.time(&g.counted)
		number(c, &g.rounds)
		c.bool(&g.turned)
		codeValues(c, &g.doubt)
		codeWhy(c, &g.why)
		c.time(&g.doubtSince)
	})
}

func (*watch) kind() recordKind { return kindWatch }

func (w *watch) code(c *coder) {
	number(c, &w.node)
	list(c, &w.zones, maxZones, codeUpto)
}

func (*Listing) kind() recordKind { return kindListing }

func (l *Listing) code(c *coder) {
	number(c, &l.Source)
	number(c, &l.Level)
	c.time(&l.Since)
	size(c, &l.Score)
	c.time(&l.Raised)
	c.time(&l.Calm)
}
