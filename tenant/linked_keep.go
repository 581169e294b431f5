package tenant

import (
	"fmt"
	"slices"
	"time"
)

// forgetOldLinks drops what nobody linked to within the rule's history. It looks
// at all links, and so once a day.
func (d *draft) forgetOldLinks() {
	r := d.containRule()
	now, history := slotOf(d.Now(), r.Slot), uint64(r.History/r.Slot)
	for _, a := range slices.Clone(d.links.keys) {
		d.dropLinks(a, func(u usedDomain) bool { return u.last+history < now })
	}
	for _, x := range slices.Clone(d.linked.vals) {
		if x.common {
			d.dropLinkTenants(x, func(b linkTenant) bool { return b.last+history < now })
		}
	}
}

// forgetLinks drops all: the spans they were counted in are others now.
func (d *draft) forgetLinks() {
	for len(d.links.keys) > 0 {
		d.dropLinks(d.links.keys[0], func(usedDomain) bool { return true })
	}
	for len(d.linked.keys) > 0 {
		remove(d, &d.linked, d.linked.keys[0])
	}
}

// forgetLinkTenant drops a tenant that is gone; its accounts' links are.
func (d *draft) forgetLinkTenant(t ID) {
	for _, x := range slices.Clone(d.linked.vals) {
		d.dropLinkTenants(x, func(b linkTenant) bool { return b.tenant == t })
	}
}

// newDay says whether a day ended between two moments.
func newDay(was, is time.Time) bool {
	const day = 24 * time.Hour
	return slotOf(was, day) != slotOf(is, day)
}

func (s *State) checkLinks() error {
	by := make(map[linkTenant]map[string]bool) // of domains that are not common
	for i, x := range s.links.vals {
		a := s.accounts.get(x.account)
		bad := x.account != s.links.keys[i] || a == nil || s.Contain() == nil || len(x.used) == 0 || len(x.used) > MaxLinks || x.fresh > MaxLinks
		for k, u := range x.used {
			bad = bad || !validDomain(u.domain) || k > 0 && x.used[k-1].domain >= u.domain
		}
		if bad {
			return fmt.Errorf("links of account %d", x.account)
		}
		t := linkTenant{tenant: a.Tenant}
		if by[t] == nil {
			by[t] = make(map[string]bool)
		}
		for _, u := range x.used {
			by[t][u.domain] = true
		}
	}
	for i, x := range s.linked.vals {
		bad := x.domain != s.linked.keys[i] || x.first.After(s.Now()) || x.first.IsZero() || len(x.by) == 0 || x.common && len(x.by) < manyLink
		for k, b := range x.by {
			bad = bad || !s.tenants.has(b.tenant) || k > 0 && x.by[k-1].tenant >= b.tenant || !x.common && (b.last != 0 || !by[b][x.domain])
			if !x.common {
				delete(by[b], x.domain)
			}
		}
		if bad {
			return fmt.Errorf("who links to %q", x.domain)
		}
	}
	for t, rest := range by {
		if len(rest) > 0 {
			return fmt.Errorf("links of tenant %d that no domain knows", t.tenant)
		}
	}
	if s.linked.len() > maxLinkDomains {
		return fmt.Errorf("links to %d domains", s.linked.len())
	}
	return nil
}
