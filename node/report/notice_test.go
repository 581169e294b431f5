package report

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"postern/tenant"
)

// The operator reads what happened and what to do; a tenant reads what it means
// for its own mail, and nothing of others or of how it was found out.
func TestNotice(t *testing.T) {
	x := newScene(t)
	shoes, garden := "boss@shoes.test", "boss@garden.test"
	x.do(tenant.SetAccount{Account: 1, Reference: &shoes}, tenant.SetAccount{Account: 2, Reference: &garden},
		tenant.SetNotices{Notices: tenant.Notices{Operators: []string{"ops@a.test"}, From: "p@relay.test", Smarthost: "mx.test:25", Tenants: true, Webhook: "https://h.test/", SealedSecret: []byte("s")}})
	x.do(tenant.AddEvidence{Account: 1, Source: 1, Note: "a trap"}, tenant.Used{Node: 1, Uses: []tenant.Use{{Account: 1, Source: 1, At: x.at, Counts: tenant.Counts{Tried: 900, Unknown: 200}}}})
	x.listed()
	x.do(tenant.Hold{Account: 2, Reason: "unpaid"})
	told := map[string]Message{}
	for n := range x.s.Outbox() {
		m := Notice(x.s, n)
		told[n.To+" "+n.Act] = m
		if n.Tenant == 0 {
			continue
		}
		for _, word := range []string{"127.77", "192.0.2", "198.51.100", "case", "evidence", "trap", "n1", "n2", map[string]string{shoes: "garden", garden: "shoes"}[n.To]} {
			if strings.Contains(m.Subject+m.Body, word) {
				t.Errorf("%s is told %q:\n%s", n.To, word, m.Body)
			}
		}
	}
	has(t, told["ops@a.test case"].Body, "sum 100 = zen.test 100", "garden waits: it has no backup", "To do next:", "postern listing show 192.0.2.10", "Journal entry")
	has(t, told[shoes+" hold"].Body, "Sending by account news@shoes.test of tenant shoes was stopped", "contact us")
	has(t, told[shoes+" move"].Subject, "another server")
	has(t, told[garden+" wait"].Body, "Nothing is\nlost")
	has(t, told[garden+" hold"].Body, "Reason: unpaid")

	for n := range x.s.Outbox() {
		id, body, err := Webhook(x.s, n)
		if err != nil || id != Notice(x.s, n).ID {
			t.Fatalf("%s, %v", id, err)
		}
		var p Payload
		if err := json.Unmarshal(body, &p); err != nil || p.Act != n.Act || p.Hash == "" || p.Seq != n.Entry {
			t.Errorf("the webhook of %s %s: %s, %v", n.Act, n.Subject, body, err)
		}
	}
	// The same notice has the same id later; no two have one.
	ids := map[string]bool{}
	for n := range x.s.Outbox() {
		id := Notice(x.s, n).ID
		if ids[id] {
			t.Errorf("two notices are %s", id)
		}
		ids[id] = true
	}
	x.at = x.at.Add(time.Hour)
	x.do(tenant.Review{})
	for n := range x.s.Outbox() {
		if id := Notice(x.s, n).ID; n.At.Before(x.at) && !ids[id] {
			t.Errorf("%s has another id now", id)
		}
	}
}
