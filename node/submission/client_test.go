package submission

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// client is a raw SMTP client.
type client struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

func (r *rig) dial() *client {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	return newClient(r.t, c)
}

func newClient(t testing.TB, c net.Conn) *client {
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return &client{t: t, conn: c, r: bufio.NewReader(c)}
}

func (r *rig) dialTLS() *client {
	r.t.Helper()
	c, err := tls.Dial("tcp", r.addrS, r.clientTLS())
	if err != nil {
		r.t.Fatal(err)
	}
	return newClient(r.t, c)
}

func (r *rig) clientTLS() *tls.Config {
	return &tls.Config{RootCAs: r.ca, ServerName: "in-1.relay.test"}
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, s); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// reply reads one reply, its lines joined by \n.
func (c *client) reply() string {
	c.t.Helper()
	s, err := c.tryReply()
	if err != nil {
		c.t.Fatalf("read reply: %v (so far %q)", err, s)
	}
	return s
}

func (c *client) tryReply() (string, error) {
	var out []string
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return strings.Join(out, "\n"), err
		}
		out = append(out, strings.TrimRight(line, "\r\n"))
		if len(line) < 4 || line[3] != '-' {
			return strings.Join(out, "\n"), nil
		}
	}
}

// cmd sends a line and expects a reply that begins with want.
func (c *client) cmd(line, want string) string {
	c.t.Helper()
	c.send(line + "\r\n")
	return c.expect(want, line)
}

func (c *client) expect(want, what string) string {
	c.t.Helper()
	got := c.reply()
	if !strings.HasPrefix(got, want) {
		c.t.Fatalf("%s: got %q, want %q", what, got, want)
	}
	return got
}

// gone expects the server to have closed.
func (c *client) gone() {
	c.t.Helper()
	if s, err := c.tryReply(); err == nil {
		c.t.Fatalf("connection still open, said %q", s)
	}
}

func (c *client) startTLS(r *rig) {
	c.t.Helper()
	c.cmd("STARTTLS", "220")
	t := tls.Client(c.conn, r.clientTLS())
	if err := t.Handshake(); err != nil {
		c.t.Fatalf("handshake: %v", err)
	}
	c.conn, c.r = t, bufio.NewReader(t)
}

// login goes all the way to an authenticated TLS session.
func (r *rig) login(user string) *client {
	r.t.Helper()
	c := r.dialTLS()
	c.expect("220", "banner")
	c.cmd("EHLO client.test", "250")
	c.cmd("AUTH PLAIN "+plain(user, r.pass[user]), "235")
	return c
}

// from connects from an address of this machine.
func (r *rig) from(local, to string) *client {
	r.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
	conn, err := d.Dial("tcp", to)
	if err != nil {
		r.t.Fatal(err)
	}
	return newClient(r.t, conn)
}

// byNet is a session in clear, allowed by its network.
func (r *rig) byNet() *client {
	r.t.Helper()
	c := r.from("127.0.0.9", r.addr)
	c.expect("220", "banner")
	c.cmd("EHLO client.test", "250")
	return c
}

func (c *client) envelope(from string, rcpts ...string) {
	c.t.Helper()
	c.cmd("MAIL FROM:<"+from+">", "250 2.1.0")
	for _, rc := range rcpts {
		c.cmd("RCPT TO:<"+rc+">", "250 2.1.5")
	}
}

const simple = "From: Shop <mail@shop.test>\r\nTo: a@example.test\r\nSubject: hello\r\n\r\nhi\r\n"

// upgrade shakes hands on a raw client's connection.
func (r *rig) upgrade(t testing.TB, c *client) net.Conn {
	t.Helper()
	tc := tls.Client(c.conn, r.clientTLS())
	if err := tc.Handshake(); err != nil {
		t.Fatalf("handshake: %v", err)
	}
	return tc
}

// closedWithout expects the server to close without saying what.
func (c *client) closedWithout(what string) {
	c.t.Helper()
	rest, err := io.ReadAll(c.r)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		c.t.Fatalf("not closed: %v", err)
	}
	if strings.Contains(string(rest), what) {
		c.t.Fatalf("said %q", rest)
	}
}
