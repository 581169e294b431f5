package admin

import (
	"context"
	"net/http"
)

// TenantDNS says what must be in the DNS for a tenant's mail. include, when not
// empty, is the provider's SPF record that tenants name instead of addresses.
func (c *Client) TenantDNS(ctx context.Context, tenant, include string) (TenantDNS, error) {
	return ask[TenantDNS](ctx, c, http.MethodGet, path("tenants", tenant, "dns")+List{}.query("include", include), nil)
}

// SourcesDNS says what must be in the DNS for all sources.
func (c *Client) SourcesDNS(ctx context.Context, include string) (SourcesDNS, error) {
	return ask[SourcesDNS](ctx, c, http.MethodGet, path("sources", "dns")+List{}.query("include", include), nil)
}

// Subjects lists what can be checked, of one tenant or ("") of all.
func (c *Client) Subjects(ctx context.Context, tenant string) (Subjects, error) {
	return ask[Subjects](ctx, c, http.MethodGet, path("doctor")+List{}.query("tenant", tenant), nil)
}

// CheckSource checks a source's address and names.
func (c *Client) CheckSource(ctx context.Context, addr string) (Checked, error) {
	return ask[Checked](ctx, c, http.MethodGet, path("sources", addr, "doctor"), nil)
}

// CheckDomain checks a sender domain's DNS.
func (c *Client) CheckDomain(ctx context.Context, tenant, domain, include string) (Checked, error) {
	return ask[Checked](ctx, c, http.MethodGet, path("tenants", tenant, "domains", domain, "doctor")+List{}.query("include", include), nil)
}
