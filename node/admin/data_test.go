package admin

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"postern/tenant"
)

// TestDataKnown: what is weighed of a tenant's accounts is told it, and nothing
// of another's.
func TestDataKnown(t *testing.T) {
	w := newWorld(t)
	s := newServer(t, w)
	now := time.Now().UTC()
	ids := map[string]tenant.AccountID{}
	for _, name := range []string{"acme", "blue"} {
		for a := range w.st.AccountsOf(w.st.TenantByName(name).ID) {
			ids[name] = a.ID
		}
	}
	ops := []tenant.Op{tenant.SetContain{Contain: tenant.Contain{Mode: tenant.AutomationOn, Rule: tenant.DefaultContainRule()}}}
	for name, id := range ids {
		ops = append(ops,
			tenant.AddEvidence{Account: id, Source: 1, Note: "a report of " + name},
			tenant.Heard{Node: 1, Echoes: []tenant.Echo{{Account: id, Kind: tenant.EchoComplaint, Ref: uint64(id)<<8 + 1, At: now}}},
			tenant.Linked{Node: 1, Links: []tenant.Link{{Account: id, Domain: "shop-of-" + name + ".test", At: now}}})
	}
	for _, op := range ops {
		if _, _, err := w.Propose(t.Context(), tenant.RequestID{}, op); err != nil {
			t.Fatalf("%T: %v", op, err)
		}
	}
	rec := tell(s, operatorToken, "GET", "/v1/tenants/acme/data", "")
	if rec.Code != http.StatusOK {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	for _, want := range []string{`"kind":"known"`, "a report of acme", `"source":"192.0.2.10"`, `"kind":"complaint"`, "shop-of-acme.test"} {
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("%q is not in it", want)
		}
	}
	for _, other := range []string{"a report of blue", "shop-of-blue.test"} {
		if strings.Contains(rec.Body.String(), other) {
			t.Errorf("%q of another tenant is in it", other)
		}
	}
}
