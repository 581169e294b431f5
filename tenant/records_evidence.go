package tenant

func (*Denial) kind() recordKind { return kindDenial }

func (x *Denial) code(c *coder) {
	number(c, &x.Source)
	c.time(&x.At)
	c.uint(&x.Attempts)
	c.uint(&x.Refused)
	c.uint(&x.Messages)
	list(c, &x.Providers, maxProviders, func(c *coder, p *ProviderDenial) {
		c.str(&p.Provider, maxName)
		c.uint(&p.Refused)
		c.uint(&p.Messages)
	})
	list(c, &x.Named, MaxNamed, func(c *coder, n *Naming) {
		c.str(&n.Zone, maxHost)
		c.time(&n.At)
	})
}

func (c *coder) denied(o *Denied) {
	number(c, &o.Node)
	list(c, &o.Denials, MaxDenials, func(c *coder, x *Denial) { x.code(c) })
}
