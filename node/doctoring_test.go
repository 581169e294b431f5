package node

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/node/admin"
	"postern/node/delivery"
	"postern/node/doctor"
	"postern/node/lab"
	"postern/tenant"
)

// clinic is a state with one tenant of three sources, its DNS in the lab, and
// who checks it.
type clinic struct {
	*doctoring
	world *lab.Lab
	st    *tenant.State
}

func newClinic(t *testing.T) *clinic {
	t.Helper()
	st := tenant.New()
	do := func(op tenant.Op) {
		t.Helper()
		next, _, err := tenant.Apply(st, st.Index()+1, tenant.Command{At: time.Now(), Op: op})
		if err != nil {
			t.Fatal(err)
		}
		st = next
	}
	do(tenant.AddNode{Name: "n1"})
	do(tenant.AddNode{Name: "n2"})
	for i, x := range []struct {
		addr string
		node tenant.NodeID
	}{{"127.77.1.11", 1}, {"127.77.1.12", 1}, {"127.77.2.12", 2}} {
		addr, ehlo := netip.MustParseAddr(x.addr), "out-"+string(rune('1'+i))+".relay.test"
		do(tenant.AddSource{Node: x.node, Addr: addr, EHLO: ehlo, Shared: true})
	}
	do(tenant.AddTenant{Name: "shoes", Hostname: "shoes.relay.test", Home: tenant.Place{Node: 1}, Backup: tenant.Place{Node: 2}})
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	seal, err := newSealer(make([]byte, secretSize))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := seal.Seal("shoes.test", "s1", key)
	if err != nil {
		t.Fatal(err)
	}
	do(tenant.SetDomain{Tenant: 1, Name: "shoes.test", Selector: "s1", SealedKey: sealed})
	c := &clinic{st: st, doctoring: &doctoring{seal: seal}}
	if c.world, err = lab.New(lab.Config{World: lab.World{Names: c.healthy(t)}}); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.world.Run(ctx) }()
	t.Cleanup(func() {
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	c.check = doctor.New(delivery.NewLookup([]netip.AddrPort{netip.MustParseAddrPort(c.world.DNS())}))
	return c
}

// healthy is the DNS with all in order.
func (c *clinic) healthy(t *testing.T) map[string]lab.Name {
	t.Helper()
	w := lab.World{Names: map[string]lab.Name{}}
	for src := range c.st.Sources() {
		w.AddSource(src.Addr, src.EHLO)
	}
	w.AddSender("shoes.test", "mx.inbox.test", netip.MustParsePrefix("127.77.1.0/24"), netip.MustParsePrefix("127.77.2.12/32"))
	record, err := c.KeyRecord(c.st.Domain("shoes.test"))
	if err != nil {
		t.Fatal(err)
	}
	w.Names["s1._domainkey.shoes.test"] = lab.Name{Records: []string{`TXT "` + record + `"`}}
	w.Names["neutral.test"] = lab.Name{Records: []string{`TXT "v=spf1 ?all"`}}
	w.Names["broken.test"] = lab.Name{RCode: "SERVFAIL"}
	w.Names["out-9.relay.test"] = lab.Name{Records: []string{"A 127.77.9.9"}}
	return w.Names
}

// findings are those of the tenant's domain and of its backup's source.
func (c *clinic) findings(t *testing.T) map[string]admin.Finding {
	all := map[string]admin.Finding{}
	backup := c.st.SourceByAddr(netip.MustParseAddr("127.77.2.12"))
	for _, f := range append(c.CheckDomain(t.Context(), c.st, c.st.Domain("shoes.test"), ""), viewFindings(c.check.Source(t.Context(), backup))...) {
		all[f.Check] = f
	}
	return all
}

// A real resolver asks a real server; one thing is spoilt at a time, and all
// else stays well.
func TestDoctorInTheLab(t *testing.T) {
	c := newClinic(t)
	spf := func(text string) lab.Name {
		return lab.Name{Records: []string{"MX 10 mx.inbox.test.", `TXT "` + text + `"`}}
	}
	txt := func(text string) lab.Name { return lab.Name{Records: []string{`TXT "` + text + `"`}} }
	none := lab.Name{RCode: "NXDOMAIN"}
	fail := lab.Name{RCode: "SERVFAIL"}
	reverse := tenant.ReverseName(netip.MustParseAddr("127.77.2.12")) + "."
	for _, x := range []struct {
		name, at, check, state, text, publish string
		to                                    lab.Name
	}{
		{name: "nothing spoilt", at: "other.test", to: none},
		{"backup left out", "shoes.test", "spf", "wrong", "SPF lacks 127.77.2.12 (backup n2)", "shoes.test TXT v=spf1 ip4:127.77.1.11 ip4:127.77.1.12 ip4:127.77.2.12 ip4:127.77.1.0/24 -all", spf("v=spf1 ip4:127.77.1.0/24 -all")},
		{"one of the pool left out", "shoes.test", "spf", "wrong", "SPF lacks 127.77.1.12 (home n1)", "shoes.test TXT v=spf1 ip4:127.77.1.11 ip4:127.77.1.12 ip4:127.77.2.12 -all", spf("v=spf1 ip4:127.77.1.11 ip4:127.77.2.12 -all")},
		{"by the names of the sources", "shoes.test", "spf", "ok", "all its sources (3)", "", spf("v=spf1 a:out-1.relay.test a:out-2.relay.test ptr:relay.test -all")},
		{"more than ten look-ups", "shoes.test", "spf", "wrong", "more than 10 look-ups", "v=spf1 ip4:127.77.1.11", spf("v=spf1" + strings.Repeat(" a:mx.none.test", 2) + strings.Repeat(" a:out-9.relay.test/32 include:neutral.test", 5) + " -all")},
		{"an include that fails", "shoes.test", "spf", "unknown", "SERVFAIL", "", spf("v=spf1 include:broken.test -all")},
		{"SERVFAIL at the key", "s1._domainkey.shoes.test", "dkim", "unknown", "SERVFAIL", "", fail},
		{"no key", "s1._domainkey.shoes.test", "dkim", "wrong", "no DKIM key", "s1._domainkey.shoes.test TXT v=DKIM1; k=ed25519; p=", none},
		{"key of another", "s1._domainkey.shoes.test", "dkim", "wrong", "another key", "TXT v=DKIM1; k=ed25519; p=", txt("v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")},
		{"no DMARC", "_dmarc.shoes.test", "dmarc", "wrong", "no DMARC", "_dmarc.shoes.test TXT v=DMARC1; p=none", none},
		{"SERVFAIL at DMARC", "_dmarc.shoes.test", "dmarc", "unknown", "SERVFAIL", "", fail},
		{"null MX", "shoes.test", "mail", "wrong", "null MX", "", lab.Name{Records: []string{"MX 0 .", `TXT "v=spf1 ip4:127.77.0.0/16 -all"`}}},
		{"an address instead of an MX", "shoes.test", "mail", "ok", "own address", "", lab.Name{Records: []string{"A 127.78.0.9", `TXT "v=spf1 ip4:127.77.0.0/16 -all"`}}},
		{"no PTR", reverse, "reverse", "wrong", "no reverse DNS", strings.TrimSuffix(reverse, ".") + " PTR out-3.relay.test", none},
		{"PTR to another name", reverse, "reverse", "wrong", "says out-1.relay.test", strings.TrimSuffix(reverse, ".") + " PTR out-3.relay.test", lab.Name{Records: []string{"PTR out-1.relay.test."}}},
		{"SERVFAIL at the PTR", reverse, "reverse", "unknown", "SERVFAIL", "", fail},
		{"name without the address", "out-3.relay.test", "forward", "wrong", "does not have that address", "out-3.relay.test A 127.77.2.12", lab.Name{Records: []string{"A 127.77.2.99"}}},
	} {
		names := c.healthy(t)
		names[x.at] = x.to
		for name, is := range names {
			if err := c.world.SetName(name, &is); err != nil {
				t.Fatal(err)
			}
		}
		for check, f := range c.findings(t) {
			published := ""
			for _, r := range f.Publish {
				published += r.Name + " " + r.Type + " " + r.Value
			}
			switch {
			case check == x.check && (f.State != x.state || !strings.Contains(f.Text, x.text) || !strings.Contains(published, x.publish) || (published == "") != (x.publish == "")):
				t.Errorf("%s: %+v", x.name, f)
			case check != x.check && f.State != "ok":
				t.Errorf("%s: %+v", x.name, f)
			}
		}
	}
}

// A node that cannot open the key does not say that the DNS is wrong.
func TestKeyThatDoesNotOpen(t *testing.T) {
	c := newClinic(t)
	other, err := newSealer([]byte(strings.Repeat("x", secretSize)))
	if err != nil {
		t.Fatal(err)
	}
	c.seal = other
	if f := c.findings(t)["dkim"]; f.State != "unknown" || !strings.Contains(f.Text, "cannot open the DKIM key") {
		t.Errorf("%+v", f)
	}
}

func TestPlumbed(t *testing.T) {
	for addr, want := range map[string]doctor.State{"127.77.1.11": doctor.OK, "192.0.2.44": doctor.Wrong, "2001:db8::44": doctor.Wrong} {
		if f := plumbed(&tenant.Source{Addr: netip.MustParseAddr(addr)}); f.State != want || f.Check != "address" {
			t.Errorf("%+v", f)
		}
	}
}
