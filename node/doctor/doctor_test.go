package doctor

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/tenant"
)

// book is a pretend DNS: "TYPE name" to values; "fail" is a question without an
// answer, "slow" one that is never answered.
type book map[string][]string

var errNoAnswer = errors.New("server 192.0.2.53:53 said SERVFAIL")

func (b book) ask(ctx context.Context, kind, name string) ([]string, error) {
	values := b[kind+" "+strings.TrimSuffix(strings.ToLower(name), ".")]
	if len(values) == 1 && values[0] == "slow" {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if len(values) == 1 && values[0] == "fail" {
		return nil, errNoAnswer
	}
	return values, nil
}

func (b book) TXT(ctx context.Context, name string) ([]string, error) { return b.ask(ctx, "TXT", name) }
func (b book) PTR(ctx context.Context, name string) ([]string, error) { return b.ask(ctx, "PTR", name) }

func (b book) MX(ctx context.Context, name string) (all []*net.MX, err error) {
	values, err := b.ask(ctx, "MX", name)
	for _, v := range values {
		all = append(all, &net.MX{Host: v, Pref: 10})
	}
	return all, err
}

func (b book) Addrs(ctx context.Context, name string) (all []netip.Addr, err error) {
	values, err := b.ask(ctx, "A", name)
	for _, v := range values {
		if v == "half" { // the other family cannot be asked
			err = errNoAnswer
			continue
		}
		all = append(all, netip.MustParseAddr(v))
	}
	return all, err
}

func exit(id int, addr string, backup bool) tenant.Exit {
	return tenant.Exit{Backup: backup, Source: &tenant.Source{ID: tenant.SourceID(id), Addr: netip.MustParseAddr(addr), EHLO: fmt.Sprintf("out-%d.relay.example", id)}}
}

// shop is a domain with all in order, and its DNS.
func shop() (Domain, book) {
	d := Domain{
		Name: "shop.example", Exits: []tenant.Exit{exit(1, "192.0.2.11", false), exit(2, "2001:db8::12", true)},
		Where:   map[tenant.SourceID]string{1: "n1", 2: "n2"},
		KeyName: "s1._domainkey.shop.example", Key: "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
	}
	return d, book{
		"MX shop.example": {"mx.shop.example."}, "TXT shop.example": {"site-check=1", "v=spf1 ip4:192.0.2.0/28 ip6:2001:db8::12 -all"},
		"TXT s1._domainkey.shop.example": {d.Key}, "TXT _dmarc.shop.example": {"v=DMARC1; p=none"},
	}
}

func many(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// One thing is spoilt at a time: what is found, and the record that mends it.
func TestDomain(t *testing.T) {
	const lacks = "SPF lacks 192.0.2.11 (home n1)"
	for _, x := range []struct {
		name, at string
		value    []string
		check    string
		state    State
		text     string
		publish  string // "-" is none
	}{
		{"nothing spoilt", "TXT other.example", nil, CheckSPF, OK, "all its sources (2)", "-"},
		{"backup left out", "TXT shop.example", []string{"v=spf1 ip4:192.0.2.11 mx -all"}, CheckSPF, Wrong, "SPF lacks 2001:db8::12 (backup n2)", "v=spf1 ip4:192.0.2.11 ip6:2001:db8::12 mx -all"},
		{"no SPF", "TXT shop.example", []string{"other text"}, CheckSPF, Wrong, "no SPF record", "v=spf1 ip4:192.0.2.11 ip6:2001:db8::12 ~all"},
		{"nothing at all", "TXT shop.example", nil, CheckSPF, Wrong, "no SPF record", "v=spf1 ip4:192.0.2.11 ip6:2001:db8::12 ~all"},
		{"two SPF", "TXT shop.example", []string{"v=spf1 a:x.example -all", "V=SPF1 ip4:192.0.2.11 mx ~all"}, CheckSPF, Wrong, "2 SPF records", "v=spf1 ip4:192.0.2.11 ip6:2001:db8::12 a:x.example mx -all"},
		{"softfail", "TXT shop.example", []string{"v=spf1 ~all"}, CheckSPF, Wrong, lacks, "v=spf1 ip4:192.0.2.11 ip6:2001:db8::12 ~all"},
		{"neutral by redirect", "TXT shop.example", []string{"v=spf1 redirect=empty.example"}, CheckSPF, Wrong, lacks, "v=spf1 ip4:192.0.2.11 ip6:2001:db8::12 redirect=empty.example"},
		{"denied", "TXT shop.example", []string{"v=spf1 -ip4:192.0.2.11 +all"}, CheckSPF, Wrong, lacks, "v=spf1 ip4:192.0.2.11 ip6:2001:db8::12 -ip4:192.0.2.11 +all"},
		{"faulty", "TXT shop.example", []string{"v=spf1 ipv4:192.0.2.11 -all"}, CheckSPF, Wrong, "faulty (unknown field)", "v=spf1 ip4:192.0.2.11 ip6:2001:db8::12 ipv4:192.0.2.11 -all"},
		{"eleven look-ups", "TXT shop.example", []string{"v=spf1" + strings.Repeat(" include:neutral.example", 11) + " -all"}, CheckSPF, Wrong, "more than 10 look-ups", "v=spf1 ip4:192.0.2.11 ip6:2001:db8::12 include:neutral.example -all"},
		{"void look-ups", "TXT shop.example", []string{"v=spf1" + many(3, " a:none-%d.example") + " -all"}, CheckSPF, Wrong, "do not exist", "v=spf1 ip4:192.0.2.11 ip6:2001:db8::12 a:none-0.example a:none-1.example a:none-2.example -all"},
		{"a long record", "TXT shop.example", []string{"v=spf1" + many(40, " ip4:198.51.100.%d") + " -all"}, CheckSPF, Wrong, "octets", "v=spf1 ip4:192.0.2.11 ip6:2001:db8::12 ip4:198.51.100.0"},
		{"an endless record", "TXT shop.example", []string{"v=spf1" + many(300, " ip4:198.51.100.%d") + " -all"}, CheckSPF, Wrong, "put right behind its v=spf1: ip4:192.0.2.11 ip6:2001:db8::12", "-"},
		{"SPF cannot be asked", "TXT shop.example", []string{"fail"}, CheckSPF, Unknown, "SERVFAIL", "-"},
		{"include cannot be asked", "TXT shop.example", []string{"v=spf1 include:broken.example -all"}, CheckSPF, Unknown, "refers to", "-"},
		{"exists cannot be asked", "TXT shop.example", []string{"v=spf1 exists:%{o}.broken.example -all"}, CheckSPF, Unknown, "refers to", "-"},
		{"a host cannot be asked", "TXT shop.example", []string{"v=spf1 a:broken.example -all"}, CheckSPF, Unknown, "refers to", "-"},
		{"half a host is enough", "TXT shop.example", []string{"v=spf1 a:both.example -all"}, CheckSPF, OK, "", "-"},
		{"half a host is not enough", "TXT shop.example", []string{"v=spf1 ip4:192.0.2.11 a:half.example -all"}, CheckSPF, Unknown, "refers to", "-"},
		{"one exit lacks, of another nothing is known", "TXT shop.example", []string{"v=spf1 exists:%{v}.broken.example -all"}, CheckSPF, Wrong, "SPF lacks 2001:db8::12 (backup n2)", "exists:%{v}.broken.example -all"},
		{"reverse cannot be asked", "TXT shop.example", []string{"v=spf1 ptr:relay.example -all"}, CheckSPF, Unknown, "refers to", "-"},

		{"key of another", "TXT s1._domainkey.shop.example", []string{"v=DKIM1; k=ed25519; p=" + strings.Repeat("A", 43) + "="}, CheckDKIM, Wrong, "is another key", "v=DKIM1; k=ed25519; p=11qY"},
		{"no key", "TXT s1._domainkey.shop.example", nil, CheckDKIM, Wrong, "no DKIM key", "v=DKIM1; k=ed25519; p=11qY"},
		{"key revoked", "TXT s1._domainkey.shop.example", []string{"v=DKIM1; k=ed25519; p="}, CheckDKIM, Wrong, "revoked", "p=11qY"},
		{"key of another kind", "TXT s1._domainkey.shop.example", []string{"p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="}, CheckDKIM, Wrong, "another kind", "p=11qY"},
		{"key in a test", "TXT s1._domainkey.shop.example", []string{"k=ed25519; t=s:y; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="}, CheckDKIM, Wrong, "t=y", "p=11qY"},
		{"key with spaces", "TXT s1._domainkey.shop.example", []string{"k=ed25519;h=sha1 : sha256; p=11qYAYKxCrfVS/7TyWQ HOg7hcvPapiMlrwIaaPcHURo= ;"}, CheckDKIM, OK, "", "-"},
		{"key not for SHA-256", "TXT s1._domainkey.shop.example", []string{"k=ed25519;h=sha1; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="}, CheckDKIM, Wrong, "h=", "p=11qY"},
		{"key not for mail", "TXT s1._domainkey.shop.example", []string{"k=ed25519;s=other; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="}, CheckDKIM, Wrong, "s=", "p=11qY"},
		{"two keys", "TXT s1._domainkey.shop.example", []string{"v=DKIM1; p=A", "v=DKIM1; p=B"}, CheckDKIM, Wrong, "leave one", "p=11qY"},
		{"backslashes of a panel", "TXT s1._domainkey.shop.example", []string{`v=DKIM1\; k=ed25519\; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=`}, CheckDKIM, Wrong, "v=DKIM1", "p=11qY"},
		{"a wildcard's text", "TXT s1._domainkey.shop.example", []string{"v=spf1 -all"}, CheckDKIM, Wrong, "v=DKIM1", "p=11qY"},
		{"key cannot be asked", "TXT s1._domainkey.shop.example", []string{"fail"}, CheckDKIM, Unknown, "SERVFAIL", "-"},

		{"no DMARC", "TXT _dmarc.shop.example", nil, CheckDMARC, Wrong, "no DMARC", "v=DMARC1; p=none"},
		{"two DMARC", "TXT _dmarc.shop.example", []string{"v=DMARC1; p=none", "v=DMARC1;p=reject"}, CheckDMARC, Wrong, "leave one", "-"},
		{"DMARC without policy", "TXT _dmarc.shop.example", []string{"v=DMARC1; rua=mailto:a@shop.example"}, CheckDMARC, Wrong, "no policy", "v=DMARC1; p=none"},
		{"DMARC beside other text", "TXT _dmarc.shop.example", []string{"hello", "v = DMARC1 ; p=Reject"}, CheckDMARC, OK, "p=reject", "-"},
		{"DMARC cannot be asked", "TXT _dmarc.shop.example", []string{"fail"}, CheckDMARC, Unknown, "SERVFAIL", "-"},

		{"null MX", "MX shop.example", []string{"."}, CheckMail, Wrong, "null MX", "-"},
		{"null MX beside another", "MX shop.example", []string{".", "mx.shop.example."}, CheckMail, OK, "mx.shop.example", "-"},
		{"no MX", "MX shop.example", nil, CheckMail, Wrong, "neither MX nor address", "-"},
		{"MX cannot be asked", "MX shop.example", []string{"fail"}, CheckMail, Unknown, "SERVFAIL", "-"},
	} {
		t.Run(x.name, func(t *testing.T) {
			d, b := shop()
			b["TXT neutral.example"], b["TXT empty.example"] = []string{"v=spf1 ?all"}, []string{"v=spf1 ?all"}
			b["A both.example"], b["A half.example"] = []string{"half", "192.0.2.11", "2001:db8::12"}, []string{"half", "192.0.2.11"}
			b["A in-addr.broken.example"] = []string{"fail"}
			b["A shop.example.broken.example"] = []string{"fail"}
			b["TXT broken.example"], b["A broken.example"] = []string{"fail"}, []string{"fail"}
			b["PTR 11.2.0.192.in-addr.arpa"], b["PTR "+tenant.ReverseName(d.Exits[1].Addr)] = []string{"fail"}, []string{"fail"}
			b[x.at] = x.value
			for _, f := range New(b).Domain(t.Context(), d) {
				if f.Check != x.check {
					if f.State != OK {
						t.Errorf("not spoilt: %+v", f)
					}
					continue
				}
				published := ""
				for _, r := range f.Publish {
					published += r.Value
				}
				if f.State != x.state || !strings.Contains(f.Text, x.text) || x.publish == "-" && published != "" || x.publish != "-" && !strings.Contains(published, x.publish) {
					t.Errorf("%+v\nwant %s %q, publish %q", f, x.state, x.text, x.publish)
				}
			}
		})
	}
}

// What is told to be published makes SPF pass.
func TestMendedSPFPasses(t *testing.T) {
	for _, text := range [][]string{nil, {"v=spf1 -all"}, {"v=spf1 include:a.example ~all", "v=spf1 redirect=b.example"}, {"v=spf1" + many(11, " include:none-%d.example") + " -all"}, {"v=spf1 -ip4:192.0.2.11 -all"}} {
		d, b := shop()
		b["TXT shop.example"] = text
		f := New(b).spf(t.Context(), &d)
		if f.State != Wrong || len(f.Publish) != 1 {
			t.Errorf("%q: %+v", text, f)
			continue
		}
		b["TXT shop.example"] = []string{f.Publish[0].Value}
		if f := New(b).spf(t.Context(), &d); f.State != OK {
			t.Errorf("%q is not mended by %q: %+v", text, b["TXT shop.example"], f)
		}
	}
}

// A domain that names the provider's record is mended there, another names it.
func TestInclude(t *testing.T) {
	d, b := shop()
	d.Include, d.Provider = "spf.relay.example", []tenant.DNSRecord{{Name: "spf.relay.example", Type: "TXT", Value: "v=spf1 all-of-them"}}
	b["TXT shop.example"] = []string{"v=spf1 mx -all"}
	if f := New(b).spf(t.Context(), &d); f.State != Wrong || f.Publish[0].Value != "v=spf1 include:spf.relay.example mx -all" {
		t.Errorf("%+v", f)
	}
	b["TXT shop.example"] = []string{"v=spf1 mx include:spf.relay.example -all"}
	b["TXT spf.relay.example"] = []string{"v=spf1 ip4:192.0.2.11 -all"}
	if f := New(b).spf(t.Context(), &d); f.State != Wrong || f.Publish[0].Name != "spf.relay.example" || !strings.Contains(f.Text, "2001:db8::12 (backup n2), and so does spf.relay.example") {
		t.Errorf("%+v", f)
	}
	b["TXT spf.relay.example"] = []string{"v=spf1 ip4:192.0.2.11 ip6:2001:db8::/32 -all"}
	if f := New(b).spf(t.Context(), &d); f.State != OK {
		t.Errorf("%+v", f)
	}
}

// Above a domain the registered one's DMARC record counts, and no other's.
func TestDMARCOfTheRegisteredDomain(t *testing.T) {
	for _, x := range []struct {
		name, at string
		state    State
	}{{"news.mail.shop.co.uk", "shop.co.uk", OK}, {"news.mail.shop.co.uk", "mail.shop.co.uk", Wrong}, {"shop.co.uk", "co.uk", Wrong}} {
		b := book{"TXT _dmarc." + x.at: {"v=DMARC1; p=none"}}
		if f := New(b).dmarc(t.Context(), x.name); f.State != x.state {
			t.Errorf("%s by %s: %+v", x.name, x.at, f)
		}
	}
}

func TestSource(t *testing.T) {
	const at4, name = "PTR 11.2.0.192.in-addr.arpa", "out-1.relay.example"
	for _, x := range []struct {
		why, at      string
		value        []string
		reverse, fwd State
		text         string
	}{
		{"nothing spoilt", "A other", nil, OK, OK, ""},
		{"no PTR", at4, nil, Wrong, OK, "no reverse DNS"},
		{"PTR of another", at4, []string{"host.isp.example"}, Wrong, OK, "says host.isp.example, and it greets as out-1.relay.example"},
		{"two PTRs", at4, []string{name, "x.example"}, Wrong, OK, "leave one"},
		{"PTR cannot be asked", at4, []string{"fail"}, Unknown, OK, "SERVFAIL"},
		{"no address", "A " + name, nil, OK, Wrong, "has no address"},
		{"another address", "A " + name, []string{"192.0.2.12"}, OK, Wrong, "does not have that address"},
		{"half an answer with it", "A " + name, []string{"half", "192.0.2.11"}, OK, OK, ""},
		{"half an answer without it", "A " + name, []string{"half", "2001:db8::11"}, OK, Unknown, "SERVFAIL"},
		{"address cannot be asked", "A " + name, []string{"fail"}, OK, Unknown, "SERVFAIL"},
	} {
		b := book{at4: {name}, "A " + name: {"192.0.2.11", "2001:db8::11"}}
		b[x.at] = x.value
		found := New(b).Source(t.Context(), exit(1, "192.0.2.11", false).Source)
		if found[0].State != x.reverse || found[1].State != x.fwd || !strings.Contains(found[0].Text+found[1].Text, x.text) {
			t.Errorf("%s: %+v", x.why, found)
		}
		for _, f := range found {
			if (f.State == Wrong) != (len(f.Publish) == 1) {
				t.Errorf("%s: %+v", x.why, f)
			}
		}
	}
}

func TestGenericNames(t *testing.T) {
	four, six := netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("2001:db8::12")
	for _, name := range []string{"192-0-2-11.isp.example", "host-11.2.0.192.isp.example", "ip192-0-2-11.isp.example", "c000020b.isp.example", "192000002011.isp.example",
		"u7.dyn.isp.example", "dsl-7.isp.example", "x.dhcp.isp.example"} {
		if generic(name, four) == "" {
			t.Errorf("%s is generic", name)
		}
	}
	if generic("2001-0db8-0000-0000-0000-0000-0000-0012.isp.example", six) == "" {
		t.Error("an IPv6 address in a name is generic")
	}
	for _, name := range []string{"out-11.relay.example", "mx.relay.example", "n2-11.out.relay.example", "relay.example", "pool-1.relay.example", "mail.dyn.example", "a"} {
		if why := generic(name, four); why != "" {
			t.Errorf("%s is not generic: %s", name, why)
		}
	}
}

// What never answers ends in time and is unknown, never wrong; the other checks
// of the same domain stand.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, b := shop()
		b["TXT shop.example"] = []string{"v=spf1 include:slow.example -all"}
		b["TXT slow.example"] = []string{"slow"}
		began := time.Now()
		for _, f := range New(b).Domain(t.Context(), d) {
			if want := map[bool]State{true: Unknown, false: OK}[f.Check == CheckSPF]; f.State != want {
				t.Errorf("%+v", f)
			}
		}
		if took := time.Since(began); took != checkTime {
			t.Errorf("took %v", took)
		}
	})
}

// A node looks at some subjects at a time; those that find no slot say so.
func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := book{"TXT _dmarc.slow.example": {"slow"}}
		c := New(b)
		var slow [maxChecks]chan struct{}
		for i := range slow {
			slow[i] = make(chan struct{})
			go func() { defer close(slow[i]); c.Domain(t.Context(), Domain{Name: "slow.example"}) }()
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		d, _ := shop()
		for _, f := range c.Domain(ctx, d) {
			if f.State != Unknown || !strings.Contains(f.Text, "busy") || f.Check == "" {
				t.Errorf("%+v", f)
			}
		}
		for _, s := range slow {
			<-s
		}
	})
}

// An RSA key may be published with or without its algorithm around it.
func TestRSAKeys(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	record := func(k *rsa.PrivateKey) string {
		der, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
	}
	bare := func(k *rsa.PrivateKey) string {
		return "p=" + base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&k.PublicKey))
	}
	for published, want := range map[string]string{record(key): "", bare(key): "", record(other): "is another key", bare(other): "is another key", "p=!": "is another key"} {
		if got := keyFault(published, record(key)); got != want {
			t.Errorf("%s: %q", published, got)
		}
	}
}

// However many exits and terms: the look-ups for one domain are bounded, and
// what was not asked is not known.
func TestLookUpsAreBounded(t *testing.T) {
	d, b := shop()
	d.Exits = nil
	for i := range 100 {
		d.Exits = append(d.Exits, exit(i+1, fmt.Sprintf("192.0.2.%d", i+1), false))
	}
	b["TXT shop.example"] = []string{"v=spf1" + many(10, " a:%%{i}.x%d.example") + " +all"}
	n := &counted{book: b, addr: netip.MustParseAddr("198.51.100.1")}
	f := New(n).spf(t.Context(), &d)
	if n.n != maxAsked || f.State != Unknown || !strings.Contains(f.Text, errTooMany.Error()) {
		t.Errorf("%d look-ups: %+v", n.n, f)
	}
}

// However a foreign record reads: the look-ups are bounded, and nothing but the
// record that was there and our own terms is told to be published.
func FuzzRecords(f *testing.F) {
	f.Add("v=spf1 include:%{d2}.shop.example a:%{i}.x mx/24//64 ptr exists:%{l}.y -all", "v=DKIM1; k=rsa; p=AAAA", "v=DMARC1; p=none")
	f.Add("v=spf1 redirect=shop.example", "p=;;", "v=DMARC1;;p")
	f.Add("v=spf1 include:shop.example include:shop.example ?all", "=;=", "v=DMARC1; p=none; p=none")
	f.Fuzz(func(t *testing.T, spfText, key, dmarc string) {
		d, b := shop()
		b["TXT shop.example"], b["TXT "+d.KeyName], b["TXT _dmarc.shop.example"] = []string{spfText}, []string{key}, []string{dmarc}
		n := &counted{book: b}
		c := New(n)
		found := []Finding{c.spf(t.Context(), &d), c.dkim(t.Context(), &d), c.dmarc(t.Context(), d.Name)}
		if n.n > 200 {
			t.Fatalf("%d look-ups", n.n)
		}
		for _, f := range found {
			if f.State == Wrong && f.Text == "" || f.State == Unknown {
				t.Errorf("%+v", f)
			}
			for _, r := range f.Publish {
				if r.Type != "TXT" || len(r.Value) > maxRepeated+100 {
					t.Errorf("%+v", r)
				}
			}
		}
		tags, _ := readTags(key)
		if _, err := decodeKey(tags["p"]); err == nil && keyFault(key, key) == "is another key" {
			t.Errorf("%q is another key than itself", key)
		}
	})
}

type counted struct {
	book
	addr netip.Addr // of all names, if set
	n    int
}

func (c *counted) TXT(ctx context.Context, name string) ([]string, error) {
	c.n++
	return c.book.TXT(ctx, name)
}

func (c *counted) Addrs(ctx context.Context, name string) ([]netip.Addr, error) {
	c.n++
	if c.addr.IsValid() {
		return []netip.Addr{c.addr}, nil
	}
	return c.book.Addrs(ctx, name)
}
