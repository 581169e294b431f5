package lab

import (
	"context"
	"net"
	"testing"
	"time"
)

// TestExchangerRecordsSourceSenderAndDot: what a Chronicle is made of. The time
// is that of the final dot, taken before the reply and behind the body.
func TestExchangerRecordsSourceSenderAndDot(t *testing.T) {
	taken := make(chan *Mail, 1)
	l := startLab(t, Config{Taken: func(m *Mail) { taken <- m }})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, source := range []string{"127.77.1.11", "127.77.2.12"} {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
		conn, err := d.DialContext(ctx, "tcp", l.addrOf(t, "inbox.test"))
		if err != nil {
			t.Fatal(err)
		}
		c := &client{timeout: time.Minute}
		c.use(conn)
		if err := c.greet(ctx, nil, false, "out-1.relay.test"); err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"MAIL FROM:<Mail@shoes.test>", "RCPT TO:<a@inbox.test>", "DATA", "Subject: x\r\n\r\nbody"} {
			if line[0] == 'S' {
				if err := c.write(line + "\r\n"); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if r, err := c.ask(line); err != nil || r.Code >= 400 {
				t.Fatalf("%s: %v %v", line, r, err)
			}
		}
		before := time.Now()
		if r, err := c.ask("."); err != nil || r.Code != 250 {
			t.Fatalf("final dot: %v %v", r, err)
		}
		after := time.Now()
		c.quit()
		m := <-taken
		if m.Source != source || m.From != "Mail@shoes.test" || m.At.Before(before) || m.At.After(after) {
			t.Errorf("recorded source %s, sender %s, dot at %v; want %s, Mail@shoes.test, between %v and %v", m.Source, m.From, m.At, source, before, after)
		}
	}
}

// write sends a line nobody answers.
func (c *client) write(line string) error {
	if _, err := c.w.WriteString(line); err != nil {
		return err
	}
	return c.w.Flush()
}
