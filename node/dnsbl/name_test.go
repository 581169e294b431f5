package dnsbl

import (
	"net/netip"
	"strings"
	"testing"

	"postern/tenant"
)

func addrs(texts ...string) (all []netip.Addr) {
	for _, t := range texts {
		all = append(all, netip.MustParseAddr(t))
	}
	return all
}

func TestSubjects(t *testing.T) {
	for text, c := range map[string]struct {
		label string
		space tenant.Space
	}{
		"192.0.2.10":        {"10.2.0.192", tenant.SpaceIPv4},
		"::ffff:192.0.2.10": {"10.2.0.192", tenant.SpaceIPv4},
		// The example of RFC 5782 §2.4.
		"2001:db8:1:2:3:4:567:89ab": {"b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2", tenant.SpaceIPv6},
		"Relay.Example.":            {"relay.example", tenant.SpaceDomain},
		"_x.relay.example":          {"_x.relay.example", tenant.SpaceDomain},
	} {
		s, err := ParseSubject(text)
		if err != nil || s.label() != c.label || s.Space() != c.space {
			t.Errorf("%s: %s %v %v", text, s.label(), s.Space(), err)
		}
		if again, err := ParseSubject(s.String()); err != nil || again != s {
			t.Errorf("%s: reads back as %v %v", text, again, err)
		}
	}
	for _, text := range []string{"", "relay", "192.0.2", "192.0.2.300", "192.0.2.1/32", "fe80::1%eth0", "a b.example", "x..example", ".", "-:-",
		"2001:db8::g", strings.Repeat("a", 64) + ".example", strings.Repeat("a.", 100) + "example", "example.\x00com", "пример.example"} {
		if s, err := ParseSubject(text); err == nil {
			t.Errorf("%q: read as %v", text, s)
		}
	}
}

// The test points of IPv6 are IPv4 addresses in IPv6 form: unmapped, they would
// be the question about IPv4.
func TestTestPoints(t *testing.T) {
	z := &Zone{Zone: tenant.Zone{Test: "dbltest.com"}}
	p := z.pointsOf(tenant.SpaceIPv6)
	if want := "2.0.0.0.0.0.f.7.f.f.f.f" + strings.Repeat(".0", 20); p.listed != want {
		t.Errorf("%s", p.listed)
	}
	if want := "1.0.0.0.0.0.f.7.f.f.f.f" + strings.Repeat(".0", 20); p.absent != want {
		t.Errorf("%s", p.absent)
	}
	p = z.pointsOf(tenant.SpaceIPv4)
	if p.listed != "2.0.0.127" || p.absent != "1.0.0.127" || len(p.random) != 24 || p.random == z.pointsOf(tenant.SpaceIPv4).random {
		t.Errorf("%+v", p)
	}
	p = z.pointsOf(tenant.SpaceDomain)
	if p.listed != "dbltest.com" || p.absent != "invalid" || !strings.HasSuffix(p.random, ".com") {
		t.Errorf("%+v", p)
	}
}

func TestReadSubjects(t *testing.T) {
	all, err := ReadSubjects(strings.NewReader("# ours\n192.0.2.10  # first\n\n 2001:db8::1\r\nrelay.example\n"))
	if err != nil || len(all) != 3 {
		t.Fatalf("%v %v", all, err)
	}
	for text, want := range map[string]string{
		"":                          "no address in it",
		"# none\n":                  "no address in it",
		"192.0.2.10\n192.0.2.300\n": "line 2: read \"192.0.2.300\"",
		"192.0.2.10\n" + strings.Repeat("x", 5000):    "line 2: ",
		strings.Repeat("192.0.2.10\n", MaxSubjects+1): "more than 8192 addresses",
	} {
		if _, err := ReadSubjects(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.30q: %v, want %s", text, err, want)
		}
	}
}
