package admin

import (
	"context"
	"net/http"

	"postern/tenant"
)

// suspendRoutes are holds whose reason the customer reads: a PUT sets one, a
// DELETE ends it.
func (s *Server) suspendRoutes() {
	type setTenant struct {
		ToTenant
		Body Suspend
	}
	register(s, in{verb: http.MethodPut, path: "/v1/tenants/{tenant}/suspension", id: "suspend-tenant", tag: "tenant",
		does: "Suspend a tenant: it is held, and told why"},
		func(ctx context.Context, who caller, i *setTenant) (*out[Tenant], error) {
			t, err := findTenant(s.cfg.State(), who, i.Tenant)
			if err != nil {
				return nil, err
			}
			return s.changeTenant(ctx, i.Keyed, t, tenant.Suspend{Tenant: t.ID, Kind: suspensionKind(i.Body.Class), Reason: i.Body.Reason})
		})
	register(s, in{verb: http.MethodDelete, path: "/v1/tenants/{tenant}/suspension", id: "unsuspend-tenant", tag: "tenant",
		does: "End a tenant's suspension; another hold stays"},
		func(ctx context.Context, who caller, i *ToTenant) (*out[Tenant], error) {
			st := s.cfg.State()
			t, err := findTenant(st, who, i.Tenant)
			if err != nil {
				return nil, err
			}
			if st.SuspendedTenant(t.ID) == nil {
				return nil, notSuspended("tenant "+t.Name, t.Held, "postern tenant release "+t.Name)
			}
			return s.changeTenant(ctx, i.Keyed, t, tenant.Hold{Tenant: t.ID})
		})
	type setAccount struct {
		ToAccount
		Body Suspend
	}
	register(s, in{verb: http.MethodPut, path: "/v1/accounts/{username}/suspension", id: "suspend-account", tag: "account",
		does: "Suspend one account: it is held, and told why; its tenant's others go on"},
		func(ctx context.Context, who caller, i *setAccount) (*out[Account], error) {
			a, err := findAccount(s.cfg.State(), who, i.Username)
			if err != nil {
				return nil, err
			}
			return s.changeAccount(ctx, i.Keyed, a, tenant.Suspend{Account: a.ID, Kind: suspensionKind(i.Body.Class), Reason: i.Body.Reason})
		})
	register(s, in{verb: http.MethodDelete, path: "/v1/accounts/{username}/suspension", id: "unsuspend-account", tag: "account",
		does: "End an account's suspension; another hold stays"},
		func(ctx context.Context, who caller, i *ToAccount) (*out[Account], error) {
			st := s.cfg.State()
			a, err := findAccount(st, who, i.Username)
			if err != nil {
				return nil, err
			}
			if x := st.Suspended(a); x == nil || x.Account == 0 {
				if x != nil {
					return nil, problem(http.StatusConflict, "postern tenant resume "+st.Tenant(a.Tenant).Name, "account %s is suspended with its tenant", a.Username)
				}
				return nil, notSuspended("account "+a.Username, a.Held, "postern account release "+a.Username)
			}
			return s.changeAccount(ctx, i.Keyed, a, tenant.Hold{Tenant: a.Tenant, Account: a.ID})
		})
}

// notSuspended refuses to end what is none: what else holds is not ended by a
// bill that is paid.
func notSuspended(what, held, mend string) error {
	if held != "" {
		return problem(http.StatusConflict, mend, "%s is not suspended, but held: %s", what, held)
	}
	return problem(http.StatusConflict, "", "%s is not suspended", what)
}

// suspensionKind is that of a class the API has let in.
func suspensionKind(class string) tenant.SuspensionKind {
	k, _ := tenant.SuspensionKindOf(class)
	return k
}

func viewSuspension(x *tenant.Suspension) *Suspension {
	if x == nil {
		return nil
	}
	return &Suspension{Class: x.Kind.String(), Reason: x.Reason, Since: x.At}
}
