package admin

import (
	"context"
	"net/http"
)

// Notices shows where notices go, and which wait.
func (c *Client) Notices(ctx context.Context) (Notices, error) {
	return ask[Notices](ctx, c, http.MethodGet, path("notices"), nil)
}

// SetNotices says where notices go.
func (c *Client) SetNotices(ctx context.Context, n SetNotices) (Notices, error) {
	return ask[Notices](ctx, c, http.MethodPut, path("notices"), n)
}

// TestNotices sends a notice every way the operator has.
func (c *Client) TestNotices(ctx context.Context) (Notices, error) {
	return ask[Notices](ctx, c, http.MethodPost, path("notices", "test"), nil)
}
