package report

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/smtp"
	"strconv"
	"strings"
	"time"
)

// Bounds of one sending.
const (
	mailWait    = 30 * time.Second
	webhookWait = 15 * time.Second
	maxReply    = 64 << 10
)

// Smarthost is a mail server outside the cluster that takes our notices.
type Smarthost struct {
	Addr           string // HOST:PORT
	Hostname       string // that we greet with
	From           string
	User, Password string // "": without AUTH
	Plain          bool   // without TLS
	// Roots are the authorities to trust; nil: the machine's.
	Roots *x509.CertPool
}

// Send gives the smarthost a message for one address. It goes out by STARTTLS
// with a certificate that was checked, unless Plain says otherwise: what stands
// in notices is nobody else's business.
func (s *Smarthost) Send(ctx context.Context, to string, m Message) error {
	ctx, cancel := context.WithTimeout(ctx, mailWait)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return fmt.Errorf("reach smarthost: %w", err)
	}
	defer conn.Close()
	end, _ := ctx.Deadline() // it was set above
	if err := conn.SetDeadline(end); err != nil {
		return fmt.Errorf("reach smarthost: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // the owner ends: at once
	defer stop()
	host, _, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return fmt.Errorf("reach smarthost: %w", err)
	}
	c, err := smtp.NewClient(&bounded{Conn: conn, left: maxReply}, host)
	if err != nil {
		return fmt.Errorf("greet smarthost: %w", err)
	}
	if err := s.dialogue(c, host, to, m); err != nil {
		return fmt.Errorf("send notice: %w", err)
	}
	return nil
}

var (
	errNoTLS  = errors.New("the smarthost offers no STARTTLS")
	errTooFar = errors.New("the smarthost says too much")
)

func (s *Smarthost) dialogue(c *smtp.Client, host, to string, m Message) error {
	if err := c.Hello(s.Hostname); err != nil {
		return err
	}
	if !s.Plain {
		if ok, _ := c.Extension("STARTTLS"); !ok {
			return errNoTLS
		}
		if err := c.StartTLS(&tls.Config{ServerName: host, RootCAs: s.Roots, MinVersion: tls.VersionTLS12}); err != nil {
			return err
		}
	}
	if s.User != "" {
		if err := c.Auth(smtp.PlainAuth("", s.User, s.Password, host)); err != nil {
			return err
		}
	}
	if err := c.Mail(s.From); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(s.compose(to, m)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_ = c.Quit() // it has taken the message
	return nil
}

// compose writes the message (RFC 5322). Its Message-ID is that of every other
// try; Auto-Submitted keeps vacation answers away (RFC 3834 section 5).
func (s *Smarthost) compose(to string, m Message) []byte {
	var b bytes.Buffer
	_, domain, _ := strings.Cut(s.From, "@")
	for _, h := range [][2]string{{"From", "<" + s.From + ">"}, {"To", "<" + to + ">"}, {"Subject", mime.QEncoding.Encode("utf-8", oneLine(m.Subject))},
		{"Date", m.Date.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700")}, {"Message-ID", "<" + m.ID + "@" + domain + ">"},
		{"Auto-Submitted", "auto-generated"}, {"MIME-Version", "1.0"}, {"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "quoted-printable"}} {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	q := quotedprintable.NewWriter(&b)
	_, _ = q.Write([]byte(strings.ReplaceAll(m.Body, "\n", "\r\n"))) // a buffer takes all
	_ = q.Close()
	return b.Bytes()
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// bounded ends a connection that says more than a dialogue needs.
type bounded struct {
	net.Conn
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooFar
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// Hook is a program outside the cluster that takes our notices over HTTP.
type Hook struct {
	URL    string
	Secret []byte
	Client *http.Client // NewHookClient's
}

// NewHookClient makes the client of hooks: no redirects, for what is signed for
// one place is not for another.
func NewHookClient() *http.Client {
	return &http.Client{Timeout: webhookWait, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: webhookWait, MaxIdleConns: 4, MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second,
			MaxResponseHeaderBytes: maxReply}}
}

// Post gives the hook a body. Postern-Signature is "v1=" and the hexadecimal
// HMAC-SHA256 of Postern-Timestamp, a dot and the body, under the secret; the
// Idempotency-Key is the same at every try of a notice.
func (h *Hook) Post(ctx context.Context, id string, body []byte, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, webhookWait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("call webhook: %w", err)
	}
	stamp := strconv.FormatInt(now.Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Postern")
	req.Header.Set("Idempotency-Key", id)
	req.Header.Set("Postern-Timestamp", stamp)
	req.Header.Set("Postern-Signature", "v1="+Sign(h.Secret, stamp, body))
	resp, err := h.Client.Do(req)
	if err != nil {
		return fmt.Errorf("call webhook: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxReply)) // so that the connection can be used again
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("call webhook: it answered %d", resp.StatusCode)
	}
	return nil
}

// Sign is the signature of a webhook's body, without its version.
func Sign(secret []byte, stamp string, body []byte) string {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(stamp + ".")) // a hash takes all writes
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}
