package ansible

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// roots stands for the DNS's root servers, which know every name themselves.
type roots struct {
	mu    sync.Mutex
	asked []string // who asked for what
}

const (
	atTheRoot = "198.51.100.77" // the address every name has there
	rootAddr  = "198.41.0.4"    // but this one's, a.root-servers.net
)

// ServeDNS answers as the authority; who wants recursion is refused.
func (r *roots) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	a := new(dns.Msg).SetReply(q)
	a.Authoritative = true
	name, kind := q.Question[0].Name, q.Question[0].Qtype
	from, _, _ := net.SplitHostPort(w.RemoteAddr().String())
	r.mu.Lock()
	r.asked = append(r.asked, from+" "+name)
	r.mu.Unlock()
	switch {
	case q.RecursionDesired:
		a.Rcode = dns.RcodeRefused
	case name == "." && kind == dns.TypeNS:
		a.Answer = append(a.Answer, record(". 3600 NS a.root-servers.net."))
		a.Extra = append(a.Extra, record("a.root-servers.net. 3600 A "+rootAddr))
	case kind == dns.TypeA && strings.EqualFold(name, "a.root-servers.net."):
		a.Answer = append(a.Answer, record("a.root-servers.net. 3600 A "+rootAddr))
	case kind == dns.TypeA && strings.Count(name, ".") > 1:
		a.Answer = append(a.Answer, record(name+" 60 A "+atTheRoot))
	default:
		a.Ns = append(a.Ns, record(". 60 SOA a.root-servers.net. nobody. 1 2 3 4 5"))
	}
	_ = w.WriteMsg(a)
}

func record(text string) dns.RR {
	rr, err := dns.NewRR(text)
	if err != nil {
		panic(err) // the text is ours
	}
	return rr
}

var hint = regexp.MustCompile(`(?m)^[A-M]\.ROOT-SERVERS\.NET\.\s+\d+\s+A\s+(\S+)`)

// ask is a program that asks the machine's own resolver for an address.
const ask = `python3 -c '
import socket
q = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05asked\x07example\x00\x00\x01\x00\x01"
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(20)
s.sendto(q, ("127.0.0.1", 53))
print(socket.inet_ntoa(s.recv(512)[-4:]))'`

// testResolver asks a machine's resolver while the root servers are ours: it goes
// to them itself, and through nobody.
func testResolver(t *testing.T, g *rig) {
	m := g.machines[0]
	found := hint.FindAllStringSubmatch(m.do(t, "cat /usr/share/dns/root.hints"), -1)
	if len(found) != 13 {
		t.Fatalf("found %d root servers, want 13", len(found))
	}
	r := &roots{}
	for _, f := range found {
		run(t, "ip", "addr", "add", f[1]+"/32", "dev", "br0")
		socket, err := net.ListenPacket("udp", net.JoinHostPort(f[1], "53"))
		must(t, err)
		s := &dns.Server{PacketConn: socket, Handler: r}
		done := make(chan error, 1)
		go func() { done <- s.ActivateAndServe() }()
		t.Cleanup(func() { _ = socket.Close(); <-done })
	}
	// What the test added to reach the lab goes for a moment; signatures it has none.
	const lab = "/etc/unbound/unbound.conf.d/lab.conf"
	m.do(t, "cp "+lab+" /run/lab.conf; sed -i '/^forward-zone/,$d' "+lab+"; systemctl restart unbound")
	defer m.do(t, "cp /run/lab.conf "+lab+"; systemctl restart unbound")
	if got := m.do(t, ask); got != atTheRoot {
		t.Errorf("the resolver answers %q, want %s", got, atTheRoot)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !strings.Contains(strings.ToLower(strings.Join(r.asked, "\n")), m.addr+" asked.example.") {
		t.Errorf("the root servers were asked %q, and not by %s for the name", r.asked, m.addr)
	}
}

// testRenewal lets the certificate near its end: the playbook makes another, and
// the nodes show it without a restart.
func testRenewal(t *testing.T, g *rig) {
	started := func() (all string) {
		for _, m := range g.machines {
			all += m.do(t, "systemctl show -P MainPID -P ActiveEnterTimestampMonotonic postern") + " "
		}
		return all
	}
	before := started()
	g.shorten(t, 10*24*time.Hour)
	g.play(t, "site")
	renewed := g.pair(t, "submission.crt")
	if left := time.Until(renewed.NotAfter); left < 300*24*time.Hour {
		t.Errorf("the certificate is good for %v", left)
	}
	trust, err := g.trust()
	must(t, err)
	for _, m := range g.machines {
		wait(t, 30*time.Second, m.name+" shows the new certificate", func() error {
			c, err := tls.Dial("tcp", net.JoinHostPort(m.addr, "465"), trust)
			if err != nil {
				return err
			}
			defer c.Close()
			if !bytes.Equal(c.ConnectionState().PeerCertificates[0].Raw, renewed.Raw) {
				return os.ErrNotExist
			}
			return nil
		})
	}
	if after := started(); after != before {
		t.Errorf("nodes were restarted: %s, before %s", after, before)
	}
}

// pair reads a certificate that the playbook keeps.
func (g *rig) pair(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(g.block(t, name))
	must(t, err)
	return c
}

func (g *rig) block(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, "keep/tls", name))
	must(t, err)
	b, _ := pem.Decode(text)
	if b == nil {
		t.Fatalf("%s is no PEM file", name)
	}
	return b.Bytes
}

// shorten puts a certificate by the same authority in the place of the one kept.
func (g *rig) shorten(t *testing.T, left time.Duration) {
	t.Helper()
	ca, now := g.pair(t, "ca.crt"), g.pair(t, "submission.crt")
	key, err := x509.ParseECPrivateKey(g.block(t, "ca.key"))
	must(t, err)
	raw, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: relay},
		DNSNames: now.DNSNames, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(left)}, ca, now.PublicKey.(*ecdsa.PublicKey), key)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(g.dir, "keep/tls/submission.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), 0o644))
}
