package admin

import (
	"context"
	"net/http"
)

// Retention shows for how long personal data is kept.
func (c *Client) Retention(ctx context.Context) (Retention, error) {
	return ask[Retention](ctx, c, http.MethodGet, path("retention"), nil)
}

// SetRetention says for how many days a class is kept; 0 is for ever.
func (c *Client) SetRetention(ctx context.Context, class string, days uint32) (Retention, error) {
	return ask[Retention](ctx, c, http.MethodPut, path("retention", class), SetRetention{Days: days})
}

// EraseTenant removes a tenant and all that is kept of it from every node.
func (c *Client) EraseTenant(ctx context.Context, name string, e Erase) (Erasure, error) {
	return ask[Erasure](ctx, c, http.MethodPost, path("tenants", name, "erase"), e)
}

// Erasures lists tenants that were erased.
func (c *Client) Erasures(ctx context.Context) (Page[Erasure], error) {
	return ask[Page[Erasure]](ctx, c, http.MethodGet, path("erasures"), nil)
}
