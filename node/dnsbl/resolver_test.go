package dnsbl

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/tenant"
)

const long = 10 * time.Second // for what must not time out

func TestResolverAnswers(t *testing.T) {
	many := make([]string, maxValues+1)
	for i := range many {
		many[i] = "@ 5 IN A 127.0.0." + string(rune('1'+i%9))
	}
	for name, c := range map[string]struct {
		script func(q dns.Question, tcp bool) *dns.Msg
		want   string
		why    tenant.Why
	}{
		"listed":   {func(q dns.Question, _ bool) *dns.Msg { return reply(q, "@ 5 IN A 127.0.0.2", "@ 5 IN A 127.0.0.9") }, "127.0.0.2 127.0.0.9", ""},
		"nxdomain": {func(q dns.Question, _ bool) *dns.Msg { return reply(q) }, "", ""},
		"nodata":   {func(dns.Question, bool) *dns.Msg { return new(dns.Msg) }, "", ""},
		"other case": {func(q dns.Question, _ bool) *dns.Msg {
			m := reply(q, strings.ToUpper(q.Name)+" 5 IN A 127.0.0.2")
			return m
		}, "127.0.0.2", ""},
		"alias": {func(q dns.Question, _ bool) *dns.Msg {
			return reply(q, "@ 5 IN CNAME park.test.", "park.test. 5 IN A 203.0.113.7")
		}, "203.0.113.7", ""},
		"alias loop": {func(q dns.Question, _ bool) *dns.Msg { return reply(q, "@ 5 IN CNAME @") }, "", tenant.WhyGarbled},
		// A record of another name proves nothing.
		"another's":   {func(q dns.Question, _ bool) *dns.Msg { return reply(q, "other.test. 5 IN A 127.0.0.2") }, "", ""},
		"other class": {func(q dns.Question, _ bool) *dns.Msg { return reply(q, "@ 5 CH A 127.0.0.2") }, "", ""},
		"too many":    {func(q dns.Question, _ bool) *dns.Msg { return reply(q, many...) }, "", tenant.WhyGarbled},
		"empty":       {func(q dns.Question, _ bool) *dns.Msg { return reply(q, "@ 5 IN A") }, "", tenant.WhyGarbled},
		"servfail":    {func(dns.Question, bool) *dns.Msg { return rcode(dns.RcodeServerFailure) }, "", tenant.WhyServFail},
		"refused":     {func(dns.Question, bool) *dns.Msg { return rcode(dns.RcodeRefused) }, "", tenant.WhyRefused},
		"notimp":      {func(dns.Question, bool) *dns.Msg { return rcode(dns.RcodeNotImplemented) }, "", tenant.WhyGarbled},
		"truncated": {func(q dns.Question, tcp bool) *dns.Msg {
			m := reply(q, "@ 5 IN A 127.0.0.2")
			if !tcp {
				m.Answer, m.Truncated = nil, true
			}
			return m
		}, "127.0.0.2", ""},
		"truncated twice": {func(q dns.Question, _ bool) *dns.Msg {
			m := reply(q, "@ 5 IN A 127.0.0.2")
			m.Truncated = true
			return m
		}, "", tenant.WhyGarbled},
		// Somebody guesses at answers over UDP: TCP tells the truth.
		"another question": {func(q dns.Question, tcp bool) *dns.Msg {
			m := reply(q, "@ 5 IN A 127.0.0.2")
			if !tcp {
				m.Question = []dns.Question{{Name: "other.test.", Qtype: q.Qtype, Qclass: q.Qclass}}
			}
			return m
		}, "127.0.0.2", ""},
		"no question": {func(q dns.Question, _ bool) *dns.Msg {
			m := reply(q)
			m.Question = []dns.Question{}
			return m
		}, "", tenant.WhyGarbled},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveScript(t, c.script)
			values, why := quick(t, long, s.addr).values(t.Context(), "2.0.0.127.bl.test.")
			var texts []string
			for _, v := range values {
				texts = append(texts, v.String())
			}
			if got := strings.Join(texts, " "); got != c.want || why != c.why {
				t.Errorf("%q %q, want %q %q", got, why, c.want, c.why)
			}
		})
	}
}

// A server that knows no EDNS is asked without it.
func TestResolverFormErr(t *testing.T) {
	s := serveScript(t, nil)
	s.play(func(q dns.Question, _ bool) *dns.Msg {
		if s.count("bl.test") == 1 {
			m := rcode(dns.RcodeFormatError)
			m.Question = []dns.Question{}
			return m
		}
		return reply(q, "@ 5 IN A 127.0.0.2")
	})
	if values, why := quick(t, long, s.addr).values(t.Context(), "2.0.0.127.bl.test."); why != "" || len(values) != 1 || s.count("bl.test") != 2 {
		t.Errorf("%v %q after %d questions", values, why, s.count("bl.test"))
	}
}

func TestResolverServers(t *testing.T) {
	good := serveScript(t, func(q dns.Question, _ bool) *dns.Msg { return reply(q, "@ 5 IN A 127.0.0.2") })
	silent := serveScript(t, func(dns.Question, bool) *dns.Msg { return nil })
	failing := serveScript(t, func(dns.Question, bool) *dns.Msg { return rcode(dns.RcodeServerFailure) })
	gone := closedPort(t)

	// The next server answers for one that does not.
	for name, bad := range map[string]netip.AddrPort{"silent": silent.addr, "failing": failing.addr, "gone": gone} {
		if values, why := quick(t, 300*time.Millisecond, bad, good.addr).values(t.Context(), "x.bl.test."); why != "" || len(values) != 1 {
			t.Errorf("%s first: %v %q", name, values, why)
		}
	}
	// All bad: the reason, after a second try.
	before := silent.count("")
	if _, why := quick(t, 100*time.Millisecond, silent.addr).values(t.Context(), "x.bl.test."); why != tenant.WhyTimeout {
		t.Errorf("silent: %q", why)
	}
	if n := silent.count("") - before; n != 2 {
		t.Errorf("asked %d times", n)
	}
	if _, why := quick(t, long, gone).values(t.Context(), "x.bl.test."); why != tenant.WhyNetwork {
		t.Errorf("gone: %q", why)
	}
	// A flapping server: the second try counts.
	var flaps atomic.Int32
	flapping := serveScript(t, func(q dns.Question, _ bool) *dns.Msg {
		if flaps.Add(1) == 1 {
			return rcode(dns.RcodeServerFailure)
		}
		return reply(q)
	})
	if _, why := quick(t, long, flapping.addr).values(t.Context(), "x.bl.test."); why != "" {
		t.Errorf("flapping: %q", why)
	}

	// An ended context ends a question at once.
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	began := time.Now()
	if _, why := quick(t, time.Minute, silent.addr).values(ctx, "x.bl.test."); why == "" || time.Since(began) > 30*time.Second {
		t.Errorf("%q after %v", why, time.Since(began))
	}
}

func closedPort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.LocalAddr().(*net.UDPAddr).AddrPort()
}

func TestReason(t *testing.T) {
	s := serveScript(t, func(q dns.Question, _ bool) *dns.Msg {
		return reply(q, `@ 5 IN TXT "see \027[31m" "https://bl.test/?q=x"`, `@ 5 IN TXT "second"`)
	})
	if got := quick(t, long, s.addr).reason(t.Context(), "x.bl.test."); got != "see ?[31mhttps://bl.test/?q=x" {
		t.Errorf("%q", got)
	}
	s.play(func(dns.Question, bool) *dns.Msg { return rcode(dns.RcodeServerFailure) })
	if got := quick(t, long, s.addr).reason(t.Context(), "x.bl.test."); got != "" {
		t.Errorf("%q", got)
	}
}

func TestSystemServers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("search x\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := SystemServers(file)
	if err != nil || !slices.Equal(all, []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("[2001:db8::53]:53")}) {
		t.Errorf("%v %v", all, err)
	}
	if err := os.WriteFile(file, []byte("search x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := SystemServers(file); err == nil {
		t.Error("none is enough")
	}
}

// What a server sends is read without harm.
func FuzzAnswer(f *testing.F) {
	q := dns.Question{Name: "2.0.0.127.bl.test.", Qtype: dns.TypeA, Qclass: dns.ClassINET}
	for _, records := range [][]string{{"@ 5 IN A 127.0.0.2"}, {"@ 5 IN CNAME a.test.", "a.test. 5 IN A 1.2.3.4"}, {"@ 5 IN A"}, {"@ 5 IN TXT x"}} {
		m := reply(q, records...)
		m.Question = []dns.Question{q}
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	z := &tenant.Zone{Codes: []tenant.ZoneCode{{First: netip.MustParseAddr("127.0.0.2"), Last: netip.MustParseAddr("127.0.0.2"), Weight: 100, Policy: tenant.PolicyMove}}}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(dns.Msg)
		if m.Unpack(b) != nil {
			return
		}
		values, ok := valuesOf(m, q.Name)
		if !ok {
			return
		}
		a := z.Read(values)
		if a.Kind == tenant.AnswerListed && !slices.Contains(values, netip.MustParseAddr("127.0.0.2")) || a.Kind == tenant.AnswerClean && len(values) > 0 {
			t.Fatalf("%v: %+v", values, a)
		}
		reasonOf(m, q.Name)
	})
}
