package doctor

import (
	"strings"
	"testing"
)

// A bounce path is well when every MX is ours, has an address, and its own SPF
// passes for every exit.
func TestBouncePath(t *testing.T) {
	for _, x := range []struct {
		name, at string
		value    []string
		state    State
		mx       State
		text     string
		publish  string // "-" is none
	}{
		{"nothing spoilt", "TXT x.example", nil, OK, OK, "come back to b.shop.example", "-"},
		{"no MX", "MX b.shop.example", nil, Wrong, Wrong, "is not used: it has no MX", "MX 10 in-1.relay.example; MX 10 in-2.relay.example"},
		{"an MX of others", "MX b.shop.example", []string{"in-1.relay.example.", "mx.shop.example."}, Wrong, Wrong, "MX mx.shop.example is none of ours", "MX 10 in-1.relay.example; MX 10 in-2.relay.example"},
		{"a null MX", "MX b.shop.example", []string{"."}, Wrong, Wrong, "none of ours", "MX 10 in-1.relay.example; MX 10 in-2.relay.example"},
		{"MX in capitals", "MX b.shop.example", []string{"IN-1.relay.example."}, OK, OK, "", "-"},
		{"MX cannot be asked", "MX b.shop.example", []string{"fail"}, Unknown, Unknown, "SERVFAIL", "-"},
		{"an MX without address", "A in-1.relay.example", nil, Wrong, Wrong, "has no address", "MX 10 in-1.relay.example; MX 10 in-2.relay.example"},
		{"an MX whose address cannot be asked", "A in-1.relay.example", []string{"fail"}, Unknown, Unknown, "SERVFAIL", "-"},
		{"SPF lacks the backup", "TXT b.shop.example", []string{"v=spf1 ip4:192.0.2.11 -all"}, Wrong, OK, "is not used: SPF lacks 2001:db8::12 (backup n2)", "TXT v=spf1 ip4:192.0.2.11 ip6:2001:db8::12 -all"},
		{"SPF cannot be asked", "TXT b.shop.example", []string{"fail"}, Unknown, OK, "SERVFAIL", "-"},
	} {
		t.Run(x.name, func(t *testing.T) {
			d, b := shop()
			d.Bounce, d.Intake = "b.shop.example", []string{"in-1.relay.example", "in-2.relay.example"}
			b["MX b.shop.example"] = []string{"in-1.relay.example."}
			b["A in-1.relay.example"] = []string{"192.0.2.1"}
			b["TXT b.shop.example"] = []string{"v=spf1 ip4:192.0.2.11 ip6:2001:db8::12 -all"}
			b[x.at] = x.value
			f := findingOf(t, New(b).Domain(t.Context(), d), CheckBounce)
			var publish []string
			for _, r := range f.Publish {
				if r.Name != d.Bounce {
					t.Errorf("publish at %s", r.Name)
				}
				publish = append(publish, r.Type+" "+r.Value)
			}
			got := strings.Join(publish, "; ")
			if got == "" {
				got = "-"
			}
			if f.State != x.state || f.MX != x.mx || !strings.Contains(f.Text, x.text) || got != x.publish {
				t.Errorf("%s, mx %s, %q, publish %q", f.State, f.MX, f.Text, got)
			}
		})
	}
	d, b := shop()
	d.Bounce = "b.shop.example"
	if f := findingOf(t, New(b).Domain(t.Context(), d), CheckBounce); f.State != Wrong || !strings.Contains(f.Text, "no node takes bounces") {
		t.Errorf("without an intake: %+v", f)
	}
	d.Bounce = ""
	for _, f := range New(b).Domain(t.Context(), d) {
		if f.Check == CheckBounce {
			t.Errorf("without a bounce subdomain: %+v", f)
		}
	}
}

// The SPF that counts is that of the bounce subdomain, once it is ready; what
// the domain's own lacks is still told.
func TestBouncePathTakesOverSPF(t *testing.T) {
	for _, x := range []struct {
		name, path, own string
		spf             State
		text            string
	}{
		{"both right", "v=spf1 ip4:192.0.2.11 ip6:2001:db8::12 -all", "v=spf1 ip4:192.0.2.11 ip6:2001:db8::12 -all", OK, "passes for all"},
		{"the path alone", "v=spf1 ip4:192.0.2.11 ip6:2001:db8::12 -all", "v=spf1 ip4:192.0.2.11 -all", OK, "leaves with b.shop.example, whose SPF passes"},
		{"neither", "v=spf1 ip4:192.0.2.11 -all", "v=spf1 ip4:192.0.2.11 -all", Wrong, "SPF lacks 2001:db8::12"},
	} {
		d, b := shop()
		d.Bounce, d.Intake = "b.shop.example", []string{"in-1.relay.example"}
		b["MX b.shop.example"], b["A in-1.relay.example"] = []string{"in-1.relay.example."}, []string{"192.0.2.1"}
		b["TXT b.shop.example"], b["TXT shop.example"] = []string{x.path}, []string{x.own}
		f := findingOf(t, New(b).Domain(t.Context(), d), CheckSPF)
		if f.State != x.spf || !strings.Contains(f.Text, x.text) || x.spf == OK && len(f.Publish) > 0 {
			t.Errorf("%s: %+v", x.name, f)
		}
		if lacks := strings.Contains(x.own, "2001"); lacks == (len(f.Lacks) == 1) {
			t.Errorf("%s: lacks %v", x.name, f.Lacks)
		}
	}
}

func findingOf(t *testing.T, all []Finding, check string) Finding {
	t.Helper()
	for _, f := range all {
		if f.Check == check {
			return f
		}
	}
	t.Fatalf("no finding of %s among %+v", check, all)
	return Finding{}
}
