package delivery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/node/lab"
)

// lookupIn is a Lookup in a world.
func lookupIn(t *testing.T, w lab.World) *Lookup {
	t.Helper()
	l, err := lab.New(lab.Config{World: w})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return NewLookup([]netip.AddrPort{netip.MustParseAddrPort(l.DNS())})
}

// No record is an empty list, and a question without an answer an error.
func TestLookup(t *testing.T) {
	long := strings.Repeat(" ip4:192.0.2.1", 60)
	l := lookupIn(t, lab.World{Names: map[string]lab.Name{
		"shop.test": {Records: []string{"MX 10 MX.shop.test.", "A 192.0.2.1", "AAAA 2001:db8::1", `TXT "v=spf1 " "-all"`, `TXT "say \"\\;\" \200"`}},
		"long.test": {Records: []string{`TXT "` + long[:200] + `" "` + long[200:400] + `" "` + long[400:600] + `" "` + long[600:] + `"`}, Truncated: true},
		"null.test": {Records: []string{"MX 0 ."}}, "alias.test": {Records: []string{"CNAME shop.test."}},
		"a.loop.test": {Records: []string{"CNAME b.loop.test."}}, "b.loop.test": {Records: []string{"CNAME a.loop.test."}},
		"broken.test": {RCode: "SERVFAIL"}, "1.2.0.192.in-addr.arpa": {Records: []string{"PTR Out-1.Relay.test."}},
		"2.2.0.192.in-addr.arpa": {Records: []string{"CNAME 2.0-63.2.0.192.in-addr.arpa."}}, "2.0-63.2.0.192.in-addr.arpa": {Records: []string{"PTR out-2.relay.test."}},
	}})
	for _, x := range []struct {
		name           string
		txt, mx, addrs string
		fails          bool
	}{
		{name: "shop.test", txt: `[say "\;" ` + "\xc8 v=spf1 -all]", mx: "[mx.shop.test.]", addrs: "[192.0.2.1 2001:db8::1]"},
		{name: "ALIAS.test", txt: `[say "\;" ` + "\xc8 v=spf1 -all]", mx: "[mx.shop.test.]", addrs: "[192.0.2.1 2001:db8::1]"},
		{name: "long.test", txt: "[" + long + "]", mx: "[]", addrs: "[]"},
		{name: "null.test", txt: "[]", mx: "[.]", addrs: "[]"},
		{name: "none.test", txt: "[]", mx: "[]", addrs: "[]"},
		{name: ".", txt: "[]", mx: "[]", addrs: "[]"},
		{name: strings.Repeat("x", 64) + ".test", txt: "[]", mx: "[]", addrs: "[]"},
		{name: "two..dots.test", txt: "[]", mx: "[]", addrs: "[]"},
		{name: "broken.test", fails: true},
		{name: "a.loop.test", fails: true},
	} {
		txt, err1 := l.TXT(t.Context(), x.name)
		hosts, err2 := l.MX(t.Context(), x.name)
		addrs, err3 := l.Addrs(t.Context(), x.name)
		if (err1 != nil) != x.fails || (err2 != nil) != x.fails || (err3 != nil) != x.fails {
			t.Errorf("%s: %v, %v, %v", x.name, err1, err2, err3)
		}
		if x.fails {
			continue
		}
		names := []string{}
		for _, mx := range hosts {
			names = append(names, mx.Host)
		}
		if len(txt) == 2 && txt[0] > txt[1] {
			txt[0], txt[1] = txt[1], txt[0]
		}
		if fmt.Sprint(txt) != x.txt || fmt.Sprint(names) != x.mx || fmt.Sprint(addrs) != x.addrs {
			t.Errorf("%s: %q %v %v", x.name, txt, names, addrs)
		}
	}
	for reverse, want := range map[string]string{"1.2.0.192.in-addr.arpa": "[out-1.relay.test]", "2.2.0.192.in-addr.arpa": "[out-2.relay.test]", "3.2.0.192.in-addr.arpa": "[]"} {
		if got, err := l.PTR(t.Context(), reverse); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v %v", reverse, got, err)
		}
	}
	if _, err := NewLookup(nil).TXT(t.Context(), "shop.test"); err == nil {
		t.Error("an answer without a resolver")
	}
}

// Of two families one may fail: what is there is told with the error.
func TestLookupOfHalfAnAnswer(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started, done := make(chan struct{}), make(chan error, 1)
	server := &dns.Server{PacketConn: conn, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			rr, _ := dns.NewRR(q.Question[0].Name + " 5 IN A 192.0.2.1")
			m.Answer = []dns.RR{rr}
		} else {
			m.Rcode = dns.RcodeServerFailure
		}
		_ = w.WriteMsg(m)
	})}
	go func() { done <- server.ActivateAndServe() }()
	<-started
	addrs, err := NewLookup([]netip.AddrPort{netip.MustParseAddrPort(conn.LocalAddr().String())}).Addrs(t.Context(), "shop.test")
	if fmt.Sprint(addrs) != "[192.0.2.1]" || !errors.Is(err, errDNS) {
		t.Errorf("%v %v", addrs, err)
	}
	if err := errors.Join(server.Shutdown(), <-done); err != nil {
		t.Error(err)
	}
}

// Whatever octets a TXT record has come out as they are.
func FuzzText(f *testing.F) {
	f.Add([]byte("v=spf1 -all"))
	f.Add([]byte{0, '"', '\\', ';', 0xc8, '1', '2', '3'})
	f.Fuzz(func(t *testing.T, raw []byte) {
		raw = raw[:min(len(raw), 255)]
		escaped := ""
		for _, c := range raw {
			escaped += fmt.Sprintf(`\%03d`, c)
		}
		m := new(dns.Msg)
		m.SetQuestion("a.test.", dns.TypeTXT)
		m.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: "a.test.", Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{escaped}}}
		wire, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Unpack(wire); err != nil {
			t.Fatal(err)
		}
		if got := plain(m.Answer[0].(*dns.TXT).Txt[0]); got != string(raw) {
			t.Errorf("%q became %q", raw, got)
		}
		_ = plain(string(raw)) // bytes that no library wrote
	})
}
