package declare

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"postern/node/admin"
)

// dir makes files and gives their directory.
func dir(t testing.TB, files map[string]string) string {
	d := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(d, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// Every fault is told with its place, and no other.
func TestFaults(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"no mapping", "[a, b]", "a.yaml:1:1: is no mapping; write key: value lines"},
		{"unknown key", "tenant: []", "a.yaml:1:1: tenant: unknown key; did you mean tenants?"},
		{"unknown key of an account", "tenants:\n- name: a\n  hostname: a.b\n  accounts:\n  - {address: a@b.c, quota: 5}", "a.yaml:5:22: tenants[0].accounts[0].quota: unknown key"},
		{"twice", "automation: off\nautomation: off", "a.yaml:2:"},
		{"two documents", "version: 1\n---\nversion: 1", "keep one document in a file"},
		{"an anchor", "plans: &a {}", "a.yaml:1:8: plans: anchors and aliases are not read here"},
		{"another version", "version: 2", "a.yaml:1:1: version: version 2; this program reads version 1"},
		{"no size", "plans: {a: {bytes_per_month: much}}", `a.yaml:1:30: plans.a.bytes_per_month: "much" does not fit; write a size such as 500MB`},
		{"half an octet", "plans: {a: {bytes_per_month: 0.5B}}", "write a size"},
		{"a negative number", "plans: {a: {mails_per_month: -5}}", "write a whole number"},
		{"no list", "sources: {addr: 1.2.3.4}", "a.yaml:1:10: sources: is no list"},
		{"no truth", "sources: [{addr: 1.2.3.4, shared: perhaps}]", "write true or false"},
		{"no limit", "tenants: [{name: a, hostname: a.b, accounts: [{address: a@b.c, limits: [year=1]}]}]", `"year=1" is no limit`},
		{"no plan", "tenants: [{name: a, hostname: a.b, accounts: [{address: a@b.c, plan: x}]}]", `no plan "x"`},
		{"no file", "tenants: [{name: a, hostname: a.b, domains: [{name: b.c, dkim: {selector: s, key_file: none}}]}]", "no such file"},
		{"no name", "tenants: [{hostname: a.b}]", "a.yaml:1:12: tenants[0]: a tenant without a name"},
		{"a short password", "tenants: [{name: a, hostname: a.b, accounts: [{address: a@b.c, password_file: short}]}]", "too short"},
		{"file and text", "zones: {file: short, text: x}", "give file or text"},
		{"too deep", strings.Repeat("[", 500), "nested too deeply"},
		{"broken", "a: [", "a.yaml:1:4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := dir(t, map[string]string{"a.yaml": c.text, "short": "secret\n"})
			_, err := Load(filepath.Join(d, "a.yaml"), nil)
			var f *FaultsError
			if !errors.As(err, &f) || len(f.Faults) != 1 {
				t.Fatalf("%v, want one fault", err)
			}
			if got := strings.ReplaceAll(f.Faults[0].String(), d+"/", ""); !strings.Contains(got, c.want) {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// People and programs write booleans in each of YAML's ways.
func TestBooleans(t *testing.T) {
	for text, want := range map[string]bool{"true": true, "True": true, "TRUE": true, "false": false, "False": false} {
		set, err := Load(filepath.Join(dir(t, map[string]string{"c.yaml": "version: 1\nsources: [{addr: 192.0.2.11, node: n1, ehlo: out-1.relay.example, shared: " + text + "}]\n"}), "c.yaml"), nil)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := (*set.Declaration.Sources)[0].Shared; got != want {
			t.Errorf("%s is %v", text, got)
		}
	}
}

// The sample that is shipped names every key there is.
func TestSample(t *testing.T) {
	text, err := os.ReadFile("../../deploy/cluster.yaml")
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.Repeat("x", 30)
	d := dir(t, map[string]string{"cluster.yaml": string(text), "shoes.example.pem": "pem", "news.password": secret, "zones.yaml": "zones: []", "smarthost.password": "p", "webhook.secret": "s"})
	if _, err := Load(d, nil); err == nil {
		t.Fatal("zones.yaml was read as a declaration without a word")
	}
	name := filepath.Join(d, "cluster.yaml")
	set, err := Load(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	news := (*(*set.Declaration.Tenants)[0].Accounts)[1]
	want := admin.DeclaredAccount{Address: "news@shoes.example", Class: "bulk", MailsPerMonth: 20000, MaxRecipients: 20, MaxSize: 10_000_000, Networks: []string{"203.0.113.0/24"}, GapMS: 2000,
		Limits:         []admin.Limit{{Window: "minute", Mails: 300}, {Window: "hour", Mails: 2000}, {Window: "half-day", Mails: 10000}, {Window: "day", Mails: 20000, Bytes: 500_000_000}},
		PasswordSHA256: news.PasswordSHA256}
	if !reflect.DeepEqual(news, want) || len(news.PasswordSHA256) != 64 {
		t.Errorf("%+v, want %+v", news, want)
	}
	if p, ok := set.Place("body.declaration.tenants[0].accounts[1].limits"); !ok || p.String() != name+":69:9" {
		t.Errorf("%v %v", p, ok)
	}
	for key := range keys(reflect.TypeFor[document]()) {
		if key != "text" && key != "password_sha256" && key != "round" && !strings.Contains(string(text), key+":") {
			t.Errorf("the sample does not show %s", key)
		}
	}
}

func keys(t reflect.Type) map[string]bool {
	all := map[string]bool{}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return keys(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if tag := t.Field(i).Tag.Get("yaml"); tag != "-" {
				all[tag] = true
			}
			for k := range keys(t.Field(i).Type) {
				all[k] = true
			}
		}
	}
	return all
}

// Several files are one declaration; each fault still has its own file and line.
func TestDirectory(t *testing.T) {
	d := dir(t, map[string]string{
		"a.yaml": "tenants:\n- {name: a, hostname: a.b, accounts: [{address: a@b.c, plan: p}]}\n",
		"b.yaml": "plans: {p: {mails_per_month: 7}}\ntenants:\n- name: b\n  hostname: b.b\n  domains:\n  - name: b.example\n",
		"c.txt":  "not read",
	})
	set, err := Load(d, nil)
	if err != nil {
		t.Fatal(err)
	}
	if all := *set.Declaration.Tenants; len(all) != 2 || (*all[0].Accounts)[0].MailsPerMonth != 7 {
		t.Errorf("%+v", all)
	}
	if p, _ := set.Place("tenants[1].domains[0].name"); p.String() != filepath.Join(d, "b.yaml")+":6:5" {
		t.Errorf("tenants[1].domains[0] is at %s", p)
	}
	if err := os.WriteFile(filepath.Join(d, "c.yaml"), []byte("plans: {p: {}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(d, nil); err == nil || !strings.Contains(err.Error(), "another file has a plan of this name") {
		t.Errorf("two plans of a name: %v", err)
	}
}

// What is written reads as the same, whatever is in it.
func TestWriteAndLoad(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t)
		var b bytes.Buffer
		if err := Write(&b, &d, "a head\nof two lines"); err != nil {
			t.Fatal(err)
		}
		set, err := Load("-", &b)
		if err != nil {
			t.Fatalf("%v\n%s", err, b.String())
		}
		if !reflect.DeepEqual(set.Declaration, d) {
			t.Fatalf("\n%+v\nis not\n%+v", set.Declaration, d)
		}
	})
}

func draw(t *rapid.T) admin.Declaration {
	// What states may hold: no control characters but what a zones file has.
	text := rapid.OneOf(rapid.SampledFrom([]string{"x", "on", "no", "1001", "0x1f", "null", "a: b", "#a", "- a", "2001:db8::1", "it's", `"q"`, "~", "1e5", "é", "a@b.example", "."}), rapid.StringMatching(`[!-~]{1,20}`))
	n := rapid.Uint64Range(0, 1<<50)
	few := func(label string) int { return rapid.IntRange(0, 2).Draw(t, label) }
	tenants, sources, routes := []admin.DeclaredTenant{}, []admin.DeclaredSource{}, []admin.DeclaredRoute{}
	for range few("tenants") {
		domains, accounts := []admin.DeclaredDomain{}, []admin.DeclaredAccount{}
		for range few("domains") {
			key := rapid.SampledFrom([]string{"", "-----BEGIN PRIVATE KEY-----\nMC4C+/aQ==\n-----END PRIVATE KEY-----\n", " # no\r\nPEM: at all"}).Draw(t, "key")
			selector := rapid.SampledFrom([]string{"", "s1", "1"}).Draw(t, "selector")
			if selector == "" {
				key = ""
			}
			domains = append(domains, admin.DeclaredDomain{Name: text.Draw(t, "name"), Selector: selector, Bounce: rapid.SampledFrom([]string{"", "b.example"}).Draw(t, "bounce"), Key: key})
		}
		for range few("accounts") {
			a := admin.DeclaredAccount{Address: text.Draw(t, "address"), BytesPerMonth: n.Draw(t, "bytes"), MailsPerMonth: n.Draw(t, "mails"), MaxSize: n.Draw(t, "size"),
				Reference: text.Draw(t, "reference"), Class: rapid.SampledFrom([]string{"", "bulk"}).Draw(t, "class"), GapMS: float64(rapid.IntRange(0, 86400000).Draw(t, "gap"))}
			switch few("password") {
			case 1:
				a.PasswordSHA256 = strings.Repeat("0a", 32)
			case 2:
				a.PasswordHash = rapid.SampledFrom([]string{"{BLF-CRYPT}$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "$6$x$y"}).Draw(t, "hash")
			}
			for range few("networks") {
				a.Networks = append(a.Networks, text.Draw(t, "network"))
			}
			for range few("limits") {
				a.Limits = append(a.Limits, admin.Limit{Window: rapid.SampledFrom([]string{"minute", "half-day"}).Draw(t, "window"), Mails: n.Draw(t, "mails"), Bytes: 1 + n.Draw(t, "bytes")})
			}
			accounts = append(accounts, a)
		}
		tenants = append(tenants, admin.DeclaredTenant{Name: text.Draw(t, "name"), Hostname: text.Draw(t, "hostname"), Home: text.Draw(t, "home"), Backup: text.Draw(t, "backup"),
			Customer: text.Draw(t, "customer"), Automation: rapid.SampledFrom([]string{"", "on", "off", "shadow"}).Draw(t, "automation"), Probation: rapid.Bool().Draw(t, "probation"), Domains: &domains, Accounts: &accounts})
	}
	for range few("sources") {
		sources = append(sources, admin.DeclaredSource{Addr: text.Draw(t, "addr"), Node: text.Draw(t, "node"), EHLO: text.Draw(t, "ehlo"), Shared: rapid.Bool().Draw(t, "shared"), WarmSince: rapid.SampledFrom([]string{"", "2023-04-01"}).Draw(t, "warm")})
		if n := few("enrolments"); n > 0 {
			all := []admin.DeclaredEnrolment{}
			for range n - 1 {
				all = append(all, admin.DeclaredEnrolment{Programme: "snds", State: rapid.SampledFrom([]string{"", "done"}).Draw(t, "state"), Note: text.Draw(t, "note")})
			}
			sources[len(sources)-1].Enrolments = &all
		}
	}
	for range few("routes") {
		routes = append(routes, admin.DeclaredRoute{Domain: text.Draw(t, "domain"), Host: text.Draw(t, "host"), Port: 1 + rapid.Uint16Range(0, 65534).Draw(t, "port")})
	}
	d := admin.Declaration{Import: rapid.SampledFrom([]string{"", "postfix mail.old.example"}).Draw(t, "import"), Tenants: &tenants, Sources: &sources, Routes: &routes, Automation: "on", OnListing: "move",
		Notices:   &admin.DeclaredNotices{SetNotices: admin.SetNotices{Webhook: "https://" + text.Draw(t, "webhook"), Tenants: rapid.Bool().Draw(t, "tell")}},
		Retention: map[string]uint32{"recipients": rapid.Uint32Range(1, 400).Draw(t, "recipients"), "journal": rapid.Uint32Range(0, 9000).Draw(t, "journal")}}
	if rapid.Bool().Draw(t, "zones") {
		d.Zones = &admin.DeclaredZones{File: "groups: []\n# a comment\nzones:\n  - name: zen.example\n"}
	}
	return d
}

// FuzzLoad: no file makes it fall over, hang, or write what it does not read.
func FuzzLoad(f *testing.F) {
	sample, err := os.ReadFile("../../deploy/cluster.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample)
	for _, s := range []string{"", "a: [", "plans: {a: {gap: 1h}}", "tenants: [{name: 'x', hostname: |\n  a\n}]", "? a\n: b", "!!binary a", "zones: {text: \"a\\nb\"}", "- - - -", "\x00", "a: *b"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<16 {
			return
		}
		began := time.Now()
		set, err := Load("-", bytes.NewReader(text))
		if d := time.Since(began); d > 5*time.Second {
			t.Fatalf("reading %d octets took %s", len(text), d)
		}
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := Write(&b, &set.Declaration, ""); err != nil {
			t.Fatal(err)
		}
		again, err := Load("-", &b)
		if err != nil && !strings.Contains(err.Error(), "give file or text") { // lists without a text
			t.Fatalf("%v\n%s", err, b.String())
		}
		_ = fmt.Sprint(again)
	})
}
