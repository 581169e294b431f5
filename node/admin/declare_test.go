package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"postern/tenant"
)

// between is a world in which something happens before a batch is carried out.
type between struct {
	*world
	before func(nth int) error
	nth    atomic.Int64
}

func (b *between) Propose(ctx context.Context, req tenant.RequestID, op tenant.Op) ([]tenant.Event, *tenant.State, error) {
	if by, ok := op.(tenant.By); ok {
		if _, ok := by.Op.(tenant.Batch); ok {
			if err := b.before(int(b.nth.Add(1))); err != nil {
				return nil, nil, err
			}
		}
	}
	return b.world.Propose(ctx, req, op)
}

func newBetween(t *testing.T, before func(w *world, nth int) error) (*between, *Client) {
	b := &between{world: newWorld(t)}
	b.before = func(nth int) error { return before(b.world, nth) }
	cfg := b.config()
	cfg.Propose = b.Propose
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	c, err := NewClient(srv.URL, operatorToken)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return b, c
}

func accounts(n int, mails uint64) Apply {
	var all []DeclaredAccount
	for i := range n {
		all = append(all, DeclaredAccount{Address: fmt.Sprintf("u%d@acme.example", i), MailsPerMonth: mails, PasswordSHA256: strings.Repeat("ab", 32)})
	}
	return Apply{Name: "a file", Declaration: Declaration{Tenants: &[]DeclaredTenant{{Name: "acme", Hostname: "acme.relay.test", Home: "n1/192.0.2.10", Accounts: &all}}}}
}

// An operator's word in between is seen: what is declared is compared anew, and
// nothing of either is lost or done twice.
func TestApplyBesideAnother(t *testing.T) {
	b, c := newBetween(t, func(w *world, nth int) error {
		if nth > 2 {
			return nil
		}
		// The ids that the batch counts on are given to others.
		_, _, err := w.Propose(context.Background(), tenant.RequestID{}, tenant.By{Actor: "operator b",
			Op: tenant.AddAccount{Tenant: w.State().TenantByName("blue").ID, Username: fmt.Sprintf("b%d@blue.example", nth)}})
		return err
	})
	got, err := c.Apply(t.Context(), accounts(3, 5))
	if err != nil || !got.Changed || len(got.Operations) != 3 || b.nth.Load() != 3 {
		t.Fatalf("%+v %v after %d batches", got, err, b.nth.Load())
	}
	st := b.State()
	for _, name := range []string{"u0@acme.example", "u2@acme.example", "b1@blue.example", "b2@blue.example"} {
		if st.AccountByUsername(name) == nil {
			t.Errorf("no account %s", name)
		}
	}
	if again, err := c.Apply(t.Context(), accounts(3, 5)); err != nil || again.Changed {
		t.Errorf("again: %+v %v", again, err)
	}
}

// Two declarations at once that want different things: both end, and the state is
// as one of them says throughout.
func TestApplyAtOnce(t *testing.T) {
	b, c := newBetween(t, func(*world, int) error { return nil })
	b.before = func(int) error { return nil }
	if _, err := c.Apply(t.Context(), accounts(20, 5)); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			if _, err := c.Apply(t.Context(), accounts(20, uint64(10+i))); err != nil && !strings.Contains(err.Error(), tenant.Stale) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	want := b.State().AccountByUsername("u0@acme.example").Plan
	for a := range b.State().Accounts() {
		if strings.HasPrefix(a.Username, "u") && a.Plan != want {
			t.Errorf("%s has %+v, u0 %+v", a.Username, a.Plan, want)
		}
	}
}

// When the cluster stops in the middle, what was done is told, and the same
// declaration goes on from there.
func TestApplyBreaksOff(t *testing.T) {
	broken := true
	b, c := newBetween(t, func(_ *world, nth int) error {
		if nth > 1 && broken {
			return &Problem{Status: http.StatusInternalServerError, Title: "x", Detail: "the disk is gone"}
		}
		return nil
	})
	_, err := c.Apply(t.Context(), accounts(450, 5))
	if err == nil || !strings.Contains(err.Error(), "200 changes were done, 250 not: the disk is gone; apply it again") {
		t.Fatal(err)
	}
	broken = false
	got, err := c.Apply(t.Context(), accounts(450, 5))
	if err != nil || len(got.Operations) != 250 || slices.ContainsFunc(got.Operations, func(o Operation) bool { return o.Do != "add" }) {
		t.Fatalf("%d %v", len(got.Operations), err)
	}
	named := 0
	for e := range b.State().Journal() {
		if e.Act == "apply" {
			named++
		}
	}
	if named != 2 {
		t.Errorf("%d entries name an apply, want one each", named)
	}
}

// Bans are asked about what is new, and about nothing else.
func TestApplyBanned(t *testing.T) {
	w := newWorld(t)
	s := newServer(t, w)
	if _, _, err := w.Propose(t.Context(), tenant.RequestID{}, tenant.AddBan{Reason: "neglect", Marks: []tenant.Mark{markOf(tenant.MarkDomain, "spam.example")}}); err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(Apply{Declaration: Declaration{Tenants: &[]DeclaredTenant{{Name: "acme", Hostname: "acme.relay.test", Home: "n1/192.0.2.10", Domains: &[]DeclaredDomain{{Name: "www.spam.example"}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	rec := tell(s, operatorToken, "POST", "/v1/apply", string(body))
	if rec.Code != http.StatusConflict || !strings.Contains(rec.Body.String(), "banned") || !strings.Contains(rec.Body.String(), `"tenants[0].domains[0]"`) {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if rec = tell(s, operatorToken, "POST", "/v1/apply", string(body), headerOverride, "true"); rec.Code != http.StatusOK || w.State().Domain("www.spam.example") == nil {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

// A tenant with mail in its queue does not go.
func TestApplyPruneMail(t *testing.T) {
	w := newWorld(t)
	s := newServer(t, w)
	rec := tell(s, operatorToken, "POST", "/v1/apply", `{"prune":true,"declaration":{"tenants":[]}}`)
	if rec.Code != http.StatusConflict || !strings.Contains(rec.Body.String(), "1 message in the queue") {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	clear(w.mail)
	if rec = tell(s, operatorToken, "POST", "/v1/apply", `{"prune":true,"declaration":{"tenants":[]}}`); rec.Code != http.StatusOK || w.State().TenantByName("acme") != nil {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
}

// A cluster that has just started takes a declaration a moment later.
func TestApplyBeforeJournal(t *testing.T) {
	w := newWorld(t)
	s := newServer(t, w)
	do := func(op tenant.Op) {
		t.Helper()
		if _, _, err := w.Propose(t.Context(), tenant.RequestID{}, op); err != nil {
			t.Fatal(err)
		}
	}
	w.st = tenant.New()
	do(tenant.AddNode{Name: "n1"})
	knows(do, w.st.NodeByName("n1").ID)
	const body = `{"declaration":{"routes":[{"domain":"it.example","host":"mx.example","port":25}]}}`
	if rec := tell(s, operatorToken, "POST", "/v1/apply", body); rec.Code != http.StatusServiceUnavailable || !strings.Contains(rec.Body.String(), "try again in a few seconds") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	do(tenant.OpenJournal{})
	if rec := tell(s, operatorToken, "POST", "/v1/apply", body); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), `"changed":true`) {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}
