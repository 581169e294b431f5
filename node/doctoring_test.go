package node

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
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

// clinicState has a tenant with a pool at home and one at its backup; sealed is
// its domain's key, nil: none.
func clinicState(t *testing.T, sealed []byte) *tenant.State {
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
		do(tenant.AddSource{Node: x.node, Addr: netip.MustParseAddr(x.addr), EHLO: "out-" + string(rune('1'+i)) + ".relay.test", Shared: true})
	}
	do(tenant.AddTenant{Name: "shoes", Hostname: "shoes.relay.test", Home: tenant.Place{Node: 1}, Backup: tenant.Place{Node: 2}})
	d := tenant.SetDomain{Tenant: 1, Name: "shoes.test", SealedKey: sealed}
	if len(sealed) > 0 {
		d.Selector = "s1"
	}
	do(d)
	return st
}

func newClinic(t *testing.T) *clinic {
	t.Helper()
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
	st := clinicState(t, sealed)
	c := &clinic{st: st}
	c.doctoring = newDoctoring(func() *tenant.State { return c.st }, func() tenant.NodeID { return 1 }, seal, nil)
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

// zone is a pretend DNS without a network: TXT records, one name for all
// addresses, and one address for all names.
type zone struct {
	mu     sync.Mutex // guards txt and broken
	txt    map[string]string
	broken bool
	asked  atomic.Int64
}

// say changes the domain's SPF, or with "" lets nothing be asked.
func (z *zone) say(spf string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.broken, z.txt["shoes.test"] = spf == "", spf
}

func (z *zone) TXT(_ context.Context, name string) ([]string, error) {
	z.asked.Add(1)
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.broken {
		return nil, errors.New("no answer")
	}
	if text := z.txt[name]; text != "" {
		return []string{text}, nil
	}
	return nil, nil
}

func (z *zone) MX(context.Context, string) ([]*net.MX, error) {
	return []*net.MX{{Host: "mx.shoes.test."}}, nil
}

func (z *zone) Addrs(context.Context, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("127.77.1.11"), netip.MustParseAddr("127.77.1.12"), netip.MustParseAddr("127.77.2.12")}, nil
}

func (z *zone) PTR(_ context.Context, reverse string) ([]string, error) {
	return []string{map[string]string{"11.1.77.127.in-addr.arpa": "out-1.relay.test", "12.1.77.127.in-addr.arpa": "out-2.relay.test", "12.2.77.127.in-addr.arpa": "out-3.relay.test"}[reverse]}, nil
}

// What was found is remembered: through questions without an answer, until it is
// looked at again, and never of what is another's by now.
func TestDoctorRemembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{txt: map[string]string{"shoes.test": "v=spf1 ip4:127.77.1.0/24 -all", "_dmarc.shoes.test": "v=DMARC1; p=none"}}
		var now atomic.Pointer[tenant.State]
		now.Store(clinicState(t, nil))
		d := newDoctoring(now.Load, func() tenant.NodeID { return 1 }, nil, doctor.New(z))
		ctx, end := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx) }()
		wrong := func() string { return strings.Join(d.Wrong(now.Load(), now.Load().Tenant(1)), "; ") }
		expect := func(when string, pass time.Duration, want string) {
			t.Helper()
			time.Sleep(pass) // of the bubble's clock
			synctest.Wait()
			if got := wrong(); got != want || (want == "") != (d.memory.count() == 0) {
				t.Errorf("%s: %q, %v faults", when, got, d.memory.count())
			}
		}
		const lacks = "shoes.test: SPF lacks 127.77.2.12 (backup n2)"
		expect("soon after the start", doctorTick, lacks)
		z.say("")
		expect("when nobody answers", doctorEvery, lacks)
		z.say("v=spf1 ip4:127.77.0.0/16 -all")
		expect("when it was mended", doctorAgain+doctorTick, "")
		before := z.asked.Load()
		expect("before it is looked at again", doctorEvery/2, "")
		if n := z.asked.Load() - before; n != 0 {
			t.Errorf("asked %d times in between", n)
		}

		z.say("v=spf1 ip4:127.77.2.0/24 -all")
		time.Sleep(doctorEvery)
		synctest.Wait() // a look that is due now sees the state of before
		apply := func(op tenant.Op) {
			t.Helper()
			st := now.Load()
			next, _, err := tenant.Apply(st, st.Index()+1, tenant.Command{At: time.Now(), Op: op})
			if err != nil {
				t.Fatal(err)
			}
			now.Store(next)
		}
		apply(tenant.AddSource{Node: 2, Addr: netip.MustParseAddr("127.77.2.13"), EHLO: "out-3.relay.test", Shared: true})
		if got := wrong(); got != "" {
			t.Errorf("judged before it was looked at: %q", got)
		}
		time.Sleep(doctorTick)
		synctest.Wait()
		if got := wrong(); !strings.Contains(got, "shoes.test: SPF lacks 127.77.1.11 (home n1), 127.77.1.12 (home n1)") || !strings.Contains(got, "127.77.2.13 says ") {
			t.Errorf("with a new source: %q", got)
		}
		apply(tenant.RemoveDomain{Name: "shoes.test"})
		apply(tenant.RemoveSource{Source: 4})
		expect("when all of it is gone", doctorTick, "")
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
