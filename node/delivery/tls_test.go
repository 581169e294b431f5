package delivery

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"
)

func selfSigned(t testing.TB, from, to time.Time) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "other.test"}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func TestOpportunisticTLSTakesAnyCertificate(t *testing.T) {
	year := 365 * 24 * time.Hour
	now := time.Now()
	for name, cfg := range map[string]*tls.Config{
		"self-signed": selfSigned(t, now.Add(-year), now.Add(year)), "expired": selfSigned(t, now.Add(-2*year), now.Add(-year)),
	} {
		t.Run(name, func(t *testing.T) {
			srv := startSink(t, &sink{ext: allExt, tls: cfg})
			s := dialTo(t, dialerConfig{Policy: func(host) tlsPolicy { return tlsMust }}, srv.addr)
			if p := s.Peer().TLS; !strings.HasPrefix(p, "TLS1.3 TLS_") {
				t.Errorf("TLS state %q", p)
			}
			for _, body := range []string{"x\r\n", strings.Repeat("y\r\n", 100_000)} {
				r := s.Send(context.Background(), letter(inMemory(body), "a@b.example"), yes)
				if r.Replies[0].Code != 250 {
					t.Fatalf("%+v", r)
				}
			}
			n := 0
			for _, l := range srv.said() {
				if strings.HasPrefix(l, "EHLO") {
					n++
				}
			}
			if n != 2 || len(srv.messages()) != 2 {
				t.Errorf("EHLO was said %d times, %d messages", n, len(srv.messages()))
			}
		})
	}
}

func TestBrokenTLS(t *testing.T) {
	garbage := func(f *foe, n int) {
		if n > 1 { // the second connection: clear text must work
			f.take()
			f.hear(".\r\n")
			f.say("250 2.0.0 kept\r\n")
			f.stay()
			return
		}
		f.greet("STARTTLS", "PIPELINING")
		f.hear("STARTTLS")
		f.say("220 go\r\n")
		f.r.Peek(1)
		f.say("this is not TLS at all, and it goes on for a while\r\n")
		f.stay()
	}
	silent := func(f *foe, n int) {
		if n > 1 {
			garbage(f, n)
			return
		}
		f.greet("STARTTLS")
		f.hear("STARTTLS")
		f.say("220 go\r\n")
		f.stay()
	}
	refused := func(f *foe, _ int) {
		f.greet("STARTTLS", "PIPELINING")
		f.hear("STARTTLS")
		f.say("454 4.7.0 no TLS today\r\n")
		f.hear("DATA")
		f.say("250 ok\r\n250 ok\r\n354 go\r\n")
		f.hear(".\r\n")
		f.say("250 2.0.0 kept\r\n")
		f.stay()
	}
	brief := patient
	brief.TLS = 2 * time.Second // the silence of one
	for name, script := range map[string]func(*foe, int){"garbage": garbage, "silence": silent, "refused": refused} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := startFoe(t, script)
			s := dialTo(t, dialerConfig{Timeouts: brief}, addr)
			if r := s.Send(context.Background(), letter(inMemory("x\r\n"), "a@b.example"), yes); r.Replies[0].Code != 250 || s.Peer().TLS != "" {
				t.Errorf("%+v", r)
			}
			must := dialerConfig{Timeouts: brief, Policy: func(host) tlsPolicy { return tlsMust }}
			_, err := newDialer(must).Dial(context.Background(), testSource, "out.test", at(startFoe(t, script)))
			if he, ok := errors.AsType[*hostError](err); !ok || he.Stage != stageTLS || he.Reply.Code >= 500 || he.Ours {
				t.Errorf("policy must: %+v", err)
			}
		})
	}
	t.Run("not offered", func(t *testing.T) {
		must := dialerConfig{Timeouts: patient, Policy: func(host) tlsPolicy { return tlsMust }}
		_, err := newDialer(must).Dial(context.Background(), testSource, "out.test", at(startSink(t, &sink{}).addr))
		if he, ok := errors.AsType[*hostError](err); !ok || he.Stage != stageTLS || !errors.Is(he.Err, errNoTLS) {
			t.Errorf("%+v", err)
		}
	})
}

// What an attacker puts behind the reply to STARTTLS must not be taken as said
// under TLS (the STARTTLS injection).
func TestClearTextBehindSTARTTLSIsDropped(t *testing.T) {
	cfg := selfSigned(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	addr := startFoe(t, func(f *foe, _ int) {
		f.greet("STARTTLS")
		f.hear("STARTTLS")
		f.say("220 go\r\n250-evil\r\n250 SIZE 1\r\n")
		tc := tls.Server(f.Conn, cfg)
		if tc.Handshake() != nil {
			return
		}
		g := &foe{tc, bufio.NewReader(tc)}
		g.hear("EHLO")
		g.say("250-good\r\n250 PIPELINING\r\n")
		g.hear("DATA")
		g.say("250 ok\r\n250 ok\r\n354 go\r\n")
		g.hear(".\r\n")
		g.say("250 2.0.0 kept\r\n")
		g.stay()
	})
	s := dialTo(t, dialerConfig{Timeouts: patient}, addr)
	if s.ext.size != 0 || !s.ext.pipelining || s.Peer().TLS == "" {
		t.Errorf("extensions %+v, TLS %q", s.ext, s.Peer().TLS)
	}
	if r := s.Send(context.Background(), letter(inMemory("x\r\n"), "a@b.example"), yes); r.Replies[0].Code != 250 {
		t.Errorf("%+v", r)
	}
}

// The extensions of the clear-text EHLO must be forgotten under TLS.
func TestExtensionsAreReadAgainUnderTLS(t *testing.T) {
	cfg := selfSigned(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	addr := startFoe(t, func(f *foe, _ int) {
		f.greet("STARTTLS", "DSN", "8BITMIME")
		f.hear("STARTTLS")
		f.say("220 go\r\n")
		tc := tls.Server(f.Conn, cfg)
		if tc.Handshake() != nil {
			return
		}
		g := &foe{tc, bufio.NewReader(tc)}
		g.hear("EHLO")
		g.say("250 good\r\n")
		g.stay()
	})
	if s := dialTo(t, dialerConfig{Timeouts: patient}, addr); s.ext != (extensions{}) {
		t.Errorf("extensions %+v", s.ext)
	}
}

func TestHELOFallback(t *testing.T) {
	addr := startFoe(t, func(f *foe, _ int) {
		f.say("220 old\r\n")
		f.hear("EHLO")
		f.say("500 what\r\n")
		f.hear("HELO")
		f.say("250 hi\r\n")
		for _, verb := range []string{"MAIL", "RCPT"} {
			f.hear(verb)
			f.say("250 ok\r\n")
		}
		f.hear("DATA")
		f.say("354 go\r\n")
		f.hear(".\r\n")
		f.say("250 kept\r\n")
		f.stay()
	})
	s := dialTo(t, dialerConfig{Timeouts: patient}, addr)
	if r := s.Send(context.Background(), letter(inMemory("x\r\n"), "a@b.example"), yes); r.Replies[0].Code != 250 {
		t.Errorf("%+v", r)
	}
}
