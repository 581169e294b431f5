package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The identity every load sends as; both targets are set up for it.
const (
	sender    = "news@bench.test"
	recipient = "someone@dest.test"
	// Postfix's; Postern makes its own.
	password = "jq3mzc7ob4yrhx5tlu2sa6wk"
)

// smtpSource runs Postfix's load generator with kept sessions.
func smtpSource(ctx context.Context, addr string, size, sessions, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, sbin("smtp-source"), "-d", "-4", "-s", strconv.Itoa(sessions),
		"-m", strconv.Itoa(n), "-l", strconv.Itoa(size), "-f", sender, "-t", recipient, addr)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run smtp-source: %w: %s", err, said.String())
	}
	if said.Len() > 0 {
		return fmt.Errorf("run smtp-source: %s", said.String())
	}
	return nil
}

func sbin(name string) string {
	if p, err := exec.LookPath(name); err == nil {
		return p
	}
	return "/usr/sbin/" + name
}

type loadSpec struct {
	addr     string
	password string // when set: STARTTLS, then AUTH PLAIN
	size     int
	sessions int
	n        int
}

// load sends n messages over kept sessions and returns how long each waited
// from its final dot to the reply.
func load(ctx context.Context, s loadSpec) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, fmt.Errorf("load took over two minutes"))
	defer cancel()
	var left atomic.Int64
	left.Store(int64(s.n))
	body := message(s.size)
	took := make([][]time.Duration, s.sessions)
	errs := make([]error, s.sessions)
	var wg sync.WaitGroup
	for i := range s.sessions {
		wg.Add(1)
		go func() {
			defer wg.Done()
			took[i], errs[i] = session(ctx, s, body, &left)
		}()
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return slices.Concat(took...), nil
}

func session(ctx context.Context, s loadSpec, body []byte, left *atomic.Int64) ([]time.Duration, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	c := &client{Conn: conn, r: bufio.NewReader(conn)}
	c.expect("220")
	c.ask("250", "EHLO bench.test\r\n")
	if s.password != "" {
		c.ask("220", "STARTTLS\r\n")
		if c.err != nil {
			return nil, c.err
		}
		t := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // a measurement on loopback
		c.Conn, c.r = t, bufio.NewReader(t)
		c.ask("250", "EHLO bench.test\r\n")
		c.ask("235", "AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+sender+"\x00"+s.password))+"\r\n")
	}
	var took []time.Duration
	for left.Add(-1) >= 0 && c.err == nil {
		c.ask("250", "MAIL FROM:<"+sender+">\r\n")
		c.ask("250", "RCPT TO:<"+recipient+">\r\n")
		c.ask("354", "DATA\r\n")
		start := time.Now()
		c.write(body)
		c.expect("250")
		took = append(took, time.Since(start))
	}
	c.ask("221", "QUIT\r\n")
	return took, c.err
}

// client is an SMTP dialogue with a sticky error.
type client struct {
	net.Conn
	r   *bufio.Reader
	err error
}

func (c *client) ask(code, line string) {
	c.write([]byte(line))
	c.expect(code)
}

func (c *client) write(b []byte) {
	if c.err == nil {
		_, c.err = c.Write(b)
	}
}

func (c *client) expect(code string) {
	for c.err == nil {
		var line string
		line, c.err = c.r.ReadString('\n')
		if c.err == nil && !strings.HasPrefix(line, code) {
			c.err = fmt.Errorf("expected %s, got %q", code, line)
		}
		if len(line) > 3 && line[3] == ' ' {
			return
		}
	}
}

// message is a plain message of about size octets, with its final dot.
func message(size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: <%s>\r\nTo: <%s>\r\nDate: %s\r\nSubject: measured\r\nMessage-Id: <%d@bench.test>\r\n\r\n",
		sender, recipient, time.Now().Format(time.RFC1123Z), os.Getpid())
	line := strings.Repeat("X", 78) + "\r\n"
	for b.Len()+len(line) <= size {
		b.WriteString(line)
	}
	b.WriteString(".\r\n")
	return b.Bytes()
}

func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	d = slices.Clone(d)
	slices.Sort(d)
	return d[min(len(d)-1, int(q*float64(len(d))))]
}
