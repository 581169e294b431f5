package admin

import (
	"context"
	"fmt"
	"net/http"

	"postern/tenant"
)

// OfTenant is the request of everything about one tenant.
type OfTenant struct {
	Tenant string `path:"tenant" minLength:"1" maxLength:"63"`
}

// ToTenant is a change of one tenant.
type ToTenant struct {
	OfTenant
	Keyed
}

func (s *Server) tenantRoutes() {
	s.tenantReads()
	s.tenantChanges()
	s.tenantTokens()
}

func (s *Server) tenantReads() {
	type list struct{ Paged }
	register(s, in{verb: http.MethodGet, path: "/v1/tenants", id: "list-tenants", tag: "tenant", access: tenantToo,
		does: "List the tenants"},
		func(ctx context.Context, who caller, i *list) (*out[Page[Tenant]], error) {
			st := s.cfg.State()
			counts, missing := s.allCounts(ctx, st, who)
			var all []Tenant
			for t := range st.Tenants() {
				if who.may(t.ID) {
					all = append(all, viewTenant(st, t, counts))
				}
			}
			page := cut(all, i.Paged, func(t Tenant) string { return t.Name }, byText)
			page.Missing = missing
			return reply(page), nil
		})
	register(s, in{verb: http.MethodGet, path: "/v1/tenants/{tenant}", id: "get-tenant", tag: "tenant", access: tenantToo,
		does: "Show one tenant"},
		func(ctx context.Context, who caller, i *OfTenant) (*out[Tenant], error) {
			st := s.cfg.State()
			t, err := findTenant(st, who, i.Tenant)
			if err != nil {
				return nil, err
			}
			counts, _ := s.countsOf(ctx, st, who, t)
			v := viewTenant(st, t, counts)
			if s.cfg.Doctor != nil {
				v.DNS = s.cfg.Doctor.Wrong(st, t)
			}
			return reply(v), nil
		})
}

func (s *Server) tenantChanges() {
	type add struct {
		Keyed
		Body NewTenant
	}
	register(s, in{verb: http.MethodPost, path: "/v1/tenants", id: "add-tenant", tag: "tenant", status: http.StatusCreated,
		does: "Register a tenant; its home node owns it"},
		func(ctx context.Context, _ caller, i *add) (*out[Tenant], error) {
			var home, backup tenant.Place // zero: the state machine chooses
			if i.Body.Home != (Place{}) {
				var err error
				if home, backup, err = places(s.cfg.State(), i.Body.Home, i.Body.Backup); err != nil {
					return nil, err
				}
			} else if i.Body.Backup != nil {
				return nil, badField("body.home", "give both, or neither", "a backup alone is no choice")
			}
			// The customer is compared with the bans together with the names: a
			// banned one must not leave half a tenant behind.
			op := s.vetted(i.Keyed, tenant.AddTenant{Name: i.Body.Name, Hostname: i.Body.Hostname, Home: home, Backup: backup}, s.customerMarks(i.Body.Customer)...)
			events, st, err := s.propose(ctx, i.Keyed, op)
			if err != nil {
				return nil, err
			}
			e, _ := created[tenant.TenantAdded](events)
			if i.Body.Customer != "" {
				if _, st, err = s.propose(ctx, i.Keyed.apart("customer"), tenant.SetCustomer{Tenant: e.Tenant, Customer: i.Body.Customer}); err != nil {
					return nil, err
				}
			}
			return s.shownTenant(st, e.Tenant, i.Body.Name)
		})
	register(s, in{verb: http.MethodDelete, path: "/v1/tenants/{tenant}", id: "remove-tenant", tag: "tenant",
		status: http.StatusNoContent, does: "Take away a tenant with its accounts and domains"},
		func(ctx context.Context, who caller, i *ToTenant) (*none, error) {
			t, err := findTenant(s.cfg.State(), who, i.Tenant)
			if err != nil {
				return nil, err
			}
			// Nobody would deliver or bounce what it leaves behind.
			counts, missing := s.countsOf(ctx, s.cfg.State(), who, t)
			if len(missing) > 0 {
				return nil, problem(http.StatusServiceUnavailable, "try again when it runs, or a backup has taken over",
					"node %s owns tenant %q and does not say whether mail waits", missing[0], t.Name)
			}
			if n := counts[t.ID].Messages; n > 0 {
				return nil, problem(http.StatusConflict,
					"remove its accounts and let the mail expire, or end it: postern queue purge --tenant "+t.Name,
					"tenant %q has %s in the queue", t.Name, messages(n))
			}
			_, _, err = s.propose(ctx, i.Keyed, tenant.RemoveTenant{Tenant: t.ID})
			return nil, err
		})
	type put struct {
		ToTenant
		Body SetPlace
	}
	register(s, in{verb: http.MethodPut, path: "/v1/tenants/{tenant}/place", id: "place-tenant", tag: "tenant",
		does: "Change home and backup"},
		func(ctx context.Context, who caller, i *put) (*out[Tenant], error) {
			st := s.cfg.State()
			t, err := findTenant(st, who, i.Tenant)
			if err != nil {
				return nil, err
			}
			home, backup, err := places(st, i.Body.Home, i.Body.Backup)
			if err != nil {
				return nil, err
			}
			return s.changeTenant(ctx, i.Keyed, t, tenant.SetPlace{Tenant: t.ID, Home: home, Backup: backup})
		})
}

func (s *Server) tenantTokens() {
	register(s, in{verb: http.MethodPost, path: "/v1/tenants/{tenant}/token", id: "make-token", tag: "tenant",
		status: http.StatusCreated, does: "Make the tenant's API token; the one before ends"},
		func(ctx context.Context, who caller, i *ToTenant) (*out[Token], error) {
			t, err := findTenant(s.cfg.State(), who, i.Tenant)
			if err != nil {
				return nil, err
			}
			token := NewToken()
			_, st, err := s.propose(ctx, i.Keyed, tenant.SetToken{Tenant: t.ID, Hash: TokenHash(token)})
			if err != nil {
				return nil, err
			}
			if now := st.Tenant(t.ID); now == nil || now.Token != TokenHash(token) {
				return nil, doneBefore("ask for a new token with a new Idempotency-Key")
			}
			return reply(Token{Tenant: t.Name, Token: token}), nil
		})
	register(s, in{verb: http.MethodDelete, path: "/v1/tenants/{tenant}/token", id: "remove-token", tag: "tenant",
		status: http.StatusNoContent, does: "End the tenant's API token"},
		func(ctx context.Context, who caller, i *ToTenant) (*none, error) {
			t, err := findTenant(s.cfg.State(), who, i.Tenant)
			if err != nil {
				return nil, err
			}
			_, _, err = s.propose(ctx, i.Keyed, tenant.SetToken{Tenant: t.ID})
			return nil, err
		})
}

// doneBefore answers a repeat of a request that made a secret: the secret of
// the first time is not kept, and this time's was never stored.
func doneBefore(mend string) *Problem {
	return problem(http.StatusConflict, mend, "this request was done before, or the object changed since; its secret was shown then and is not kept")
}

// findTenant gives the tenant of that name to who may see it.
func findTenant(st *tenant.State, who caller, name string) (*tenant.Tenant, error) {
	t := st.TenantByName(name)
	if t == nil || !who.may(t.ID) {
		return nil, absent("tenant", name)
	}
	return t, nil
}

func (s *Server) changeTenant(ctx context.Context, k Keyed, t *tenant.Tenant, op tenant.Op) (*out[Tenant], error) {
	_, st, err := s.propose(ctx, k, op)
	if err != nil {
		return nil, err
	}
	return s.shownTenant(st, t.ID, t.Name)
}

func (s *Server) shownTenant(st *tenant.State, id tenant.ID, name string) (*out[Tenant], error) {
	t := st.Tenant(id)
	if t == nil {
		return nil, absent("tenant", name)
	}
	return reply(viewTenant(st, t, s.counts(st))), nil
}

func places(st *tenant.State, home Place, backup *Place) (h, b tenant.Place, err error) {
	if h, err = place(st, "body.home", home); err != nil || backup == nil {
		return h, b, err
	}
	b, err = place(st, "body.backup", *backup)
	return h, b, err
}

func viewTenant(st *tenant.State, t *tenant.Tenant, counts map[tenant.ID]numbers) Tenant {
	v := Tenant{ID: uint64(t.ID), Name: t.Name, Hostname: t.Hostname, Home: viewPlace(st, t.Home), Owner: nodeName(st, t.Owner),
		Epoch: t.Epoch, State: "sending", Paused: t.Paused, Held: t.Held, Mend: mendStop(st, t), HasToken: t.Token != [32]byte{}}
	v.Suspended = viewSuspension(st.SuspendedTenant(t.ID))
	v.Waits, _ = st.Waits(t.ID)
	v.Closed, v.Customer = st.ClosedTenant(t.ID) != nil, st.Customer(t.ID)
	if (t.Backup != tenant.Place{}) {
		b := viewPlace(st, t.Backup)
		v.Backup = &b
	}
	switch {
	case t.Held != "":
		v.State = "held"
	case t.Paused != "":
		v.State = "paused"
	case v.Waits != "":
		v.State = "waiting"
	}
	for range st.AccountsOf(t.ID) {
		v.Accounts++
	}
	for range st.DomainsOf(t.ID) {
		v.Domains++
	}
	v.To = nodeName(st, t.To)
	v.Conduct = viewConduct(st.Conduct(t.ID))
	v.NotArmed, v.Unprepared = tenant.Armed(st, t), tenant.Unprepared(st, t)
	if n := len(t.Copies); n > 0 {
		c := t.Copies[n-1]
		v.Mirror = &Mirror{Node: nodeName(st, c.Node), Generation: c.Generation}
	}
	if c, ok := counts[t.ID]; ok {
		v.Queued, v.Messages, v.InDoubt = &c.Queued, &c.Messages, &c.InDoubt
		if c.mirror != nil {
			v.Mirror = c.mirror
		}
	}
	return v
}

// messages counts some for a reader.
func messages(n int) string {
	if n == 1 {
		return "1 message"
	}
	return fmt.Sprintf("%d messages", n)
}
