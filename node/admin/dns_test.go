package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"postern/tenant"
)

// sight is a Doctor that finds what its node's name says.
type sight struct{ node string }

func (s sight) KeyRecord(d *tenant.Domain) (string, error) {
	if d.Selector == "foreign" {
		return "", errors.New("it does not open")
	}
	return "v=DKIM1; p=" + d.Selector, nil
}

func (s sight) CheckSource(_ context.Context, src *tenant.Source) []Finding {
	return []Finding{{Check: "reverse", State: FindingOK, Text: s.node + " looked at " + src.EHLO}}
}

func (s sight) CheckDomain(_ context.Context, st *tenant.State, d *tenant.Domain, include string) []Finding {
	return []Finding{{Check: "spf", State: FindingWrong, Text: d.Name + " lacks " + include, Publish: []DNSRecord{{Name: d.Name, Type: "TXT", Value: "v=spf1"}}}}
}

func (s sight) Wrong(_ *tenant.State, t *tenant.Tenant) []string {
	return []string{s.node + " saw a fault of " + t.Name}
}

func get[T any](t *testing.T, s *Server, token, path string) (v T) {
	t.Helper()
	rec := tell(s, token, http.MethodGet, path, "")
	if err := json.Unmarshal(rec.Body.Bytes(), &v); err != nil || rec.Code != 200 {
		t.Fatalf("%s: %d %s", path, rec.Code, rec.Body)
	}
	return v
}

// A tenant reads what it has to publish; who publishes names of sources is the
// operator.
func TestTenantDNS(t *testing.T) {
	w := newWorld(t)
	w.widen(t)
	for _, op := range []tenant.Op{
		tenant.SetDomain{Tenant: 1, Name: "acme.example", Selector: "s1", SealedKey: []byte{1}},
		tenant.SetDomain{Tenant: 1, Name: "acme.test", Selector: "foreign", SealedKey: []byte{1}},
	} {
		if _, _, err := w.Propose(t.Context(), tenant.RequestID{}, op); err != nil {
			t.Fatal(err)
		}
	}
	s := newServer(t, w)
	v := get[TenantDNS](t, s, operatorToken, "/v1/tenants/acme/dns")
	if len(v.Domains) != 2 || len(v.Sources) != 2 {
		t.Fatalf("%+v", v)
	}
	d := v.Domains[0]
	if d.SPF.Value != "v=spf1 ip4:192.0.2.10 ip4:198.51.100.10 ~all" || d.DKIM == nil || *d.DKIM != (DNSRecord{"s1._domainkey.acme.example", "TXT", "v=DKIM1; p=s1"}) ||
		d.DMARC.Name != "_dmarc.acme.example" {
		t.Errorf("%+v", d)
	}
	if d := v.Domains[1]; d.DKIM != nil || d.DKIMFault != "it does not open" {
		t.Errorf("%+v", d)
	}
	if x := v.Sources[1]; x.Source != "198.51.100.10" || x.Node != "two" || !x.Backup || x.Forward.Name != "out-two.relay.test" || x.Reverse.Name != "10.100.51.198.in-addr.arpa" {
		t.Errorf("%+v", x)
	}
	if x := get[Tenant](t, s, tokenA, "/v1/tenants/acme"); strings.Join(x.DNS, "") != "n1 saw a fault of acme" {
		t.Errorf("%+v", x)
	}
	if own := get[TenantDNS](t, s, tokenA, "/v1/tenants/acme/dns"); len(own.Domains) != 2 || len(own.Sources) != 0 {
		t.Errorf("%+v", own)
	}
	if v := get[TenantDNS](t, s, operatorToken, "/v1/tenants/acme/dns?include=spf.relay.test"); v.Domains[0].SPF.Value != "v=spf1 include:spf.relay.test ~all" {
		t.Errorf("%+v", v)
	}
	for _, path := range []string{"/v1/tenants/acme/dns", "/v1/sources/dns", "/v1/tenants/acme/domains/acme.example/doctor"} {
		if rec := tell(s, operatorToken, http.MethodGet, path+"?include="+url.QueryEscape(`x -all"`), ""); rec.Code != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
	}
}

func TestSourcesDNS(t *testing.T) {
	s := newServer(t, newWorld(t))
	v := get[SourcesDNS](t, s, operatorToken, "/v1/sources/dns?include=spf.relay.test")
	if len(v.Sources) != 4 || len(v.Provider) != 1 || !strings.Contains(v.Provider[0].Value, "ip4:192.0.2.99") {
		t.Errorf("%+v", v)
	}
	if v := get[SourcesDNS](t, s, operatorToken, "/v1/sources/dns"); len(v.Provider) != 0 {
		t.Errorf("%+v", v)
	}
}

func TestSubjects(t *testing.T) {
	s := newServer(t, newWorld(t))
	if v := get[Subjects](t, s, operatorToken, "/v1/doctor"); len(v.Sources) != 4 || len(v.Domains) != 2 {
		t.Errorf("%+v", v)
	}
	if v := get[Subjects](t, s, operatorToken, "/v1/doctor?tenant=acme"); len(v.Sources) != 1 || len(v.Domains) != 1 || v.Domains[0] != (SubjectDomain{"acme", "acme.example"}) {
		t.Errorf("%+v", v)
	}
	for _, path := range []string{"/v1/doctor?tenant=nobody", "/v1/sources/192.0.2.77/doctor", "/v1/tenants/acme/domains/blue.example/doctor", "/v1/tenants/nobody/dns"} {
		if rec := tell(s, operatorToken, http.MethodGet, path, ""); rec.Code != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
	}
	if v := get[Checked](t, s, operatorToken, "/v1/tenants/acme/domains/acme.example/doctor?include=spf.relay.test"); v.Node != "n1" || v.Findings[0].Text != "acme.example lacks spf.relay.test" {
		t.Errorf("%+v", v)
	}
}

// A source is looked at by its own node. When that gives no answer, any node
// asks the DNS, and says what it cannot know.
func TestSourceIsCheckedByItsNode(t *testing.T) {
	p := newTwo(t)
	if v := get[Checked](t, p.asked, operatorToken, "/v1/sources/198.51.100.10/doctor"); v.Node != "two" || len(v.Findings) != 1 || v.Findings[0].Text != "two looked at out-two.relay.test" {
		t.Errorf("%+v", v)
	}
	if v := get[Checked](t, p.asked, operatorToken, "/v1/sources/192.0.2.10/doctor"); v.Node != "n1" || len(v.Findings) != 1 {
		t.Errorf("%+v", v)
	}
	p.reach.Store(false)
	p.asked.peers.close()
	v := get[Checked](t, p.asked, operatorToken, "/v1/sources/198.51.100.10/doctor")
	if v.Node != "n1" || len(v.Findings) != 2 || v.Findings[0].Check != "address" || v.Findings[0].State != FindingUnknown || v.Findings[1].Text != "n1 looked at out-two.relay.test" {
		t.Errorf("%+v", v)
	}
}
