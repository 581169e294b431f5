package lab

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestDNS(t *testing.T) {
	w := Usual()
	w.AddSource(netip.MustParseAddr("127.77.1.11"), "out-1.relay.test")
	w.AddSender("shoes.test", "mx.inbox.test", netip.MustParsePrefix("127.77.1.0/24"))
	w.Names["alias.test"] = Name{Records: []string{"CNAME inbox.test."}}
	w.Names["*.wild.test"] = Name{Records: []string{"A 127.78.0.99"}}
	w.Names["mute.test"] = Name{Silent: true}
	w.Names["tcp.test"] = Name{Records: []string{"A 127.78.0.98"}, Truncated: true}
	many := Name{}
	for i := range 100 {
		many.Records = append(many.Records, fmt.Sprintf("MX 10 a-rather-long-name-%d.many.test.", i))
	}
	w.Names["many.test"] = many
	l := startLab(t, Config{World: w})
	ask := func(network, name string, typ uint16) (*dns.Msg, error) {
		c := dns.Client{Net: network, Timeout: 2 * time.Second}
		q := new(dns.Msg)
		q.SetQuestion(dns.Fqdn(name), typ)
		m, _, err := c.Exchange(q, l.DNS())
		return m, err
	}
	tests := []struct {
		name  string
		typ   uint16
		rcode int
		want  []string
	}{
		{"inbox.test", dns.TypeMX, 0, []string{"10 mx.inbox.test."}},
		{"INBOX.test", dns.TypeMX, 0, []string{"10 mx.inbox.test."}},
		{"mx.inbox.test", dns.TypeA, 0, []string{"127.78.0.10"}},
		{"mx.inbox.test", dns.TypeAAAA, 0, nil},
		{"mx.sixfirst.test", dns.TypeAAAA, 0, []string{"::1"}},
		{"implicit.test", dns.TypeMX, 0, nil},
		{"implicit.test", dns.TypeA, 0, []string{"127.78.0.12"}},
		{"nullmx.test", dns.TypeMX, 0, []string{"0 ."}},
		{"servfail.test", dns.TypeMX, dns.RcodeServerFailure, nil},
		{"gone.test", dns.TypeMX, dns.RcodeNameError, nil},
		{"never.heard.test", dns.TypeMX, dns.RcodeNameError, nil},
		{"relay.test", dns.TypeMX, 0, nil}, // an empty non-terminal exists
		{"11.1.77.127.in-addr.arpa", dns.TypePTR, 0, []string{"out-1.relay.test."}},
		{"out-1.relay.test", dns.TypeA, 0, []string{"127.77.1.11"}},
		{"shoes.test", dns.TypeTXT, 0, []string{`"v=spf1 ip4:127.77.1.0/24 -all"`}},
		{"alias.test", dns.TypeMX, 0, []string{"inbox.test.", "10 mx.inbox.test."}},
		{"any.thing.wild.test", dns.TypeA, 0, []string{"127.78.0.99"}},
	}
	for _, network := range []string{"udp", "tcp"} {
		for _, tt := range tests {
			m, err := ask(network, tt.name, tt.typ)
			if err != nil {
				t.Errorf("%s %s: %v", network, tt.name, err)
				continue
			}
			var got []string
			for _, rr := range m.Answer {
				got = append(got, strings.TrimPrefix(rr.String(), rr.Header().String()))
			}
			if m.Rcode != tt.rcode || fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("%s %s %s = %s %q, want %s %q", network, tt.name, dns.TypeToString[tt.typ],
					dns.RcodeToString[m.Rcode], got, dns.RcodeToString[tt.rcode], tt.want)
			}
			if len(got) == 0 && m.Rcode != dns.RcodeServerFailure && len(m.Ns) != 1 {
				t.Errorf("%s %s: a negative answer without SOA", network, tt.name)
			}
		}
	}
	if m, err := ask("udp", "mute.test", dns.TypeA); err == nil {
		t.Errorf("the silent name answered %v", m)
	}
	for _, name := range []string{"tcp.test", "many.test"} {
		typ := map[string]uint16{"tcp.test": dns.TypeA, "many.test": dns.TypeMX}[name]
		if m, err := ask("udp", name, typ); err != nil || !m.Truncated {
			t.Errorf("%s over udp: %v %v, want TC", name, m, err)
		}
		if m, err := ask("tcp", name, typ); err != nil || m.Truncated || len(m.Answer) == 0 {
			t.Errorf("%s over tcp: %v %v, want all", name, m, err)
		}
	}
}

func TestAPI(t *testing.T) {
	l := startLab(t, Config{})
	call := func(method, path, body string) (int, string) {
		req, err := http.NewRequest(method, "http://"+l.API()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		tr := &http.Transport{DisableKeepAlives: true}
		res, err := (&http.Client{Transport: tr, Timeout: time.Minute}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b)
	}
	for _, tt := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"PUT", "/mood/mx.inbox.test", `{"mood":"greylist","wait":"2s"}`, 200, `"wait":"2s"`},
		{"PUT", "/mood/inbox.test", `reject`, 200, `"mood":"reject"`},
		{"PUT", "/mood/127.78.0.10", `"tls"`, 200, `"tls":true`},
		{"PUT", "/mood/mx.inbox.test", `angry`, 400, `no mood`},
		{"PUT", "/mood/mx.inbox.test", `{"mood":"fine","wait":"-1s"}`, 400, `bad wait`},
		{"PUT", "/mood/mx.else.test", `fine`, 404, `no such mail exchanger`},
		{"PUT", "/dns", `{"new.test":{"records":["MX 5 mx.inbox.test."]},"inbox.test":null}`, 200, `"names":2`},
		{"PUT", "/dns", `{"bad.test":{"records":["MX five"]}}`, 400, `read record`},
		{"PUT", "/dns", `{"bad.test":{"rcode":"MAYBE"}}`, 400, `unknown rcode`},
		{"PUT", "/dns", `[`, 400, `read names`},
		{"GET", "/messages?limit=0", "", 400, `limit`},
		{"GET", "/messages?after=x", "", 400, `after`},
		{"GET", "/messages", "", 200, `{"messages":[],"total":0}`},
		{"GET", "/exchangers", "", 200, `mx.blackhole.test`},
		{"POST", "/messages", "", 405, ``},
		{"PUT", "/listing/127.77.1.11", `{}`, 404, ``},
	} {
		if code, got := call(tt.method, tt.path, tt.body); code != tt.code || !strings.Contains(got, tt.want) {
			t.Errorf("%s %s %s = %d %s, want %d with %q", tt.method, tt.path, tt.body, code, got, tt.code, tt.want)
		}
	}
	if n := l.zones.answer(question("new.test", dns.TypeMX), false, ""); len(n.Answer) != 1 {
		t.Error("the new name is unknown")
	}
	if n := l.zones.answer(question("inbox.test", dns.TypeMX), false, ""); n.Rcode != dns.RcodeSuccess || len(n.Answer) != 0 {
		t.Error("the removed name still answers, or its children are gone with it")
	}
}

func question(name string, typ uint16) *dns.Msg {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), typ)
	return q
}
