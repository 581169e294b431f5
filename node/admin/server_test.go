package admin

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"postern/tenant"
)

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	s := newServer(t, w)
	for _, x := range []struct {
		name, verb, path, body string
		code                   int
		want                   string
	}{
		{"unknown field", "POST", "/v1/nodes", `{"name":"n9","colour":"red"}`, 422, "colour"},
		{"no body", "POST", "/v1/nodes", ``, 400, "body"},
		{"broken body", "POST", "/v1/nodes", `{"name":`, 400, ""},
		{"wrong type", "POST", "/v1/nodes", `{"name":7}`, 422, "name"},
		{"too large", "POST", "/v1/nodes", `{"name":"` + strings.Repeat("x", maxBody) + `"}`, 413, ""},
		{"deep", "POST", "/v1/nodes", strings.Repeat(`[`, 60000), 400, ""},
		{"refused by the core", "POST", "/v1/nodes", `{"name":"n1"}`, 409, "n1"},
		{"no such node", "POST", "/v1/tenants", `{"name":"x","hostname":"x.relay.test","home":{"node":"n7"}}`, 422, "node list"},
		{"no such source", "POST", "/v1/tenants", `{"name":"x","hostname":"x.relay.test","home":{"node":"n1","source":"192.0.2.200"}}`, 422, "source list"},
		{"no address", "POST", "/v1/sources", `{"node":"n1","addr":"nonsense","ehlo":"a.b"}`, 422, "address"},
		{"no network", "POST", "/v1/accounts", `{"tenant":"acme","username":"z@acme.example","networks":["x/99"]}`, 422, "192.0.2.0/24"},
		{"selector alone", "PUT", "/v1/tenants/acme/domains/acme.example", `{"selector":"s"}`, 422, "go together"},
		{"bad key", "PUT", "/v1/tenants/acme/domains/acme.example", `{"selector":"s","key":"x"}`, 422, "PEM"},
		{"domain of another", "DELETE", "/v1/tenants/acme/domains/blue.example", ``, 404, "blue.example"},
		{"no route", "DELETE", "/v1/routes/nowhere.example", ``, 404, "nowhere"},
		{"unknown query", "GET", "/v1/queue?nonsense=1", ``, 422, "nonsense"},
		{"limit", "GET", "/v1/queue?limit=100000", ``, 422, "limit"},
		{"tenant with mail", "DELETE", "/v1/tenants/acme", ``, 409, "queue purge --tenant acme"},
		{"source in use", "DELETE", "/v1/sources/192.0.2.10", ``, 409, ""},
		{"no path", "GET", "/v2/everything", ``, 404, "openapi.json"},
		{"id too long", "GET", "/v1/trace/" + strings.Repeat("9", 500), ``, 422, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			rec := tell(s, operatorToken, x.verb, x.path, x.body)
			if rec.Code != x.code || !strings.Contains(rec.Body.String(), x.want) {
				t.Fatalf("%d %s, want %d with %q", rec.Code, rec.Body, x.code, x.want)
			}
			if ct := rec.Header().Get("Content-Type"); ct != "application/problem+json" {
				t.Errorf("content type %q", ct)
			}
			var p Problem
			if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil || p.Status != x.code || p.Error() == "" {
				t.Errorf("problem %+v: %v", p, err)
			}
			if strings.Contains(p.Error(), "\n") {
				t.Errorf("more than one line: %q", p.Error())
			}
		})
	}
}

// What a backend says in its own words stays in the log.
func TestInnerFaultsStayInside(t *testing.T) {
	w := newWorld(t)
	var log strings.Builder
	cfg := w.config()
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"9-9-9", "8-8-8"} {
		log.Reset()
		rec := tell(s, operatorToken, http.MethodGet, "/v1/queue/"+id, "")
		if rec.Code != 500 || strings.Contains(rec.Body.String(), "secret") || !strings.Contains(rec.Body.String(), "internal fault") {
			t.Fatalf("%d %s", rec.Code, rec.Body)
		}
		if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "secret") {
			t.Errorf("not in the log: %s", &log)
		}
	}
	for err, want := range map[error]string{ErrUnavailable: "nothing was done", ErrUnknown: "same Idempotency-Key", context.DeadlineExceeded: "same Idempotency-Key"} {
		w.propose = err
		rec := tell(s, operatorToken, http.MethodPost, "/v1/nodes", `{"name":"n2"}`)
		if rec.Code != 503 || !strings.Contains(rec.Body.String(), want) {
			t.Errorf("%v: %d %s", err, rec.Code, rec.Body)
		}
	}
}

func TestIdempotencyKey(t *testing.T) {
	w := newWorld(t)
	s := newServer(t, w)
	const key, body = "0123456789abcdef0123456789abcdef", `{"tenant":"acme","username":"new@acme.example"}`
	one := tell(s, operatorToken, http.MethodPost, "/v1/accounts", body, "Idempotency-Key", key)
	var c Credential
	if one.Code != 201 || json.Unmarshal(one.Body.Bytes(), &c) != nil || len(c.Password) != 32 {
		t.Fatalf("%d %s", one.Code, one.Body)
	}
	if a := w.State().AccountByUsername("new@acme.example"); a == nil || a.Secret != TokenHash(c.Password) {
		t.Fatal("the password given is not the one kept")
	}
	// The repeat must not show a password that was never stored.
	two := tell(s, operatorToken, http.MethodPost, "/v1/accounts", body, "Idempotency-Key", "01234567-89ab-cdef-0123-456789abcdef")
	if two.Code != 409 || !strings.Contains(two.Body.String(), "postern account password new@acme.example") {
		t.Fatalf("%d %s", two.Code, two.Body)
	}
	for _, k := range []string{"x", "0123", strings.Repeat("z", 32)} {
		if rec := tell(s, operatorToken, http.MethodPost, "/v1/nodes", `{"name":"n3"}`, "Idempotency-Key", k); rec.Code != 422 {
			t.Errorf("key %q: %d", k, rec.Code)
		}
	}
	// Twice the same change is done once and answered the same.
	for range 2 {
		if rec := tell(s, operatorToken, http.MethodPost, "/v1/nodes", `{"name":"n4"}`, "Idempotency-Key", strings.Repeat("a", 32)); rec.Code != 201 {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
	}
}

func TestPages(t *testing.T) {
	w := newWorld(t)
	s := newServer(t, w)
	n := w.State().NodeByName("n1").ID
	for _, name := range []string{"zeta", "cyan", "mint"} {
		if _, _, err := w.Propose(t.Context(), tenant.RequestID{}, tenant.AddTenant{Name: name, Hostname: name + ".relay.test", Home: tenant.Place{Node: n}}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for after, rounds := "", 0; rounds < 10; rounds++ {
		var p Page[Tenant]
		rec := tell(s, operatorToken, http.MethodGet, "/v1/tenants?limit=2&after="+after, "")
		if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		for _, x := range p.Items {
			got = append(got, x.Name)
		}
		if after = p.Next; after == "" {
			break
		}
	}
	if strings.Join(got, " ") != "acme blue cyan mint zeta" {
		t.Fatal(got)
	}
	// What the cursor named may be gone; the order still says where to go on.
	p := cut([]string{"a", "c", "d"}, Paged{After: "b", Limit: 1}, func(s string) string { return s }, byText)
	if len(p.Items) != 1 || p.Items[0] != "c" || p.Next != "c" {
		t.Fatal(p)
	}
}

func TestStatusAndReadiness(t *testing.T) {
	w := newWorld(t)
	s := newServer(t, w)
	if rec := tell(s, "", http.MethodGet, "/healthz", ""); rec.Code != 200 {
		t.Error(rec.Code)
	}
	if rec := tell(s, "", http.MethodGet, "/readyz", ""); rec.Code != 200 {
		t.Error(rec.Code)
	}
	w.reasons = []Reason{{Text: "disk nearly full", Mend: "add space"}}
	if rec := tell(s, "", http.MethodGet, "/readyz", ""); rec.Code != 200 {
		t.Errorf("a care alone makes it unready: %d", rec.Code)
	}
	w.reasons = append(w.reasons, Reason{Text: "no leader", Stops: true})
	rec := tell(s, "", http.MethodGet, "/readyz", "")
	if rec.Code != 503 || rec.Body.String() != "no leader\n" {
		t.Errorf("%d %q", rec.Code, rec.Body)
	}
	if rec := tell(s, operatorToken, http.MethodPut, "/v1/tenants/blue/hold", `{"reason":"spam"}`); rec.Code != 200 {
		t.Fatal(rec.Body)
	}
	var st Status
	if err := json.Unmarshal(tell(s, operatorToken, http.MethodGet, "/v1/status", "").Body.Bytes(), &st); err != nil {
		t.Fatal(err)
	}
	if st.Ready || len(st.Reasons) != 3 || st.Stopped != 1 || st.Queued != 2 || st.Tenants != 2 {
		t.Errorf("%+v", st)
	}
	if err := json.Unmarshal(tell(s, tokenA, http.MethodGet, "/v1/status", "").Body.Bytes(), &st); err != nil {
		t.Fatal(err)
	}
	if st.Tenants != 1 || st.Queued != 1 || st.Stopped != 0 || len(st.Reasons) != 1 || st.Tenant != "acme" {
		t.Errorf("tenant's view %+v", st)
	}
}

func TestMetricsNeedTheOperator(t *testing.T) {
	s := newServer(t, newWorld(t))
	for _, token := range []string{"", tokenA} {
		if rec := tell(s, token, http.MethodGet, "/debug/pprof/cmdline", ""); rec.Code == 200 {
			t.Errorf("profiles are shown to %q", token)
		}
		if rec := tell(s, token, http.MethodGet, "/metrics", ""); rec.Code != 401 {
			t.Errorf("%q: %d", token, rec.Code)
		}
	}
	rec := tell(s, operatorToken, http.MethodGet, "/metrics", "", "Accept", "application/openmetrics-text; version=1.0.0")
	if rec.Code != 200 || !strings.Contains(rec.Body.String(), `postern_accepted_total{tenant="acme"} 1.0`) || !strings.Contains(rec.Body.String(), "# EOF") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

// Run serves both ports and ends with its context, open connections and all.
func TestRun(t *testing.T) {
	cfg := newWorld(t).config()
	var err error
	if cfg.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if cfg.MetricsListener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	client := &http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	for url, want := range map[string]int{
		"http://" + cfg.Listener.Addr().String() + "/healthz":         200,
		"http://" + cfg.Listener.Addr().String() + "/metrics":         401,
		"http://" + cfg.MetricsListener.Addr().String() + "/metrics":  200,
		"http://" + cfg.MetricsListener.Addr().String() + "/v1/nodes": 404,
	} {
		resp, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", url, resp.StatusCode, want)
		}
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Run goes on")
	}
}

func TestNewWantsItsParts(t *testing.T) {
	whole := newWorld(t).config()
	for name, spoil := range map[string]func(*Config){
		"address": func(c *Config) { c.Addr = "" }, "state": func(c *Config) { c.State = nil }, "propose": func(c *Config) { c.Propose = nil },
		"token": func(c *Config) { c.OperatorToken = [32]byte{} }, "mail": func(c *Config) { c.Mail = nil },
	} {
		c := whole
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("New without %s", name)
		}
	}
}
