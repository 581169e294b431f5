package tenant

import (
	"fmt"
	"slices"
)

// DiffImport says what makes one tenant of what another server's files say, as
// Diff does, and notes what it makes, so that UndoImport can take it back. What
// is there already is left alone and named in stays; only accounts that an
// import made get the password they have there now.
func DiffImport(s *State, want Declared, from string, vet func(Op) Op) (all []Change, stays []string, bad []NotPossible) {
	if vet == nil {
		vet = func(op Op) Op { return op }
	}
	if want.Tenants == nil || len(*want.Tenants) != 1 || want.Lists != nil || want.Automation != nil || want.OnListing != nil || want.Notices != nil {
		return nil, nil, []NotPossible{{"import", "an import is of one tenant, its sources and routes, and of nothing else"}}
	}
	w := (*want.Tenants)[0]
	d := &differ{draft: s.draft(), was: s, vet: vet, from: from, of: w.Name}
	if want.Sources != nil {
		for _, x := range *want.Sources {
			if s.SourceByAddr(x.Addr) != nil {
				d.stays = append(d.stays, "source "+x.Addr.String())
				continue
			}
			d.source(x)
		}
	}
	d.tenant(d.onlyNew(w))
	if want.Routes != nil {
		for _, x := range *want.Routes {
			if s.routes.has(x.Domain) {
				d.stays = append(d.stays, "route of "+x.Domain)
				continue
			}
			d.setRoutes([]DeclaredRoute{x}, false)
		}
	}
	d.noteImport()
	if len(d.bad) == 0 {
		d.draft.reviewNow() // as the commands will
		if err := d.draft.check(s); err != nil {
			d.bad = append(d.bad, NotPossible{Reason: err.Error()})
		}
	}
	return d.all, d.stays, d.bad
}

// onlyNew leaves of a tenant that is there what is to be made, and of accounts
// an import made their passwords.
func (d *differ) onlyNew(w DeclaredTenant) DeclaredTenant {
	t := d.was.TenantByName(w.Name)
	if t == nil {
		return w
	}
	now := d.was.declaredTenant(t)
	w.Home, w.Backup, w.Customer, w.Conduct = nil, nil, now.Customer, now.Conduct
	if w.Domains != nil {
		all := []DeclaredDomain{}
		for _, x := range *w.Domains {
			if old := d.was.Domain(x.Name); old != nil && old.Tenant == t.ID {
				d.stays = append(d.stays, "domain "+x.Name)
				continue
			}
			all = append(all, x)
		}
		w.Domains = &all
	}
	if w.Accounts != nil {
		made := d.was.Import(t.ID)
		all := []DeclaredAccount{}
		for _, x := range *w.Accounts {
			old := d.was.AccountByUsername(x.Username)
			switch {
			case old == nil || old.Tenant != t.ID:
				all = append(all, x)
			case made != nil && slices.Contains(made.Accounts, old.ID) && x.Hash != "":
				i := slices.IndexFunc(*now.Accounts, func(y DeclaredAccount) bool { return y.Username == old.Username })
				same := (*now.Accounts)[i]
				same.At, same.Hash = x.At, x.Hash
				all = append(all, same)
			default:
				d.stays = append(d.stays, "account "+old.Username)
			}
		}
		w.Accounts = &all
	}
	return w
}

// noteImport notes what was made since the state the changes began with. It
// comes with every batch, for the next one may not be carried out.
func (d *differ) noteImport() {
	t := d.draft.TenantByName(d.of)
	if t == nil {
		return
	}
	op := NoteImport{Tenant: t.ID, From: d.from, New: !d.was.tenants.has(t.ID)}
	for x := range d.draft.sources.all() {
		if !d.was.sources.has(x.ID) {
			op.Sources = append(op.Sources, x.ID)
		}
	}
	for x := range d.draft.AccountsOf(t.ID) {
		if !d.was.accounts.has(x.ID) {
			op.Accounts = append(op.Accounts, x.ID)
		}
	}
	for x := range d.draft.DomainsOf(t.ID) {
		if !d.was.domains.has(x.Name) {
			op.Domains = append(op.Domains, x.Name)
		}
	}
	for x := range d.draft.routes.all() {
		if !d.was.routes.has(x.Domain) {
			op.Routes = append(op.Routes, x.Domain)
		}
	}
	made := Import{New: op.New, Sources: op.Sources, Accounts: op.Accounts, Domains: op.Domains, Routes: op.Routes}
	if made.empty() || d.last != nil && same(&made, d.last) {
		return
	}
	d.last = &made
	from := d.from
	d.from = "" // it notes nothing of itself
	d.do(Change{Op: op, Sign: "+", Kind: "import", Name: t.Name, At: "import", Fields: []FieldChange{{"from", "", from}}})
	d.from = from
}

// UndoImport says what takes back a tenant's import. What is still needed stays,
// and is named.
func UndoImport(s *State, id ID, vet func(Op) Op) (all []Change, stays []string, bad []NotPossible) {
	if vet == nil {
		vet = func(op Op) Op { return op }
	}
	x, t := s.Import(id), s.Tenant(id)
	if x == nil || t == nil {
		return nil, nil, []NotPossible{{Reason: "nothing of this tenant was imported"}}
	}
	d := &differ{draft: s.draft(), was: s, vet: vet}
	if x.New {
		d.later(x)
	}
	for _, a := range x.Accounts {
		d.do(Change{Op: RemoveAccount{a}, Sign: "-", Kind: "account", Name: s.accounts.get(a).Username, Tenant: t.Name})
	}
	for _, name := range x.Domains {
		d.do(Change{Op: RemoveDomain{name}, Sign: "-", Kind: "domain", Name: name, Tenant: t.Name})
	}
	if x.New {
		d.do(Change{Op: RemoveTenant{id}, Sign: "-", Kind: "tenant", Name: t.Name})
	}
	for _, name := range x.Routes {
		d.do(Change{Op: SetRoute{Route{Domain: name}}, Sign: "-", Kind: "route", Name: name})
	}
	for _, src := range x.Sources {
		addr := s.sources.get(src).Addr.String()
		if err := d.draft.sourceFree(src); err != nil {
			d.stays = append(d.stays, err.Error())
			continue
		}
		d.do(Change{Op: RemoveSource{src}, Sign: "-", Kind: "source", Name: addr})
	}
	return d.all, d.stays, d.bad
}

// later refuses to take a tenant away under what others gave it since.
func (d *differ) later(x *Import) {
	for a := range d.was.AccountsOf(x.Tenant) {
		if !slices.Contains(x.Accounts, a.ID) {
			d.bad = append(d.bad, NotPossible{Reason: fmt.Sprintf("account %s was added since and would go with the tenant: postern account remove %[1]s, if that is meant", a.Username)})
		}
	}
	for m := range d.was.DomainsOf(x.Tenant) {
		if !slices.Contains(x.Domains, m.Name) {
			d.bad = append(d.bad, NotPossible{Reason: fmt.Sprintf("domain %s was added since and would go with the tenant: postern tenant domain remove %s %[1]s, if that is meant", m.Name, d.was.tenants.get(x.Tenant).Name)})
		}
	}
}
