package admin

import (
	"context"
	"net/http"

	"postern/tenant"
)

func (s *Server) domainRoutes() {
	type list struct {
		OfTenant
		Paged
	}
	register(s, in{verb: http.MethodGet, path: "/v1/tenants/{tenant}/domains", id: "list-domains", tag: "domain", access: tenantToo,
		does: "List a tenant's sender domains"},
		func(_ context.Context, who caller, i *list) (*out[Page[Domain]], error) {
			st := s.cfg.State()
			t, err := findTenant(st, who, i.Tenant)
			if err != nil {
				return nil, err
			}
			var all []Domain
			for d := range st.DomainsOf(t.ID) {
				all = append(all, Domain{Name: d.Name, Tenant: t.Name, Selector: d.Selector, Bounce: st.BounceName(d.Name)})
			}
			return reply(cut(all, i.Paged, func(d Domain) string { return d.Name }, byText)), nil
		})
	type put struct {
		ToTenant
		Domain string `path:"domain" minLength:"1" maxLength:"253"`
		Body   SetDomain
	}
	register(s, in{verb: http.MethodPut, path: "/v1/tenants/{tenant}/domains/{domain}", id: "set-domain", tag: "domain",
		does: "Prove a sender domain by the operator's word; set or clear its DKIM key"},
		func(ctx context.Context, who caller, i *put) (*out[Domain], error) {
			return s.setDomain(ctx, who, i.ToTenant, i.Domain, i.Body)
		})
	type bounce struct {
		ToTenant
		Domain string `path:"domain" minLength:"1" maxLength:"253"`
		Body   SetBounce
	}
	register(s, in{verb: http.MethodPut, path: "/v1/tenants/{tenant}/domains/{domain}/bounce", id: "set-bounce", tag: "domain",
		does: "Name the subdomain that bounces of a sender domain's mail come back to"},
		func(ctx context.Context, who caller, i *bounce) (*out[Domain], error) {
			st := s.cfg.State()
			t, err := findTenant(st, who, i.Tenant)
			if err != nil {
				return nil, err
			}
			d := st.Domain(i.Domain)
			if d == nil || d.Tenant != t.ID {
				return nil, absent("domain", i.Domain)
			}
			if i.Body.Bounce != "" || st.BounceName(d.Name) != "" {
				if _, st, err = s.propose(ctx, i.Keyed, tenant.SetBounce{Domain: d.Name, Name: i.Body.Bounce}); err != nil {
					return nil, err
				}
			}
			return reply(Domain{Name: d.Name, Tenant: t.Name, Selector: d.Selector, Bounce: st.BounceName(d.Name)}), nil
		})
	type remove struct {
		ToTenant
		Domain string `path:"domain" minLength:"1" maxLength:"253"`
	}
	register(s, in{verb: http.MethodDelete, path: "/v1/tenants/{tenant}/domains/{domain}", id: "remove-domain", tag: "domain",
		status: http.StatusNoContent, does: "Take back a sender domain"},
		func(ctx context.Context, who caller, i *remove) (*none, error) {
			st := s.cfg.State()
			t, err := findTenant(st, who, i.Tenant)
			if err != nil {
				return nil, err
			}
			if d := st.Domain(i.Domain); d == nil || d.Tenant != t.ID {
				return nil, absent("domain", i.Domain)
			}
			_, _, err = s.propose(ctx, i.Keyed, tenant.RemoveDomain{Name: i.Domain})
			return nil, err
		})
}

func (s *Server) setDomain(ctx context.Context, who caller, i ToTenant, name string, b SetDomain) (*out[Domain], error) {
	t, err := findTenant(s.cfg.State(), who, i.Tenant)
	if err != nil {
		return nil, err
	}
	if (b.Selector == "") != (b.Key == "") {
		return nil, badField("body.selector", "give both, or none for a domain without DKIM", "selector and key go together")
	}
	var sealed Sealed
	if b.Key != "" {
		if s.cfg.Seal == nil {
			return nil, problem(http.StatusConflict, "set secret_key_file in the configuration", "this node cannot keep keys")
		}
		if sealed, err = s.cfg.Seal(name, b.Selector, []byte(b.Key)); err != nil {
			return nil, badField("body.key", "give a PEM private key: RSA of 1024 bits at least (better 2048), or Ed25519", "%s", err)
		}
	}
	_, st, err := s.propose(ctx, i.Keyed, tenant.SetDomain{Tenant: t.ID, Name: name, Selector: b.Selector, SealedKey: sealed.Bytes})
	if err != nil {
		return nil, err
	}
	v := Domain{Name: name, Tenant: t.Name, Selector: b.Selector, Record: sealed.Record, Warnings: sealed.Warnings, Bounce: st.BounceName(name)}
	if d := st.Domain(name); d != nil {
		v.Name = d.Name
	}
	return reply(v), nil
}
