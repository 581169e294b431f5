package admin

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"postern/tenant"
)

// A banned customer does not come back by any of its names; the operator's word
// overrides, and the journal says so.
func TestBannedCustomer(t *testing.T) {
	w := newWorld(t)
	srv := httptest.NewServer(newServer(t, w))
	defer srv.Close()
	client := func() *Client {
		c, err := NewClient(srv.URL, operatorToken)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	c, ctx := client(), context.Background()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.SetCustomer(ctx, "acme", "C-4711")
	ok(err)
	ref := "Boss+relay@freemail.example"
	_, err = c.SetAccount(ctx, "info@acme.example", SetAccount{Reference: &ref})
	ok(err)
	b, err := c.BanTenant(ctx, "acme", "neglect")
	ok(err)
	if b.Marks["domain"] != 1 || b.Marks["address"] != 2 || b.Marks["customer id"] != 1 || b.Marks["name"] != 1 || b.Marks["host name"] != 1 || b.Tenant != "acme" {
		t.Errorf("the ban is %+v", b)
	}
	if x, err := c.Tenant(ctx, "acme"); err != nil || !x.Closed || x.State != "held" || x.Mend != "" || x.Customer != "C-4711" {
		t.Errorf("the tenant is %+v, %v", x, err)
	}
	if _, err := c.HoldTenant(ctx, "acme", ""); err == nil || !strings.Contains(err.Error(), "closed for ever") {
		t.Errorf("a release: %v", err)
	}
	n1 := Place{Node: "n1"}
	for name, try := range map[string]func(c *Client) error{
		"customer": func(c *Client) error {
			_, err := c.AddTenant(ctx, NewTenant{Name: "cyan", Hostname: "cyan.relay.test", Home: n1, Customer: " c-4711 "})
			return err
		},
		"host name": func(c *Client) error {
			_, err := c.AddTenant(ctx, NewTenant{Name: "cyan", Hostname: "acme.relay.test", Home: n1})
			return err
		},
		"domain": func(c *Client) error {
			_, err := c.SetDomain(ctx, "blue", "mail.acme.example", SetDomain{})
			return err
		},
		"number": func(c *Client) error { _, err := c.SetCustomer(ctx, "blue", "C-4711"); return err },
		"username": func(c *Client) error {
			_, err := c.AddAccount(ctx, NewAccount{Tenant: "blue", Username: "x@acme.example"})
			return err
		},
		"reference": func(c *Client) error {
			_, err := c.AddAccount(ctx, NewAccount{Tenant: "blue", Username: "y@blue.example", Reference: "boss@FREEMAIL.example"})
			return err
		},
		"other reference": func(c *Client) error {
			r := "boss+2@freemail.example"
			_, err := c.SetAccount(ctx, "info@blue.example", SetAccount{Reference: &r})
			return err
		},
	} {
		if err := try(c); err == nil || !strings.Contains(err.Error(), "banned") && name != "host name" {
			t.Errorf("by its %s it comes back: %v", name, err)
		}
	}
	if w.State().TenantByName("cyan") != nil {
		t.Error("a refused customer left a tenant behind")
	}
	// Its neighbours at the free provider, and its parent domain, are not it.
	_, err = c.AddAccount(ctx, NewAccount{Tenant: "blue", Username: "z@blue.example", Reference: "other@freemail.example"})
	ok(err)
	_, err = c.SetDomain(ctx, "blue", "lime.example", SetDomain{})
	ok(err)

	over := client()
	over.OverrideBan()
	x, err := over.AddTenant(ctx, NewTenant{Name: "cyan", Hostname: "cyan.relay.test", Home: n1, Customer: "C-4711"})
	ok(err)
	if x.Customer != "C-4711" {
		t.Errorf("the customer of %+v", x)
	}
	var acts []string
	for e := range w.State().Journal() {
		acts = append(acts, e.Act)
	}
	if text := strings.Join(acts, " "); !strings.Contains(text, "ban") || !strings.Contains(text, "override add override set") && !strings.Contains(text, "add override set override") {
		t.Errorf("the journal says %s", text)
	}
	ok(c.LiftBan(ctx, b.ID))
	_, err = c.SetDomain(ctx, "blue", "mail.acme.example", SetDomain{})
	ok(err)
	if err := c.LiftBan(ctx, b.ID); err == nil {
		t.Error("a ban is lifted twice")
	}
}

func TestMarksOf(t *testing.T) {
	s := newServer(t, newWorld(t))
	deep := strings.Repeat("a.", 60) + "example"
	if n := len(s.domainMarks(deep)); n != maxLabels {
		t.Errorf("%d marks of a deep domain", n)
	}
	for _, address := range []string{"", "@", "x", "x@", strings.Repeat("@", 300)} {
		s.addressMarks(address) // must not fail
	}
	for in, want := range map[string]string{"A+b@X.example": "a@x.example", "+t@x.example": "@x.example", "none": "none", "a@b+c": "a@b+c"} {
		if got := bareAddress(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
	if len(s.marksOf(tenant.Review{})) != 0 {
		t.Error("a review names somebody")
	}
}
