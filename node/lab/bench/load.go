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

// identity is a tenant's account.
type identity struct{ sender, password string }

// smtpSource runs Postfix's load generator with kept sessions.
func smtpSource(ctx context.Context, addr string, size, sessions, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
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
	from     string  // [sender]
	rcpt     string  // [recipient]
	domains  int     // when set: recipients in that many domains
	each     string  // when set: another recipient in this domain for each message
	rate     float64 // when set: messages a second in all
}

// load sends n messages over kept sessions and returns how long each waited
// from its final dot to the reply.
func load(ctx context.Context, s loadSpec) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	if s.rcpt == "" {
		s.rcpt = recipient
	}
	if s.from == "" {
		s.from = sender
	}
	var next atomic.Int64
	start := time.Now()
	body := message(s.size, s.from, s.rcpt)
	took := make([][]time.Duration, s.sessions)
	errs := make([]error, s.sessions)
	var wg sync.WaitGroup
	for i := range s.sessions {
		wg.Go(func() { took[i], errs[i] = s.session(ctx, start, body, &next) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return slices.Concat(took...), nil
}

func (s loadSpec) session(ctx context.Context, begun time.Time, body []byte, next *atomic.Int64) ([]time.Duration, error) {
	c, err := dialSession(ctx, s.addr, identity{s.from, s.password})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var took []time.Duration
	for c.err == nil {
		i := next.Add(1)
		if i > int64(s.n) {
			break
		}
		if s.rate > 0 {
			pause(ctx, time.Until(begun.Add(time.Duration(float64(i-1)/s.rate*float64(time.Second)))))
		}
		rcpt := s.rcpt
		if s.domains > 0 {
			rcpt = fmt.Sprintf("someone@d%d.dest.test", i%int64(s.domains))
		}
		if s.each != "" {
			rcpt = fmt.Sprintf("m%d@%s", i, s.each)
		}
		start := c.send(s.from, rcpt, body)
		took = append(took, time.Since(start))
	}
	c.ask("221", "QUIT\r\n")
	return took, c.err
}

// client is an SMTP dialogue with a sticky error.
type client struct {
	net.Conn
	r    *bufio.Reader
	err  error
	stop func() bool
}

// dialSession connects and greets; with a password it goes on to TLS and AUTH.
func dialSession(ctx context.Context, addr string, who identity) (*client, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &client{Conn: conn, r: bufio.NewReader(conn)}
	c.stop = context.AfterFunc(ctx, func() { conn.Close() })
	c.expect("220")
	c.ask("250", "EHLO bench.test\r\n")
	if who.password != "" {
		c.ask("220", "STARTTLS\r\n")
		if c.err == nil {
			t := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // a measurement on loopback
			c.Conn, c.r = t, bufio.NewReader(t)
		}
		c.ask("250", "EHLO bench.test\r\n")
		c.ask("235", "AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+who.sender+"\x00"+who.password))+"\r\n")
	}
	if c.err != nil {
		c.Close()
		return nil, c.err
	}
	return c, nil
}

func (c *client) Close() error {
	c.stop()
	return c.Conn.Close()
}

// send makes one transaction and returns when its final dot left.
func (c *client) send(from, rcpt string, body []byte) time.Time {
	c.ask("250", "MAIL FROM:<"+from+">\r\n")
	c.ask("250", "RCPT TO:<"+rcpt+">\r\n")
	c.ask("354", "DATA\r\n")
	start := time.Now()
	c.write(body)
	c.expect("250")
	return start
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
func message(size int, from, to string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: <%s>\r\nTo: <%s>\r\nDate: %s\r\nSubject: measured\r\nMessage-Id: <%d@bench.test>\r\n\r\n",
		from, to, time.Now().Format(time.RFC1123Z), os.Getpid())
	line := strings.Repeat("X", 78) + "\r\n"
	for b.Len()+len(line) <= size {
		b.WriteString(line)
	}
	b.WriteString(".\r\n")
	return b.Bytes()
}

// takeMail is the least of a mail exchanger: it accepts everything and calls
// got with the last RCPT at each end of data, before it answers.
func takeMail(c net.Conn, got func(rcpt string)) {
	r := bufio.NewReader(c)
	say := func(s string) bool { _, err := c.Write([]byte(s + "\r\n")); return err == nil }
	rcpt := ""
	for ok := say("220 watch.bench.test ESMTP"); ok; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch strings.ToUpper(strings.Fields(line + " x")[0]) {
		case "DATA":
			ok = say("354 go on")
			for line != ".\r\n" {
				if line, err = r.ReadString('\n'); err != nil {
					return
				}
			}
			got(rcpt)
			ok = ok && say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		case "RCPT":
			rcpt = strings.TrimSpace(line)
			ok = say("250 fine")
		default:
			ok = say("250 fine")
		}
	}
}

func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	d = slices.Clone(d)
	slices.Sort(d)
	return d[min(len(d)-1, int(q*float64(len(d))))]
}
