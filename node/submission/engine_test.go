package submission

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"postern/node/queue"
	"postern/tenant"
)

// TestEngineTraps lists what the command engine does by itself that must not
// reach anyone, what stands in front of it, and shows that it stands.
func TestEngineTraps(t *testing.T) {
	r := newRig(t)
	data := func(c *client, text, want string) {
		c.t.Helper()
		c.envelope("mail@shop.test", "a@example.test")
		c.message("DATA", text, want)
	}
	for _, trap := range []struct {
		name, guard string
		show        func(t *testing.T, c *client)
	}{
		{"one absolute read deadline for a whole body", "wire.arm (TestSlowBody)", nil},
		{"bare CR and LF reach the session", "body.run (TestSmuggling)", func(t *testing.T, c *client) {
			data(c, "From: mail@shop.test\n\na\nb", "250")
			if k := r.kept(); k[len(k)-1].body() != "a\r\nb\r\n" {
				t.Errorf("kept %q", k[len(k)-1].raw)
			}
		}},
		{"CR CRLF.CRLF is not seen as the end", "body.dot", func(t *testing.T, c *client) {
			data(c, "From: mail@shop.test\r\n\r\nx\r", "550 5.6.0")
			c.cmd("NOOP", "250")
		}},
		{"a dot and CR at a line's start are lost", "body.run", func(t *testing.T, c *client) {
			data(c, "From: mail@shop.test\r\n\r\n.\rX", "550 5.6.0")
		}},
		{"BDAT takes anything, in a second goroutine", "wire.onBdat: the engine sees DATA", func(t *testing.T, c *client) {
			c.envelope("mail@shop.test", "a@example.test")
			c.message("BDAT", "From: mail@shop.test\r\n\r\na\x00b", "550 5.6.0")
		}},
		{"nested MAIL keeps the recipients", "wire.dispatch", func(t *testing.T, c *client) {
			c.envelope("mail@shop.test", "a@example.test")
			c.cmd("MAIL FROM:<other@shop.test>", "503 5.5.1")
			c.message("DATA", simple, "250")
			if k := r.kept(); k[len(k)-1].env.From != "mail@shop.test" {
				t.Errorf("kept %+v", k[len(k)-1].env)
			}
		}},
		{"quoted local parts are unquoted and joined raw", "parsePath", func(t *testing.T, c *client) {
			c.envelope("mail@shop.test", `"victim> NOTIFY=NEVER x"@example.test`)
			c.cmd("RCPT TO:<\"a\x80\"@example.test>", "5")
			c.cmd("RCPT TO:<a@\xff.test>", "5")
			c.message("DATA", simple, "250")
			if k := r.kept(); k[len(k)-1].env.Rcpts[0].Addr != `"victim> NOTIFY=NEVER x"@example.test` {
				t.Errorf("kept %+v", k[len(k)-1].env)
			}
		}},
		{"AUTH failures are not counted, AUTH in a transaction is let in", "wire.onAuth (auth.chat, authfail.chat)", nil},
		{"a message of exactly the limit is refused", "sink.write", func(t *testing.T, _ *client) {
			c := r.login(tSmall)
			for _, m := range []struct {
				size int
				want string
			}{{20_000, "250"}, {20_001, "552 5.3.4"}} {
				head := "From: mail@shop.test\r\nDate: x\r\nMessage-ID: y\r\n\r\n"
				c.envelope("mail@shop.test", "a@example.test")
				c.message("DATA", head+strings.Repeat("x", m.size-len(head)-2), m.want)
			}
		}},
		{"a body line over the line limit ends the connection", "bodies do not pass the engine", func(t *testing.T, c *client) {
			data(c, "From: mail@shop.test\r\n\r\n"+strings.Repeat("x", 100_000), "250")
		}},
		{"shutdown waits for idle clients, nobody hears 421", "Server.stop (TestShutdown)", nil},
		{"no limits of connections or commands, no look at early talkers", "doors, wire (limits_test.go)", nil},
		{"the session lives on behind a failed handshake", "wire.onStartTLS (TestStartTLSInjection)", nil},
		{"one write a reply line; bodies are read octet by octet", "wire.fill, body.run (TestRate)", nil},
		{"plain errors become 554 with their text", "Server.answer (TestStoreErrors)", nil},
		{"success repeats the client's octets", "wire.relay", func(t *testing.T, c *client) {
			if got := c.cmd("EHLO secret.name.test", "250"); strings.Contains(got, "secret") {
				t.Errorf("said %q", got)
			}
			if got := c.cmd("MAIL FROM:<secret@shop.test>", "250"); strings.Contains(got, "secret") {
				t.Errorf("said %q", got)
			}
		}},
		{"only the first four octets of a command count", "wire.dispatch", func(t *testing.T, c *client) {
			c.cmd("NOOPX", "500 5.5.1")
			c.cmd("DATA\tx", "500 5.5.1")
		}},
	} {
		t.Run(trap.name, func(t *testing.T) {
			if trap.guard == "" {
				t.Error("no guard")
			}
			if trap.show != nil {
				trap.show(t, r.byNet())
			}
		})
	}
}

// TestEnvelope: what the queue is told.
func TestEnvelope(t *testing.T) {
	r := newRig(t)
	c := r.login(tUser)
	c.cmd("MAIL FROM:<mail@shop.test> RET=HDRS ENVID=x+2By BODY=8BITMIME SIZE=100", "250")
	c.cmd("RCPT TO:<a@example.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o+2Bo@example.test", "250")
	c.cmd("RCPT TO:<b@example.test> NOTIFY=NEVER", "250")
	c.message("DATA", "From: mail@shop.test\r\nPrecedence: Bulk\r\nMessage-ID: <m@shop.test>\r\n\r\n\xc3\xa9", "250")
	e := r.one().env
	want := []queue.Rcpt{{Addr: "a@example.test", Notify: queue.NotifySuccess | queue.NotifyDelay, ORcpt: "rfc822;o+o@example.test"},
		{Addr: "b@example.test", Notify: queue.NotifyNever}}
	if len(e.Rcpts) != 2 || e.Rcpts[0] != want[0] || e.Rcpts[1] != want[1] {
		t.Errorf("rcpts %+v", e.Rcpts)
	}
	if e.Ret != "HDRS" || e.EnvID != "x+y" || !e.EightBit || e.UTF8 || e.Class != tenant.Bulk || e.Kind != queue.Submitted ||
		e.MessageID != "<m@shop.test>" || e.Transaction == [16]byte{} || e.Remote || e.Expires.Sub(e.Arrived) != 5*24*time.Hour {
		t.Errorf("envelope %+v", e)
	}
	if n := counted(t, r.srv.metrics.accepted.WithLabelValues("shop")); n != 2 {
		t.Errorf("accepted %v", n)
	}
	if n := counted(t, r.srv.metrics.messages.WithLabelValues("shop")); n != 1 {
		t.Errorf("messages %v", n)
	}
	c.cmd("MAIL FROM:<x@other.test>", "553")
	if n := counted(t, r.srv.metrics.refused.WithLabelValues("shop", "sender")); n != 1 {
		t.Errorf("refused %v", n)
	}
	if log := r.logs.String(); !strings.Contains(log, `msg="message accepted" tenant=shop account=mail@shop.test`) || strings.Contains(log, r.pass[tUser]) {
		t.Errorf("log %s", log)
	}
}

func TestPassword(t *testing.T) {
	a, sa := NewPassword()
	b, sb := NewPassword()
	if len(a) != 32 || a == b || !CheckPassword(sa, a) || CheckPassword(sa, b) || CheckPassword(sb, a) || CheckPassword(sa, "") {
		t.Errorf("%q %q", a, b)
	}
}

func TestPermissionIsAskedFirst(t *testing.T) {
	r := newRig(t, func(c *Config, r *rig) {
		c.MayAnswer = func(_ context.Context, t tenant.ID, epoch uint64) error {
			if own := r.current().Tenant(t); own.Epoch != epoch {
				return errGone
			}
			if r.allowed.Add(-1) >= 0 {
				return nil
			}
			return errors.New("no lease")
		}
	})
	c := r.byNet()
	c.cmd("MAIL FROM:<mail@shop.test>", "451 4.3.0")
	r.allowed.Store(1) // at MAIL, not at the end
	c.envelope("mail@shop.test", "a@example.test")
	c.message("DATA", simple, "451 4.3.0")
	r.quota.settled(t)
	if len(r.kept()) != 0 || r.quota.spends != 0 {
		t.Error("put without permission")
	}
}

func counted(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}
