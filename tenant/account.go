package tenant

import (
	"cmp"
	"net/netip"
	"slices"
)

func (d *draft) addAccount(c AddAccount) error {
	if !d.tenants.has(c.Tenant) {
		return refuse("tenant %d is not known", c.Tenant)
	}
	if err := d.stillOpen(c.Tenant, 0); err != nil {
		return err
	}
	name := lower(clip(c.Username))
	if len(c.Username) > maxAddress || !ValidAddress(name) {
		return refuse("username %q is not an address", clip(c.Username))
	}
	if d.AccountByUsername(name) != nil {
		return refuse("username %q is in use", name)
	}
	if len(d.lookup.accounts[c.Tenant]) >= maxOfTenant {
		return refuse("a tenant has at most %d accounts", maxOfTenant)
	}
	d.lastAccount++
	a := Account{
		ID: d.lastAccount, Tenant: c.Tenant, Username: name, Secret: c.Secret,
		Networks: c.Networks, Reference: c.Reference, Plan: c.Plan, Class: c.Class,
	}
	if err := d.putAccount(a); err != nil {
		return err
	}
	d.emit(AccountAdded{a.ID})
	return nil
}

func (d *draft) setAccount(c SetAccount) error {
	old := d.accounts.get(c.Account)
	if old == nil {
		return refuse("account %d is not known", c.Account)
	}
	if err := d.stillOpen(old.Tenant, old.ID); err != nil {
		return err
	}
	a := *old
	if c.Secret != nil {
		a.Secret = *c.Secret
		remove(d, &d.hashes, a.ID)
	}
	if c.Networks != nil {
		a.Networks = *c.Networks
	}
	if c.Reference != nil {
		a.Reference = *c.Reference
	}
	if c.Plan != nil {
		a.Plan = *c.Plan
	}
	if c.Class != nil {
		a.Class = *c.Class
	}
	if c.Limits != nil {
		a.Limits = sortLimits(*c.Limits)
	}
	if c.Gap != nil {
		a.Gap = *c.Gap
	}
	if err := d.putAccount(a); err != nil {
		return err
	}
	d.emit(AccountChanged{a.ID})
	return nil
}

// putAccount judges what an operator may set and stores the account.
func (d *draft) putAccount(a Account) error {
	nets, err := d.networks(a.ID, a.Networks)
	if err != nil {
		return err
	}
	a.Networks = nets
	switch {
	case a.Reference != "" && !ValidAddress(lower(a.Reference)):
		return refuse("reference %q is not an address", clip(a.Reference))
	case !a.Class.valid():
		return refuse("class %d is not known", a.Class)
	case !a.Plan.valid():
		return refuse("plan is out of bounds: 0 to %d recipients, no negative size", maxRecipient)
	case !validLimits(a.Limits):
		return refuse("caution limits are one each for minute, hour, half day and day, within what a plan may have")
	case a.Gap < 0 || a.Gap > maxGap:
		return refuse("gap is out of bounds: 0 to %s", maxGap)
	}
	put(d, &d.accounts, a.ID, &a)
	d.names = true
	return nil
}

// sortLimits gives the canonical form: by kind, without those that limit nothing.
func sortLimits(ls []CautionLimit) []CautionLimit {
	out := without(ls, func(l CautionLimit) bool { return l.Limit.IsZero() && l.Kind.seconds() > 0 })
	slices.SortStableFunc(out, func(a, b CautionLimit) int { return cmp.Compare(a.Kind, b.Kind) })
	return out
}

// networks gives the canonical form: masked, sorted, each once. The same
// network cannot be two accounts'; of nested ones the longer prefix counts.
func (d *draft) networks(id AccountID, ps []netip.Prefix) ([]netip.Prefix, error) {
	if len(ps) == 0 {
		return nil, nil
	}
	if len(ps) > maxNetworks {
		return nil, refuse("an account has at most %d networks", maxNetworks)
	}
	out := make([]netip.Prefix, 0, len(ps))
	for _, p := range ps {
		if !validNetwork(p.Masked()) {
			return nil, refuse("network %s is not valid or too wide", p)
		}
		out = append(out, p.Masked())
	}
	slices.SortFunc(out, comparePrefix)
	out = slices.Compact(out)
	for _, p := range out {
		if other, ok := d.lookup.networks[p]; ok && other != id {
			return nil, refuse("network %s belongs to another account", p)
		}
	}
	return out, nil
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

func (d *draft) removeAccount(c RemoveAccount) error {
	if !d.accounts.has(c.Account) {
		return refuse("account %d is not known", c.Account)
	}
	d.dropAccount(c.Account)
	return nil
}

// dropAccount takes an account away with its quotas.
func (d *draft) dropAccount(id AccountID) {
	if a := d.accounts.get(id); a != nil {
		d.sellRemoved(a)
		d.unsuspend(a.Tenant, id)
	}
	d.dropLinks(id, func(usedDomain) bool { return true })
	remove(d, &d.accounts, id)
	remove(d, &d.open, id)
	remove(d, &d.closed, id)
	remove(d, &d.uses, id)
	remove(d, &d.closures, closureKey(0, id))
	remove(d, &d.echoes, id)
	remove(d, &d.circles, id)
	remove(d, &d.senders, id)
	remove(d, &d.hashes, id)
	d.forgetImported(func(x *Import) { x.Accounts = dropped(x.Accounts, id) })
	d.names = true
	d.emit(AccountRemoved{id})
}

func (p Plan) valid() bool {
	return p.BytesPerMonth <= maxPlan && p.MailsPerMonth <= maxPlan &&
		p.MaxRecipients >= 0 && p.MaxRecipients <= maxRecipient &&
		p.MaxSize >= 0 && uint64(p.MaxSize) <= maxPlan
}

// Recipients is the most recipients one message may have under the plan.
func (p Plan) Recipients() int {
	if p.MaxRecipients == 0 {
		return DefaultMaxRecipients
	}
	return p.MaxRecipients
}

// BandwidthPlan is a plan sold by weight: e-mails of 10 KB on average, so 500 MB
// carry 50,000 of them. Both numbers are limits, and either may bind.
func BandwidthPlan(bytes uint64) Plan {
	return Plan{BytesPerMonth: bytes, MailsPerMonth: bytes / 10_000}
}
