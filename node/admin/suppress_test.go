package admin

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"postern/tenant"
)

// noList keeps one address of every tenant and one failure.
type noList struct{}

func (noList) Suppressions(_ context.Context, _ tenant.ID, after string, _ int) ([]Suppression, string, error) {
	if after != "" {
		return nil, "", nil
	}
	return []Suppression{{Address: "u@dest.test", Reason: "bounce"}}, "u@dest.test", nil
}
func (noList) Suppress(context.Context, tenant.ID, []SuppressAddress) error { return nil }
func (noList) Unsuppress(_ context.Context, _ tenant.ID, addrs []string) (int, error) {
	return len(addrs), nil
}
func (noList) Failures(_ context.Context, _ tenant.ID, _ tenant.AccountID, from, to time.Time, _ string) ([]Failure, string, error) {
	return []Failure{{Address: from.Format(time.DateOnly) + "@" + to.Format(time.DateOnly)}}, "", nil
}

// TestSuppressionRequests: bounds and months are judged before the log is asked,
// and what an operator changed is in the journal.
func TestSuppressionRequests(t *testing.T) {
	w := newWorld(t)
	s := newServer(t, w)
	const at = "/v1/tenants/acme/suppressions"
	many := `{"addresses":[` + strings.TrimSuffix(strings.Repeat(`{"address":"u@dest.test"},`, 1001), ",") + `]}`
	for _, c := range []struct {
		verb, path, body string
		code             int
		says             string
	}{
		{"GET", at, "", 200, `"next":"u@dest.test"`},
		{"GET", at + "?after=u@dest.test", "", 200, `"items":[]`},
		{"POST", at + "/add", `{"addresses":[]}`, 422, ""},
		{"POST", at + "/add", many, 422, ""},
		{"POST", at + "/add", `{"addresses":[{"address":"nobody"}]}`, 422, "is no address"},
		{"POST", at + "/add", `{"addresses":[{"address":"Jane.Doe@Dest.Test"}]}`, 200, `"count":1`},
		{"POST", at + "/add", `{"addresses":[{"address":"u@dest.test","reason":"bounce"}]}`, 422, ""},
		{"POST", at + "/remove", `{"addresses":[{"address":"u@dest.test"}]}`, 200, `"count":1`},
		{"GET", "/v1/accounts/info@acme.example/failures?month=2026-12", "", 200, "2026-12-01@2027-01-01"},
		{"GET", "/v1/accounts/info@acme.example/failures?month=2026-13", "", 422, "is no month"},
	} {
		rec := tell(s, operatorToken, c.verb, c.path, c.body)
		if rec.Code != c.code || !strings.Contains(rec.Body.String(), c.says) {
			t.Errorf("%s %s: %d %s, want %d %s", c.verb, c.path, rec.Code, rec.Body, c.code, c.says)
		}
	}
	without := w.config()
	without.Suppressions = nil
	bare, err := New(without)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bare.Close() })
	if rec := tell(bare, operatorToken, "GET", at, ""); rec.Code != http.StatusServiceUnavailable {
		t.Errorf("without logs: %d", rec.Code)
	}
}
