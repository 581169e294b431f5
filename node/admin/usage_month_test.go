package admin

import (
	"encoding/csv"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/tenant"
)

// months is a world whose clock is told: use in September, October and November.
func months(t testing.TB) *world {
	t.Helper()
	w := &world{st: tenant.New(), mail: map[string]*Trace{}}
	at := time.Date(2026, 9, 10, 12, 0, 0, 0, time.UTC)
	do := func(op tenant.Op) {
		t.Helper()
		w.index++
		st, _, err := tenant.Apply(w.st, w.index, tenant.Command{At: at, Op: op})
		if err != nil {
			t.Fatalf("%T: %v", op, err)
		}
		w.st = st
	}
	do(tenant.AddNode{Name: "n1"})
	n := w.st.NodeByName("n1").ID
	knows(do, n)
	do(tenant.AddSource{Node: n, Addr: netip.MustParseAddr("192.0.2.11"), EHLO: "out.relay.test", Shared: true})
	for _, name := range []string{"acme", "blue"} {
		do(tenant.AddTenant{Name: name, Hostname: name + ".relay.test", Home: tenant.Place{Node: n}})
		do(tenant.SetToken{Tenant: w.st.TenantByName(name).ID, Hash: TokenHash("token-of-tenant-" + name + "-0123456789")})
	}
	acme, blue := w.st.TenantByName("acme"), w.st.TenantByName("blue")
	do(tenant.AddAccount{Tenant: acme.ID, Username: "=cmd|'/c@acme.example", Plan: tenant.BandwidthPlan(500_000_000)})
	do(tenant.AddAccount{Tenant: acme.ID, Username: "info@acme.example", Plan: tenant.Plan{MailsPerMonth: 9000}})
	do(tenant.AddAccount{Tenant: blue.ID, Username: "info@blue.example"})
	for month := range 3 {
		at = time.Date(2026, time.Month(9+month), 10, 12, 0, 0, 0, time.UTC)
		for a := range w.st.Accounts() {
			want := tenant.Want{Account: a.ID, Window: tenant.WindowAt(tenant.Month, at), Epoch: w.st.Tenant(a.Tenant).Epoch}
			want.Need = tenant.Amount{Mails: 10 * uint64(a.ID), Bytes: 100_000}
			do(tenant.TakeGrant{Node: n, Wants: []tenant.Want{want}})
			want.Spent, want.Need = want.Need, tenant.Amount{}
			do(tenant.TakeGrant{Node: n, Wants: []tenant.Want{want}})
		}
	}
	return w
}

func TestMonthExport(t *testing.T) {
	w := months(t)
	s := newServer(t, w)
	get := func(token, query string, header ...string) (string, string) {
		t.Helper()
		rec := tell(s, token, http.MethodGet, "/v1/usage/export?"+query, "", header...)
		if rec.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", query, rec.Code, rec.Body)
		}
		return rec.Body.String(), rec.Header().Get("Content-Type")
	}
	body, kind := get(operatorToken, "month=2026-11&format=csv")
	if want := strings.Join(monthColumns, ",") + "\r\n" +
		"2026-11,running,acme,,'=cmd|'/c@acme.example,1,bandwidth,10,100000,50000,500000000,0,0\r\n" +
		"2026-11,running,acme,,info@acme.example,2,count,20,100000,9000,,0,0\r\n" +
		"2026-11,running,blue,,info@blue.example,3,flat,30,100000,,,0,0\r\n"; body != want || !strings.HasPrefix(kind, "text/csv") {
		t.Errorf("%s\n%s\nwant\n%s", kind, body, want)
	}
	if accepted, _ := get(operatorToken, "month=2026-11", "Accept", "text/csv"); accepted != body {
		t.Errorf("by Accept:\n%s", accepted)
	}
	if own, _ := get(tokenB, "month=2026-11&format=csv"); strings.Contains(own, "acme") || !strings.Contains(own, "info@blue.example") {
		t.Errorf("a tenant reads\n%s", own)
	}
	for month, state := range map[string]string{"2026-09": "closed", "2026-10": "settling", "2026-11": "running"} {
		if body, _ := get(operatorToken, "month="+month); !strings.Contains(body, `"state":"`+state+`"`) {
			t.Errorf("%s: %s", month, body)
		}
	}
	for _, query := range []string{"month=2026-12", "month=2023-01", "month=1960-01", "month=2026-13", "month=x", "", "month=2026-11&tenant=nope", "month=2026-11&format=xml"} {
		if rec := tell(s, operatorToken, http.MethodGet, "/v1/usage/export?"+query, ""); rec.Code/100 != 4 {
			t.Errorf("%s: %d %s", query, rec.Code, rec.Body)
		}
	}
}

// Whatever a name is, its cell is read back as it was, but for the apostrophe
// before what a spreadsheet would compute.
func FuzzMonthCSV(f *testing.F) {
	for _, x := range []string{"=1+1", "a,b", `"`, "a\r\nb", "-1", "@SUM(A1)", "\t=1", "'", ""} {
		f.Add(x)
	}
	f.Fuzz(func(t *testing.T, name string) {
		var b strings.Builder
		if err := NewMonthCSV(&b).Write(MonthPage{Month: "2026-10", State: "closed", Items: []MonthUsage{{Tenant: "t", Account: name}}}); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(strings.NewReader(b.String())).ReadAll()
		if err != nil || len(rows) != 2 || len(rows[1]) != len(monthColumns) {
			t.Fatalf("%q: %v %q", name, err, rows)
		}
		cell := rows[1][4]
		if cell != "" && strings.ContainsRune("=+-@\t\r\n", rune(cell[0])) {
			t.Errorf("%q is a formula", cell)
		}
		// The reader takes CR LF within a cell for LF (its documentation).
		same := func(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "") }
		if same(strings.TrimPrefix(cell, "'")) != same(strings.TrimPrefix(plainCell(name), "'")) {
			t.Errorf("%q is read back as %q", name, cell)
		}
	})
}
