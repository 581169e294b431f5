package admin

import (
	"net/http"
	"strings"
	"testing"

	"postern/tenant"
)

// TestResumeUnread: a pause that waits for a copy that cannot be read is no
// operator's to lift; the answer says what ends it.
func TestResumeUnread(t *testing.T) {
	w := newWorld(t)
	s := newServer(t, w)
	const path = "/v1/tenants/acme/pause"
	put := func(reason string) {
		t.Helper()
		if rec := tell(s, operatorToken, http.MethodPut, path, `{"reason":"`+reason+`"}`); rec.Code != http.StatusOK {
			t.Fatal(rec.Code, rec.Body)
		}
	}
	paused := func() string { return w.State().TenantByName("acme").Paused }
	put("its source moves")
	if rec := tell(s, operatorToken, http.MethodDelete, path, ""); rec.Code != http.StatusOK || paused() != "" {
		t.Fatalf("an operator's pause: %d %s, paused %q", rec.Code, rec.Body, paused())
	}
	put(tenant.WithUnread("its source moves"))
	rec := tell(s, operatorToken, http.MethodDelete, path, "")
	if rec.Code != http.StatusOK || paused() != tenant.ReasonUnread || !strings.Contains(rec.Body.String(), "postern node list") {
		t.Fatalf("both reasons: %d %s, paused %q", rec.Code, rec.Body, paused())
	}
	rec = tell(s, operatorToken, http.MethodDelete, path, "")
	if rec.Code != http.StatusConflict || paused() != tenant.ReasonUnread || !strings.Contains(rec.Body.String(), "postern node list") {
		t.Errorf("only the copy is missing: %d %s, paused %q", rec.Code, rec.Body, paused())
	}
}
