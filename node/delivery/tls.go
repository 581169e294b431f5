package delivery

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"time"

	"postern/node/queue"
)

// tlsPolicy is what is asked of a host.
type tlsPolicy uint8

const (
	tlsMay   tlsPolicy = iota // use it where it works, without looking at the certificate
	tlsMust                   // no TLS, no mail; the certificate still is not looked at
	tlsNever                  // do not even try
)

var (
	errHandshake = errors.New("TLS handshake failed")
	errNoTLS     = errors.New("TLS is required")
)

// upgrade makes the session a TLS one (RFC 3207).
func (s *smtpSession) upgrade(ctx context.Context, o *opening) (queue.Reply, error) {
	t := s.d.cfg.Timeouts
	p, err := s.command(t.Command, "STARTTLS")
	if err != nil {
		return diagnosis("4.4.2", "waiting for the reply to STARTTLS: "+describe(err)), err
	}
	if p.code != 220 {
		if p.code == 421 {
			return answered(p), &refusal{p.code}
		}
		return queue.Reply{}, nil // refused: shake looks whether clear text is allowed
	}
	if n := s.in.reset(s.conn); n > 0 {
		s.talk.note("dropped clear text behind STARTTLS")
	}
	conn := tls.Client(s.conn, &tls.Config{
		ServerName: o.host.Name,
		// Without MTA-STS or DANE an MX name proves nothing: DNS gave it, and
		// many hosts have no fitting certificate. Encryption alone still keeps
		// listeners out (RFC 7435), and even an old version does so better
		// than clear text, which would be the alternative.
		InsecureSkipVerify: true,
		MinVersion:         tls.VersionTLS10,
		ClientSessionCache: s.d.tickets,
	})
	hctx, cancel := context.WithDeadline(ctx, s.until(t.TLS))
	defer cancel()
	if err := conn.HandshakeContext(hctx); err != nil {
		err = errors.Join(errHandshake, err)
		s.talk.note("TLS handshake failed: " + string(appendClean(nil, []byte(err.Error()))))
		return diagnosis("4.7.5", "TLS handshake failed"), err
	}
	conn.SetDeadline(time.Time{})
	state := conn.ConnectionState()
	s.peer.TLS = strings.ReplaceAll(tls.VersionName(state.Version), " ", "") + " " + tls.CipherSuiteName(state.CipherSuite)
	s.conn = conn
	s.in.reset(conn)
	s.talk.note(s.peer.TLS)
	return s.hello(o.ehlo) // what was said before counts no more (RFC 3207 §4.2)
}
