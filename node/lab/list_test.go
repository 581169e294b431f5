package lab

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestListing: what the lists say of an address is the same for all, or differs
// from view to view; test points are as RFC 5782 §5 wants them.
func TestListing(t *testing.T) {
	w := Usual()
	w.Lists, w.DomainLists = []string{"bl.lab.test", "small.lab.test"}, []string{"dbl.lab.test"}
	l := startLab(t, Config{
		World: w,
		Views: map[string]netip.Addr{"n1": netip.MustParseAddr("127.78.1.1"), "n3": netip.MustParseAddr("127.78.1.3")},
	})
	ask := func(view, ip, zone string) string {
		t.Helper()
		c := dns.Client{Timeout: 2 * time.Second}
		q := new(dns.Msg)
		what, err := subjectOf(ip)
		if err != nil {
			t.Fatal(err)
		}
		q.SetQuestion(what.name(zone), dns.TypeA)
		m, _, err := c.Exchange(q, l.View(view))
		if err != nil {
			t.Fatal(err)
		}
		if m.Rcode != dns.RcodeSuccess {
			return dns.RcodeToString[m.Rcode]
		}
		if len(m.Answer) != 1 {
			return m.String()
		}
		return m.Answer[0].(*dns.A).A.String()
	}
	const gone, ip, six = "NXDOMAIN", "127.77.1.12", "2001:db8::7"
	put := func(path, body string) (int, string) {
		t.Helper()
		req, _ := http.NewRequest(http.MethodPut, "http://"+l.API()+path, strings.NewReader(body))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	check := func(what string, want map[[3]string]string) {
		t.Helper()
		for q, w := range want {
			if got := ask(q[0], q[1], q[2]); got != w {
				t.Errorf("%s: %s asks about %s in %s: %s, want %s", what, q[0], q[1], q[2], got, w)
			}
		}
	}
	check("before", map[[3]string]string{
		{"n1", "127.0.0.2", "bl.lab.test"}: DefaultCode, {"n1", "127.0.0.1", "bl.lab.test"}: gone,
		{"", "::ffff:127.0.0.2", "small.lab.test"}: DefaultCode, {"", ip, "bl.lab.test"}: gone,
	})
	if code, body := put("/listing/"+ip, `{"views":{"n3":"127.255.255.254"}}`); code != http.StatusOK {
		t.Fatal(code, body)
	}
	check("listed", map[[3]string]string{
		{"n1", ip, "bl.lab.test"}: DefaultCode, {"", ip, "bl.lab.test"}: DefaultCode,
		{"n3", ip, "bl.lab.test"}: "127.255.255.254", {"n1", ip, "small.lab.test"}: gone,
	})
	if code, body := put("/listing/"+six, `{"zone":"small.lab.test","code":"127.0.0.10","views":{"n3":"clean"}}`); code != http.StatusOK {
		t.Fatal(code, body)
	}
	check("six", map[[3]string]string{{"n1", six, "small.lab.test"}: "127.0.0.10", {"n3", six, "small.lab.test"}: gone})
	if code, body := put("/listing/"+ip, "clean"); code != http.StatusOK {
		t.Fatal(code, body)
	}
	check("clean", map[[3]string]string{{"n1", ip, "bl.lab.test"}: gone, {"n3", ip, "bl.lab.test"}: gone})
	if code, body := put("/listing/Pills.test", `{"views":{"n3":"clean"}}`); code != http.StatusOK {
		t.Fatal(code, body)
	}
	check("a domain", map[[3]string]string{
		{"n1", "test", "dbl.lab.test"}: domainCode, {"n1", "invalid", "dbl.lab.test"}: gone, {"n1", "test", "bl.lab.test"}: gone,
		{"n1", "pills.test", "dbl.lab.test"}: domainCode, {"n3", "pills.test", "dbl.lab.test"}: gone, {"n1", "pills.test", "bl.lab.test"}: gone,
	})
	if code, _ := put("/listing/pills.test", `{"zone":"bl.lab.test"}`); code != http.StatusNotFound {
		t.Errorf("a domain in a list of addresses: %d", code)
	}
	for path, body := range map[string]string{
		"/listing/" + ip: `{"code":"listed"}`, "/listing/127.0.0.256": "", "/listing/::zz": "", "/listing/a..b": "", "/listing/127.0.0.3": `{"views":{"n9":"clean"}}`,
	} {
		if code, said := put(path, body); code != http.StatusBadRequest {
			t.Errorf("%s %s: %d %s", path, body, code, said)
		}
	}
	if err := l.SetListing(ip, Listing{Zone: "no.lab.test"}); !errors.Is(err, ErrNoList) {
		t.Errorf("an unknown list: %v", err)
	}
}

// TestForward: a zone that other servers answer is asked there, by each view at
// one of them; a dead server is a SERVFAIL.
func TestForward(t *testing.T) {
	var servers []netip.AddrPort
	for i := range 2 {
		w := Usual()
		w.Lists = []string{"real.test"}
		l := startLab(t, Config{World: w, Addr: netip.AddrFrom4([4]byte{127, 78, 2, byte(1 + i)})})
		if err := l.SetListing("127.77.1.12", Listing{Code: "127.0.0." + []string{"4", "5"}[i]}); err != nil {
			t.Fatal(err)
		}
		servers = append(servers, netip.MustParseAddrPort(l.DNS()))
	}
	nobody, err := net.ListenPacket("udp", "127.78.2.9:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := netip.MustParseAddrPort(nobody.LocalAddr().String())
	_ = nobody.Close()
	l := startLab(t, Config{
		World: Usual(),
		Views: map[string]netip.Addr{"n1": netip.MustParseAddr("127.78.1.1"), "n2": netip.MustParseAddr("127.78.1.2")},
		Forwards: map[string][]netip.AddrPort{
			"real.test": servers, "dead.test": {dead},
		},
	})
	for view, want := range map[string]string{"n1": "127.0.0.4", "n2": "127.0.0.5"} {
		m, _, err := (&dns.Client{Timeout: 5 * time.Second}).Exchange(question(ListName(netip.MustParseAddr("127.77.1.12"), "real.test"), dns.TypeA), l.View(view))
		if err != nil || len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != want {
			t.Errorf("%s: %v, %v", view, m, err)
		}
	}
	m, _, err := (&dns.Client{Timeout: 5 * time.Second}).Exchange(question("2.0.0.127.dead.test", dns.TypeA), l.DNS())
	if err != nil || m.Rcode != dns.RcodeServerFailure {
		t.Errorf("a dead server: %v, %v", m, err)
	}
	if _, err := New(Config{World: Usual(), Forwards: map[string][]netip.AddrPort{"real.test": nil}}); err == nil {
		t.Error("a zone without a server is taken")
	}
}
