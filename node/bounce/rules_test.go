package bounce

import (
	"net/netip"
	"strings"
	"testing"
)

func TestRulesAreReachableAndLowerCase(t *testing.T) {
	tables := map[string][]rule{"any": genericRules}
	for _, p := range providers {
		tables[p.name] = p.rules
		for _, s := range p.suffixes {
			if !strings.HasPrefix(s, ".") || s != strings.ToLower(s) || ProviderOf("mx1"+s) != p.name || ProviderOf(s[1:]) != p.name || ProviderOf("x"+s[1:]) == p.name {
				t.Errorf("%s: hosts %q", p.name, s)
			}
		}
	}
	for name, rules := range tables {
		for i, r := range rules {
			if r.class == "" || r.scope == 0 {
				t.Errorf("%s: rule %d has no class or scope", name, i)
			}
			for _, w := range append(append(append([]string{}, r.words...), r.also...), r.without...) {
				if w != strings.ToLower(w) || len(strings.TrimSuffix(w, "$")) < 3 {
					t.Errorf("%s: rule %d: pattern %q can never fit", name, i, w)
				}
			}
			if r.hold && (r.scope == ScopeRecipient || r.scope == ScopeMessage || r.scope == ScopeSender) {
				t.Errorf("%s: rule %d holds a message for its own fault", name, i)
			}
			if r.zone != "" && domainAt(r.zone) != r.zone {
				t.Errorf("%s: rule %d names zone %q", name, i, r.zone)
			}
		}
	}
}

func TestProvidersWordsCountOnlyFromTheirHosts(t *testing.T) {
	said := Reply{Host: "host-com.olc.protection.outlook.com", Source: netip.MustParseAddr("192.0.2.1"), Code: 550, Enhanced: "5.7.1",
		Text: "Unfortunately, messages from [192.0.2.1] weren't sent (S3140)."}
	if v := Classify(said); v.Class != IPBlock || !v.Evidence() || v.Provider != "microsoft" {
		t.Errorf("from its host: %+v", v)
	}
	for _, host := range []string{"", "mx.evil.example", "protection.outlook.com.evil.example", "mx.google.com"} {
		said.Host = host
		if v := Classify(said); v.Evidence() {
			t.Errorf("from %q: %+v", host, v)
		}
	}
	// A public list's name is understood from anyone and is evidence from nobody unknown.
	v := Classify(Reply{Host: "mx.b.example", Source: said.Source, Code: 554, Enhanced: "5.7.1", Text: "blocked using zen.spamhaus.org"})
	if v.Class != IPBlock || v.Evidence() || v.Zone != "zen.spamhaus.org" {
		t.Errorf("%+v", v)
	}
}

func TestBannerRefusals(t *testing.T) {
	for _, c := range []struct {
		code     int
		enhanced string
		text     string
		class    string
		scope    Scope
		action   Course
		evidence bool
	}{
		{554, "5.7.1", "go away", IPBlock, ScopeSource, CourseHold, false},
		{554, "", "spam not welcome", IPBlock, ScopeSource, CourseHold, false},
		{554, "", "192.0.2.1 blocked using zen.spamhaus.org", IPBlock, ScopeSource, CourseHold, true},
		{554, "", "198.51.100.9 blocked using zen.spamhaus.org", PolicyRelated, ScopeDestination, CourseBounce, false},
		{554, "5.7.25", "no reverse name", BadConfiguration, ScopeNode, CourseHold, false},
		{521, "", "we take none", Uncategorized, ScopeUnknown, CourseBounce, false},
		{554, "", "this host does not accept mail", PolicyRelated, ScopeDestination, CourseBounce, false},
		{421, "4.7.0", "spam and eggs", TransientFailure, ScopeDestination, CourseRetry, false},
		{421, "4.3.2", "busy", TransientFailure, ScopeDestination, CourseRetry, false},
	} {
		v := Classify(Reply{Host: "mx.comcast.net", Source: netip.MustParseAddr("192.0.2.1"), Stage: StageBanner, Code: c.code, Enhanced: c.enhanced, Text: c.text})
		if v.Class != c.class || v.Scope != c.scope || v.Course != c.action || v.Evidence() != c.evidence {
			t.Errorf("%d %s %s: %+v", c.code, c.enhanced, c.text, v)
		}
	}
}

func TestReasonAtTheEndOfALongReply(t *testing.T) {
	text := strings.Repeat("words of no weight ", 100) + "192.0.2.1 is listed at bl.spamcop.net"
	v := Classify(Reply{Host: "mx00.gmx.net", Source: netip.MustParseAddr("192.0.2.1"), Code: 554, Text: text})
	if v.Class != IPBlock || v.Zone != "bl.spamcop.net" || !v.Evidence() {
		t.Errorf("%+v", v)
	}
}

func TestZoneNames(t *testing.T) {
	for text, want := range map[string]string{
		"client host [192.0.2.1] blocked using b.barracudacentral.org; see http":  "b.barracudacentral.org",
		"blocked using 26charactersofsecretkey000.zen.dq.spamhaus.net; x":         "zen.spamhaus.org",
		"blocked using abcdef.combined.mail.abusix.zone":                          "combined.mail.abusix.zone",
		"listed in the dnsbl.example.org. delist there":                           "dnsbl.example.org",
		"your ip is listed at [rbl.example.net]":                                  "rbl.example.net",
		"blocked - see http://www.spamcop.net/bl.shtml?192.0.2.1":                 "bl.spamcop.net",
		"blocked using our own list":                                              "",
		"blocked using 192.0.2.1":                                                 "",
		"blocked using -bad-.example":                                             "",
		"blocked using " + strings.Repeat("a.", 200) + "example":                  "",
		"blocked by local policy":                                                 "",
		"blocked using x; again blocked using dnsbl-1.uceprotect.net":             "dnsbl-1.uceprotect.net",
		"blocked using " + strings.Repeat("a", 64) + ".example (listed at b.org)": "b.org",
	} {
		if got := zoneIn(text); got != want {
			t.Errorf("%q names %q, want %q", text, got, want)
		}
	}
}

func FuzzClassify(f *testing.F) {
	f.Add("", uint8(0), 550, "5.7.1", "Client host [192.0.2.1] blocked using zen.spamhaus.org")
	f.Add("mx.google.com", uint8(5), 0, "5", "")
	f.Add("mx.gmx.net", uint8(1), 421, "...", "\x00\xff greylist")
	f.Add("x.olc.protection.outlook.com", uint8(3), 550, "5.7.606", "banned 192.0.2.0/24 ::/0")
	f.Fuzz(func(t *testing.T, host string, at uint8, code int, enhanced, text string) {
		source := netip.MustParseAddr("192.0.2.1")
		v := Classify(Reply{Host: host, Source: source, Stage: Stage(at), Code: code, Enhanced: enhanced, Text: text})
		if v.Class == "" || v.Scope == 0 || v.Course == 0 {
			t.Fatalf("empty verdict %+v", v)
		}
		if code/100 == 4 && !v.Retry() {
			t.Fatalf("4xx ended a recipient: %+v", v)
		}
		if !v.Retry() && (v.Scope == ScopeSource || v.Scope == ScopeNode) {
			t.Fatalf("our fault ended a recipient: %+v", v)
		}
		if v.Evidence() && ProviderOf(host) == "" {
			t.Fatalf("evidence of an unknown host: %+v", v)
		}
		if v.Zone != "" && (domainAt(v.Zone) != v.Zone || len(v.Zone) > maxZone) {
			t.Fatalf("zone %q", v.Zone)
		}
		if v.Class == Greylisting && v.Evidence() {
			t.Fatalf("greylisting as evidence: %+v", v)
		}
	})
}

func BenchmarkClassify(b *testing.B) {
	for name, p := range map[string]Reply{
		"unknown": {Code: 554, Enhanced: "5.0.0", Text: "Transaction failed for a reason of which nobody ever heard, code 9f2a-77"},
		"listed": {Host: "mx1.hotmail.olc.protection.outlook.com", Source: netip.MustParseAddr("192.0.2.1"), Code: 554, Enhanced: "5.7.1",
			Text: "Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org; https://www.spamhaus.org/query/ip/192.0.2.1"},
		"long": {Host: "gmail-smtp-in.l.google.com", Source: netip.MustParseAddr("192.0.2.1"), Code: 554, Enhanced: "5.0.0",
			Text: strings.Repeat("words of no weight 192.0.2.1 go on ", 60)},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Classify(p)
			}
		})
	}
}

func TestNetworksOfOurs(t *testing.T) {
	for _, c := range []struct {
		source, text         string
		named, ours, network bool
	}{
		{"2001:db8:1:2::9", "blocked 2001:db8:1:2::/64", true, true, true},
		{"2001:db8:1:2::9", "blocked 2001:db8:1:2:: here", true, true, true},
		{"2001:db8:1:2::9", "blocked 2001:db8:1:2::9", true, true, false},
		{"2001:db8:1:2::9", "blocked [2001:db8:1:3::9]:", true, false, false},
		{"2001:db8:1:2::9", "blocked 2001:db8::/8", true, false, false},
		{"192.0.2.9", "blocked 192.0.2.0/24", true, true, true},
		{"192.0.2.9", "see 4.7.28 or 127.0.0.2", false, false, false},
		{"192.0.2.9", "blocked 192.0.2.9.", true, true, false},
	} {
		named, ours, network := namesAddress(c.text, netip.MustParseAddr(c.source))
		if named != c.named || ours != c.ours || network != c.network {
			t.Errorf("%s, %q: named %v, ours %v, network %v", c.source, c.text, named, ours, network)
		}
	}
}
