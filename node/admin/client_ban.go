package admin

import (
	"context"
	"net/http"
	"strconv"
)

// CloseTenant closes a tenant for ever.
func (c *Client) CloseTenant(ctx context.Context, name, reason string) (Tenant, error) {
	return ask[Tenant](ctx, c, http.MethodPost, path("tenants", name, "close"), Stop{Reason: reason})
}

// CloseAccount closes one account for ever.
func (c *Client) CloseAccount(ctx context.Context, username, reason string) (Account, error) {
	return ask[Account](ctx, c, http.MethodPost, path("accounts", username, "close"), Stop{Reason: reason})
}

// BanTenant closes a tenant for ever and bans its customer.
func (c *Client) BanTenant(ctx context.Context, name, reason string) (Ban, error) {
	return ask[Ban](ctx, c, http.MethodPost, path("tenants", name, "ban"), Stop{Reason: reason})
}

// AddBan bans a customer that is no tenant here.
func (c *Client) AddBan(ctx context.Context, b NewBan) (Ban, error) {
	return ask[Ban](ctx, c, http.MethodPost, path("bans"), b)
}

// Bans lists who is banned.
func (c *Client) Bans(ctx context.Context, l List) (Page[Ban], error) {
	return ask[Page[Ban]](ctx, c, http.MethodGet, path("bans")+l.query(), nil)
}

// LiftBan lifts a ban.
func (c *Client) LiftBan(ctx context.Context, id uint64) error {
	return c.do(ctx, http.MethodDelete, path("bans", strconv.FormatUint(id, 10)), nil, nil)
}

// SetCustomer notes the provider's own number of a tenant; "" forgets it.
func (c *Client) SetCustomer(ctx context.Context, tenant, customer string) (Tenant, error) {
	return ask[Tenant](ctx, c, http.MethodPut, path("tenants", tenant, "customer"), SetCustomer{Customer: customer})
}
