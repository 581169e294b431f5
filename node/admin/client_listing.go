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

// DomainListings lists the domains that a DNS list has in the words of a node.
func (c *Client) DomainListings(ctx context.Context, l List) (Page[DomainListing], error) {
	return ask[Page[DomainListing]](ctx, c, http.MethodGet, path("domain-listings")+l.query(), nil)
}

// DomainListingOf shows what DNS lists say of a domain.
func (c *Client) DomainListingOf(ctx context.Context, domain string) (DomainListing, error) {
	return ask[DomainListing](ctx, c, http.MethodGet, path("domain-listings", domain), nil)
}

// Drill pretends that a source is listed; tenant "" means for all.
func (c *Client) Drill(ctx context.Context, addr, tenant string) (Case, error) {
	return ask[Case](ctx, c, http.MethodPost, path("listings", addr, "drill"), DrillListing{Tenant: tenant})
}

// Dismiss says that a listing was none, or ends a drill.
func (c *Client) Dismiss(ctx context.Context, addr, reason string) (Case, error) {
	return ask[Case](ctx, c, http.MethodPost, path("listings", addr, "dismiss"), EndListing{Reason: reason})
}

// Cases lists the listings and drills that had consequences.
func (c *Client) Cases(ctx context.Context, l List) (Page[Case], error) {
	return ask[Page[Case]](ctx, c, http.MethodGet, path("cases")+l.query(), nil)
}

// SetAutomation says what may follow from listings by itself; what is empty stays.
func (c *Client) SetAutomation(ctx context.Context, a Automation) (Automation, error) {
	return ask[Automation](ctx, c, http.MethodPut, path("automation"), a)
}

// Automation shows what may follow from listings by itself.
func (c *Client) Automation(ctx context.Context) (Automation, error) {
	return ask[Automation](ctx, c, http.MethodGet, path("automation"), nil)
}

// AddEvidence records what speaks against an account by name.
func (c *Client) AddEvidence(ctx context.Context, username string, e Evidence) error {
	return c.do(ctx, http.MethodPost, path("accounts", username, "evidence"), e, nil)
}

// AskedDelisting notes that a list was asked to take a source off.
func (c *Client) AskedDelisting(ctx context.Context, addr string, a AskDelisting) (Delist, error) {
	return ask[Delist](ctx, c, http.MethodPost, path("listings", addr, "delist"), a)
}
