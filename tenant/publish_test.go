package tenant

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// publisher is a cluster with an IPv6 source, pools on two nodes and a tenant
// with a source of its own at home.
func publisher(t *testing.T) (*town, *Tenant) {
	w := newTown()
	w.must(t, AddNode{Name: "n1"}, AddNode{Name: "n2"},
		AddSource{Node: 1, Addr: netip.MustParseAddr("192.0.2.11"), EHLO: "out-11.relay.test"},
		AddSource{Node: 1, Addr: netip.MustParseAddr("192.0.2.12"), EHLO: "out-12.relay.test", Shared: true},
		AddSource{Node: 2, Addr: netip.MustParseAddr("198.51.100.21"), EHLO: "out-21.relay.test", Shared: true},
		AddSource{Node: 2, Addr: netip.MustParseAddr("2001:db8::21"), EHLO: "out-21.relay.test", Shared: true},
		AddTenant{Name: "shoes", Hostname: "shoes.relay.test", Home: Place{Node: 1, Source: 1}, Backup: Place{Node: 2}},
		SetDomain{Tenant: 1, Name: "shoes.test", Selector: "s1", SealedKey: []byte{1}},
		SetDomain{Tenant: 1, Name: "boots.test"})
	return w, w.s.TenantByName("shoes")
}

// A tenant publishes the addresses of both its places, and of no other.
func TestPublishTenant(t *testing.T) {
	w, shoes := publisher(t)
	all := PublishTenant(w.s, shoes, "")
	if len(all) != 2 || all[0].Domain != "boots.test" || all[0].KeyName != "" || all[1].KeyName != "s1._domainkey.shoes.test" {
		t.Fatalf("%+v", all)
	}
	for _, d := range all {
		want := DNSRecord{Name: d.Domain, Type: "TXT", Value: "v=spf1 ip4:192.0.2.11 ip4:198.51.100.21 ip6:2001:db8::21 ~all"}
		if d.SPF != want || strings.Join(d.Terms, " ") != "ip4:192.0.2.11 ip4:198.51.100.21 ip6:2001:db8::21" {
			t.Errorf("%+v", d)
		}
		if d.DMARC != (DNSRecord{"_dmarc." + d.Domain, "TXT", "v=DMARC1; p=none"}) {
			t.Errorf("%+v", d.DMARC)
		}
		if signed := d.KeyName != ""; strings.Contains(d.Alignment, "not signed") == signed {
			t.Errorf("%s", d.Alignment)
		}
	}
	if d := PublishTenant(w.s, shoes, "spf.relay.test")[0]; d.SPF.Value != "v=spf1 include:spf.relay.test ~all" || !slices.Equal(d.Terms, []string{"include:spf.relay.test"}) {
		t.Errorf("%+v", d)
	}
	// Without a backup the home alone; of pools all members.
	w.must(t, AddTenant{Name: "blue", Hostname: "blue.relay.test", Home: Place{Node: 2}},
		AddTenant{Name: "cyan", Hostname: "cyan.relay.test", Home: Place{Node: 2}, Backup: Place{Node: 1}})
	if e := Exits(w.s, w.s.TenantByName("blue")); len(e) != 2 || e[0].Backup || e[1].Backup {
		t.Errorf("%+v", e)
	}
	if e := Exits(w.s, w.s.TenantByName("cyan")); len(e) != 3 || e[1].Backup || !e[2].Backup || e[2].Addr.String() != "192.0.2.12" {
		t.Errorf("%+v", e)
	}
}

func TestPublishSource(t *testing.T) {
	w, _ := publisher(t)
	for addr, want := range map[string][2]DNSRecord{
		"192.0.2.11": {{"out-11.relay.test", "A", "192.0.2.11"}, {"11.2.0.192.in-addr.arpa", "PTR", "out-11.relay.test"}},
		"2001:db8::21": {{"out-21.relay.test", "AAAA", "2001:db8::21"},
			{"1.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", "PTR", "out-21.relay.test"}},
	} {
		forward, reverse := PublishSource(w.s.SourceByAddr(netip.MustParseAddr(addr)))
		if forward != want[0] || reverse != want[1] {
			t.Errorf("%s: %+v %+v", addr, forward, reverse)
		}
	}
}

// However many sources there are: each is named once, and no record that lists
// addresses is longer than an answer.
func TestPublishProvider(t *testing.T) {
	for _, n := range []int{0, 1, 20, 23, 24, 100} {
		w := newTown()
		w.must(t, AddNode{Name: "n1"})
		for i := range n {
			w.must(t, AddSource{Node: 1, Addr: netip.AddrFrom4([4]byte{198, 51, 100, byte(100 + i)}), EHLO: "out.relay.test", Shared: true})
		}
		all := PublishProvider(w.s, "spf.relay.test")
		text := ""
		for i, r := range all {
			text += r.Value + " "
			name := "spf.relay.test"
			if i > 0 {
				name = fmt.Sprintf("_%d.spf.relay.test", i)
				if !strings.Contains(all[0].Value+" ", " include:"+name+" ") {
					t.Errorf("%d sources: %s is not included by %s", n, name, all[0].Value)
				}
			}
			if r.Name != name || r.Type != "TXT" || len(r.Value) > MaxSPF || !strings.HasPrefix(r.Value, "v=spf1 ") || !strings.HasSuffix(r.Value, " -all") {
				t.Errorf("%d sources: %+v", n, r)
			}
		}
		if got := strings.Count(text, "ip4:"); got != n || (n <= 20) != (len(all) == 1) {
			t.Errorf("%d sources: %d named in %d records", n, got, len(all))
		}
		for src := range w.s.Sources() {
			if strings.Count(text, "ip4:"+src.Addr.String()+" ") != 1 {
				t.Errorf("%s is not named once", src.Addr)
			}
		}
	}
}
