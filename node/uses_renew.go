package node

import (
	"maps"
	"slices"

	"postern/tenant"
)

// renew makes due what tenants have deferred whose mail leaves by another source
// now: hosts that refused the one before may take it, and would otherwise see it
// hours later. It is done once for each change; a node that starts again within
// minutes of one may do it a second time.
func (u *uses) renew(st *tenant.State) {
	me := st.NodeByName(u.name)
	if me == nil || u.flush == nil {
		return
	}
	now := tenant.Renewed(st, me.ID)
	maps.DeleteFunc(u.renewed, func(r tenant.Renewal, _ bool) bool { return !slices.Contains(now, r) })
	for _, r := range now {
		if u.renewed[r] || !u.adopted(r.Tenant) {
			continue
		}
		n, err := u.flush(r.Tenant)
		if err != nil {
			u.log.Warn("deferred mail is not tried at once by its new source", "tenant", uint64(r.Tenant), "err", err)
			return // the next look tries again
		}
		u.renewed[r] = true
		if n > 0 {
			u.log.Info("deferred mail is tried at once by its new source", "tenant", uint64(r.Tenant), "case", r.Case, "count", n)
		}
	}
}
