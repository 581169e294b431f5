package admin

import (
	"context"
	"net/http"
	"strconv"

	"postern/tenant"
)

func (s *Server) banRoutes() {
	type list struct{ Paged }
	register(s, in{verb: http.MethodGet, path: "/v1/bans", id: "list-bans", tag: "ban", does: "List who is banned, by numbers: names are not kept"},
		func(_ context.Context, _ caller, i *list) (*out[Page[Ban]], error) {
			st := s.cfg.State()
			var all []Ban
			for b := range st.Bans() {
				all = append(all, viewBan(st, b))
			}
			return reply(cut(all, i.Paged, func(b Ban) string { return caseKey(b.ID) }, byText)), nil
		})
	type add struct {
		Keyed
		Body NewBan
	}
	register(s, in{verb: http.MethodPost, path: "/v1/bans", id: "add-ban", tag: "ban", status: http.StatusCreated,
		does: "Ban a customer that is no tenant here, by what it is known by"},
		func(ctx context.Context, _ caller, i *add) (*out[Ban], error) {
			return s.ban(ctx, i.Keyed, tenant.AddBan{Reason: i.Body.Reason, Marks: s.newMarks(i.Body)})
		})
	type lift struct {
		Ban uint64 `path:"ban"`
		Keyed
	}
	register(s, in{verb: http.MethodDelete, path: "/v1/bans/{ban}", id: "lift-ban", tag: "ban", status: http.StatusNoContent,
		does: "Lift a ban; what was closed stays closed"},
		func(ctx context.Context, _ caller, i *lift) (*none, error) {
			_, _, err := s.propose(ctx, i.Keyed, tenant.LiftBan{Ban: i.Ban})
			return nil, err
		})
	type tenantBan struct {
		ToTenant
		Body Stop
	}
	register(s, in{verb: http.MethodPost, path: "/v1/tenants/{tenant}/ban", id: "ban-tenant", tag: "ban", status: http.StatusCreated,
		does: "Close a tenant for ever and ban its customer, by names, domains, addresses and number"},
		func(ctx context.Context, who caller, i *tenantBan) (*out[Ban], error) {
			st, err := s.read(ctx)
			if err != nil {
				return nil, err
			}
			t, err := findTenant(st, who, i.Tenant)
			if err != nil {
				return nil, err
			}
			return s.ban(ctx, i.Keyed, tenant.AddBan{Tenant: t.ID, Reason: i.Body.Reason, Marks: s.knownBy(st, t)})
		})
}

func (s *Server) newMarks(b NewBan) (all []tenant.Mark) {
	for kind, texts := range map[tenant.MarkKind][]string{tenant.MarkName: b.Names, tenant.MarkHost: b.Hosts, tenant.MarkDomain: b.Domains, tenant.MarkCustomer: b.Customers} {
		for _, x := range texts {
			all = append(all, s.mark(kind, x)...)
		}
	}
	for _, x := range b.Addresses {
		all = append(all, s.mark(tenant.MarkAddress, bareAddress(x))...)
	}
	return s.few(all)
}

func (s *Server) ban(ctx context.Context, k Keyed, op tenant.AddBan) (*out[Ban], error) {
	if s.cfg.Mark == nil {
		return nil, problem(http.StatusConflict, "set secret_key_file in the configuration", "this node cannot make the marks of a ban")
	}
	_, st, err := s.propose(ctx, k, op)
	if err != nil {
		return nil, err
	}
	var last *tenant.Ban
	for b := range st.Bans() {
		if b.Tenant == op.Tenant && b.Reason == op.Reason {
			last = b
		}
	}
	if last == nil {
		return nil, absent("ban", op.Reason)
	}
	return reply(viewBan(st, last)), nil
}

func viewBan(st *tenant.State, b *tenant.Ban) Ban {
	v := Ban{ID: b.ID, At: b.At, Reason: b.Reason, Marks: map[string]int{}}
	if t := st.Tenant(b.Tenant); t != nil {
		v.Tenant = t.Name
	}
	for _, m := range b.Marks {
		v.Marks[m.Kind.String()]++
	}
	return v
}

func (s *Server) closeRoutes() {
	type closeTenant struct {
		ToTenant
		Body Stop
	}
	register(s, in{verb: http.MethodPost, path: "/v1/tenants/{tenant}/close", id: "close-tenant", tag: "tenant",
		does: "Close a tenant for ever: it is held and nothing releases it"},
		func(ctx context.Context, who caller, i *closeTenant) (*out[Tenant], error) {
			t, err := findTenant(s.cfg.State(), who, i.Tenant)
			if err != nil {
				return nil, err
			}
			return s.changeTenant(ctx, i.Keyed, t, tenant.Close{Tenant: t.ID, Reason: i.Body.Reason})
		})
	type closeAccount struct {
		ToAccount
		Body Stop
	}
	register(s, in{verb: http.MethodPost, path: "/v1/accounts/{username}/close", id: "close-account", tag: "account",
		does: "Close one account for ever; its tenant's others go on"},
		func(ctx context.Context, who caller, i *closeAccount) (*out[Account], error) {
			a, err := findAccount(s.cfg.State(), who, i.Username)
			if err != nil {
				return nil, err
			}
			return s.changeAccount(ctx, i.Keyed, a, tenant.Close{Account: a.ID, Reason: i.Body.Reason})
		})
}

func (s *Server) customerRoutes() {
	type set struct {
		ToTenant
		Body SetCustomer
	}
	register(s, in{verb: http.MethodPut, path: "/v1/tenants/{tenant}/customer", id: "set-customer", tag: "tenant",
		does: "Note the provider's own number of a tenant: a ban knows it again"},
		func(ctx context.Context, who caller, i *set) (*out[Tenant], error) {
			t, err := findTenant(s.cfg.State(), who, i.Tenant)
			if err != nil {
				return nil, err
			}
			return s.changeTenant(ctx, i.Keyed, t, tenant.SetCustomer{Tenant: t.ID, Customer: i.Body.Customer})
		})
}

// notePurge puts an operator's purge into the journal. The queue has ended the
// messages already, so a failure is only told.
func (s *Server) notePurge(ctx context.Context, who caller, f Filter, d Done) {
	st := s.cfg.State()
	if !who.operator || who.passedOn || d.Count == 0 || !st.Journals() {
		return
	}
	op := tenant.Purged{Tenant: f.Tenant, Account: f.Account, Domain: f.Domain, Messages: uint64(d.Count)}
	if _, _, err := s.propose(ctx, Keyed{}, op); err != nil {
		s.log.LogAttrs(ctx, levelError, "purge is not in the journal", attr("count", strconv.Itoa(d.Count)), attr("err", err.Error()))
	}
}
