package lab

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"hash"
	"net"
	"strings"
	"sync"
	"time"
)

const (
	sessionIdle = 5 * time.Minute
	writeWait   = 30 * time.Second
	maxRcpts    = 1000
	maxMail     = 512 << 20
	maxFaults   = 20 // replies 500 to 504 before the connection ends
)

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 32<<10) }}

// session is one SMTP connection at an exchanger.
type session struct {
	x      *exchanger
	conn   net.Conn
	r      *bufio.Reader
	w      *bufio.Writer
	source string
	tls    string
	ehlo   string
	mood   Mood

	inMail bool
	from   string
	rcpts  []string
	faults int
	body   hash.Hash
}

func newSession(x *exchanger, c net.Conn) *session {
	s := &session{x: x, conn: c, w: bufio.NewWriterSize(c, 2<<10), body: sha256.New()}
	s.r = readers.Get().(*bufio.Reader)
	s.r.Reset(c)
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		s.source = a.IP.String()
	}
	return s
}

// serve talks until either side ends it. A new mood takes hold at the next
// transaction.
func (s *session) serve(ctx context.Context) {
	defer func() {
		s.r.Reset(nil)
		readers.Put(s.r)
	}()
	s.mood = *s.x.mood.Load()
	if s.mood.Kind == BlackHole {
		s.swallow(ctx)
		return
	}
	if !s.reply(ctx, 220, s.x.name+" ESMTP") {
		return
	}
	for {
		line, err := s.line()
		if err != nil || !s.command(ctx, line) {
			_ = s.flush()
			return
		}
	}
}

// swallow reads and says nothing, as long as the client bears it and the mood
// lasts.
func (s *session) swallow(ctx context.Context) {
	for ctx.Err() == nil && s.x.mood.Load().Kind == BlackHole {
		_ = s.conn.SetReadDeadline(time.Now().Add(250 * time.Millisecond))
		var timeout net.Error
		if _, err := s.r.Discard(1); err != nil && !(errors.As(err, &timeout) && timeout.Timeout()) {
			return
		}
	}
}

// line reads one command. Replies leave before the session waits for input.
func (s *session) line() ([]byte, error) {
	if s.r.Buffered() == 0 {
		if err := s.flush(); err != nil {
			return nil, err
		}
		if err := s.conn.SetReadDeadline(time.Now().Add(sessionIdle)); err != nil {
			return nil, err
		}
	}
	b, err := s.r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	if len(b) > 4096 {
		return nil, bufio.ErrBufferFull
	}
	return bytes.TrimRight(b, "\r\n"), nil
}

func (s *session) flush() error {
	if s.w.Buffered() == 0 {
		return nil
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeWait)); err != nil {
		return err
	}
	return s.w.Flush()
}

// reply writes one reply line; in the tarpit it comes late and alone.
func (s *session) reply(ctx context.Context, code int, text string) bool {
	if s.mood.Kind == Tarpit && s.mood.Wait > 0 {
		t := time.NewTimer(s.mood.Wait)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
		}
	}
	if code >= 500 && code <= 504 {
		s.faults++
	}
	fmt.Fprintf(s.w, "%d %s\r\n", code, text)
	if s.mood.Kind == Tarpit && s.flush() != nil {
		return false
	}
	return s.faults < maxFaults
}

// command answers one line and reports whether the session goes on.
func (s *session) command(ctx context.Context, line []byte) bool {
	verb, arg, _ := strings.Cut(string(line), " ")
	switch strings.ToUpper(verb) {
	case "EHLO":
		return s.hello(arg)
	case "HELO":
		s.ehlo = bound(arg, 255)
		s.reset()
		return s.reply(ctx, 250, s.x.name)
	case "STARTTLS":
		return s.startTLS(ctx)
	case "MAIL":
		return s.mail(ctx, arg)
	case "RCPT":
		return s.rcpt(ctx, arg)
	case "DATA":
		return s.data(ctx)
	case "RSET":
		s.reset()
		return s.reply(ctx, 250, "2.0.0 Reset")
	case "NOOP":
		return s.reply(ctx, 250, "2.0.0 Still here")
	case "QUIT":
		s.reply(ctx, 221, "2.0.0 Bye")
		return false
	default:
		return s.reply(ctx, 500, "5.5.1 Unknown command")
	}
}

func (s *session) reset() { s.inMail, s.from, s.rcpts = false, "", nil }

func (s *session) hello(arg string) bool {
	s.ehlo = bound(arg, 255)
	s.reset()
	s.mood = *s.x.mood.Load()
	lines := []string{s.x.name, "PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", fmt.Sprintf("SIZE %d", maxMail)}
	if s.mood.TLS && s.tls == "" {
		lines = append(lines, "STARTTLS")
	}
	for i, l := range lines {
		sep := byte('-')
		if i == len(lines)-1 {
			sep = ' '
		}
		fmt.Fprintf(s.w, "250%c%s\r\n", sep, l)
	}
	return true
}

func (s *session) startTLS(ctx context.Context) bool {
	if !s.mood.TLS || s.tls != "" || s.x.tls == nil {
		return s.reply(ctx, 502, "5.5.1 Not offered")
	}
	if s.r.Buffered() > 0 {
		// Plaintext behind STARTTLS is an injection (RFC 3207 §6).
		s.reply(ctx, 554, "5.5.1 Nothing may follow STARTTLS")
		return false
	}
	if !s.reply(ctx, 220, "2.0.0 Go ahead") || s.flush() != nil {
		return false
	}
	c := tls.Server(s.conn, s.x.tls)
	shake, cancel := context.WithTimeout(ctx, writeWait)
	defer cancel()
	if err := c.HandshakeContext(shake); err != nil {
		return false
	}
	s.conn = c
	s.r.Reset(c)
	s.w.Reset(c)
	s.tls = tls.VersionName(c.ConnectionState().Version)
	s.ehlo = ""
	s.reset()
	return true
}

func (s *session) mail(ctx context.Context, arg string) bool {
	s.mood = *s.x.mood.Load()
	addr, ok := path(arg, "FROM:")
	switch {
	case s.ehlo == "":
		return s.reply(ctx, 503, "5.5.1 Say EHLO first")
	case s.inMail:
		return s.reply(ctx, 503, "5.5.1 One transaction at a time")
	case !ok:
		return s.reply(ctx, 501, "5.1.7 Bad reverse-path")
	case s.mood.Kind == Blocked:
		s.x.refused.Add(1)
		if s.mood.List != "" {
			return s.reply(ctx, 554, "5.7.1 Service unavailable; Client host ["+s.source+"] blocked using "+s.mood.List)
		}
		return s.reply(ctx, 550, "5.7.1 Client host ["+s.source+"] refused, see the list of the lab")
	case s.mood.Kind == BlackHole:
		s.swallow(ctx)
		return false
	}
	s.inMail, s.from = true, addr
	return s.reply(ctx, 250, "2.1.0 Sender fine")
}

func (s *session) rcpt(ctx context.Context, arg string) bool {
	addr, ok := path(arg, "TO:")
	switch {
	case !s.inMail:
		return s.reply(ctx, 503, "5.5.1 Say MAIL first")
	case !ok || addr == "":
		return s.reply(ctx, 501, "5.1.3 Bad forward-path")
	case len(s.rcpts) >= maxRcpts:
		return s.reply(ctx, 452, "4.5.3 Too many recipients")
	}
	code, text := 250, "2.1.5 Recipient fine"
	switch s.mood.Kind {
	case Greylist:
		if s.x.first("g\x00"+s.source+"\x00"+s.from+"\x00"+addr, s.mood.Wait) {
			code, text = 451, "4.7.1 Greylisted, please come again"
		}
	case TempFail:
		code, text = 451, "4.3.2 Not now, please come again"
	case Reject:
		code, text = 550, "5.1.1 No such user here"
	case Full:
		code, text = 452, "4.2.2 Mailbox full"
	}
	switch {
	case code >= 500:
		s.x.refused.Add(1)
	case code >= 400:
		s.x.deferred.Add(1)
	default:
		s.rcpts = append(s.rcpts, addr)
	}
	return s.reply(ctx, code, text)
}

// path reads the address out of "FROM:<addr> PARAMS".
func path(arg, word string) (string, bool) {
	if len(arg) < len(word) || !strings.EqualFold(arg[:len(word)], word) {
		return "", false
	}
	rest := strings.TrimLeft(arg[len(word):], " ")
	if !strings.HasPrefix(rest, "<") {
		return "", false
	}
	quoted := false
	for i := 1; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == '>' && !quoted:
			return rest[1:i], i <= 1000
		}
	}
	return "", false
}

func bound(s string, n int) string { return s[:min(len(s), n)] }
