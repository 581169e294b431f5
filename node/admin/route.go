package admin

import (
	"context"
	"net/http"

	"postern/tenant"
)

func (s *Server) routeRoutes() {
	type list struct{ Paged }
	register(s, in{verb: http.MethodGet, path: "/v1/routes", id: "list-routes", tag: "route", does: "List the static routes"},
		func(_ context.Context, _ caller, i *list) (*out[Page[Route]], error) {
			var all []Route
			for r := range s.cfg.State().Routes() {
				all = append(all, Route{Domain: r.Domain, Host: r.Host, Port: r.Port})
			}
			return reply(cut(all, i.Paged, func(r Route) string { return r.Domain }, byText)), nil
		})
	type put struct {
		Keyed
		Domain string `path:"domain" minLength:"1" maxLength:"253"`
		Body   SetRoute
	}
	register(s, in{verb: http.MethodPut, path: "/v1/routes/{domain}", id: "set-route", tag: "route",
		does: "Send a recipient domain's mail to a fixed host; * is every domain without a route"},
		func(ctx context.Context, _ caller, i *put) (*out[Route], error) {
			r := tenant.Route{Domain: i.Domain, Host: i.Body.Host, Port: i.Body.Port}
			if r.Port == 0 {
				r.Port = 25
			}
			if _, _, err := s.propose(ctx, i.Keyed, tenant.SetRoute{Route: r}); err != nil {
				return nil, err
			}
			return reply(Route{Domain: r.Domain, Host: r.Host, Port: r.Port}), nil
		})
	type remove struct {
		Keyed
		Domain string `path:"domain" minLength:"1" maxLength:"253"`
	}
	register(s, in{verb: http.MethodDelete, path: "/v1/routes/{domain}", id: "remove-route", tag: "route",
		status: http.StatusNoContent, does: "Go back to the domain's MX"},
		func(ctx context.Context, _ caller, i *remove) (*none, error) {
			for r := range s.cfg.State().Routes() {
				if r.Domain == i.Domain {
					_, _, err := s.propose(ctx, i.Keyed, tenant.SetRoute{Route: tenant.Route{Domain: i.Domain}})
					return nil, err
				}
			}
			return nil, absent("route", i.Domain)
		})
}
