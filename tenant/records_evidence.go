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

func (*echoBook) kind() recordKind { return kindEcho }

func (x *echoBook) code(c *coder) {
	number(c, &x.account)
	c.time(&x.logins)
	list(c, &x.echoes, maxEchoes*int(EchoList), func(c *coder, m *keptEcho) {
		number(c, &m.kind)
		c.uint(&m.ref)
		c.time(&m.at)
		number(c, &m.weight)
	})
	list(c, &x.fed, maxUses, func(c *coder, s *fedSpan) {
		c.uint(&s.slot)
		c.uint(&s.delivered)
	})
}

func (c *coder) heard(o *Heard) {
	number(c, &o.Node)
	list(c, &o.Echoes, MaxHeard, func(c *coder, m *Echo) {
		number(c, &m.Account)
		number(c, &m.Kind)
		c.uint(&m.Ref)
		c.time(&m.At)
	})
	list(c, &o.Fed, MaxHeard, func(c *coder, f *Fed) {
		number(c, &f.Account)
		c.time(&f.At)
		c.uint(&f.Delivered)
	})
}

func (*circle) kind() recordKind { return kindCircle }

func (x *circle) code(c *coder) {
	number(c, &x.account)
	c.time(&x.since)
	number(c, &x.level)
	list(c, &x.known, maxCircle, func(c *coder, a *acquaintance) {
		number(c, &a.ref)
		c.uint(&a.first)
		c.uint(&a.last)
	})
	list(c, &x.written, maxUses, func(c *coder, s *writtenSpan) {
		c.uint(&s.slot)
		c.uint(&s.recipients)
	})
}

func (c *coder) wrote(o *Wrote) {
	number(c, &o.Node)
	list(c, &o.Written, MaxWrote, func(c *coder, w *Written) {
		number(c, &w.Account)
		c.time(&w.At)
		c.uint(&w.Recipients)
	})
	list(c, &o.Recipients, MaxWrote, func(c *coder, m *Recipient) {
		number(c, &m.Account)
		number(c, &m.Ref)
		c.time(&m.At)
	})
}
