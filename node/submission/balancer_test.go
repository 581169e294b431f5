package submission

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/tenant"
)

const headerFar = "PROXY TCP4 203.0.113.9 192.0.2.1 51000 465\r\n"

// The header comes before TLS, and the client's address is the one that is
// logged and told of.
func TestBalancerBeforeTLS(t *testing.T) {
	t.Parallel()
	seen := make(chan netip.Addr, 1)
	r := newRig(t, func(c *Config, _ *rig) {
		c.LoggedIn = func(_ tenant.AccountID, client netip.Addr) { seen <- client }
	})
	c := r.from("127.0.0.5", r.addrS)
	c.send(headerFar)
	tc := tls.Client(c.conn, r.clientTLS())
	if err := tc.Handshake(); err != nil {
		t.Fatal(err)
	}
	c.conn, c.r = tc, bufio.NewReader(tc)
	c.expect("220", "banner")
	c.cmd("EHLO client.test", "250")
	c.cmd("AUTH PLAIN "+plain(tUser, r.pass[tUser]), "235")
	if got := <-seen; got != netip.MustParseAddr("203.0.113.9") {
		t.Errorf("told of %v", got)
	}
	if !strings.Contains(r.logs.String(), "client=203.0.113.9") {
		t.Errorf("not logged: %s", r.logs)
	}
}

// Header and TLS greeting in one segment: nothing gets lost between the two.
func TestBalancerHeaderAndTLSAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.from("127.0.0.5", r.addrS)
	first := &prefixed{Conn: c.conn, first: []byte(headerFar)}
	tc := tls.Client(first, r.clientTLS())
	if err := tc.Handshake(); err != nil {
		t.Fatal(err)
	}
	c.conn, c.r = tc, bufio.NewReader(tc)
	c.expect("220", "banner")
}

// prefixed writes something before the first octets written.
type prefixed struct {
	net.Conn
	first []byte
}

func (p *prefixed) Write(b []byte) (int, error) {
	if p.first == nil {
		return p.Conn.Write(b)
	}
	_, err := p.Conn.Write(append(p.first, b...))
	p.first = nil
	return len(b), err
}

// On 465 whoever does not introduce the client gets no word and no TLS, and a
// header of a stranger is no TLS either.
func TestBalancerWithoutHeaderOnTLS(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for from, sent := range map[string]string{"127.0.0.5": "\x16\x03\x01\x00\x05hello", "127.0.0.4": headerFar} {
		c := r.from(from, r.addrS)
		c.send(sent)
		c.closedWithout("220")
	}
	if !strings.Contains(r.logs.String(), "without a PROXY header") {
		t.Errorf("not logged: %s", r.logs)
	}
}

// Connections count by their client's network, not by the balancer's, and are
// given back.
func TestBalancerCountsClients(t *testing.T) {
	t.Parallel()
	r := newRig(t, limited(func(l *Limits) { l.ConnsPerIP = 2 }))
	open := func(header string) *client {
		c := r.from("127.0.0.5", r.addr)
		c.send(header)
		return c
	}
	one, two := open(headerFar), open(headerFar)
	one.expect("220", "first")
	two.expect("220", "second")
	three := open(headerFar)
	three.expect("421 4.7.0 Too many", "third")
	three.gone()
	open("PROXY TCP4 203.0.113.10 192.0.2.1 51000 465\r\n").expect("220", "another client")
	two.cmd("QUIT", "221")
	two.gone()
	eventually(t, "the place is free again", func() bool {
		c := open(headerFar)
		return strings.HasPrefix(c.reply(), "220")
	})
}

// Failed logins count against the client, too: the balancer's others go on.
func TestBalancerFailuresAreTheClients(t *testing.T) {
	t.Parallel()
	r := newRig(t, limited(func(l *Limits) { l.AuthFailures = 2 }))
	try := func(client, user, pass string) string {
		c := r.from("127.0.0.5", r.addr)
		c.send("PROXY TCP4 " + client + " 192.0.2.1 51000 587\r\n")
		c.expect("220", "banner")
		c.cmd("EHLO client.test", "250")
		c.startTLS(r)
		c.cmd("EHLO client.test", "250")
		c.send("AUTH PLAIN " + plain(user, pass) + "\r\n")
		return c.reply()
	}
	try("203.0.113.9", "a@x.test", "wrong")
	try("203.0.113.9", "b@x.test", "wrong")
	if got := try("203.0.113.9", tUser, r.pass[tUser]); !strings.HasPrefix(got, "421 4.7.0") {
		t.Errorf("the guesser: %s", got)
	}
	if got := try("203.0.113.10", tUser, r.pass[tUser]); !strings.HasPrefix(got, "235") {
		t.Errorf("another client: %s", got)
	}
}

// Who is silent, or looks in, ends soon and leaves nothing behind.
func TestBalancerSilent(t *testing.T) {
	t.Parallel()
	r := newRig(t, short(200*time.Millisecond))
	c := r.from("127.0.0.5", r.addr)
	c.send("PROXY TCP4 203.0")
	c.expect("421 4.7.0 PROXY", "half a header")
	c.gone()
	before := r.logs.String()
	r.from("127.0.0.5", r.addr).conn.Close()
	eventually(t, "no connection is left", func() bool {
		r.srv.mu.Lock()
		defer r.srv.mu.Unlock()
		return len(r.srv.wires) == 0
	})
	if after := r.logs.String(); after != before {
		t.Errorf("a port check is logged: %s", after[len(before):])
	}
}

// FuzzIntroduce reads any header. Whatever it says, a client is one machine, a
// remote balancer cannot name our loopback, memory is bounded, and what comes
// behind the header is passed on whole.
func FuzzIntroduce(f *testing.F) {
	f.Add([]byte("PROXY TCP4 203.0.113.9 192.0.2.1 51000 465\r\nEHLO x"), 7)
	f.Add([]byte("PROXY TCP6 ::ffff:127.0.0.1 ::1 1 2\r\n"), 1)
	f.Add([]byte("PROXY UNKNOWN\r\n"), 100)
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x09\xc0\x00\x02\x01\xc7\x38\x02\x4bEHLO"), 3)
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"), 16)
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x31\x00\xd8"+strings.Repeat("a", 216)), 16)
	far := netip.MustParseAddr("198.51.100.1")
	f.Fuzz(func(t *testing.T, sent []byte, step int) {
		in := &pieces{rest: bytes.Clone(sent), step: 1 + max(step, 0)%300}
		c := newIntroduced(in)
		a, err := c.client(far)
		if err != nil {
			if len(sent)-len(in.rest) > 4096+16+256 {
				t.Fatalf("read %d octets of a bad header", len(sent)-len(in.rest))
			}
			return
		}
		if a.IsValid() && (a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a.Is4In6()) {
			t.Fatalf("client %v", a)
		}
		rest, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasSuffix(sent, rest) || len(rest) == len(sent) {
			t.Fatalf("%q behind the header of %q", rest, sent)
		}
	})
}

// pieces is a connection that gives its octets some at a time.
type pieces struct {
	net.Conn
	rest []byte
	step int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest[:min(p.step, len(p.rest))])
	p.rest = p.rest[n:]
	return n, nil
}
