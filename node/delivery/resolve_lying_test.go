package delivery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// liar is a DNS server that answers by a script.
type liar struct {
	addr netip.AddrPort

	mu     sync.Mutex
	asked  map[string]int // "name type network" -> times
	script func(q dns.Question, n int, tcp bool) *dns.Msg
}

func (l *liar) ServeDNS(w dns.ResponseWriter, req *dns.Msg) {
	tcp := w.RemoteAddr().Network() == "tcp"
	q := req.Question[0]
	k := strings.ToLower(q.Name) + " " + dns.TypeToString[q.Qtype]
	l.mu.Lock()
	l.asked[k]++
	n := l.asked[k]
	script := l.script
	l.mu.Unlock()
	m := script(q, n, tcp)
	if m == nil {
		return
	}
	reply := new(dns.Msg)
	reply.SetReply(req)
	reply.Answer, reply.Ns, reply.Rcode, reply.Truncated = m.Answer, m.Ns, m.Rcode, m.Truncated
	if m.Id != 0 {
		reply.Id = req.Id + m.Id
	}
	if len(m.Question) > 0 {
		reply.Question = m.Question
	}
	w.WriteMsg(reply)
}

func (l *liar) times(k string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked[k]
}

// listenBoth listens on one port over TCP and UDP. A number that is free for one
// may be taken for the other.
func listenBoth(t testing.TB, ip string) (net.PacketConn, net.Listener) {
	t.Helper()
	for n := 0; ; n++ {
		ln, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
		if err != nil {
			t.Fatal(err)
		}
		pc, err := net.ListenPacket("udp", ln.Addr().String())
		if err == nil {
			return pc, ln
		}
		ln.Close()
		if n == 100 {
			t.Fatal(err)
		}
	}
}

func startLiar(t testing.TB, script func(q dns.Question, n int, tcp bool) *dns.Msg) *liar {
	t.Helper()
	l := &liar{asked: map[string]int{}, script: script}
	pc, ln := listenBoth(t, "127.0.0.1")
	l.addr = pc.LocalAddr().(*net.UDPAddr).AddrPort()
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: l}, {Listener: ln, Handler: l}} {
		up := make(chan struct{})
		s.NotifyStartedFunc = func() { close(up) }
		done := make(chan struct{})
		go func() { defer close(done); s.ActivateAndServe() }()
		<-up
		t.Cleanup(func() { s.Shutdown(); <-done })
	}
	return l
}

// zone answers from records in text form; a name without any is NXDOMAIN.
func zone(records ...string) func(dns.Question, int, bool) *dns.Msg {
	var rrs []dns.RR
	for _, s := range records {
		rr, err := dns.NewRR(s)
		if err != nil {
			panic(err)
		}
		rrs = append(rrs, rr)
	}
	return func(q dns.Question, _ int, _ bool) *dns.Msg {
		m := new(dns.Msg)
		name, known := strings.ToLower(q.Name), false
		for hops := 0; hops < 20; hops++ {
			to := ""
			for _, rr := range rrs {
				if strings.ToLower(rr.Header().Name) != name {
					continue
				}
				known = true
				if rr.Header().Rrtype == q.Qtype {
					m.Answer = append(m.Answer, dns.Copy(rr))
				} else if c, ok := rr.(*dns.CNAME); ok {
					m.Answer = append(m.Answer, dns.Copy(rr))
					to = strings.ToLower(c.Target)
				}
			}
			if to == "" {
				break
			}
			name = to
		}
		if len(m.Answer) == 0 {
			soa, _ := dns.NewRR("test. 60 IN SOA ns.test. h.test. 1 60 60 60 60")
			m.Ns = []dns.RR{soa}
			if !known {
				m.Rcode = dns.RcodeNameError
			}
		}
		return m
	}
}

func lyingResolver(l *liar, change func(*resolverConfig)) *mxResolver {
	cfg := resolverConfig{Servers: []netip.AddrPort{l.addr}, Port: 2525, AllowLoopback: true, Timeout: 2 * time.Second}
	if change != nil {
		change(&cfg)
	}
	return newResolver(cfg)
}

// show writes a site as "name/pref=addr,addr ...".
func show(s *site) string {
	var b strings.Builder
	for i, h := range s.Hosts {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s/%d=", h.Name, h.Pref)
		for j, a := range h.Addrs {
			if j > 0 {
				b.WriteByte(',')
			}
			b.WriteString(a.String())
		}
	}
	return b.String()
}

func TestSites(t *testing.T) {
	l := startLiar(t, zone(
		"plain.test. 300 IN MX 20 mx2.plain.test.", "plain.test. 300 IN MX 10 MX1.plain.test.",
		"mx1.plain.test. 300 IN A 127.1.0.1", "mx1.plain.test. 300 IN AAAA ::1", "mx2.plain.test. 300 IN A 127.1.0.2",
		"implicit.test. 300 IN A 127.1.0.3",
		"bare.test. 300 IN TXT \"x\"",
		"null.test. 300 IN MX 0 .",
		"halfnull.test. 300 IN MX 0 .", "halfnull.test. 300 IN MX 5 mx2.plain.test.",
		"alias.test. 300 IN CNAME plain.test.",
		"aliashost.test. 300 IN MX 10 a.aliashost.test.", "a.aliashost.test. 300 IN CNAME mx2.plain.test.",
		"aliasimplicit.test. 300 IN CNAME implicit.test.",
		"loop.test. 300 IN CNAME loop2.test.", "loop2.test. 300 IN CNAME loop.test.",
		"hostloop.test. 300 IN MX 10 loop.test.",
		"dangling.test. 300 IN MX 10 nowhere.test.",
		"halfdangling.test. 300 IN MX 10 nowhere.test.", "halfdangling.test. 300 IN MX 20 mx2.plain.test.",
		"ours.test. 300 IN MX 10 us.test.", "ours.test. 300 IN MX 20 mx2.plain.test.", "us.test. 300 IN A 127.9.9.9",
		"oursbackup.test. 300 IN MX 10 mx2.plain.test.", "oursbackup.test. 300 IN MX 20 us.test.", "oursbackup.test. 300 IN MX 30 mx1.plain.test.",
		"oursequal.test. 300 IN MX 10 mx2.plain.test.", "oursequal.test. 300 IN MX 10 us.test.",
		"oursname.test. 300 IN MX 10 out-1.relay.test.", "out-1.relay.test. 300 IN A 127.1.0.4",
		"private.test. 300 IN MX 10 p.private.test.", "p.private.test. 300 IN A 10.0.0.1", "p.private.test. 300 IN A 0.0.0.0",
		"p.private.test. 300 IN A 169.254.1.1", "p.private.test. 300 IN A 224.0.0.1", "p.private.test. 300 IN AAAA fd00::1", "p.private.test. 300 IN AAAA ::ffff:10.0.0.1",
		"mixed.test. 300 IN MX 10 m.mixed.test.", "m.mixed.test. 300 IN A 192.168.0.1", "m.mixed.test. 300 IN A 198.51.100.7",
	))
	r := lyingResolver(l, func(c *resolverConfig) {
		c.Own = []netip.Addr{netip.MustParseAddr("127.9.9.9")}
		c.OwnName = func(n string) bool { return n == "out-1.relay.test" }
	})
	for domain, want := range map[string]string{
		"plain.test":                      "mx1.plain.test/10=::1,127.1.0.1 mx2.plain.test/20=127.1.0.2",
		"PLAIN.test.":                     "mx1.plain.test/10=::1,127.1.0.1 mx2.plain.test/20=127.1.0.2",
		"implicit.test":                   "implicit.test/0=127.1.0.3",
		"bare.test":                       "permanent 5.1.2",
		"nothing.test":                    "permanent 5.1.2",
		"null.test":                       "permanent 5.1.10",
		"halfnull.test":                   "mx2.plain.test/5=127.1.0.2",
		"alias.test":                      "mx1.plain.test/10=::1,127.1.0.1 mx2.plain.test/20=127.1.0.2",
		"aliashost.test":                  "a.aliashost.test/10=127.1.0.2",
		"aliasimplicit.test":              "implicit.test/0=127.1.0.3",
		"loop.test":                       "temporary 4.4.3",
		"hostloop.test":                   "temporary 4.4.4",
		"dangling.test":                   "temporary 4.4.4",
		"halfdangling.test":               "mx2.plain.test/20=127.1.0.2",
		"ours.test":                       "permanent 5.4.6",
		"oursbackup.test":                 "mx2.plain.test/10=127.1.0.2",
		"oursequal.test":                  "permanent 5.4.6",
		"oursname.test":                   "permanent 5.4.6",
		"private.test":                    "temporary 4.4.4",
		"mixed.test":                      "m.mixed.test/10=198.51.100.7",
		"[127.0.0.9]":                     "[127.0.0.9]/0=127.0.0.9",
		"[IPv6:::1]":                      "[ipv6:::1]/0=::1",
		"[10.0.0.1]":                      "permanent 5.1.2",
		"[127.9.9.9]":                     "permanent 5.4.6",
		"":                                "permanent 5.1.2",
		strings.Repeat("a", 70) + ".test": "permanent 5.1.2",
	} {
		s, err := r.Site(context.Background(), domain)
		got := ""
		if re, ok := errors.AsType[*routeError](err); ok {
			got = map[bool]string{true: "permanent ", false: "temporary "}[re.Permanent] + re.Reply.Enhanced
			if re.Permanent != (re.Reply.Code/100 == 5) || re.Reply.Text == "" {
				t.Errorf("%s: reply %+v", domain, re.Reply)
			}
		} else {
			got = show(s)
			for _, h := range s.Hosts {
				if h.Port != 2525 {
					t.Errorf("%s: port %d", domain, h.Port)
				}
			}
		}
		if got != want {
			t.Errorf("%s: %s, want %s", domain, got, want)
		}
	}
}

func TestLoopbackIsRefusedUnlessAllowed(t *testing.T) {
	l := startLiar(t, zone("a.test. 300 IN A 127.0.0.1", "a.test. 300 IN AAAA ::1"))
	r := lyingResolver(l, func(c *resolverConfig) { c.AllowLoopback = false })
	if s, err := r.Site(context.Background(), "a.test"); err == nil {
		t.Fatalf("found %s", show(s))
	}
}

func TestSiteKeyDoesNotDependOnOrder(t *testing.T) {
	var list []host
	for i := range 60 {
		list = append(list, host{Name: fmt.Sprintf("mx%02d.long-name.test", i)})
	}
	key := siteKey(list)
	for range 5 {
		shufflePrefs(list)
		if siteKey(list) != key || len(key) > 255 {
			t.Fatal("key changed with the order")
		}
	}
	if siteKey(list[1:]) == key {
		t.Fatal("another set has the same key")
	}
}

func TestRoute(t *testing.T) {
	l := startLiar(t, zone("relay.test. 300 IN A 10.1.2.3"))
	r := lyingResolver(l, nil)
	for name, want := range map[string]string{
		"10.9.8.7": "10.9.8.7/0=10.9.8.7", "relay.test": "relay.test/0=10.1.2.3", "localhost": "localhost/0=127.0.0.1,::1", "[::1]": "[::1]/0=::1",
	} {
		s, err := r.Route(context.Background(), name, 2600)
		if err != nil || show(s) != want || !s.Route || s.Hosts[0].Port != 2600 || !strings.HasPrefix(s.Key, "route:") {
			t.Errorf("%s: %+v %v", name, s, err)
		}
	}
	if _, err := r.Route(context.Background(), "none.test", 0); err == nil {
		t.Error("a route to nowhere was found")
	}
}

func TestHundredMX(t *testing.T) {
	var rrs []string
	for i := range 120 {
		rrs = append(rrs, fmt.Sprintf("many.test. 300 IN MX %d mx%d.many.test.", i/2, i))
		for j := range 4 {
			rrs = append(rrs, fmt.Sprintf("mx%d.many.test. 300 IN A 198.51.%d.%d", i, i, j), fmt.Sprintf("mx%d.many.test. 300 IN AAAA 2001:db8::%d:%d", i, i, j))
		}
	}
	answer := zone(rrs...)
	l := startLiar(t, func(q dns.Question, n int, tcp bool) *dns.Msg {
		m := answer(q, n, tcp)
		if q.Qtype == dns.TypeMX && !tcp {
			m.Answer, m.Truncated = m.Answer[:3], true
		}
		return m
	})
	s, err := lyingResolver(l, nil).Site(context.Background(), "many.test")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for i, h := range s.Hosts {
		n += len(h.Addrs)
		if i > 0 && h.Pref < s.Hosts[i-1].Pref {
			t.Error("hosts are not in order")
		}
	}
	if len(s.Hosts) > maxHosts || n != maxAddrs || s.Hosts[0].Pref != 0 {
		t.Errorf("%d hosts, %d addresses: %s", len(s.Hosts), n, show(s))
	}
	if l.times("many.test. MX") != 2 {
		t.Errorf("MX was asked %d times", l.times("many.test. MX"))
	}
	if l.times("mx50.many.test. A") != 0 {
		t.Error("hosts beyond the bound were looked up")
	}
}

func TestBothFamiliesStayWithinBounds(t *testing.T) {
	var six []netip.Addr
	for i := range 30 {
		six = append(six, netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1)))
	}
	got := firstOfEach(append(six, netip.MustParseAddr("198.51.100.1")))
	if len(got) != maxHostAddr/2+1 || !got[len(got)-1].Is4() {
		t.Errorf("kept %v", got)
	}
}

// What each lie gives, and how often the server was asked for MX.
func TestLies(t *testing.T) {
	good := zone("a.test. 300 IN MX 10 mx.test.", "mx.test. 300 IN A 127.1.0.1")
	fail := func(rcode int) func(dns.Question, int, bool) *dns.Msg {
		return func(dns.Question, int, bool) *dns.Msg { return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: rcode}} }
	}
	cases := []struct {
		name   string
		script func(q dns.Question, n int, tcp bool) *dns.Msg
		want   string
	}{
		{"SERVFAIL", fail(dns.RcodeServerFailure), "temporary 4.4.3"},
		{"REFUSED", fail(dns.RcodeRefused), "temporary 4.4.3"},
		{"unknown rcode", fail(23), "temporary 4.4.3"},
		{"silence", func(dns.Question, int, bool) *dns.Msg { return nil }, "temporary 4.4.3"},
		{"SERVFAIL once", func(q dns.Question, n int, tcp bool) *dns.Msg {
			if n == 1 {
				return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeServerFailure}}
			}
			return good(q, n, tcp)
		}, "mx.test/10=127.1.0.1"},
		{"silence once", func(q dns.Question, n int, tcp bool) *dns.Msg {
			if n == 1 {
				return nil
			}
			return good(q, n, tcp)
		}, "mx.test/10=127.1.0.1"},
		{"FORMERR to EDNS", func(q dns.Question, n int, tcp bool) *dns.Msg {
			if n == 1 {
				return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeFormatError}}
			}
			return good(q, n, tcp)
		}, "mx.test/10=127.1.0.1"},
		{"NXDOMAIN flips", func(q dns.Question, n int, tcp bool) *dns.Msg {
			if q.Qtype == dns.TypeMX {
				return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeNameError}}
			}
			return zone("a.test. 300 IN A 127.1.0.1")(q, n, tcp)
		}, "temporary 4.4.3"},
		{"wrong id", func(q dns.Question, n int, tcp bool) *dns.Msg {
			m := good(q, n, tcp)
			m.Id = 7
			return m
		}, "temporary 4.4.3"},
		{"wrong question", func(q dns.Question, n int, tcp bool) *dns.Msg {
			m := good(q, n, tcp)
			m.Question = []dns.Question{{Name: "b.test.", Qtype: q.Qtype, Qclass: dns.ClassINET}}
			return m
		}, "temporary 4.4.3"},
		{"always cut", func(q dns.Question, n int, tcp bool) *dns.Msg {
			if tcp {
				return nil
			}
			return &dns.Msg{MsgHdr: dns.MsgHdr{Truncated: true}}
		}, "temporary 4.4.3"},
		{"other names' records", func(q dns.Question, n int, tcp bool) *dns.Msg {
			m := good(dns.Question{Name: "a.test.", Qtype: q.Qtype, Qclass: q.Qclass}, n, tcp)
			for _, rr := range m.Answer {
				rr.Header().Name = "evil.test."
			}
			m.Rcode = dns.RcodeSuccess
			return m
		}, "permanent 5.1.2"},
		{"addresses fail", func(q dns.Question, n int, tcp bool) *dns.Msg {
			if q.Qtype != dns.TypeMX {
				return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeServerFailure}}
			}
			return good(q, n, tcp)
		}, "temporary 4.4.3"},
		{"AAAA fails", func(q dns.Question, n int, tcp bool) *dns.Msg {
			if q.Qtype == dns.TypeAAAA {
				return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeServerFailure}}
			}
			return good(q, n, tcp)
		}, "mx.test/10=127.1.0.1"},
		{"chain in pieces", func(q dns.Question, n int, tcp bool) *dns.Msg {
			m := zone("a.test. 300 IN CNAME c.test.", "c.test. 300 IN MX 10 mx.test.", "mx.test. 300 IN A 127.1.0.1")(q, n, tcp)
			if len(m.Answer) > 1 {
				m.Answer = m.Answer[:1]
			}
			return m
		}, "mx.test/10=127.1.0.1"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := startLiar(t, c.script)
			s, err := lyingResolver(l, nil).Site(context.Background(), "a.test")
			got := ""
			if re, ok := errors.AsType[*routeError](err); ok {
				got = map[bool]string{true: "permanent ", false: "temporary "}[re.Permanent] + re.Reply.Enhanced
			} else {
				got = show(s)
			}
			if got != c.want {
				t.Errorf("%s, want %s (%v)", got, c.want, err)
			}
		})
	}
}

// A guess with a wrong id arrives first; the real answer must still be taken.
func TestGuessedAnswersAreIgnored(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer pc.Close()
	ports := map[string]bool{}
	wg.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			ports[from.String()] = true
			req := new(dns.Msg)
			if req.Unpack(buf[:n]) != nil || len(req.Question) != 1 {
				continue
			}
			for _, evil := range []bool{true, false} {
				m := new(dns.Msg)
				m.SetReply(req)
				target := "good.test."
				if evil {
					m.Id++
					target = "evil.test."
				}
				if req.Question[0].Qtype == dns.TypeMX {
					rr, _ := dns.NewRR("a.test. 300 IN MX 1 " + target)
					m.Answer = []dns.RR{rr}
				} else {
					rr, _ := dns.NewRR(req.Question[0].Name + " 300 IN A 127.1.0.1")
					m.Answer = []dns.RR{rr}
				}
				b, _ := m.Pack()
				pc.WriteTo([]byte("\x00garbage"), from)
				pc.WriteTo(b, from)
			}
		}
	})
	r := newResolver(resolverConfig{Servers: []netip.AddrPort{pc.LocalAddr().(*net.UDPAddr).AddrPort()}, AllowLoopback: true, Timeout: 30 * time.Second})
	s, err := r.Site(context.Background(), "a.test")
	if err != nil || s.Hosts[0].Name != "good.test" {
		t.Fatalf("%v %v", s, err)
	}
	pc.Close()
	wg.Wait()
	if len(ports) < 3 {
		t.Errorf("three questions came from %d ports", len(ports))
	}
}

func TestManyGuessesLeadToTCP(t *testing.T) {
	l := startLiar(t, zone("a.test. 300 IN A 127.1.0.1"))
	pc, ln := listenBoth(t, "127.0.0.2")
	srv := &dns.Server{Listener: ln, Handler: l}
	up, done := make(chan struct{}), make(chan struct{})
	srv.NotifyStartedFunc = func() { close(up) }
	go func() { defer close(done); srv.ActivateAndServe() }()
	<-up
	defer func() { srv.Shutdown(); <-done }()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer pc.Close()
	wg.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			req := new(dns.Msg)
			if req.Unpack(buf[:n]) != nil {
				continue
			}
			for i := range 50 {
				m := new(dns.Msg)
				m.SetReply(req)
				m.Id = req.Id + 1 + uint16(i)
				b, _ := m.Pack()
				pc.WriteTo(b, from)
			}
		}
	})
	r := newResolver(resolverConfig{Servers: []netip.AddrPort{pc.LocalAddr().(*net.UDPAddr).AddrPort()}, AllowLoopback: true, Timeout: time.Minute})
	begin := time.Now()
	if s, err := r.Site(context.Background(), "a.test"); err != nil || show(s) != "a.test/0=127.1.0.1" || time.Since(begin) > 50*time.Second {
		t.Errorf("%v %v after %v", s, err, time.Since(begin))
	}
}

func TestDeadServerIsLeftForTheNext(t *testing.T) {
	dead := startLiar(t, func(dns.Question, int, bool) *dns.Msg { return nil })
	live := startLiar(t, zone("a.test. 300 IN A 127.1.0.1", "b.test. 300 IN A 127.1.0.1"))
	r := newResolver(resolverConfig{Servers: []netip.AddrPort{dead.addr, live.addr}, AllowLoopback: true, Timeout: 2 * time.Second})
	for _, d := range []string{"a.test", "b.test"} {
		if _, err := r.Site(context.Background(), d); err != nil {
			t.Fatal(err)
		}
	}
	if dead.times("a.test. MX") != 1 || dead.times("b.test. MX") != 0 {
		t.Errorf("dead server was asked %d and %d times", dead.times("a.test. MX"), dead.times("b.test. MX"))
	}
}

func TestLookUpEndsWithItsContext(t *testing.T) {
	l := startLiar(t, func(dns.Question, int, bool) *dns.Msg { return nil })
	r := lyingResolver(l, func(c *resolverConfig) { c.Timeout = time.Minute })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := r.Site(ctx, "a.test")
	if re, ok := errors.AsType[*routeError](err); !ok || re.Permanent || time.Since(begin) > 50*time.Second {
		t.Fatalf("%v after %v", err, time.Since(begin))
	}
}
