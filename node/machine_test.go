package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"postern/node/dnsbl"
	"postern/tenant"
)

func TestJudgeMachine(t *testing.T) {
	for _, x := range []struct {
		found MachineFinding
		state string
	}{
		{judgeClock(false, 20*time.Millisecond), MachineOK},
		{judgeClock(false, time.Second), MachineDoubt},
		{judgeClock(false, 16*time.Second), MachineWrong},
		{judgeClock(true, 0), MachineWrong},
		{judgeSync(200 * time.Microsecond), MachineOK},
		{judgeSync(30 * time.Millisecond), MachineDoubt},
		{judgeSync(300 * time.Millisecond), MachineWrong},
		{listFinding(dnsbl.Health{Zone: "z.test", Heavy: true, State: dnsbl.Usable}), MachineOK},
		{listFinding(dnsbl.Health{Zone: "z.test", Heavy: true, State: dnsbl.Refused, Why: tenant.WhyNotAsked}), MachineWrong},
		{listFinding(dnsbl.Health{Zone: "z.test", State: dnsbl.Refused}), MachineDoubt},
		{listFinding(dnsbl.Health{Zone: "z.test", Heavy: true, State: dnsbl.Broken}), MachineWrong},
		{listFinding(dnsbl.Health{Zone: "z.test", Heavy: true, State: dnsbl.Unreachable}), MachineUnknown},
	} {
		if x.found.State != x.state || x.found.Text == "" || (x.state == MachineWrong || x.state == MachineDoubt) != (x.found.Mend != "") {
			t.Errorf("want %s: %+v", x.state, x.found)
		}
	}
}

// A resolver is judged by what it is before it is asked: these must not be.
func TestResolversAreOwn(t *testing.T) {
	c := DefaultConfig()
	c.Resolvers = []string{"8.8.8.8", "1.1.1.1:53", "2606:4700:4700::1111", "127.0.0.53", "::ffff:9.9.9.9"}
	found := c.resolverFindings(t.Context())
	if len(found) != len(c.Resolvers) {
		t.Errorf("%d findings: %+v", len(found), found)
	}
	for _, f := range found {
		if f.State != MachineWrong || f.Mend == "" {
			t.Errorf("%+v", f)
		}
	}
}

// Mail can leave where somebody greets; a connection that says nothing, or
// something else, is a middlebox's.
func TestReach(t *testing.T) {
	serve := func(say string) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				if say != "" {
					_, _ = c.Write([]byte(say))
				}
				defer c.Close()
			}
		}()
		return l.Addr().String()
	}
	mail, web, mute := serve("220 mx.test\r\n"), serve("HTTP/1.1 400\r\n"), serve("")
	from := netip.MustParseAddr("127.0.0.9")
	if host, err := reach(t.Context(), from, []string{web, mute, mail}); err != nil || host != mail {
		t.Errorf("%s %v", host, err)
	}
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if host, err := reach(short, netip.Addr{}, []string{web, mute}); err == nil {
		t.Errorf("%s counts as a mail server", host)
	}
	c := DefaultConfig()
	found := c.reaches(t.Context(), Examination{Reach: []string{mail}, Sources: []netip.Addr{from, netip.MustParseAddr("192.0.2.9")}})
	if len(found) != 1 || found[0].State != MachineOK || !strings.Contains(found[0].Text, "from 127.0.0.9") {
		t.Errorf("%+v", found)
	}
	if found = c.reaches(t.Context(), Examination{Reach: []string{web}}); len(found) != 1 || found[0].State != MachineWrong {
		t.Errorf("%+v", found)
	}
}

func TestDiskIsLeftAsItWas(t *testing.T) {
	c := DefaultConfig()
	dir := t.TempDir()
	c.Dir = dir + "/not/yet/made"
	found := c.diskFindings(t.Context())
	if last := found[len(found)-1]; last.Check != "disk" || !strings.Contains(last.Text, "sync takes") {
		t.Errorf("%+v", found)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left %v %v", left, err)
	}
}

// A chain that lacks its middle, or whose top nobody knows, is found out.
func TestJudgeChain(t *testing.T) {
	now := time.Now()
	make := func(serial int64, name string, ca bool, above *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IsCA: ca, BasicConstraintsValid: true,
			NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		if ca {
			tmpl.KeyUsage = x509.KeyUsageCertSign
		}
		if above == nil {
			above, by = tmpl, key
		}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, above, key.Public(), by)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return leaf, key
	}
	top, topKey := make(1, "top", true, nil, nil)
	middle, middleKey := make(2, "middle", true, top, topKey)
	leaf, _ := make(3, "smtp.relay.test", false, middle, middleKey)
	roots := x509.NewCertPool()
	roots.AddCert(top)
	whole := tls.Certificate{Certificate: [][]byte{leaf.Raw, middle.Raw}, Leaf: leaf}
	lacking := tls.Certificate{Certificate: [][]byte{leaf.Raw}, Leaf: leaf}
	for _, x := range []struct {
		pair  tls.Certificate
		roots *x509.CertPool
		at    time.Time
		state string
	}{{whole, roots, now, MachineOK}, {lacking, roots, now, MachineDoubt}, {whole, x509.NewCertPool(), now, MachineDoubt}, {whole, roots, now.Add(2 * time.Hour), MachineDoubt}} {
		if f := judgeChain(x.pair, x.roots, x.at); f.State != x.state || (x.state == MachineDoubt) != (f.Mend != "") {
			t.Errorf("want %s: %+v", x.state, f)
		}
	}
}
