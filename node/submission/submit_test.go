package submission

import (
	"strings"
	"testing"

	"postern/tenant"
)

func plain(user, pass string) string {
	return base64text("\x00" + user + "\x00" + pass)
}

func TestMessageOverStartTLSAndAuth(t *testing.T) {
	r := newRig(t)
	c := r.dial()
	c.expect("220 in-1.relay.test ESMTP", "banner")
	if got := c.cmd("EHLO client.test", "250"); !strings.Contains(got, "STARTTLS") || strings.Contains(got, "AUTH") {
		t.Errorf("EHLO in clear: %q", got)
	}
	c.startTLS(r)
	if got := c.cmd("EHLO client.test", "250"); strings.Contains(got, "STARTTLS") || !strings.Contains(got, "AUTH PLAIN LOGIN") {
		t.Errorf("EHLO in TLS: %q", got)
	}
	c.cmd("AUTH PLAIN "+plain(tUser, r.pass[tUser]), "235")
	c.envelope("mail@shop.test", "a@example.test", "b@example.test")
	c.cmd("DATA", "354")
	c.send(simple)
	got := c.cmd(".", "250 2.0.0 OK: queued as ")
	m := r.one()
	if !strings.HasSuffix(got, m.id.String()) {
		t.Errorf("reply %q does not name %v", got, m.id)
	}
	if m.env.From != "mail@shop.test" || len(m.env.Rcpts) != 2 || m.body() != "hi\r\n" {
		t.Errorf("kept %+v %q", m.env, m.raw)
	}
	if !strings.HasPrefix(m.raw, "Received: by "+tHost+" with ESMTPSA id ") {
		t.Errorf("kept %q", m.raw)
	}
	r.quota.settled(t)
	size := uint64(len(m.raw) - strings.Index(m.raw, "Date:"))
	if want := (tenant.Amount{Mails: 2, Bytes: 2 * size}); r.quota.spent != want {
		t.Errorf("spent %+v, want %+v", r.quota.spent, want)
	}
	c.cmd("QUIT", "221")
	c.gone()
}
