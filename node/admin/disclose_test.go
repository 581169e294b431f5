package admin

import (
	"errors"
	"net/http"
	"testing"

	"postern/tenant"
)

// TestDisclosed: what is secret is in the journal before it is given out, and
// what the journal does not take is not given out.
func TestDisclosed(t *testing.T) {
	w := newWorld(t)
	s := newServer(t, w)
	last := func() (e tenant.Entry) {
		for x := range w.State().Journal() {
			e = *x
		}
		return e
	}
	for _, c := range []struct {
		path, subject, why string
	}{
		{"/v1/export", "", ""},
		{"/v1/export?passwords=true", "the cluster", "hashes of passwords"},
		{"/v1/export?secrets=true&tenant=acme", "tenant acme", "hashes of passwords and private DKIM keys"},
		{"/v1/tenants/acme/data", "tenant acme", "all that is kept of it, with its mail"},
		{"/v1/backup", "the cluster", "a backup of the state"},
	} {
		before := last()
		if rec := tell(s, operatorToken, "GET", c.path, ""); rec.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", c.path, rec.Code, rec.Body)
		}
		e := last()
		if c.subject == "" {
			if e.Seq != before.Seq {
				t.Errorf("%s: %+v", c.path, e)
			}
			continue
		}
		if e.Seq != before.Seq+1 || e.Act != "give out" || e.Subject != c.subject || e.Why != c.why || e.Actor != "operator" {
			t.Errorf("%s: %+v, want %s: %s", c.path, e, c.subject, c.why)
		}
		w.propose = errors.New("nobody leads")
		if rec := tell(s, operatorToken, "GET", c.path, ""); rec.Code == http.StatusOK {
			t.Errorf("%s without a journal: %d", c.path, rec.Code)
		}
		w.propose = nil
	}
}
