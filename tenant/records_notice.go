package tenant

func (*Notices) kind() recordKind { return kindNotices }

func (n *Notices) code(c *coder) {
	list(c, &n.Operators, maxOperators, func(c *coder, a *string) { c.str(a, maxAddress) })
	c.str(&n.From, maxAddress)
	c.str(&n.Smarthost, maxPeer)
	c.str(&n.User, maxAddress)
	c.bytes(&n.SealedPassword, maxKey)
	c.bool(&n.Plain)
	c.str(&n.Webhook, maxURL)
	c.bytes(&n.SealedSecret, maxKey)
	c.bool(&n.Tenants)
}

func (*Notice) kind() recordKind { return kindNotice }

func (x *Notice) code(c *coder) {
	c.uint(&x.ID)
	c.time(&x.At)
	c.uint(&x.Entry)
	c.str(&x.Act, maxAct)
	c.str(&x.Subject, maxSubject)
	c.str(&x.Why, maxReason)
	c.uint(&x.Case)
	number(c, &x.Tenant)
	c.str(&x.To, maxAddress)
	c.uint(&x.Tries)
	c.time(&x.Tried)
	c.str(&x.Error, maxReason)
}

func (c *coder) notified(o *Notified) {
	list(c, &o.Results, MaxNotified, func(c *coder, r *NoticeResult) { c.uint(&r.ID); c.str(&r.Error, maxReason) })
}
