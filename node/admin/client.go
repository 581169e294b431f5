package admin

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxAnswer bounds what the client reads of one answer: a page of a thousand
// messages with fifty recipients each fits.
const maxAnswer = 64 << 20

// Client asks a node's API. Safe for concurrent use.
type Client struct {
	base  string
	token string
	from  string // node that asks in a caller's name; "" is the caller itself
	// overrideBan makes changes go through although they name somebody banned.
	overrideBan bool
	as          string // who asks, for the journal; "" says nothing
	http        *http.Client
}

// NewClient makes a client of the API at base ("http://127.0.0.1:8470", or
// host:port), with a token. It opens nothing. trust, when given, is the TLS
// configuration of https addresses.
func NewClient(base, token string, trust ...*tls.Config) (*Client, error) {
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil {
		return nil, fmt.Errorf("read API address %q: it is no http:// or https:// address", base)
	}
	transport := &http.Transport{
		Proxy:                 nil, // the operator's token goes to the node and nowhere else
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: 45 * time.Second,
		MaxIdleConnsPerHost:   4,
		IdleConnTimeout:       30 * time.Second,
	}
	for _, t := range trust {
		transport.TLSClientConfig = t
	}
	return &Client{
		base: u.Scheme + "://" + u.Host + strings.TrimSuffix(u.EscapedPath(), "/"), token: strings.TrimSpace(token),
		http: &http.Client{Transport: transport, Timeout: 60 * time.Second,
			// A redirect would carry the token to another place.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

// As says who asks, for the journal: the token alone does not tell operators
// apart. It is the caller's own word. Call it before the first request.
func (c *Client) As(name string) { c.as = actorName(name) }

// OverrideBan makes this client's changes go through although what they name is
// banned. Call it before the first request.
func (c *Client) OverrideBan() { c.overrideBan = true }

// Close gives back idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Unreachable is the error of a request that no node answered.
type Unreachable struct {
	Base string
	Err  error
}

func (e *Unreachable) Error() string { return fmt.Sprintf("reach node at %s: %v", e.Base, e.Err) }
func (e *Unreachable) Unwrap() error { return e.Err }

// tries is the number of tries of a change whose outcome is unknown; they carry
// one Idempotency-Key, so it is done once.
const tries = 3

// do asks one thing. in and out may be nil. Changes carry an Idempotency-Key
// and are repeated with it when their outcome is unknown. Errors: *Problem
// with the node's words, or *Unreachable.
func (c *Client) do(ctx context.Context, verb, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
	}
	key, n := "", 1
	if verb != http.MethodGet && !strings.HasPrefix(path, "/v1/queue") {
		var b [16]byte
		_, _ = rand.Read(b[:]) // never fails (crypto/rand)
		key, n = hex.EncodeToString(b[:]), tries
	}
	var err error
	for i := range n {
		if i > 0 && !pause(ctx, time.Duration(i)*500*time.Millisecond) {
			return err
		}
		if err = c.once(ctx, verb, path, key, body, out); !again(err) {
			return err
		}
	}
	return err
}

// again reports whether a request's outcome is unknown or the cluster could
// not decide just now.
func again(err error) bool {
	var p *Problem
	var u *Unreachable
	switch {
	case errors.As(err, &p):
		return p.Status == http.StatusServiceUnavailable
	case errors.As(err, &u):
		var op *net.OpError
		// Nobody listens there: another try in a second will not help.
		return !(errors.As(err, &op) && op.Op == "dial") && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
	}
	return false
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *Client) once(ctx context.Context, verb, path, key string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, verb, c.base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	if c.as != "" {
		req.Header.Set(headerOperator, c.as)
	}
	if c.overrideBan {
		req.Header.Set(headerOverride, "true")
	}
	if c.from != "" {
		req.Header.Set(headerPassedOn, c.from)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return &Unreachable{Base: c.base, Err: err}
	}
	defer resp.Body.Close()
	raw, isFile := out.(*[]byte)
	most := int64(maxAnswer)
	if isFile {
		most = MaxBackup
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if err != nil {
		return &Unreachable{Base: c.base, Err: err}
	}
	if resp.StatusCode/100 != 2 {
		return decodeProblem(resp.StatusCode, answer)
	}
	if out == nil || len(answer) == 0 {
		return nil
	}
	if isFile {
		*raw = answer
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("read answer of %s: %w", c.base, err)
	}
	return nil
}

// decodeProblem reads an error answer; what is no problem document (a proxy's
// page, say) is told by its status alone.
func decodeProblem(status int, answer []byte) error {
	p := &Problem{}
	if json.Unmarshal(answer, p) != nil || p.Title+p.Detail == "" {
		p = problem(status, "is this the address of a node's API?", "answer %d %s", status, http.StatusText(status))
	}
	p.Status = status
	return p
}

// List says which stretch of a list is wanted. The zero value is its start.
type List struct {
	After string
	Limit int // 0: the node's default
}

func (l List) query(more ...string) string {
	q := url.Values{}
	if l.After != "" {
		q.Set("after", l.After)
	}
	if l.Limit != 0 {
		q.Set("limit", strconv.Itoa(l.Limit))
	}
	for i := 0; i+1 < len(more); i += 2 {
		if more[i+1] != "" {
			q.Set(more[i], more[i+1])
		}
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// ask gives the answer of type T.
func ask[T any](ctx context.Context, c *Client, verb, path string, in any) (T, error) {
	var v T
	err := c.do(ctx, verb, path, in, &v)
	return v, err
}

// path joins segments, each escaped.
func path(segments ...string) string {
	var b strings.Builder
	b.WriteString("/v1")
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}
