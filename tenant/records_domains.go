package tenant

func (c *coder) sawDomains(o *SawDomains) {
	number(c, &o.Node)
	list(c, &o.Seen, MaxSawDomains, func(c *coder, x *SeenDomain) {
		c.str(&x.Domain, maxHost)
		c.str(&x.Zone, maxHost)
		c.time(&x.At)
		codeValues(c, &x.Values)
		codeWhy(c, &x.Why)
	})
}

func (c *coder) sentAs(o *SentAs) {
	number(c, &o.Node)
	list(c, &o.Sent, MaxSentAs, func(c *coder, x *Sender) {
		number(c, &x.Account)
		c.str(&x.Domain, maxHost)
		c.time(&x.At)
	})
}

func (c *coder) linkedTo(o *Linked) {
	number(c, &o.Node)
	list(c, &o.Links, MaxLinked, func(c *coder, x *Link) {
		number(c, &x.Account)
		c.str(&x.Domain, maxHost)
		c.time(&x.At)
	})
}

func (*domainSeen) kind() recordKind { return kindDomainSeen }

func (x *domainSeen) code(c *coder) {
	c.str(&x.domain, maxHost)
	c.time(&x.added)
	c.time(&x.raised)
	list(c, &x.seen, maxNodes*maxZones, func(c *coder, g *domainSighting) {
		number(c, &g.node)
		c.str(&g.zone, maxHost)
		codeValues(c, &g.values)
		codeWhy(c, &g.why)
		c.time(&g.since)
		c.time(&g.last)
	})
}

func (*sender) kind() recordKind { return kindSender }

func (x *sender) code(c *coder) {
	number(c, &x.account)
	list(c, &x.used, maxUsed, func(c *coder, u *usedDomain) {
		c.str(&u.domain, maxHost)
		c.uint(&u.last)
	})
}

func (*links) kind() recordKind { return kindLinks }

func (x *links) code(c *coder) {
	number(c, &x.account)
	c.uint(&x.hour)
	c.uint(&x.fresh)
	list(c, &x.used, MaxLinks, func(c *coder, u *usedDomain) {
		c.str(&u.domain, maxHost)
		c.uint(&u.last)
	})
}

func (*linkDomain) kind() recordKind { return kindLinkDomain }

func (x *linkDomain) code(c *coder) {
	c.str(&x.domain, maxHost)
	c.time(&x.first)
	c.bool(&x.common)
	list(c, &x.by, maxNodes*NodeTenants, func(c *coder, b *linkTenant) {
		number(c, &b.tenant)
		c.uint(&b.last)
	})
}
