package dnsbl

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// scripted is a DNS server over UDP and TCP that answers as its script says.
type scripted struct {
	addr netip.AddrPort

	mu     sync.Mutex // guards what follows
	script func(q dns.Question, tcp bool) *dns.Msg
	asked  []string // names and types, in the order they came
}

// serveScript starts one. The script gives the answer's rcode and records; nil
// is silence.
func serveScript(t testing.TB, script func(q dns.Question, tcp bool) *dns.Msg) *scripted {
	t.Helper()
	s := &scripted{script: script}
	var udp net.PacketConn
	var tcp net.Listener
	for range 20 { // the port must be free for both
		var err error
		if udp, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if tcp, err = net.Listen("tcp", udp.LocalAddr().String()); err == nil {
			break
		}
		udp.Close()
	}
	if tcp == nil {
		t.Fatal("no port is free for UDP and TCP")
	}
	s.addr = udp.LocalAddr().(*net.UDPAddr).AddrPort()
	for _, srv := range []*dns.Server{{PacketConn: udp, Handler: s}, {Listener: tcp, Handler: s}} {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = srv.ActivateAndServe() // ends by Shutdown
		}()
		<-started
		t.Cleanup(func() {
			_ = srv.Shutdown()
			<-ended
		})
	}
	return s
}

func (s *scripted) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	_, tcp := w.RemoteAddr().(*net.TCPAddr)
	s.mu.Lock()
	s.asked = append(s.asked, q.Question[0].Name+" "+dns.TypeToString[q.Question[0].Qtype])
	script := s.script
	s.mu.Unlock()
	m := script(q.Question[0], tcp)
	if m == nil {
		return
	}
	if m.Id == 0 {
		m.Id = q.Id
	}
	if m.Question == nil {
		m.Question = q.Question
	}
	m.Response = true
	_ = w.WriteMsg(m)
}

func (s *scripted) play(script func(q dns.Question, tcp bool) *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = script
}

func (s *scripted) count(part string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.asked {
		if strings.Contains(a, part) {
			n++
		}
	}
	return n
}

// reply is NOERROR with records ("x. 5 IN A 127.0.0.2"), owner @ for the name
// that was asked; without any it is NXDOMAIN.
func reply(q dns.Question, records ...string) *dns.Msg {
	m := new(dns.Msg)
	for _, text := range records {
		rr, err := dns.NewRR(strings.ReplaceAll(text, "@", q.Name))
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	if len(records) == 0 {
		m.Rcode = dns.RcodeNameError
	}
	return m
}

func rcode(code int) *dns.Msg { return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: code}} }

// quick is a resolver that gives up soon.
func quick(t testing.TB, timeout time.Duration, servers ...netip.AddrPort) *Resolver {
	t.Helper()
	r, err := NewResolver(servers, timeout)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
