package dnsbl

import (
	"net/netip"
	"testing"

	"postern/tenant"
)

// TestDefaultDomainZones has a row for what each built-in list of domains may
// answer: what is no listing is never one, whatever else comes with it.
func TestDefaultDomainZones(t *testing.T) {
	book, err := DefaultBook()
	if err != nil {
		t.Fatal(err)
	}
	zones := map[string]tenant.Zone{}
	for _, z := range book.For(tenant.SpaceDomain) {
		zones[z.Name] = z
		if z.Test == "" || z.Test == "test" || z.Group != "domains" || z.Every < 1 {
			t.Errorf("%s: test %q, group %q", z.Name, z.Test, z.Group)
		}
	}
	for _, x := range []struct {
		zone   string
		values []string
		kind   tenant.AnswerKind
		why    tenant.Why
		weight uint16
	}{
		{"dbl.spamhaus.org", nil, tenant.AnswerClean, "", 0},
		{"dbl.spamhaus.org", []string{"127.0.1.2"}, tenant.AnswerListed, "", 50},
		{"dbl.spamhaus.org", []string{"127.0.1.4"}, tenant.AnswerListed, "", 50},
		{"dbl.spamhaus.org", []string{"127.0.1.5"}, tenant.AnswerListed, "", 50},
		{"dbl.spamhaus.org", []string{"127.0.1.6"}, tenant.AnswerListed, "", 50},
		{"dbl.spamhaus.org", []string{"127.0.1.102"}, tenant.AnswerListed, "", 20},
		{"dbl.spamhaus.org", []string{"127.0.1.106"}, tenant.AnswerListed, "", 20},
		{"dbl.spamhaus.org", []string{"127.0.1.107"}, tenant.AnswerUnknown, tenant.WhyCode, 0},
		{"dbl.spamhaus.org", []string{"127.0.1.255"}, tenant.AnswerRefused, tenant.WhyBlocked, 0},
		{"dbl.spamhaus.org", []string{"127.0.1.254"}, tenant.AnswerUnknown, tenant.WhyCode, 0},
		{"dbl.spamhaus.org", []string{"127.0.1.2", "127.0.1.255"}, tenant.AnswerRefused, tenant.WhyBlocked, 0},
		{"dbl.spamhaus.org", []string{"127.255.255.252"}, tenant.AnswerRefused, tenant.WhyTypo, 0},
		{"dbl.spamhaus.org", []string{"127.255.255.254"}, tenant.AnswerRefused, tenant.WhyOpenResolver, 0},
		{"dbl.spamhaus.org", []string{"127.0.1.2", "127.255.255.255"}, tenant.AnswerRefused, tenant.WhyOverLimit, 0},
		{"dbl.spamhaus.org", []string{"203.0.113.7"}, tenant.AnswerUnknown, tenant.WhyOutside, 0},
		{"multi.surbl.org", []string{"127.0.0.1"}, tenant.AnswerRefused, tenant.WhyBlocked, 0},
		{"multi.surbl.org", []string{"127.0.0.9"}, tenant.AnswerRefused, tenant.WhyBlocked, 0},
		{"multi.surbl.org", []string{"127.0.0.8"}, tenant.AnswerListed, "", 50},
		{"multi.surbl.org", []string{"127.0.0.80"}, tenant.AnswerListed, "", 50},
		{"multi.surbl.org", []string{"127.0.0.128"}, tenant.AnswerListed, "", 20},
		{"multi.surbl.org", []string{"127.0.0.2"}, tenant.AnswerUnknown, tenant.WhyCode, 0},
		{"multi.uribl.com", []string{"127.0.0.1"}, tenant.AnswerRefused, tenant.WhyBlocked, 0},
		{"multi.uribl.com", []string{"127.0.0.255"}, tenant.AnswerRefused, tenant.WhyBlocked, 0},
		{"multi.uribl.com", []string{"127.0.0.2"}, tenant.AnswerListed, "", 50},
		{"multi.uribl.com", []string{"127.0.0.6"}, tenant.AnswerListed, "", 50},
		{"multi.uribl.com", []string{"127.0.0.4"}, tenant.AnswerListed, "", 0},
		{"multi.uribl.com", []string{"127.0.0.8"}, tenant.AnswerListed, "", 0},
	} {
		var values []netip.Addr
		for _, v := range x.values {
			values = append(values, netip.MustParseAddr(v))
		}
		z := zones[x.zone]
		a := z.Read(values)
		if a.Kind != x.kind || a.Why != x.why || a.Weight() != x.weight {
			t.Errorf("%s %v: %s %q, weight %d; want %s %q, %d", x.zone, x.values, a.Kind, a.Why, a.Weight(), x.kind, x.why, x.weight)
		}
	}
}
