package delivery

import (
	"testing"

	"github.com/miekg/dns"
)

func FuzzDNSAnswer(f *testing.F) {
	for _, s := range []string{"a.test. 300 IN MX 10 mx.test.", "a.test. 300 IN CNAME b.test.", "a.test. 300 IN A 127.0.0.1", "a.test. 0 IN MX 0 ."} {
		rr, _ := dns.NewRR(s)
		m := new(dns.Msg)
		m.SetQuestion("a.test.", dns.TypeMX)
		m.Response, m.Answer = true, []dns.RR{rr}
		m.Id = 1
		b, _ := m.Pack()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, qtype := range []uint16{dns.TypeMX, dns.TypeA, dns.TypeAAAA} {
			q := new(dns.Msg)
			q.SetQuestion("a.test.", qtype)
			q.Id = 1
			m, err := readAnswer(b, q)
			if err != nil {
				continue
			}
			r := readRecords(m, "a.test", qtype)
			if r.ttl < 0 || r.ttl > maxTTL {
				t.Fatalf("ttl %v", r.ttl)
			}
			list := readMX(r.rrs)
			if len(list) > maxMX || len(siteKey(list)) > 512 {
				t.Fatalf("%d hosts", len(list))
			}
			for _, a := range r.addresses() {
				if a.Is4In6() {
					t.Fatalf("mapped address %v", a)
				}
			}
		}
	})
}
