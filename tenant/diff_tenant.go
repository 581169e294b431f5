package tenant

import (
	"bytes"
	"net/netip"
	"slices"
)

func (d *differ) tenant(w DeclaredTenant) {
	t := d.draft.TenantByName(w.Name)
	if t == nil {
		if t = d.addTenant(w); t == nil {
			return
		}
	} else {
		d.changeTenant(t, w)
	}
	// What may not be declared is told once, not for each of its accounts.
	d.conduct(t, w)
	if w.Domains != nil {
		for _, x := range *w.Domains {
			d.domain(t, x)
		}
	}
	if w.Accounts != nil {
		for _, x := range *w.Accounts {
			d.account(t, x)
		}
	}
}

func (d *differ) addTenant(w DeclaredTenant) *Tenant {
	if w.Home == nil && w.Backup != nil {
		d.refuse(w.At, "tenant %s: a backup without a home; give both, or neither and the cluster chooses", w.Name)
		return nil
	}
	home, ok := d.place(w.At+".home", w.Home)
	backup, fine := d.place(w.At+".backup", w.Backup)
	if !ok || !fine {
		return nil
	}
	f := fieldsOf(true)
	f.add("hostname", "", w.Hostname)
	f.add("home", "", either(w.Home == nil, "", d.draft.placeText(home)))
	f.add("backup", "", either(w.Backup == nil, "", d.draft.placeText(backup)))
	if !d.do(Change{Op: AddTenant{Name: w.Name, Hostname: w.Hostname, Home: home, Backup: backup}, Sign: "+", Kind: "tenant", Name: w.Name, At: w.At, Fields: f.list}) {
		return nil
	}
	return d.draft.TenantByName(w.Name)
}

func (d *differ) changeTenant(t *Tenant, w DeclaredTenant) {
	if w.Hostname != "" && w.Hostname != t.Hostname {
		d.refuse(w.At+".hostname", "tenant %s: its host name is %s and does not change: clients and certificates name it", t.Name, t.Hostname)
	}
	if w.Home == nil {
		if w.Backup != nil {
			d.refuse(w.At, "tenant %s: a backup without a home; give both, or neither and its places stay", w.Name)
		}
		return
	}
	home, ok := d.place(w.At+".home", w.Home)
	backup, fine := d.place(w.At+".backup", w.Backup)
	if !ok || !fine || home == t.Home && backup == t.Backup {
		return
	}
	f := fieldsOf(false)
	f.add("home", d.draft.placeText(t.Home), d.draft.placeText(home))
	f.add("backup", d.draft.placeText(t.Backup), d.draft.placeText(backup))
	d.do(Change{Op: SetPlace{Tenant: t.ID, Home: home, Backup: backup}, Sign: "~", Kind: "tenant", Name: t.Name, At: w.At, Fields: f.list})
}

// conduct is what else is said of a tenant itself.
func (d *differ) conduct(t *Tenant, w DeclaredTenant) {
	if old := d.draft.Customer(t.ID); old != w.Customer {
		d.do(Change{Op: SetCustomer{Tenant: t.ID, Customer: w.Customer}, Sign: "~", Kind: "tenant", Name: t.Name, At: w.At, Fields: []FieldChange{{"customer", old, w.Customer}}})
	}
	old, now := d.draft.Conduct(t.ID), w.Conduct
	now.Tenant = t.ID
	if old == now {
		return
	}
	f := fieldsOf(false)
	f.add("automation", old.Automation.String(), now.Automation.String())
	f.add("on_listing", old.OnListing.String(), now.OnListing.String())
	f.add("probation", yes(old.Probation), yes(now.Probation))
	d.do(Change{Op: SetConduct{now}, Sign: "~", Kind: "tenant", Name: t.Name, At: w.At, Fields: f.list})
}

func (d *differ) domain(t *Tenant, w DeclaredDomain) {
	if !d.key(t, w) {
		return
	}
	if old := d.draft.BounceName(w.Name); old != w.Bounce {
		d.do(Change{Op: SetBounce{Domain: w.Name, Name: w.Bounce}, Sign: "~", Kind: "domain", Name: w.Name, Tenant: t.Name, At: w.At,
			Fields: []FieldChange{{"bounce", old, w.Bounce}}})
	}
}

// key proves a domain and sets how it signs; false when that is not possible.
func (d *differ) key(t *Tenant, w DeclaredDomain) bool {
	old := d.draft.Domain(w.Name)
	was := Domain{}
	if old != nil {
		was = *old
	}
	if old != nil && old.Tenant == t.ID && old.Selector == w.Selector && (w.SealedKey == nil || bytes.Equal(old.SealedKey, w.SealedKey)) {
		return true
	}
	if w.Selector != "" && w.SealedKey == nil {
		d.refuse(w.At, "domain %s: no key is kept for selector %q: give key_file", w.Name, clip(w.Selector))
		return false
	}
	f := fieldsOf(old == nil)
	f.add("selector", was.Selector, w.Selector)
	if old != nil && was.Selector == w.Selector {
		f.add("key", "", "another")
	}
	return d.do(Change{Op: SetDomain{Tenant: t.ID, Name: w.Name, Selector: w.Selector, SealedKey: w.SealedKey}, Sign: signOf(old == nil), Kind: "domain", Name: w.Name,
		Tenant: t.Name, At: w.At, Fields: f.list})
}

func (d *differ) account(t *Tenant, w DeclaredAccount) {
	name := lower(clip(w.Username))
	w.Networks, w.Limits = canonical(w.Networks), sortLimits(w.Limits)
	old := d.draft.AccountByUsername(w.Username)
	if old != nil && old.Tenant != t.ID {
		d.refuse(w.At, "account %s is another tenant's", name)
		return
	}
	if w.Secret != nil && w.Hash != "" {
		d.refuse(w.At, "account %s: a password and the hash of another; give one", name)
		return
	}
	was := Account{}
	if old != nil {
		was = *old
	}
	f := accountFields(old == nil, &was, &w)
	if old != nil {
		d.setHash(t, old, w)
		if len(f.list) > 0 {
			d.do(Change{Op: changedAccount(&was, &w), Sign: "~", Kind: "account", Name: name, Tenant: t.Name, At: w.At, Fields: f.list})
		}
		return
	}
	secret := [32]byte{}
	if w.Secret != nil {
		secret = *w.Secret
	}
	add := AddAccount{Tenant: t.ID, Username: w.Username, Secret: secret, Networks: w.Networks, Reference: w.Reference, Plan: w.Plan, Class: w.Class}
	c := Change{Op: add, Sign: "+", Kind: "account", Name: name, Tenant: t.Name, At: w.At, Fields: f.list, NeedsSecret: w.Secret == nil && w.Hash == ""}
	if w.Hash != "" {
		c.Op, c.Fields = AddHashed{AddAccount: add, Hash: w.Hash}, append(c.Fields, FieldChange{"password hash", "", "imported"})
	}
	if !d.do(c) {
		return
	}
	// AddAccount knows no limits of short windows.
	if len(w.Limits) > 0 || w.Gap != 0 {
		a := d.draft.AccountByUsername(w.Username)
		f := fieldsOf(false)
		f.add("limits", "", cautionText(w.Limits))
		f.add("gap", "", gapText(w.Gap))
		d.do(Change{Op: SetAccount{Account: a.ID, Limits: &w.Limits, Gap: &w.Gap}, Sign: "~", Kind: "account", Name: name, Tenant: t.Name, At: w.At, Fields: f.list})
	}
}

// setHash lets an account keep the password it had elsewhere. The hash itself is
// told to nobody.
func (d *differ) setHash(t *Tenant, old *Account, w DeclaredAccount) {
	if w.Hash == "" {
		return
	}
	h, err := ParseHash(w.Hash)
	if err != nil {
		d.refuse(w.At, "account %s: %v", old.Username, err)
		return
	}
	if h.Text != d.draft.Hash(old.ID) {
		d.do(Change{Op: SetHash{Account: old.ID, Hash: w.Hash}, Sign: "~", Kind: "account", Name: old.Username, Tenant: t.Name, At: w.At,
			Fields: []FieldChange{{"password hash", "", "changed"}}})
	}
}

// accountFields is what differs between an account and its declaration.
func accountFields(isNew bool, was *Account, w *DeclaredAccount) *fields {
	f := fieldsOf(isNew)
	f.add("bytes_per_month", sizeText(was.Plan.BytesPerMonth), sizeText(w.Plan.BytesPerMonth))
	f.add("mails_per_month", countText(was.Plan.MailsPerMonth), countText(w.Plan.MailsPerMonth))
	f.add("max_recipients", countText(uint64(was.Plan.MaxRecipients)), countText(uint64(w.Plan.MaxRecipients)))
	f.add("max_size", sizeText(uint64(was.Plan.MaxSize)), sizeText(uint64(w.Plan.MaxSize)))
	f.add("class", either(isNew, "", className(was.Class)), className(w.Class))
	f.add("reference", was.Reference, w.Reference)
	f.add("networks", networksText(was.Networks), networksText(w.Networks))
	if !isNew {
		f.add("limits", cautionText(was.Limits), cautionText(w.Limits))
		f.add("gap", gapText(was.Gap), gapText(w.Gap))
		if w.Secret != nil && *w.Secret != was.Secret {
			f.add("password", "", "another")
		}
	}
	return f
}

// changedAccount sets what differs, and leaves alone what does not: a ban is
// asked about names that are new only.
func changedAccount(was *Account, w *DeclaredAccount) SetAccount {
	op := SetAccount{Account: was.ID}
	if w.Secret != nil && *w.Secret != was.Secret {
		op.Secret = w.Secret
	}
	if !slices.Equal(was.Networks, w.Networks) {
		op.Networks = &w.Networks
	}
	if was.Reference != w.Reference {
		op.Reference = &w.Reference
	}
	if was.Plan != w.Plan {
		op.Plan = &w.Plan
	}
	if was.Class != w.Class {
		op.Class = &w.Class
	}
	if !slices.Equal(was.Limits, w.Limits) {
		op.Limits = &w.Limits
	}
	if was.Gap != w.Gap {
		op.Gap = &w.Gap
	}
	return op
}

// canonical is the form in which networks are kept.
func canonical(all []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range all {
		out = append(out, p.Masked())
	}
	slices.SortFunc(out, comparePrefix)
	return slices.Compact(out)
}

func className(c Class) string { return either(c == Bulk, "bulk", "transactional") }
