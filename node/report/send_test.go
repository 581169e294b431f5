package report

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	smtpserver "github.com/emersion/go-smtp"
)

// host is a mail server that takes what it is given.
type host struct {
	mu   sync.Mutex
	auth string
	from string
	rcpt []string
	text []string
}

func (h *host) NewSession(*smtpserver.Conn) (smtpserver.Session, error) { return &hostSession{h}, nil }

type hostSession struct{ h *host }

func (s *hostSession) AuthMechanisms() []string { return []string{sasl.Plain} }
func (s *hostSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		s.h.mu.Lock()
		defer s.h.mu.Unlock()
		if s.h.auth = user; password != "opensesame" {
			return errors.New("no")
		}
		return nil
	}), nil
}
func (s *hostSession) Mail(from string, _ *smtpserver.MailOptions) error {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.h.from = from
	return nil
}
func (s *hostSession) Rcpt(to string, _ *smtpserver.RcptOptions) error {
	if strings.HasPrefix(to, "no@") {
		return &smtpserver.SMTPError{Code: 550, EnhancedCode: smtpserver.EnhancedCode{5, 1, 1}, Message: "nobody"}
	}
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.h.rcpt = append(s.h.rcpt, to)
	return nil
}
func (s *hostSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.h.text = append(s.h.text, string(b))
	return err
}
func (s *hostSession) Reset()        {}
func (s *hostSession) Logout() error { return nil }

func (h *host) taken() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.text)
}

// startHost runs a mail server with STARTTLS, if it has a certificate.
func startHost(t *testing.T, cert *tls.Certificate) (*host, string) {
	t.Helper()
	h := &host{}
	srv := smtpserver.NewServer(h)
	srv.Domain = "smarthost.test"
	srv.ErrorLog = quiet{}
	if cert != nil {
		srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() { _ = srv.Close(); done.Wait() })
	return h, l.Addr().String()
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

// certificate is for 127.0.0.1, and its own authority.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "smarthost.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, x, x, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	own, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(own)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

var letter = Message{ID: "notice-7-ab", Subject: "Postern: caf\u00e9\r\nBcc: evil@x.test", Body: "first\n.\nsecond caf\u00e9\n", Date: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)}

// A notice goes out by STARTTLS with a checked certificate and a password, as one
// well-formed message whose Message-ID is always the same.
func TestSmarthost(t *testing.T) {
	cert, roots := certificate(t)
	h, addr := startHost(t, &cert)
	s := &Smarthost{Addr: addr, Hostname: "n1.test", From: "postern@relay.test", User: "postern", Password: "opensesame", Roots: roots}
	if err := s.Send(t.Context(), "ops@a.test", letter); err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	m, err := mail.ReadMessage(strings.NewReader(h.text[0]))
	if err != nil {
		t.Fatal(err)
	}
	if h.auth != "postern" || h.from != "postern@relay.test" || len(h.rcpt) != 1 || h.rcpt[0] != "ops@a.test" {
		t.Errorf("%s sends from %s to %v", h.auth, h.from, h.rcpt)
	}
	if m.Header.Get("Message-ID") != "<notice-7-ab@relay.test>" || m.Header.Get("Auto-Submitted") != "auto-generated" || m.Header.Get("Bcc") != "" {
		t.Errorf("the header is %v", m.Header)
	}
	if date, err := m.Header.Date(); err != nil || !date.Equal(letter.Date) {
		t.Errorf("the date is %v: %v", date, err)
	}
	if !strings.Contains(h.text[0], "first\r\n.\r\nsecond caf=C3=A9\r\n") {
		t.Errorf("the body is %q", h.text[0])
	}
	h.mu.Unlock()
	defer h.mu.Lock()
	for name, bad := range map[string]*Smarthost{
		"a wrong password":        {Addr: addr, Hostname: "n1.test", From: s.From, User: "postern", Password: "x", Roots: roots},
		"an unknown certificate":  {Addr: addr, Hostname: "n1.test", From: s.From},
		"a server that is absent": {Addr: "127.0.0.1:1", Hostname: "n1.test", From: s.From},
	} {
		if err := bad.Send(t.Context(), "ops@a.test", letter); err == nil {
			t.Errorf("%s: it is sent", name)
		}
	}
	if err := s.Send(t.Context(), "no@a.test", letter); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("a refused address: %v", err)
	}
	if n := h.taken(); n != 1 {
		t.Errorf("%d messages came", n)
	}
}

// Without TLS nothing goes out, unless that was said; a server that says nothing,
// or too much, is left.
func TestSmarthostWithoutTLS(t *testing.T) {
	h, addr := startHost(t, nil)
	s := &Smarthost{Addr: addr, Hostname: "n1.test", From: "postern@relay.test"}
	if err := s.Send(t.Context(), "ops@a.test", letter); !errors.Is(err, errNoTLS) {
		t.Errorf("without STARTTLS: %v", err)
	}
	s.Plain = true
	if err := s.Send(t.Context(), "ops@a.test", letter); err != nil || h.taken() != 1 {
		t.Errorf("plain: %v, %d came", err, h.taken())
	}
	for name, say := range map[string]func(net.Conn){
		"silent":    func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
		"talkative": func(c net.Conn) { _, _ = io.Copy(c, strings.NewReader(strings.Repeat("220-more\r\n", 1<<16))) },
		"odd":       func(c net.Conn) { _, _ = io.WriteString(c, "hello?\r\n") },
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var done sync.WaitGroup
		done.Go(func() {
			if c, err := l.Accept(); err == nil {
				say(c)
				_ = c.Close()
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		odd := &Smarthost{Addr: l.Addr().String(), Hostname: "n1.test", From: s.From, Plain: true}
		if err := odd.Send(ctx, "ops@a.test", letter); err == nil {
			t.Errorf("a %s server takes it", name)
		}
		cancel()
		_ = l.Close()
		done.Wait()
	}
}

// A webhook gets a signed body; whatever is not a plain yes is a no, and a
// redirect is not followed.
func TestHook(t *testing.T) {
	secret := []byte("between us")
	var answer, calls int
	var got *http.Request
	var body []byte
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(answer)
	}))
	defer srv.Close()
	client := NewHookClient()
	defer client.CloseIdleConnections()
	h := &Hook{URL: srv.URL, Secret: secret, Client: client}
	answer = 204
	now := time.Unix(1764000000, 0)
	if err := h.Post(t.Context(), "notice-1-x", []byte(`{"act":"case"}`), now); err != nil {
		t.Fatal(err)
	}
	if got.Header.Get("Postern-Signature") != "v1="+Sign(secret, "1764000000", body) || got.Header.Get("Postern-Timestamp") != "1764000000" ||
		got.Header.Get("Idempotency-Key") != "notice-1-x" || got.Header.Get("Content-Type") != "application/json" || string(body) != `{"act":"case"}` {
		t.Errorf("the call has %v and %s", got.Header, body)
	}
	if Sign(secret, "1764000001", body) == Sign(secret, "1764000000", body) || Sign([]byte("other"), "1764000000", body) == Sign(secret, "1764000000", body) {
		t.Error("the signature does not depend on time and secret")
	}
	for _, answer = range []int{302, 400, 500} {
		before := calls
		if err := h.Post(t.Context(), "x", body, now); err == nil || calls != before+1 {
			t.Errorf("%d is a yes: %v, %d calls", answer, err, calls-before)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Post(ctx, "x", body, now); err == nil {
		t.Error("it is called after the end")
	}
}
