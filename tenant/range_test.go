package tenant

import (
	"net/netip"
	"testing"
)

func TestRangeIn(t *testing.T) {
	for _, x := range []struct{ text, addr, want string }{
		{"https://check.example/?q=192.0.2.0/24 listed", "192.0.2.7", "192.0.2.0/24"},
		{"range (192.0.2.0/24).", "192.0.2.7", "192.0.2.0/24"},
		{"see 192.0.2.9/28: escalation", "192.0.2.7", "192.0.2.0/28"},
		{"198.51.100.0/24 and 192.0.2.0/25", "192.0.2.7", "192.0.2.0/25"},
		{"192.0.2.7/32", "192.0.2.7", ""},
		{"192.0.0.0/8 and 0.0.0.0/0", "192.0.2.7", ""},
		{"2001:db8:1::/48, spam", "2001:db8:1::25", "2001:db8:1::/48"},
		{"2001:db8::/16", "2001:db8:1::25", ""},
		{"192.0.2.0/24", "2001:db8:1::25", ""},
		{"/24 192.0.2.0/ 192.0.2/24 192.0.2.0/024", "192.0.2.7", ""},
		{"", "192.0.2.7", ""},
	} {
		p, ok := rangeIn(x.text, netip.MustParseAddr(x.addr))
		if got := p.String(); ok != (x.want != "") || ok && got != x.want {
			t.Errorf("%q of %s: %s, want %q", x.text, x.addr, got, x.want)
		}
	}
}

// What a list says in its words is anybody's text.
func FuzzRangeIn(f *testing.F) {
	f.Add("listed: 192.0.2.0/24", "192.0.2.7")
	f.Add("2001:db8:1::/48", "2001:db8:1::25")
	f.Fuzz(func(t *testing.T, text, addr string) {
		a, err := netip.ParseAddr(addr)
		if err != nil {
			return
		}
		p, ok := rangeIn(text, a)
		if !ok {
			return
		}
		if !p.Contains(a) || p != p.Masked() || p.Bits() < widest4 || p.IsSingleIP() {
			t.Errorf("%q of %s: %s", text, a, p)
		}
	})
}
