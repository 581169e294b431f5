package tenant

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// Import is what was made for a tenant of what another server's files say, so
// that it can be taken back: nothing that was there before is part of it.
type Import struct {
	Tenant   ID
	New      bool      // the tenant itself, too
	From     string    // what was read, as the operator's program calls it
	At       time.Time // of the first one
	Sources  []SourceID
	Accounts []AccountID
	Domains  []string
	Routes   []string // by domain
}

// NoteImport adds to a tenant's import what a batch has made so far.
type NoteImport struct {
	Tenant   ID
	New      bool
	From     string
	Sources  []SourceID
	Accounts []AccountID
	Domains  []string
	Routes   []string
}

func (NoteImport) op()           {}
func (NoteImport) since() uint32 { return importVersion }

// maxFrom bounds what an import is called, in octets.
const maxFrom = 200

// Import is what was imported for a tenant, or nil.
func (s *State) Import(t ID) *Import { return s.imports.get(t) }

// Imports lists them, ascending by tenant.
func (s *State) Imports() iter.Seq[*Import] { return s.imports.all() }

func (d *draft) noteImport(c NoteImport) error {
	switch {
	case !d.tenants.has(c.Tenant):
		return refuse("tenant %d is not known", c.Tenant)
	case c.From == "" || !validText(c.From, maxFrom):
		return refuse("what an import is of has 1 to %d octets, without control characters", maxFrom)
	}
	x := Import{Tenant: c.Tenant, At: d.Now()}
	if old := d.imports.get(c.Tenant); old != nil {
		x = *old
	}
	x.New, x.From = x.New || c.New, c.From
	x.Sources, x.Accounts = union(x.Sources, c.Sources), union(x.Accounts, c.Accounts)
	x.Domains, x.Routes = union(x.Domains, c.Domains), union(x.Routes, c.Routes)
	if !d.imported(&x) {
		return refuse("an import of tenant %d names what is not there", c.Tenant)
	}
	if !x.empty() {
		put(d, &d.imports, c.Tenant, &x)
	}
	return nil
}

func union[T cmp.Ordered](a, b []T) []T {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

func (x *Import) empty() bool {
	return !x.New && len(x.Sources)+len(x.Accounts)+len(x.Domains)+len(x.Routes) == 0
}

// imported says whether all of an import is there, and the tenant's.
func (s *State) imported(x *Import) bool {
	none := func(found bool) bool { return !found }
	return !slices.ContainsFunc(x.Sources, func(id SourceID) bool { return none(s.sources.has(id)) }) &&
		!slices.ContainsFunc(x.Routes, func(name string) bool { return none(s.routes.has(name)) }) &&
		!slices.ContainsFunc(x.Accounts, func(id AccountID) bool {
			a := s.accounts.get(id)
			return a == nil || a.Tenant != x.Tenant
		}) &&
		!slices.ContainsFunc(x.Domains, func(name string) bool {
			m := s.domains.get(name)
			return m == nil || m.Tenant != x.Tenant
		})
}

// forgetImported drops from imports what is gone.
func (d *draft) forgetImported(gone func(*Import)) {
	if d.imports.len() == 0 {
		return
	}
	for _, old := range slices.Clone(d.imports.vals) {
		x := *old
		gone(&x)
		switch {
		case x.empty():
			remove(d, &d.imports, x.Tenant)
		case len(x.Sources)+len(x.Accounts)+len(x.Domains)+len(x.Routes) < len(old.Sources)+len(old.Accounts)+len(old.Domains)+len(old.Routes):
			put(d, &d.imports, x.Tenant, &x)
		}
	}
}

// dropped is all without one.
func dropped[T comparable](all []T, one T) []T {
	return without(all, func(x T) bool { return x == one })
}

// why is what the journal says of it.
func (c *NoteImport) why() string {
	parts := []string{}
	for _, x := range []struct {
		n    int
		name string
	}{{len(c.Accounts), "account"}, {len(c.Domains), "domain"}, {len(c.Sources), "source"}, {len(c.Routes), "route"}} {
		switch {
		case x.n == 1:
			parts = append(parts, "1 "+x.name)
		case x.n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", x.n, x.name))
		}
	}
	return shorten("from "+c.From+": "+either(c.New, "the tenant, ", "")+strings.Join(parts, ", "), maxReason)
}

func (*Import) kind() recordKind { return kindImport }

func (x *Import) code(c *coder) {
	number(c, &x.Tenant)
	c.bool(&x.New)
	c.str(&x.From, maxFrom)
	c.time(&x.At)
	codeMade(c, &x.Sources, &x.Accounts, &x.Domains, &x.Routes)
}

func (c *coder) noteImport(o *NoteImport) {
	number(c, &o.Tenant)
	c.bool(&o.New)
	c.str(&o.From, maxFrom)
	codeMade(c, &o.Sources, &o.Accounts, &o.Domains, &o.Routes)
}

func codeMade(c *coder, sources *[]SourceID, accounts *[]AccountID, domains, routes *[]string) {
	name := func(c *coder, s *string) { c.str(s, maxHost) }
	list(c, sources, maxSources, number[SourceID])
	list(c, accounts, maxOfTenant, number[AccountID])
	list(c, domains, maxOfTenant, name)
	list(c, routes, maxRoutes, name)
}

func (s *State) checkImports() error {
	for i, x := range s.imports.vals {
		if x.Tenant != s.imports.keys[i] || !s.tenants.has(x.Tenant) || x.empty() || x.From == "" || !validText(x.From, maxFrom) || x.At.After(s.Now()) || !s.imported(x) ||
			!ascending(x.Sources) || !ascending(x.Accounts) || !ascending(x.Domains) || !ascending(x.Routes) {
			return fmt.Errorf("import of tenant %d", x.Tenant)
		}
	}
	return nil
}

// ascending says whether each is more than the one before it.
func ascending[T cmp.Ordered](all []T) bool {
	for i := 1; i < len(all); i++ {
		if all[i] <= all[i-1] {
			return false
		}
	}
	return true
}
