package tenant

import (
	"net/netip"
	"time"
)

func (c *coder) addSource(o *AddSource) {
	number(c, &o.Node)
	c.addr(&o.Addr)
	c.str(&o.EHLO, maxHost)
	c.bool(&o.Shared)
}

func (c *coder) addTenant(o *AddTenant) {
	c.str(&o.Name, maxHost)
	c.str(&o.Hostname, maxHost)
	codePlace(c, &o.Home)
	codePlace(c, &o.Backup)
}

func (c *coder) setPlace(o *SetPlace) {
	number(c, &o.Tenant)
	codePlace(c, &o.Home)
	codePlace(c, &o.Backup)
}

func (c *coder) addAccount(o *AddAccount) {
	number(c, &o.Tenant)
	c.str(&o.Username, maxAddress)
	c.raw(o.Secret[:])
	list(c, &o.Networks, maxNetworks, (*coder).prefix)
	c.str(&o.Reference, maxAddress)
	codePlan(c, &o.Plan)
	number(c, &o.Class)
}

func (c *coder) setAccount(o *SetAccount) {
	number(c, &o.Account)
	option(c, &o.Secret, func(c *coder, p *[32]byte) { c.raw(p[:]) })
	option(c, &o.Networks, func(c *coder, p *[]netip.Prefix) { list(c, p, maxNetworks, (*coder).prefix) })
	option(c, &o.Reference, func(c *coder, p *string) { c.str(p, maxAddress) })
	option(c, &o.Plan, codePlan)
	option(c, &o.Class, number[Class])
	if c.first {
		return
	}
	option(c, &o.Limits, func(c *coder, p *[]CautionLimit) { list(c, p, maxLimits, codeLimit) })
	option(c, &o.Gap, size[time.Duration])
}

func (c *coder) setDomain(o *SetDomain) {
	number(c, &o.Tenant)
	c.str(&o.Name, maxHost)
	c.str(&o.Selector, maxHost)
	c.bytes(&o.SealedKey, maxKey)
}

func (c *coder) own(o *Own) {
	number(c, &o.Tenant)
	number(c, &o.Node)
	c.uint(&o.Expect)
	list(c, &o.Spent, maxSpent, codeSpent)
	if c.first {
		o.Read = true // there was one node, which had all there is
		return
	}
	list(c, &o.Ends, maxEnds, codeEnd)
	c.bool(&o.Read)
	number(c, &o.Mirror)
}

func codeSpent(c *coder, s *Spent) {
	number(c, &s.Account)
	codeWindow(c, &s.Window)
	c.uint(&s.Epoch)
	codeAmount(c, &s.Amount)
}

func (c *coder) takeGrant(o *TakeGrant) {
	number(c, &o.Node)
	list(c, &o.Wants, MaxWants, func(c *coder, w *Want) {
		number(c, &w.Account)
		codeWindow(c, &w.Window)
		c.uint(&w.Epoch)
		codeAmount(c, &w.Spent)
		codeAmount(c, &w.Need)
	})
}

func (c *coder) hold(o *Hold) {
	number(c, &o.Tenant)
	number(c, &o.Account)
	c.str(&o.Reason, maxReason)
}
