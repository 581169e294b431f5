package admin

import (
	"context"
	"net/http"
)

// SetLists replaces the DNS lists that the cluster believes by a zones file's.
func (c *Client) SetLists(ctx context.Context, l SetLists) (Lists, error) {
	return ask[Lists](ctx, c, http.MethodPut, path("lists"), l)
}

// Lists shows the DNS lists that the cluster believes.
func (c *Client) Lists(ctx context.Context) (Lists, error) {
	return ask[Lists](ctx, c, http.MethodGet, path("lists"), nil)
}

// Listings says how each source stands.
func (c *Client) Listings(ctx context.Context, l List) (Page[Listing], error) {
	return ask[Page[Listing]](ctx, c, http.MethodGet, path("listings")+l.query(), nil)
}

// ListingOf shows how a source stands, with every answer and the sum.
func (c *Client) ListingOf(ctx context.Context, addr string) (ListingDetail, error) {
	return ask[ListingDetail](ctx, c, http.MethodGet, path("listings", addr), nil)
}
