package submission

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"postern/tenant"
)

// TestHAProxy sends through a real balancer, with both versions of the header
// and its health checks, which are no client and leave no line of trouble.
func TestHAProxy(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("haproxy"); err != nil {
		if os.Getenv("POSTERN_ALLOW_MISSING") != "" {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	for version, word := range map[string]string{"1": "send-proxy", "2": "send-proxy-v2"} {
		t.Run("version "+version, func(t *testing.T) {
			t.Parallel()
			seen := make(chan netip.Addr, 1)
			r := newRig(t, func(c *Config, _ *rig) {
				c.LoggedIn = func(_ tenant.AccountID, client netip.Addr) { seen <- client }
			})
			front := balancer(t, r.addrS, word)
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 77)}}
			var c *client
			eventually(t, "the balancer found the server well", func() bool {
				conn, err := tls.DialWithDialer(&d, "tcp", front, r.clientTLS())
				if err != nil {
					return false
				}
				c = newClient(t, conn)
				return true
			})
			c.expect("220", "banner")
			c.cmd("EHLO client.test", "250")
			c.cmd("AUTH PLAIN "+plain(tUser, r.pass[tUser]), "235")
			if got := <-seen; got != netip.MustParseAddr("127.0.0.77") {
				t.Errorf("client %v", got)
			}
			c.envelope("mail@shop.test", "a@example.test")
			c.cmd("DATA", "354")
			c.send(simple + ".\r\n")
			c.expect("250", "message")
			r.one()
			if logs := r.logs.String(); strings.Contains(logs, "PROXY") || strings.Contains(logs, "handshake") {
				t.Errorf("trouble: %s", logs)
			}
		})
	}
}

// balancer starts HAProxy before a port and says where it listens. The socket is
// ours and handed over, so no port can be taken away in between.
func balancer(t *testing.T, server, word string) string {
	t.Helper()
	front := listen(t)
	f, err := front.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	conf := file(t, "haproxy.cfg", fmt.Sprintf(`
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend in
  bind fd@3
  default_backend out
backend out
  source 127.0.0.5
  server s1 %s %s check check-send-proxy inter 50ms
`, server, word))
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "haproxy", "-db", "-f", conf)
	cmd.ExtraFiles = []*os.File{f}
	cmd.WaitDelay = 5 * time.Second
	var said lockedBuffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // ends by our signal
		front.Close()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	return front.Addr().String()
}
