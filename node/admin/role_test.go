package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"postern/tenant"
)

// document is the part of the OpenAPI document the tests read.
type document struct {
	OpenAPI string `json:"openapi"`
	Paths   map[string]map[string]struct {
		OperationID string                `json:"operationId"`
		Summary     string                `json:"summary"`
		Security    []map[string][]string `json:"security"`
		Parameters  []struct {
			Name string `json:"name"`
			In   string `json:"in"`
		} `json:"parameters"`
		RequestBody *struct {
			Required bool `json:"required"`
		} `json:"requestBody"`
		Responses map[string]json.RawMessage `json:"responses"`
	} `json:"paths"`
	Components struct {
		Schemas         map[string]json.RawMessage `json:"schemas"`
		SecuritySchemes map[string]json.RawMessage `json:"securitySchemes"`
	} `json:"components"`
}

func readDocument(t *testing.T, s *Server) document {
	t.Helper()
	rec := tell(s, "", http.MethodGet, "/openapi.json", "")
	var d document
	if rec.Code != http.StatusOK {
		t.Fatalf("openapi.json: %d", rec.Code)
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// bodies makes each changing route succeed for the operator. A route that is
// added and needs a body fails the table until it is here.
var bodies = map[string]string{
	"add-node":     `{"name":"n2"}`,
	"add-source":   `{"node":"n1","addr":"192.0.2.50","ehlo":"out-z.relay.test"}`,
	"erase-tenant": `{"purge":true}`, "set-retention": `{"days":10}`,
	"add-tenant":   `{"name":"cyan","hostname":"cyan.relay.test","home":{"node":"n1"}}`,
	"place-tenant": `{"home":{"node":"n1"}}`, "hold-tenant": `{"reason":"r"}`, "pause-tenant": `{"reason":"r"}`,
	"add-account": `{"tenant":"acme","username":"b@acme.example"}`, "set-account": `{"class":"bulk"}`, "hold-account": `{"reason":"r"}`,
	"set-password-hash": `{"hash":"$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"}`, "enrol-source": `{"state":"done"}`,
	"set-lists":      `{"zones":"x"}`,
	"ask-delisting":  `{"zone":"zen.test"}`,
	"apply":          `{"declaration":{}}`,
	"set-notices":    `{"webhook":"https://h.test/","secret":"s"}`,
	"suspend-tenant": `{"class":"billing","reason":"r"}`, "suspend-account": `{"class":"customer","reason":"r"}`,
	"close-tenant": `{"reason":"r"}`, "close-account": `{"reason":"r"}`, "ban-tenant": `{"reason":"r"}`, "add-ban": `{"reason":"r","domains":["x.test"]}`, "set-customer": `{"customer":"7"}`,
	"add-suppressions": `{"addresses":[{"address":"u@dest.test"}]}`, "remove-suppressions": `{"addresses":[{"address":"u@dest.test"}]}`,
	"drill-listing": `{}`, "dismiss-listing": `{"reason":"r"}`, "set-automation": `{"mode":"shadow"}`, "set-conduct": `{"on_listing":"wait","probation":true}`, "set-pool": `{"class":"bulk"}`, "add-evidence": `{"note":"n"}`,
	"make-join-token": `{}`, "maintain-node": `{}`, "set-log-level": `{"level":"debug"}`, "move-tenant": `{"to":"two"}`,
	"undo-import": `{"dry_run":true}`, "set-domain": `{}`, "set-bounce": `{"bounce":""}`, "set-route": `{"host":"192.0.2.7"}`, "flush-queue": `{"tenant":"acme"}`, "purge-queue": `{"tenant":"acme"}`,
}

// objects stand in for path parameters: all of tenant A or the operator's.
var objects = map[string]string{"{tenant}": "acme", "{username}": "info@acme.example", "{addr}": "192.0.2.99", "{node}": "spare", "{id}": idA, "{token}": "0800", "{seq}": "1", "{programme}": "snds", "{class}": "reports"}

func fill(path, id string) string {
	switch id {
	case "set-pool":
		path = strings.ReplaceAll(path, "{addr}", "198.51.100.10") // a shared one
	case "drill-listing":
		path = strings.ReplaceAll(path, "{addr}", "192.0.2.10")
	case "get-log-level", "set-log-level", "end-log-level", "reload-node":
		path = strings.ReplaceAll(path, "{node}", "n1") // the one that is asked
	case "dismiss-listing": // what widen drills
		path = strings.ReplaceAll(path, "{addr}", "192.0.2.11")
	}
	for name, value := range objects {
		path = strings.ReplaceAll(path, name, url.PathEscape(value))
	}
	if id == "get-plan" {
		path += "?loss=n1"
	}
	if id == "export-usage" {
		path += "?month=" + time.Now().UTC().Format(monthLayout)
	}
	domain := "acme.example"
	if strings.HasSuffix(id, "-route") {
		domain = "partner.example"
	}
	return strings.ReplaceAll(path, "{domain}", domain)
}

// Every route of the document x every kind of token. What a route wants is in
// the document; what that must mean is here.
func TestRoles(t *testing.T) {
	doc := readDocument(t, newServer(t, newWorld(t)))
	routes := 0
	for path, verbs := range doc.Paths {
		for verb, op := range verbs {
			routes++
			own := slices.ContainsFunc(op.Security, func(m map[string][]string) bool { _, ok := m[schemeTenant]; return ok })
			for _, who := range []struct{ name, token string }{{"none", ""}, {"wrong", "wrong-token"}, {"tenant A", tokenA}, {"tenant B", tokenB}, {"operator", operatorToken}} {
				t.Run(fmt.Sprintf("%s/%s", op.OperationID, who.name), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					w.widen(t)
					if op.OperationID == "remove-tenant" {
						clear(w.mail) // one with mail in the queue stays
					}
					s := newServer(t, w)
					lists, _ := readZones("x")
					for _, op := range []tenant.Op{lists, tenant.SetNotices{Notices: tenant.Notices{Webhook: "https://h.test/", SealedSecret: []byte("s")}}, tenant.AddBan{Reason: "neglect", Marks: []tenant.Mark{markOf(tenant.MarkDomain, "banned.example")}}} {
						if _, _, err := w.Propose(t.Context(), tenant.RequestID{}, op); err != nil {
							t.Fatal(err)
						}
					}
					if strings.HasPrefix(op.OperationID, "unsuspend-") {
						one := tenant.Suspend{Tenant: w.State().TenantByName("acme").ID, Kind: tenant.SuspendBilling, Reason: "unpaid"}
						if op.OperationID == "unsuspend-account" {
							one.Account = w.State().AccountByUsername("info@acme.example").ID
						}
						if _, _, err := w.Propose(t.Context(), tenant.RequestID{}, one); err != nil {
							t.Fatal(err)
						}
					}
					at := path
					for b := range w.State().Bans() {
						at = strings.ReplaceAll(at, "{ban}", strconv.FormatUint(b.ID, 10))
					}
					rec := tell(s, who.token, strings.ToUpper(verb), fill(at, op.OperationID), bodies[op.OperationID])
					about := strings.Contains(path, "{") || strings.Contains(bodies[op.OperationID], "acme")
					checkRole(t, who.name, own, about, rec.Code, rec.Body.String())
				})
			}
		}
	}
	if routes < 30 {
		t.Fatalf("only %d routes in the document", routes)
	}
}

func checkRole(t *testing.T, who string, own, about bool, code int, body string) {
	t.Helper()
	want := func(ok bool, what string) {
		if !ok {
			t.Errorf("answer %d, want %s: %s", code, what, body)
		}
	}
	switch {
	case who == "none", who == "wrong":
		want(code == http.StatusUnauthorized, "401")
	case who == "operator":
		want(code/100 == 2, "2xx")
	case !own:
		want(code == http.StatusForbidden, "403")
	case who == "tenant A":
		want(code/100 == 2, "2xx")
	case about:
		want(code == http.StatusNotFound, "404")
	default:
		want(code == http.StatusOK, "200")
		if strings.Contains(body, "acme") {
			t.Errorf("tenant B is shown something of A: %s", body)
		}
	}
	if code >= 400 && who != "operator" && (strings.Contains(body, "relay.test") || strings.Contains(body, "acme-dest")) {
		t.Errorf("the refusal tells of the object: %s", body)
	}
}

// What belongs to another tenant and what does not exist get the same answer.
func TestOthersAreAbsent(t *testing.T) {
	s := newServer(t, newWorld(t))
	for _, x := range []struct{ verb, others, nobodys, body string }{
		{"GET", "/v1/tenants/acme", "/v1/tenants/nope", ""},
		{"GET", "/v1/tenants/acme/domains", "/v1/tenants/nope/domains", ""},
		{"GET", "/v1/accounts/info@acme.example", "/v1/accounts/info@nope.example", ""},
		{"GET", "/v1/accounts?tenant=acme", "/v1/accounts?tenant=nope", ""},
		{"GET", "/v1/usage?account=info@acme.example", "/v1/usage?account=info@nope.example", ""},
		{"GET", "/v1/usage?tenant=acme", "/v1/usage?tenant=nope", ""},
		{"GET", "/v1/queue?tenant=acme", "/v1/queue?tenant=nope", ""},
		{"GET", "/v1/queue?account=info@acme.example", "/v1/queue?account=info@nope.example", ""},
		{"GET", "/v1/queue/" + idA, "/v1/queue/7-7-7", ""},
		{"GET", "/v1/trace/" + idA, "/v1/trace/7-7-7", ""},
		{"DELETE", "/v1/queue/" + idA, "/v1/queue/7-7-7", ""},
		{"POST", "/v1/queue/flush", "/v1/queue/flush", `{"tenant":"acme"}`},
		{"POST", "/v1/queue/purge", "/v1/queue/purge", `{"account":"info@acme.example"}`},
	} {
		a := tell(s, tokenB, x.verb, x.others, x.body)
		b := tell(s, tokenB, x.verb, x.nobodys, strings.ReplaceAll(x.body, "acme", "nope"))
		same := strings.NewReplacer("acme", "X", "nope", "X", idA, "X", "7-7-7", "X")
		if a.Code != http.StatusNotFound || a.Code != b.Code || same.Replace(a.Body.String()) != same.Replace(b.Body.String()) {
			t.Errorf("%s %s: %d %s\n%s: %d %s", x.verb, x.others, a.Code, a.Body, x.nobodys, b.Code, b.Body)
		}
	}
}

// A tenant's purge without a filter ends its own mail only.
func TestTenantPurgesItsOwn(t *testing.T) {
	w := newWorld(t)
	s := newServer(t, w)
	rec := tell(s, tokenB, http.MethodPost, "/v1/queue/purge", `{}`)
	if rec.Code != 200 || !strings.Contains(rec.Body.String(), `"count":1`) {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	if w.mail[idA] == nil || w.mail[idB] != nil {
		t.Fatalf("left: %v", w.mail)
	}
}

func TestTokensThatAreNone(t *testing.T) {
	w := newWorld(t)
	s := newServer(t, w)
	for _, h := range []string{"", "Bearer", "Bearer ", "Basic " + operatorToken, operatorToken, "Bearer " + strings.Repeat("x", 2000), "Bearer \x00"} {
		if _, ok := s.identify(h); ok {
			t.Errorf("%q is taken", h)
		}
	}
	if who, ok := s.identify("bearer " + operatorToken); !ok || !who.operator {
		t.Error("the scheme's case matters (RFC 9110 §11.1 says it must not)")
	}
	// A tenant without a token has a zero hash, which no text may match.
	rec := tell(s, operatorToken, http.MethodDelete, "/v1/tenants/acme/token", "")
	if rec.Code != http.StatusNoContent {
		t.Fatal(rec.Code)
	}
	if rec := tell(s, tokenA, http.MethodGet, "/v1/status", ""); rec.Code != http.StatusUnauthorized {
		t.Errorf("an ended token gets %d", rec.Code)
	}
}

func TestDocumentIsWhole(t *testing.T) {
	s := newServer(t, newWorld(t))
	doc := readDocument(t, s)
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("version %q", doc.OpenAPI)
	}
	ids := map[string]bool{}
	for path, verbs := range doc.Paths {
		for verb, op := range verbs {
			if op.OperationID == "" || ids[op.OperationID] || op.Summary == "" || len(op.Responses) < 2 || len(op.Security) == 0 {
				t.Errorf("%s %s: id %q (seen: %t), summary %q, %d answers, security %v", verb, path, op.OperationID, ids[op.OperationID], op.Summary, len(op.Responses), op.Security)
			}
			ids[op.OperationID] = true
			if op.Responses["default"] == nil || !strings.Contains(string(op.Responses["default"]), "application/problem+json") {
				t.Errorf("%s %s does not say how it refuses", verb, path)
			}
			var declared []string
			for _, p := range op.Parameters {
				if p.In == "path" {
					declared = append(declared, "{"+p.Name+"}")
				}
			}
			for part := range strings.SplitSeq(path, "/") {
				if strings.HasPrefix(part, "{") && !slices.Contains(declared, part) {
					t.Errorf("%s %s: %s is not declared", verb, path, part)
				}
			}
			for _, alternative := range op.Security {
				for scheme := range alternative {
					if doc.Components.SecuritySchemes[scheme] == nil {
						t.Errorf("%s %s: no scheme %s", verb, path, scheme)
					}
				}
			}
		}
	}
	raw, err := s.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(raw), `"$ref":"`)[1:] {
		ref, _, _ := strings.Cut(part, `"`)
		if doc.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")] == nil {
			t.Errorf("%s leads nowhere", ref)
		}
	}
}
