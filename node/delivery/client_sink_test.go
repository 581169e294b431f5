package delivery

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// sink is a strict SMTP server: every octet that is not as the RFC has it is a
// fault of the client.
type sink struct {
	ext []string
	tls *tls.Config

	addr netip.AddrPort
	ln   net.Listener
	wg   sync.WaitGroup

	mu     sync.Mutex                     // guards what follows
	answer func(verb, line string) string // "" means the normal reply
	got    []received
	lines  []string
	faults []string
	conns  []net.Conn
}

type received struct {
	from  string
	rcpts []string
	body  []byte
}

func (s *sink) fault(format string, args ...any) {
	s.mu.Lock()
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
	s.mu.Unlock()
}

// said gives the commands so far.
func (s *sink) said() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.lines...)
}

func (s *sink) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *sink) behave() {
	s.mu.Lock()
	s.answer = nil
	s.mu.Unlock()
}

func (s *sink) messages() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]received(nil), s.got...)
}

func startSink(t testing.TB, s *sink) *sink {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.ln, s.addr = ln, ln.Addr().(*net.TCPAddr).AddrPort()
	s.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.mu.Unlock()
			s.wg.Go(func() { defer c.Close(); s.serve(c) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		s.mu.Lock()
		for _, c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		s.wg.Wait()
		for _, f := range s.faults {
			t.Errorf("client broke the protocol: %s", f)
		}
	})
	return s
}

// readLine takes one line that ends in CRLF and has no other CR or LF.
func (s *sink) readLine(r *bufio.Reader) (string, error) {
	b, err := r.ReadSlice('\n')
	if err != nil {
		if len(b) > 0 && errors.Is(err, io.EOF) {
			s.fault("connection ended inside %q", b)
		}
		return "", err
	}
	if len(b) < 2 || bytes.IndexByte(b, '\r') != len(b)-2 {
		s.fault("bare CR or LF in %q", b)
	}
	return string(b[:len(b)-2]), nil
}

func (s *sink) serve(c net.Conn) {
	r, w := bufio.NewReaderSize(c, 64<<10), bufio.NewWriter(c)
	var m received
	say := func(verb, line, normal string) string {
		s.mu.Lock()
		answer := s.answer
		s.mu.Unlock()
		if answer != nil {
			if a := answer(verb, line); a != "" {
				normal = a
			}
		}
		w.WriteString(normal + "\r\n")
		return normal
	}
	say("BANNER", "", "220 sink.test ESMTP")
	secure := false
	for {
		if r.Buffered() == 0 {
			w.Flush()
		}
		line, err := s.readLine(r)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.lines = append(s.lines, line)
		s.mu.Unlock()
		verb, _, _ := strings.Cut(line, " ")
		switch verb {
		case "EHLO":
			lines := []string{"sink.test"}
			lines = append(lines, s.ext...)
			if s.tls != nil && !secure {
				lines = append(lines, "STARTTLS")
			}
			say(verb, line, "250-"+strings.Join(lines[:len(lines)-1], "\r\n250-")+"\r\n250 "+lines[len(lines)-1])
		case "HELO", "RSET", "NOOP":
			m = received{}
			say(verb, line, "250 2.0.0 ok")
		case "STARTTLS":
			if say(verb, line, "220 2.0.0 go")[0] != '2' {
				continue
			}
			w.Flush()
			tc := tls.Server(c, s.tls)
			if tc.Handshake() != nil {
				return
			}
			c, secure = tc, true
			r.Reset(c)
			w.Reset(c)
		case "MAIL":
			if m.from != "" || len(m.rcpts) > 0 {
				s.fault("MAIL inside a transaction")
			}
			if say(verb, line, "250 2.1.0 ok")[0] == '2' {
				m.from = line
			}
		case "RCPT":
			switch {
			case m.from == "":
				say(verb, line, "503 5.5.1 MAIL first")
			case say(verb, line, "250 2.1.5 ok")[0] == '2':
				m.rcpts = append(m.rcpts, line)
			}
		case "DATA":
			if m.from == "" || len(m.rcpts) == 0 {
				if say("DATA-EMPTY", line, "503 5.5.1 no recipients")[0] != '3' {
					continue
				}
			} else if say(verb, line, "354 go")[0] != '3' {
				continue
			}
			w.Flush()
			if !s.data(r, &m) {
				return
			}
			if say("DOT", "", "250 2.0.0 kept")[0] == '2' && len(m.rcpts) > 0 {
				s.mu.Lock()
				s.got = append(s.got, m)
				s.mu.Unlock()
			}
			m = received{}
		case "QUIT":
			say(verb, line, "221 2.0.0 bye")
			w.Flush()
			return
		default:
			s.fault("unknown command %q", line)
			say(verb, line, "500 5.5.2 unknown")
		}
	}
}

func (s *sink) data(r *bufio.Reader, m *received) bool {
	for {
		b, err := r.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			m.body = append(m.body, b...)
			continue
		}
		if err != nil {
			return false
		}
		if bytes.Equal(b, []byte(".\r\n")) {
			if bytes.Count(m.body, []byte{'\r'}) != bytes.Count(m.body, []byte{'\n'}) ||
				bytes.Count(m.body, []byte{'\n'}) != bytes.Count(m.body, []byte("\r\n")) {
				s.fault("bare CR or LF in a body")
			}
			return true
		}
		if b[0] == '.' {
			b = b[1:]
		}
		m.body = append(m.body, b...)
	}
}

// memory is a queue.Body; without keep it is read as a stream.
type memory struct {
	b      []byte
	size   int64
	stream io.Reader
}

func inMemory(s string) *memory { return &memory{b: []byte(s), size: int64(len(s))} }

func streamed(s string) *memory {
	return &memory{stream: strings.NewReader(s), size: int64(len(s))}
}

func (m *memory) Bytes() []byte              { return m.b }
func (m *memory) Size() int64                { return m.size }
func (m *memory) Close() error               { return nil }
func (m *memory) Read(p []byte) (int, error) { return m.stream.Read(p) }

// quick is for hosts that keep silent; patient is never to run out.
var (
	quick = timeouts{
		Greet: 2 * time.Second, Command: 2 * time.Second, TLS: 2 * time.Second,
		Data: 2 * time.Second, Block: 2 * time.Second, Dot: 2 * time.Second, Quit: 100 * time.Millisecond,
	}
	patient = timeouts{Command: time.Minute, Greet: time.Minute, Data: time.Minute, Dot: time.Minute, Block: time.Minute, Quit: 100 * time.Millisecond}
)

func at(p netip.AddrPort) host {
	return host{Name: "mx.example", Addrs: []netip.Addr{p.Addr()}, Port: p.Port()}
}

var testSource = netip.MustParseAddr("127.77.9.11")

func dialTo(t testing.TB, cfg dialerConfig, p netip.AddrPort) *smtpSession {
	t.Helper()
	s, err := newDialer(cfg).Dial(context.Background(), testSource, "out-1.relay.test", at(p))
	if err != nil {
		t.Fatalf("dial: %v\n%s", err, err.(*hostError).Dialogue)
	}
	t.Cleanup(s.Close)
	return s.(*smtpSession)
}

func yes() error { return nil }
