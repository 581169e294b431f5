package submission

import (
	"fmt"
	"strings"
	"testing"
)

// What different hosts have taken for the end of a message (CVE-2023-51764 and
// its like), and what may hide one. Only CRLF.CRLF is one here.
var smuggles = []struct {
	seq  string
	want string // the reply to the message
}{
	{"\n.\n", "250"},
	{"\n.\r\n", "250"},
	{"\r\n.\n", "250"},
	{"\n..\r\n", "250"},
	{"\r\n..\r\n", "250"},
	{"\r\n. \r\n", "250"},
	{"\n\n.\n\n", "250"},
	{"\r.\r", "550 5.6.0"},
	{"\r\n.\r", "550 5.6.0"},
	{"\r.\r\n", "550 5.6.0"},
	{"\r.\n", "550 5.6.0"},
	{"\n.\r", "550 5.6.0"},
	{"\r\n.\rX", "550 5.6.0"},
	{"\r\r.\r\r", "550 5.6.0"},
	{"\r\n.\r\r\n", "550 5.6.0"},
	{"\x00", "550 5.6.0"},
	{"\r\n\x00.\r\n", "550 5.6.0"},
	{"\r\n.\x00\r\n", "550 5.6.0"},
}

// inner is what an attacker wants to be taken for a message of its own.
const inner = "MAIL FROM:<evil@shop.test>\r\nRCPT TO:<victim@example.test>\r\nDATA\r\nFrom: evil@shop.test\r\n\r\nsmuggled"

func TestSmuggling(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			r := way.rig(t)
			for _, how := range []string{"clear", "tls"} {
				for _, verb := range []string{"DATA", "BDAT", "BDAT in pieces"} {
					for _, m := range smuggles {
						t.Run(fmt.Sprintf("%s/%s/%q", how, verb, m.seq), func(t *testing.T) {
							before := len(r.kept())
							c := r.sender(how)
							c.envelope("mail@shop.test", "a@example.test")
							text := "From: mail@shop.test\r\n\r\nouter" + m.seq + inner
							c.message(verb, text, m.want)
							c.cmd("QUIT", "221")
							c.gone()
							added := r.kept()[before:]
							if want := map[bool]int{true: 1, false: 0}[m.want == "250"]; len(added) != want {
								t.Fatalf("%d messages kept, want %d", len(added), want)
							}
							for _, k := range added {
								if !clean(k.raw) {
									t.Errorf("bare CR, LF or NUL in %q", k.raw)
								}
								if !strings.Contains(k.body(), "MAIL FROM:<evil@shop.test>") {
									t.Errorf("text is missing: %q", k.body())
								}
							}
						})
					}
				}
			}
		})
	}
}

// A CR in front of the end does not hide it: the library's own reader waits for
// ever there, and takes what comes next for text.
func TestEndBehindCR(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			r := way.rig(t)
			for _, how := range []string{"clear", "tls"} {
				c := r.sender(how)
				c.envelope("mail@shop.test", "a@example.test")
				c.cmd("DATA", "354")
				c.send("From: mail@shop.test\r\n\r\nx\r\r\n.\r\nQUIT\r\n")
				c.expect("550 5.6.0", "message")
				c.expect("221", "QUIT")
			}
			if n := len(r.kept()); n != 0 {
				t.Errorf("%d kept", n)
			}
		})
	}
}

// TestStartTLSInjection: what a man in the middle puts behind STARTTLS in clear
// has no effect inside TLS.
func TestStartTLSInjection(t *testing.T) {
	r := newRig(t)
	c := r.dial()
	c.expect("220", "banner")
	c.cmd("EHLO client.test", "250")
	c.send("STARTTLS\r\nEHLO evil.test\r\nRSET\r\n")
	c.expect("220 2.0.0", "STARTTLS")
	tc := newClient(t, r.upgrade(t, c))
	tc.send("NOOP\r\n")
	tc.expect("250 2.0.0", "the first reply inside TLS is to the first command inside")
	tc.cmd("MAIL FROM:<mail@shop.test>", "503 5.5.1 Send EHLO first")
	tc.cmd("EHLO client.test", "250")

	// A failed handshake ends the connection.
	c = r.dial()
	c.expect("220", "banner")
	c.cmd("EHLO client.test", "250")
	c.cmd("STARTTLS", "220")
	c.send("NOOP\r\nthis is no handshake\r\n")
	c.closedWithout("250")
}

func clean(s string) bool {
	rest := strings.ReplaceAll(s, "\r\n", "")
	return !strings.ContainsAny(rest, "\r\n\x00")
}

// sender is a session that may send, in clear (by its network) or in TLS.
func (r *rig) sender(how string) *client {
	r.t.Helper()
	if how == "tls" {
		return r.login(tUser)
	}
	return r.byNet()
}

// message sends text by DATA or BDAT and expects want.
func (c *client) message(verb, text, want string) {
	c.t.Helper()
	switch verb {
	case "DATA":
		c.cmd("DATA", "354")
		c.send(text + "\r\n.\r\n")
	case "BDAT":
		c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(text), text))
	default:
		// Chunks end where it hurts: behind every CR, LF and dot.
		for text != "" {
			n := strings.IndexAny(text[1:], "\r\n.") + 2
			if n < 2 {
				n = len(text)
			}
			if n == len(text) {
				break
			}
			c.send(fmt.Sprintf("BDAT %d\r\n%s", n, text[:n]))
			got := c.reply()
			if strings.HasPrefix(got, "5") && strings.HasPrefix(got, want) {
				return
			}
			if !strings.HasPrefix(got, "250 2.0.0") {
				c.t.Fatalf("chunk %q: %s", text[:n], got)
			}
			text = text[n:]
		}
		c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(text), text))
	}
	c.expect(want, verb)
}
