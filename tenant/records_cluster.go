package tenant

func (*Authority) kind() recordKind { return kindAuthority }

func (a *Authority) code(c *coder) {
	c.raw(a.Cluster[:])
	c.bytes(&a.Cert, maxKey)
	c.bytes(&a.SealedKey, maxKey)
	c.bytes(&a.SealedGossip, maxKey)
}

func (*JoinToken) kind() recordKind { return kindToken }

func (t *JoinToken) code(c *coder) {
	c.raw(t.Hash[:])
	c.time(&t.Expires)
	c.bool(&t.Witness)
	c.str(&t.Node, maxName)
}

func codeCopy(c *coder, v *Copy) {
	c.uint(&v.Generation)
	number(c, &v.Node)
	c.uint(&v.Epoch)
	c.uint(&v.First)
}

func codeEnd(c *coder, e *End) {
	c.uint(&e.Epoch)
	number(c, &e.Node)
	c.uint(&e.Last)
}

func codeLimit(c *coder, l *CautionLimit) {
	number(c, &l.Kind)
	codeAmount(c, &l.Limit)
}

func codeMirrorChange(c *coder, m *MirrorChange) {
	number(c, &m.Tenant)
	c.uint(&m.Epoch)
	c.uint(&m.Generation)
	number(c, &m.Node)
	c.uint(&m.First)
}

func (c *coder) join(o *Join) {
	c.str(&o.Name, maxName)
	c.str(&o.Peer, maxPeer)
	c.raw(o.Key[:])
	c.bool(&o.Witness)
	number(c, &o.Version)
	c.raw(o.Token[:])
}

func (c *coder) setNode(o *SetNode) {
	number(c, &o.Node)
	option(c, &o.Peer, func(c *coder, p *string) { c.str(p, maxPeer) })
	option(c, &o.Key, func(c *coder, p *[32]byte) { c.raw(p[:]) })
	option(c, &o.Version, number[uint32])
	option(c, &o.Draining, (*coder).bool)
	option(c, &o.Away, (*coder).time)
}

func (c *coder) release(o *Release) {
	number(c, &o.Tenant)
	c.uint(&o.Expect)
	c.uint(&o.Last)
	list(c, &o.Waiting, maxWaiting, number[uint64])
}

func (c *coder) reported(o *Reported) {
	number(c, &o.Node)
	list(c, &o.Tenants, maxReports, func(c *coder, r *Report) {
		number(c, &r.Tenant)
		c.uint(&r.Epoch)
		list(c, &r.Spent, maxSpent, codeSpent)
	})
}
