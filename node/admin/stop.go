package admin

import (
	"context"
	"net/http"

	"postern/tenant"
)

// stopRoutes are holds and pauses: a PUT with the reason sets one, a DELETE
// lifts it.
func (s *Server) stopRoutes() {
	type set struct {
		ToTenant
		Body Stop
	}
	ops := []struct {
		path, id, does, undoes string
		op                     func(t tenant.ID, reason string) tenant.Op
		left                   func(t *tenant.Tenant) (reason string, err error) // what stays when an operator lifts it
	}{
		{"hold", "hold-tenant", "Hold a tenant: no attempts, submissions get 550 5.7.1", "Release a held tenant",
			func(t tenant.ID, reason string) tenant.Op { return tenant.Hold{Tenant: t, Reason: reason} },
			func(*tenant.Tenant) (string, error) { return "", nil }},
		{"pause", "pause-tenant", "Pause a tenant: it accepts, but nothing is attempted", "Resume a paused tenant",
			func(t tenant.ID, reason string) tenant.Op { return tenant.Pause{Tenant: t, Reason: reason} },
			pauseLeft},
	}
	for _, x := range ops {
		path := "/v1/tenants/{tenant}/" + x.path
		register(s, in{verb: http.MethodPut, path: path, id: x.id, tag: "tenant", does: x.does},
			func(ctx context.Context, who caller, i *set) (*out[Tenant], error) {
				t, err := findTenant(s.cfg.State(), who, i.Tenant)
				if err != nil {
					return nil, err
				}
				return s.changeTenant(ctx, i.Keyed, t, x.op(t.ID, i.Body.Reason))
			})
		register(s, in{verb: http.MethodDelete, path: path, id: "un" + x.id, tag: "tenant", does: x.undoes},
			func(ctx context.Context, who caller, i *ToTenant) (*out[Tenant], error) {
				t, err := findTenant(s.cfg.State(), who, i.Tenant)
				if err != nil {
					return nil, err
				}
				reason, err := x.left(t)
				if err != nil {
					return nil, err
				}
				return s.changeTenant(ctx, i.Keyed, t, x.op(t.ID, reason))
			})
	}
	type hold struct {
		ToAccount
		Body Stop
	}
	register(s, in{verb: http.MethodPut, path: "/v1/accounts/{username}/hold", id: "hold-account", tag: "account",
		does: "Hold one account: its mail waits, its submissions get 550 5.7.1"},
		func(ctx context.Context, who caller, i *hold) (*out[Account], error) {
			return s.holdAccount(ctx, who, i.ToAccount, i.Body.Reason)
		})
	register(s, in{verb: http.MethodDelete, path: "/v1/accounts/{username}/hold", id: "unhold-account", tag: "account",
		does: "Release a held account"},
		func(ctx context.Context, who caller, i *ToAccount) (*out[Account], error) {
			return s.holdAccount(ctx, who, *i, "")
		})
}

// pauseLeft keeps the part of a pause that is no operator's to lift.
func pauseLeft(t *tenant.Tenant) (string, error) {
	switch {
	case !tenant.Unread(t.Paused):
		return "", nil
	case tenant.WithoutUnread(t.Paused) == "":
		return "", problem(http.StatusConflict, mendUnread, "tenant %s stays paused: %s", t.Name, t.Paused)
	}
	return tenant.ReasonUnread, nil
}

func (s *Server) holdAccount(ctx context.Context, who caller, i ToAccount, reason string) (*out[Account], error) {
	a, err := findAccount(s.cfg.State(), who, i.Username)
	if err != nil {
		return nil, err
	}
	return s.changeAccount(ctx, i.Keyed, a, tenant.Hold{Tenant: a.Tenant, Account: a.ID, Reason: reason})
}
