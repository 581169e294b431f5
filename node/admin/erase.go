package admin

import (
	"context"
	"net/http"
	"time"

	"postern/tenant"
)

// Erase says how a tenant is erased.
type Erase struct {
	Purge bool `json:"purge,omitempty" doc:"Also when mail of it waits: that ends, and nobody is told"`
}

// Erasure is how far a tenant's erasing is.
type Erasure struct {
	Tenant string     `json:"tenant"`
	ID     uint64     `json:"id" doc:"The tenant's number; a name may be given again"`
	At     time.Time  `json:"at"`
	Left   []string   `json:"left" nullable:"false" doc:"Nodes that have not said yet that nothing of it is on their disks"`
	Done   *time.Time `json:"done,omitempty"`
}

func (s *Server) eraseRoutes() {
	type erase struct {
		ToTenant
		Body Erase
	}
	register(s, in{verb: http.MethodPost, path: "/v1/tenants/{tenant}/erase", id: "erase-tenant", tag: "tenant",
		does: "Remove a tenant and all that is kept of it from every node, for good"},
		func(ctx context.Context, who caller, i *erase) (*out[Erasure], error) {
			st, err := s.read(ctx)
			if err != nil {
				return nil, err
			}
			t, err := findTenant(st, who, i.Tenant)
			if err != nil {
				return nil, err
			}
			if !i.Body.Purge {
				if err := s.nothingWaits(ctx, st, who, t); err != nil {
					return nil, err
				}
			}
			_, st, err = s.propose(ctx, i.Keyed, tenant.EraseTenant{Tenant: t.ID})
			if err != nil {
				return nil, err
			}
			x := st.Erasure(t.ID)
			if x == nil {
				return nil, absent("erasure of tenant", i.Tenant)
			}
			return reply(viewErasure(st, x)), nil
		})
	register(s, in{verb: http.MethodGet, path: "/v1/erasures", id: "list-erasures", tag: "tenant",
		does: "List tenants that were erased, and the nodes that are not done"},
		func(_ context.Context, _ caller, _ *struct{}) (*out[Page[Erasure]], error) {
			st, page := s.cfg.State(), Page[Erasure]{Items: []Erasure{}}
			for x := range st.Erasures() {
				page.Items = append(page.Items, viewErasure(st, x))
			}
			return reply(page), nil
		})
}

// nothingWaits refuses to erase what waits, as long as nobody says that it may
// end.
func (s *Server) nothingWaits(ctx context.Context, st *tenant.State, who caller, t *tenant.Tenant) error {
	counts, missing := s.countsOf(ctx, st, who, t)
	if len(missing) > 0 {
		return problem(http.StatusServiceUnavailable, "try again when it runs, or give --purge",
			"node %s owns tenant %q and does not say whether mail waits", missing[0], t.Name)
	}
	if n := counts[t.ID].Messages; n > 0 {
		return problem(http.StatusConflict, "let the mail leave, or give --purge: it ends, and nobody is told",
			"tenant %q has %s in the queue", t.Name, messages(n))
	}
	return nil
}

func viewErasure(st *tenant.State, x *tenant.Erasure) Erasure {
	v := Erasure{Tenant: x.Name, ID: uint64(x.Tenant), At: x.At, Left: []string{}, Done: instant(x.Done)}
	for _, id := range x.Left {
		v.Left = append(v.Left, nodeName(st, id))
	}
	return v
}
