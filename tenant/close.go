package tenant

import "time"

// Closure is an account, or a whole tenant, that was closed for ever: it is held
// and nothing releases it.
type Closure struct {
	Tenant  ID
	Account AccountID // 0: the tenant with all its accounts
	At      time.Time
	Reason  string
}

// Close closes an account, or a tenant when Account is 0. Its mail waits until it
// is purged or expires; an operator's word can take it away, not back.
type Close struct {
	Tenant  ID
	Account AccountID
	Reason  string
}

// Purged tells that an operator has ended messages in a tenant's queue without
// notices; the queue is on its owner, so the state only notes it. Zero fields
// mean all.
type Purged struct {
	Tenant   ID
	Account  AccountID
	Domain   string // of recipients
	Messages uint64
}

func (Close) op()  {}
func (Purged) op() {}

func (Close) since() uint32  { return banVersion }
func (Purged) since() uint32 { return banVersion }

// closureKey keeps tenants and accounts apart in one table.
func closureKey(t ID, a AccountID) uint64 {
	if a != 0 {
		return uint64(a)<<1 | 1
	}
	return uint64(t) << 1
}

// ClosedAccount says why an account is closed for ever, itself or with its
// tenant; nil when it is not.
func (s *State) ClosedAccount(a *Account) *Closure {
	if c := s.closures.get(closureKey(0, a.ID)); c != nil {
		return c
	}
	return s.ClosedTenant(a.Tenant)
}

// ClosedTenant says why a tenant is closed for ever; nil when it is not.
func (s *State) ClosedTenant(t ID) *Closure { return s.closures.get(closureKey(t, 0)) }

func (d *draft) close(c Close) error {
	if a := d.accounts.get(c.Account); a != nil && c.Tenant == 0 {
		c.Tenant = a.Tenant
	}
	const prefix = "closed for ever: "
	switch {
	case c.Reason == "" || !validText(c.Reason, maxReason-len(prefix)):
		return refuse("closing needs a reason without control characters, of %d octets at most", maxReason-len(prefix))
	case c.Account != 0 && !d.accounts.has(c.Account):
		return refuse("account %d is not known", c.Account)
	}
	if err := d.stillOpen(c.Tenant, c.Account); err != nil {
		return err
	}
	if err := d.hold(Hold{Tenant: c.Tenant, Account: c.Account, Reason: prefix + c.Reason}); err != nil {
		return err
	}
	if c.Account == 0 {
		d.changeTenant(c.Tenant, func(t *Tenant) { t.Token = [32]byte{} })
		d.names = true
	}
	x := Closure{Tenant: c.Tenant, Account: c.Account, At: d.Now(), Reason: c.Reason}
	put(d, &d.closures, closureKey(x.Tenant, x.Account), &x)
	return nil
}

// stillOpen refuses what would give a closed tenant, or account, something back.
func (d *draft) stillOpen(t ID, a AccountID) error {
	x := d.closures.get(closureKey(t, 0))
	if x == nil && a != 0 {
		x = d.closures.get(closureKey(0, a))
	}
	if x == nil {
		return nil
	}
	return refuse("%s is closed for ever since %s: %s", either(x.Account == 0, d.tenantText(x.Tenant), d.accountText(x.Account)),
		x.At.Format(time.DateTime), x.Reason)
}

func (d *draft) purged(c Purged) error {
	if c.Tenant != 0 && !d.tenants.has(c.Tenant) {
		return refuse("tenant %d is not known", c.Tenant)
	}
	return nil
}

func (*Closure) kind() recordKind { return kindClosure }

func (x *Closure) code(c *coder) {
	number(c, &x.Tenant)
	number(c, &x.Account)
	c.time(&x.At)
	c.str(&x.Reason, maxReason)
}

func (c *coder) close(o *Close) {
	number(c, &o.Tenant)
	number(c, &o.Account)
	c.str(&o.Reason, maxReason)
}

func (c *coder) purged(o *Purged) {
	number(c, &o.Tenant)
	number(c, &o.Account)
	c.str(&o.Domain, maxHost)
	c.uint(&o.Messages)
}
