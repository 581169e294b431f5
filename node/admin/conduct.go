package admin

import (
	"context"
	"net/http"

	"postern/tenant"
)

// Conduct is what differs for a tenant when something is listed.
type Conduct struct {
	Automation string `json:"automation,omitempty" enum:"on,shadow,off" doc:"The stricter of this and the cluster's counts; absent: the cluster's"`
	OnListing  string `json:"on_listing,omitempty" enum:"move,wait,stay" doc:"move: to its backup; wait: two hours, then on by what is clean at its place; stay: on by that; absent: the cluster's"`
	Probation  bool   `json:"probation,omitempty" doc:"It leaves by the members of pools that are for probation, where there are some"`
}

// PoolClass is what a shared source carries.
type PoolClass struct {
	Class string `json:"class" enum:"mixed,transactional,bulk,probation"`
}

func (s *Server) conductRoutes() {
	type set struct {
		ToTenant
		Body Conduct
	}
	register(s, in{verb: http.MethodPut, path: "/v1/tenants/{tenant}/conduct", id: "set-conduct", tag: "tenant",
		does: "Say what differs for a tenant when something is listed; what is absent is as in the cluster"},
		func(ctx context.Context, who caller, i *set) (*out[Tenant], error) {
			t, err := findTenant(s.cfg.State(), who, i.Tenant)
			if err != nil {
				return nil, err
			}
			c, err := readConduct(i.Body)
			if err != nil {
				return nil, s.fail(ctx, "read conduct", err)
			}
			c.Tenant = t.ID
			return s.changeTenant(ctx, i.Keyed, t, tenant.SetConduct{Conduct: c})
		})
	type pool struct {
		ToSource
		Body PoolClass
	}
	register(s, in{verb: http.MethodPut, path: "/v1/sources/{addr}/pool", id: "set-pool", tag: "source", does: "Say what a shared source carries"},
		func(ctx context.Context, _ caller, i *pool) (*out[Source], error) {
			x := sourceByText(s.cfg.State(), i.Addr)
			if x == nil {
				return nil, absent("source", i.Addr)
			}
			class, err := tenant.ParsePoolClass(i.Body.Class)
			if err != nil {
				return nil, s.fail(ctx, "read class of a pool", err)
			}
			_, st, err := s.propose(ctx, i.Keyed, tenant.SetPool{Source: x.ID, Class: class})
			if err != nil {
				return nil, err
			}
			return reply(viewSource(st, x)), nil
		})
}

func readConduct(b Conduct) (c tenant.Conduct, err error) {
	c.Probation = b.Probation
	if b.Automation != "" {
		if c.Automation, err = tenant.ParseAutomation(b.Automation); err != nil {
			return c, err
		}
	}
	if b.OnListing != "" {
		c.OnListing, err = tenant.ParseOnListing(b.OnListing)
	}
	return c, err
}

// viewConduct is nil for a tenant that has nothing of its own.
func viewConduct(c tenant.Conduct) *Conduct {
	if c == (tenant.Conduct{Tenant: c.Tenant}) {
		return nil
	}
	return &Conduct{Automation: c.Automation.String(), OnListing: c.OnListing.String(), Probation: c.Probation}
}

// SetConduct says what differs for a tenant when something is listed.
func (c *Client) SetConduct(ctx context.Context, name string, b Conduct) (Tenant, error) {
	return ask[Tenant](ctx, c, http.MethodPut, path("tenants", name, "conduct"), b)
}

// SetPool says what a shared source carries.
func (c *Client) SetPool(ctx context.Context, addr, class string) (Source, error) {
	return ask[Source](ctx, c, http.MethodPut, path("sources", addr, "pool"), PoolClass{Class: class})
}
