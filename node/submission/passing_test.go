package submission

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/tenant"
)

// tapped sees what a node writes to another one, and cuts the connection.
type tapped struct {
	net.Conn
	wrote func(p []byte) bool // false: cut instead
	read  func(n int) bool    // false: what came is lost, and the connection too
}

func (c *tapped) Write(p []byte) (int, error) {
	if c.wrote != nil && !c.wrote(p) {
		c.Close()
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == nil && c.read != nil && !c.read(n) {
		c.Close()
		return 0, net.ErrClosed
	}
	return n, err
}

// kindsOf lists the frames in a write.
func kindsOf(p []byte) (out []kind) {
	for {
		k, _, n, err := cutFrame(p)
		if n == 0 || err != nil {
			return out
		}
		out, p = append(out, k), p[n:]
	}
}

// A pipelined group goes to the owner in one write, and the message with its
// end in another: two round trips in all.
func TestGroupCostsOneRoundTrip(t *testing.T) {
	t.Parallel()
	h, rigs := newCluster(t, 2)
	var mu sync.Mutex
	var writes []string
	h.set(func(h *hub) {
		h.wrap = func(_, _ string, c net.Conn) net.Conn {
			return &tapped{Conn: c, wrote: func(p []byte) bool {
				mu.Lock()
				defer mu.Unlock()
				writes = append(writes, fmt.Sprint(kindsOf(p)))
				return true
			}}
		}
	})
	c := rigs[1].byNet()
	c.send("MAIL FROM:<mail@shop.test>\r\nRCPT TO:<a@example.test>\r\nRCPT TO:<nobody>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n")
	for _, want := range []string{"250 2.1.0", "250 2.1.5", "501 5.", "250 2.1.5", "354"} {
		c.expect(want, "group")
	}
	c.send(simple + ".\r\n")
	c.expect("250 2.0.0 OK: queued as", "message")
	mu.Lock()
	defer mu.Unlock()
	want := []string{fmt.Sprint([]kind{kindBegin, kindRcpt}), fmt.Sprint([]kind{kindRcpt}), fmt.Sprint([]kind{kindPiece, kindEnd})}
	if fmt.Sprint(writes) != fmt.Sprint(want) {
		t.Errorf("writes %v, want %v", writes, want)
	}
	if k := rigs[0].one(); len(k.env.Rcpts) != 2 || k.env.Transaction == [16]byte{} || !k.env.Remote {
		t.Errorf("kept %+v", k.env)
	}
}

// A group whose MAIL the owner refuses is answered as at the owner.
func TestRefusedGroup(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			r := way.rig(t)
			c := r.login(tUser)
			for range 2 {
				c.send("MAIL FROM:<mail@other.test>\r\nRCPT TO:<a@example.test>\r\nRCPT TO:<bad\r\nDATA\r\n")
				for _, want := range []string{"553 5.7.1", "503 5.5.1 Send MAIL", "503 5.5.1 Send MAIL", "503 5.5.1 Send MAIL"} {
					c.expect(want, "group")
				}
			}
			c.send("MAIL FROM:<mail@shop.test>\r\nMAIL FROM:<mail@shop.test>\r\nRSET\r\nRCPT TO:<a@example.test>\r\nNOOP\r\n")
			for _, want := range []string{"250 2.1.0", "503 5.5.1 Sender", "250 2.0.0", "503 5.5.1 Send MAIL", "250 2.0.0"} {
				c.expect(want, "group")
			}
			var group strings.Builder
			group.WriteString("MAIL FROM:<mail@shop.test>\r\n")
			const many = 400 // more than is sent ahead at once
			for i := range many {
				fmt.Fprintf(&group, "RCPT TO:<a-rather-long-local-part-%d@example.test>\r\n", i)
			}
			c.send(group.String() + "DATA\r\n")
			c.expect("250 2.1.0", "MAIL")
			for i := range many {
				want := "250 2.1.5"
				if i >= tenant.DefaultMaxRecipients {
					want = "452 4.5.3"
				}
				c.expect(want, "RCPT")
			}
			c.expect("354", "DATA")
			c.send(simple + ".\r\n")
			c.expect("250 2.0.0 OK: queued", "message")
			r.quota.settled(t)
		})
	}
}

// One connection serves many sessions, one after the other.
func TestLinksAreUsedAgain(t *testing.T) {
	t.Parallel()
	h, rigs := newCluster(t, 2)
	for range 10 {
		c := rigs[1].byNet()
		for range 3 {
			c.envelope("mail@shop.test", "a@example.test")
			c.message("DATA", simple, "250")
		}
		c.envelope("mail@shop.test", "a@example.test")
		c.cmd("RSET", "250")
		c.envelope("mail@shop.test", "a@example.test")
		c.message("DATA", "no header at all", "554 5.6.0")
		c.envelope("mail@shop.test", "a@example.test")
		c.message("DATA", "From: mail@shop.test\r\n\r\na\rb", "550 5.6.0")
		c.conn.Close()
	}
	if h.dials != 1 {
		t.Errorf("%d connections", h.dials)
	}
	if n := len(rigs[0].kept()); n != 30 {
		t.Errorf("%d kept", n)
	}
	rigs[0].quota.settled(t)
}

// TestCutAtEveryFrame: wherever the connection between the nodes breaks, the
// client hears 250 exactly when the message is there once.
func TestCutAtEveryFrame(t *testing.T) {
	for _, side := range []string{"write", "read"} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			h, rigs := newCluster(t, 2)
			cut := 1
			for ; ; cut++ {
				before := len(rigs[0].kept())
				var n atomic.Int64
				fell := &atomic.Bool{}
				look := func() bool {
					ok := n.Add(1) != int64(cut)
					if !ok {
						fell.Store(true)
					}
					return ok
				}
				h.cut()
				h.set(func(h *hub) {
					h.wrap = func(_, _ string, c net.Conn) net.Conn {
						w := &tapped{Conn: c}
						if side == "write" {
							w.wrote = func([]byte) bool { return look() }
						} else {
							w.read = func(int) bool { return look() }
						}
						return w
					}
				})
				accepted := cutOnce(t, rigs[1])
				if got := len(rigs[0].kept()) - before; got != accepted {
					t.Fatalf("cut %d: %d accepted, %d kept", cut, accepted, got)
				}
				rigs[0].quota.settled(t)
				if !fell.Load() {
					break // the dialogue is shorter than that
				}
			}
			if cut < 4 {
				t.Errorf("only %d places to cut at", cut-1)
			}
		})
	}
}

// cutOnce sends one message command by command and says whether it was taken.
func cutOnce(t *testing.T, r *rig) (accepted int) {
	t.Helper()
	c := r.byNet()
	defer c.conn.Close()
	for _, cmd := range []string{"MAIL FROM:<mail@shop.test>", "RCPT TO:<a@example.test>", "RCPT TO:<b@example.test>", "DATA"} {
		c.send(cmd + "\r\n")
		switch got := c.reply(); {
		case strings.HasPrefix(got, "250"), strings.HasPrefix(got, "354"):
		case strings.HasPrefix(got, "451 4.3.0"):
			c.cmd("RSET", "250")
			return 0
		default:
			t.Fatalf("%s: %s", cmd, got)
		}
	}
	c.send(simple + strings.Repeat("a line of the message, of which there are many\r\n", 1000))
	c.send(".\r\n")
	got := c.reply()
	if !strings.HasPrefix(got, "250") && !strings.HasPrefix(got, "451 4.3.0") {
		t.Fatalf("message: %s", got)
	}
	c.cmd("NOOP", "250")
	if strings.HasPrefix(got, "250") {
		return 1
	}
	return 0
}

// A slow client's message moves on at its own pace.
func TestSlowBodyThroughAnotherNode(t *testing.T) {
	t.Parallel()
	_, rigs := newCluster(t, 2, short(time.Second))
	for _, r := range rigs {
		r.srv.waits.silent = 0
	}
	c := rigs[1].byNet()
	c.envelope("mail@shop.test", "a@example.test")
	c.cmd("DATA", "354")
	c.drip("From: mail@shop.test\r\n\r\nx\r\n.\r\n", 50*time.Millisecond) // 1.4 s in all
	c.expect("250", "message")
}

// TestMemoryOfManySessions: many clients amid their messages cost little.
func TestMemoryOfManySessions(t *testing.T) {
	const sessions = 500
	_, rigs := newCluster(t, 2, limited(func(l *Limits) { l.ConnsPerAccount = sessions }))
	grown := watchHeap()
	var all []*client
	for range sessions {
		c := rigs[1].byNet()
		c.envelope("mail@shop.test", "a@example.test")
		c.cmd("DATA", "354")
		c.send(simple)
		all = append(all, c)
	}
	// Both nodes and the clients are in this process.
	if most := grown() / sessions; most > 128<<10 {
		t.Errorf("%d KB a session", most>>10)
	}
	for _, c := range all {
		c.send(".\r\n")
		c.expect("250", "message")
	}
}
