package admin

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

func newPair(t *testing.T, token string) (*world, *Client) {
	t.Helper()
	w := newWorld(t)
	srv := httptest.NewServer(newServer(t, w))
	t.Cleanup(srv.Close)
	c, err := NewClient(srv.URL, token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return w, c
}

// Every call of the client against the real server.
func TestClientCalls(t *testing.T) {
	_, c := newPair(t, operatorToken)
	ctx := t.Context()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	n, err := c.AddNode(ctx, NewNode{Name: "n2"})
	must("add node", err)
	if n.Name != "n2" || n.ID == 0 {
		t.Errorf("%+v", n)
	}
	nodes, err := c.Nodes(ctx, List{})
	must("nodes", err)
	if len(nodes.Items) != 2 || !nodes.Items[0].Self {
		t.Errorf("%+v", nodes)
	}
	_, err = c.AddSource(ctx, NewSource{Node: "n2", Addr: "2001:db8::1", EHLO: "six.relay.test"})
	must("add source", err)
	src, err := c.Sources(ctx, "n2", List{Limit: 10})
	must("sources", err)
	if len(src.Items) != 1 || src.Items[0].Addr != "2001:db8::1" {
		t.Errorf("%+v", src)
	}
	tn, err := c.AddTenant(ctx, NewTenant{Name: "cyan", Hostname: "cyan.relay.test", Home: Place{Node: "n2", Source: "2001:db8::1"}, Backup: &Place{Node: "n1"}})
	must("add tenant", err)
	if tn.Owner != "n2" || tn.Backup == nil || tn.State != "sending" {
		t.Errorf("%+v", tn)
	}
	_, err = c.PlaceTenant(ctx, "cyan", SetPlace{Home: Place{Node: "n1"}, Backup: &Place{Node: "n2", Source: "2001:db8::1"}})
	must("place", err)
	d, err := c.SetDomain(ctx, "cyan", "cyan.example", SetDomain{Selector: "s1", Key: "PEM"})
	must("set domain", err)
	if d.Record == "" || len(d.Warnings) != 1 {
		t.Errorf("%+v", d)
	}
	ds, err := c.Domains(ctx, "cyan", List{})
	must("domains", err)
	if len(ds.Items) != 1 || ds.Items[0].Selector != "s1" {
		t.Errorf("%+v", ds)
	}
	must("remove domain", c.RemoveDomain(ctx, "cyan", "cyan.example"))
	cr, err := c.AddAccount(ctx, NewAccount{Tenant: "cyan", Username: "a+b/c@cyan.example", Class: "bulk", Plan: Plan{MailsPerMonth: 9000}, Networks: []string{"127.0.0.0/8"}})
	must("add account", err)
	if len(cr.Password) < 26 || cr.Account.Class != "bulk" || cr.Account.Plan.MailsPerMonth != 9000 {
		t.Errorf("%+v", cr)
	}
	more := uint64(10000)
	a, err := c.SetAccount(ctx, "a+b/c@cyan.example", SetAccount{Plan: &SetPlan{BytesPerMonth: &more}})
	must("set account", err)
	if a.Plan.BytesPerMonth != 10000 || a.Plan.MailsPerMonth != 9000 {
		t.Errorf("%+v", a)
	}
	again, err := c.MakePassword(ctx, "a+b/c@cyan.example")
	must("password", err)
	if again.Password == cr.Password {
		t.Error("the same password")
	}
	a, err = c.HoldAccount(ctx, "a+b/c@cyan.example", "dirty list")
	must("hold account", err)
	if a.State != "held" {
		t.Errorf("%+v", a)
	}
	_, err = c.HoldAccount(ctx, "a+b/c@cyan.example", "")
	must("release account", err)
	_, err = c.Account(ctx, "a+b/c@cyan.example")
	must("account", err)
	as, err := c.Accounts(ctx, "cyan", List{})
	must("accounts", err)
	if len(as.Items) != 1 {
		t.Errorf("%+v", as)
	}
	must("remove account", c.RemoveAccount(ctx, "a+b/c@cyan.example"))
	tok, err := c.MakeToken(ctx, "cyan")
	must("token", err)
	if len(tok.Token) < 26 {
		t.Errorf("%+v", tok)
	}
	must("remove token", c.RemoveToken(ctx, "cyan"))
	tn, err = c.HoldTenant(ctx, "cyan", "spam")
	must("hold", err)
	if tn.State != "held" || tn.Held != "spam" {
		t.Errorf("%+v", tn)
	}
	_, err = c.HoldTenant(ctx, "cyan", "")
	must("release", err)
	tn, err = c.PauseTenant(ctx, "cyan", "moving")
	must("pause", err)
	if tn.State != "paused" {
		t.Errorf("%+v", tn)
	}
	_, err = c.PauseTenant(ctx, "cyan", "")
	must("resume", err)
	ts, err := c.Tenants(ctx, List{Limit: 2})
	must("tenants", err)
	if ts.Next != "blue" {
		t.Errorf("%+v", ts)
	}
	must("remove tenant", c.RemoveTenant(ctx, "cyan"))
	must("remove source", c.RemoveSource(ctx, "2001:db8::1"))
	_, err = c.SetRoute(ctx, "*", SetRoute{Host: "smart.example"})
	must("set route", err)
	rs, err := c.Routes(ctx, List{})
	must("routes", err)
	if len(rs.Items) != 2 || rs.Items[0] != (Route{Domain: "*", Host: "smart.example", Port: 25}) {
		t.Errorf("%+v", rs)
	}
	must("remove route", c.RemoveRoute(ctx, "*"))
	us, err := c.Usage(ctx, "acme", "", List{})
	must("usage", err)
	if len(us.Items) == 0 || us.Items[0].MailsLimit != 100 {
		t.Errorf("%+v", us)
	}
	q, err := c.Queue(ctx, Match{Account: "info@acme.example"}, List{})
	must("queue", err)
	if len(q.Items) != 1 || q.Items[0].ID != idA {
		t.Errorf("%+v", q)
	}
	_, err = c.Message(ctx, idA)
	must("message", err)
	tr, err := c.Trace(ctx, idA)
	must("trace", err)
	if tr.ID != idA {
		t.Errorf("%+v", tr)
	}
	if f, err := c.Flush(ctx, Match{}); err != nil || f.Count != 2 {
		t.Errorf("flush %+v %v", f, err)
	}
	must("cancel", c.Cancel(ctx, idA))
	if p, err := c.Purge(ctx, Match{Domain: "blue-dest.test"}); err != nil || p.Count != 1 {
		t.Errorf("purge %+v %v", p, err)
	}
	st, err := c.Status(ctx)
	must("status", err)
	if !st.Ready || st.Role != "operator" {
		t.Errorf("%+v", st)
	}
	var p *Problem
	if _, err := c.Tenant(ctx, "nobody"); !errors.As(err, &p) || p.Status != 404 {
		t.Errorf("%v", err)
	}
}

// A change whose outcome is unknown is asked again under the same key.
func TestClientRepeatsWithOneKey(t *testing.T) {
	var mu sync.Mutex
	keys := map[string]int{}
	real := newServer(t, newWorld(t))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		keys[r.Header.Get("Idempotency-Key")]++
		n := len(keys) * keys[r.Header.Get("Idempotency-Key")]
		mu.Unlock()
		if n == 1 {
			real.writeProblem(w, problem(503, "", "no answer in time"))
			return
		}
		real.ServeHTTP(w, r)
	}))
	defer srv.Close()
	c, err := NewClient(srv.URL, operatorToken)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.AddNode(t.Context(), NewNode{Name: "n2"}); err != nil {
		t.Fatal(err)
	}
	if len(keys) != 1 || keys[""] != 0 {
		t.Fatalf("keys %v", keys)
	}
}

func TestClientFaults(t *testing.T) {
	for _, base := range []string{"", "ftp://x", "http://", "http://user:pw@x", "::"} {
		if _, err := NewClient(base, "t"); err == nil {
			t.Errorf("%q is taken", base)
		}
	}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the token went elsewhere: %v", r.Header)
	}))
	defer elsewhere.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/status" {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
			return
		}
		http.Error(w, "<html>a proxy", http.StatusBadGateway)
	}))
	c, err := NewClient(srv.URL, "t")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var p *Problem
	if _, err := c.Status(t.Context()); !errors.As(err, &p) || p.Status != 307 {
		t.Errorf("redirect: %v", err)
	}
	if _, err := c.Nodes(t.Context(), List{}); !errors.As(err, &p) || p.Status != 502 || strings.Contains(err.Error(), "<") {
		t.Errorf("foreign page: %v", err)
	}
	srv.Close()
	var gone *Unreachable
	if err := c.RemoveRoute(t.Context(), "x"); !errors.As(err, &gone) {
		t.Errorf("nobody there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Cancel(ctx, "1"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
