package lab

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Reply is one SMTP reply as a load's client read it; Code 0 means none came.
type Reply struct {
	Code int
	Text string
}

// client is a small pipelining SMTP client for loads. It trusts the server's
// replies to be in order and gives up at the first I/O fault.
type client struct {
	conn    net.Conn
	r       *bufio.Reader
	w       *bufio.Writer
	timeout time.Duration
	ext     map[string]bool
}

const maxReplyLines = 200

func dialClient(ctx context.Context, addr string, t *tls.Config, implicit bool, ehlo string, timeout time.Duration) (*client, error) {
	d := net.Dialer{Timeout: timeout}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("dial submission: %w", err)
	}
	c := &client{timeout: timeout}
	c.use(conn)
	if err := c.greet(ctx, t, implicit, ehlo); err != nil {
		_ = c.conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *client) use(conn net.Conn) {
	c.conn = conn
	c.r = bufio.NewReaderSize(conn, 8<<10)
	c.w = bufio.NewWriterSize(conn, 32<<10)
}

func (c *client) greet(ctx context.Context, t *tls.Config, implicit bool, ehlo string) error {
	if t != nil && implicit {
		if err := c.shake(ctx, t); err != nil {
			return err
		}
	}
	if r, err := c.reply(); err != nil || r.Code != 220 {
		return fault("read banner", r, err)
	}
	if err := c.hello(ehlo); err != nil {
		return err
	}
	if t == nil || implicit {
		return nil
	}
	if r, err := c.ask("STARTTLS"); err != nil || r.Code != 220 {
		return fault("start tls", r, err)
	}
	if err := c.shake(ctx, t); err != nil {
		return err
	}
	return c.hello(ehlo)
}

func (c *client) shake(ctx context.Context, t *tls.Config) error {
	tc := tls.Client(c.conn, t)
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if err := tc.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("start tls: %w", err)
	}
	c.use(tc)
	return nil
}

func (c *client) hello(name string) error {
	r, err := c.ask("EHLO " + name)
	if err != nil || r.Code != 250 {
		return fault("say ehlo", r, err)
	}
	c.ext = map[string]bool{}
	for _, l := range strings.Split(r.Text, "\n") {
		word, _, _ := strings.Cut(l, " ")
		c.ext[strings.ToUpper(word)] = true
	}
	return nil
}

// auth logs in with PLAIN.
func (c *client) auth(user, password string) (Reply, error) {
	return c.ask("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)))
}

// ask sends one command and reads its reply.
func (c *client) ask(line string) (Reply, error) {
	if err := c.deadline(); err != nil {
		return Reply{}, err
	}
	if _, err := c.w.WriteString(line + "\r\n"); err != nil {
		return Reply{}, err
	}
	if err := c.w.Flush(); err != nil {
		return Reply{}, err
	}
	return c.reply()
}

func (c *client) deadline() error { return c.conn.SetDeadline(time.Now().Add(c.timeout)) }

// reply reads one reply; the lines of a longer one are joined by newlines.
func (c *client) reply() (Reply, error) {
	r := Reply{}
	for range maxReplyLines {
		b, err := c.r.ReadSlice('\n')
		if err != nil {
			return Reply{}, err
		}
		line := strings.TrimRight(string(b), "\r\n")
		if len(line) < 3 {
			return Reply{}, fmt.Errorf("read reply: %q is none", line)
		}
		code := 0
		for _, d := range line[:3] {
			if d < '0' || d > '9' {
				return Reply{}, fmt.Errorf("read reply: %q is none", line)
			}
			code = code*10 + int(d-'0')
		}
		r.Code = code
		if len(line) > 4 {
			if r.Text != "" {
				r.Text += "\n"
			}
			r.Text += line[4:]
		}
		if len(line) == 3 || line[3] != '-' {
			return r, nil
		}
	}
	return Reply{}, errors.New("read reply: too many lines")
}

// sent is what one transaction gave.
type sent struct {
	rcpts []Reply
	end   Reply // of the final dot, or what kept it from being sent
	dot   time.Time
}

// send makes one transaction, pipelined up to DATA where the server lets it.
// The error is an I/O fault, after which the client is of no use.
func (c *client) send(from string, rcpts []string, text []byte) (sent, error) {
	s := sent{rcpts: make([]Reply, len(rcpts))}
	if err := c.deadline(); err != nil {
		return s, err
	}
	fmt.Fprintf(c.w, "MAIL FROM:<%s>\r\n", from)
	for _, r := range rcpts {
		fmt.Fprintf(c.w, "RCPT TO:<%s>\r\n", r)
	}
	c.w.WriteString("DATA\r\n")
	if err := c.w.Flush(); err != nil {
		return s, err
	}
	mail, err := c.reply()
	if err != nil {
		return s, err
	}
	good := 0
	for i := range rcpts {
		if s.rcpts[i], err = c.reply(); err != nil {
			return s, err
		}
		if s.rcpts[i].Code/100 == 2 {
			good++
		}
	}
	data, err := c.reply()
	if err != nil {
		return s, err
	}
	if data.Code != 354 {
		s.end = data
		if mail.Code/100 != 2 {
			s.end = mail
		} else if good == 0 && len(rcpts) > 0 {
			s.end = s.rcpts[0]
		}
		_, err := c.ask("RSET")
		return s, err
	}
	// A body goes out in one write and is free of leading dots by make.
	c.w.Write(text)
	c.w.WriteString(".\r\n")
	if err := c.w.Flush(); err != nil {
		return s, err
	}
	s.dot = time.Now()
	s.end, err = c.reply()
	return s, err
}

func (c *client) quit() {
	c.timeout = min(c.timeout, time.Second)
	_, _ = c.ask("QUIT")
	_ = c.conn.Close()
}

func fault(what string, r Reply, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %d %s", what, r.Code, r.Text)
}

// Probe asks a submission server whether it would take mail of that sender
// now: it logs in, says MAIL and takes it back. The reply is that to MAIL, or
// what kept it from being said.
func Probe(ctx context.Context, addr string, t *tls.Config, from Sender) (Reply, error) {
	c, err := dialClient(ctx, addr, t, false, "probe.lab.test", 10*time.Second)
	if err != nil {
		return Reply{}, err
	}
	defer c.quit()
	if from.Password != "" {
		if r, err := c.auth(from.Username, from.Password); err != nil || r.Code != 235 {
			return r, err
		}
	}
	return c.ask("MAIL FROM:<" + from.From + ">")
}
