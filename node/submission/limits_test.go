package submission

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postern/tenant"
)

func short(idle time.Duration) rigOption {
	return func(c *Config, _ *rig) { c.Idle = idle }
}

func limited(change func(*Limits)) rigOption {
	return func(c *Config, _ *rig) { change(&c.Limits) }
}

func TestIdleClientIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t, short(150*time.Millisecond))
	c := r.dial()
	c.expect("220", "banner")
	c.expect("421 4.4.2", "idle")
	c.gone()
}

// A command line must come to its end; single octets do not buy time.
func TestSlowCommandLineEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t, short(200*time.Millisecond))
	c := r.dial()
	c.expect("220", "banner")
	start := time.Now()
	c.drip("NOOP "+strings.Repeat("x", 1000), 20*time.Millisecond)
	c.expect("421 4.4.2", "slow line")
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("held for %v", took)
	}
}

// A slow message is taken as long as it moves, and not for ever.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	r := newRig(t, short(time.Second))
	c := r.byNet()
	c.envelope("mail@shop.test", "a@example.test")
	c.cmd("DATA", "354")
	c.drip("From: mail@shop.test\r\n\r\nx\r\n.\r\n", 50*time.Millisecond) // 1.4 s in all
	c.expect("250", "message")

	c = r.byNet()
	c.envelope("mail@shop.test", "a@example.test")
	c.cmd("DATA", "354")
	start := time.Now()
	c.drip(strings.Repeat("x", 10_000), 20*time.Millisecond)
	c.expect("421 4.4.2", "endless message")
	if took := time.Since(start); took < 12*time.Second || took > time.Minute {
		t.Errorf("held for %v", took)
	}
	r.quota.settled(t)
}

// drip sends s octet by octet until it is all gone or the server has had enough.
func (c *client) drip(s string, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := range len(s) {
		if _, err := io.WriteString(c.conn, s[i:i+1]); err != nil {
			return
		}
		<-tick.C
		_ = c.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := c.r.Peek(1); err == nil {
			break
		}
	}
	_ = c.conn.SetDeadline(time.Now().Add(time.Minute))
}

func TestConnectionLimits(t *testing.T) {
	t.Parallel()
	r := newRig(t, limited(func(l *Limits) { l.Conns = 3; l.ConnsPerAccount = 1 }))
	a, b, c := r.dial(), r.dial(), r.dial()
	for _, c := range []*client{a, b, c} {
		c.expect("220", "banner")
	}
	d := r.dial()
	d.expect("421 4.7.0 Too many connections", "fourth")
	d.gone()
	for _, c := range []*client{a, b, c} {
		c.cmd("QUIT", "221")
		c.gone()
	}
	var first *client
	eventually(t, "room again", func() bool {
		r.srv.doors.mu.Lock()
		defer r.srv.doors.mu.Unlock()
		return r.srv.doors.total == 0
	})
	first = r.login(tUser)
	second := r.dialTLS()
	second.expect("220", "banner")
	second.cmd("EHLO client.test", "250")
	second.cmd("AUTH PLAIN "+plain(tUser, r.pass[tUser]), "421 4.7.0")
	second.gone()
	first.cmd("QUIT", "221")
	first.gone()
	r.login(tUser)
}

func TestDoorsPerNetwork(t *testing.T) {
	d := newDoors(Limits{Conns: 100, ConnsPerIP: 2, ConnsPerAccount: 1})
	for _, x := range []struct {
		addr string
		in   bool
	}{
		{"192.0.2.1", true}, {"192.0.2.1", true}, {"192.0.2.1", false}, {"192.0.2.2", true},
		{"2001:db8:1:2::1", true}, {"2001:db8:1:2:3::9", true}, {"2001:db8:1:2:4::", false}, {"2001:db8:1:3::1", true},
		{"127.0.0.1", true}, {"127.0.0.1", true}, {"127.0.0.1", true}, {"::1", true}, {"::1", true}, {"::1", true},
		{"::ffff:192.0.2.1", false},
	} {
		if got := d.enter(networkOf(netip.MustParseAddr(x.addr).Unmap())); got != x.in {
			t.Errorf("%s: %v", x.addr, got)
		}
	}
	d.leave(networkOf(netip.MustParseAddr("192.0.2.1")))
	if !d.enter(networkOf(netip.MustParseAddr("192.0.2.1"))) {
		t.Error("no room after leaving")
	}
}

func TestTally(t *testing.T) {
	now := time.Now()
	n1, n2 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	ta := newTally(Limits{AuthFailures: 3, AuthWindow: time.Minute})
	ta.entered(n2, "x", now)
	for range 3 {
		if ta.blocked(n1, "x", now) {
			t.Fatal("blocked too early")
		}
		ta.failed(n1, "x", now)
	}
	for _, c := range []struct {
		net  netip.Addr
		user string
		at   time.Time
		want bool
	}{
		{n1, "x", now, true},
		{n1, "y", now, true}, // the network
		{netip.MustParseAddr("192.0.2.3"), "x", now, true}, // the account
		{n2, "x", now, false},                              // the owner's own network is not locked out
		{n2, "", now, false},
		{n1, "x", now.Add(2 * time.Minute), false},
	} {
		if got := ta.blocked(c.net, c.user, c.at); got != c.want {
			t.Errorf("%v %q: %v", c.net, c.user, got)
		}
	}
	for i := range maxTallies + 10 {
		ta.failed(netip.Addr{}, fmt.Sprint(i), now)
	}
	if len(ta.fails) > maxTallies {
		t.Errorf("%d tallies", len(ta.fails))
	}
}

func TestCommandBudget(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			r := way.rig(t, limited(func(l *Limits) { l.Commands = 10 }))
			c := r.byNet()
			for range 2 { // a message starts the count anew
				for range 4 {
					c.cmd("NOOP", "250")
				}
				c.envelope("mail@shop.test", "a@example.test")
				c.message("DATA", simple, "250")
			}
			for range 10 {
				c.cmd("NOOP", "250")
			}
			c.cmd("NOOP", "421 4.7.0")
			c.gone()
		})
	}
}

// Many chunks are no loop, many empty ones are; recipients are bounded by the plan.
func TestCommandBudgetSparesWork(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			r := way.rig(t, limited(func(l *Limits) { l.Commands = 10 }))
			c := r.byNet()
			var rcpts []string
			for i := range 30 {
				rcpts = append(rcpts, fmt.Sprintf("r%d@example.test", i))
			}
			c.envelope("mail@shop.test", rcpts...)
			chunk := simple + strings.Repeat("x", smallChunk)
			for range 30 {
				c.send(fmt.Sprintf("BDAT %d\r\n%s", len(chunk), chunk))
				c.expect("250", "chunk")
			}
			c.send("BDAT 0 LAST\r\n")
			c.expect("250 2.0.0 OK: queued", "message")
			c.envelope("mail@shop.test", "a@example.test")
			for range 10 {
				c.send("BDAT 0\r\n")
				if strings.HasPrefix(c.reply(), "421 4.7.0") {
					c.gone()
					return
				}
			}
			t.Error("empty chunks go on for ever")
		})
	}
}

// What is too much is read to a point, then the connection ends.
func TestFarTooLarge(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			r := way.rig(t, limited(func(l *Limits) { l.MaxSize = 100_000 }))
			c := r.byNet()
			c.envelope("mail@shop.test", "a@example.test")
			c.message("DATA", simple+strings.Repeat("too long\r\n", 15_000), "552 5.3.4")
			c.cmd("NOOP", "250")
			c.cmd("MAIL FROM:<mail@shop.test>", "250")
			c.send("BDAT 100001 LAST\r\n")
			c.expect("552 5.3.4", "chunk")
			c.gone()

			c = r.byNet()
			c.envelope("mail@shop.test", "a@example.test")
			c.cmd("DATA", "354")
			go func() { _, _ = io.WriteString(c.conn, simple+strings.Repeat("too long\r\n", 100_000)) }()
			c.expect("552 5.3.4", "message")
			c.gone()
			r.quota.settled(t)
		})
	}
}

func TestEarlyTalker(t *testing.T) {
	// The kernel completes the connection before the server takes it up, so
	// what is sent at once is there when the server looks.
	r := newRig(t)
	told := false
	for range 50 {
		c := r.dial()
		c.send("EHLO client.test\r\n")
		if strings.HasPrefix(c.reply(), "554 5.5.0") {
			c.gone()
			told = true
			break
		}
	}
	if !told {
		t.Error("never refused")
	}
}

func TestHeaderBounds(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			r := way.rig(t, limited(func(l *Limits) { l.HeaderBytes = 50_000 }))
			c := r.byNet()
			one := received(tHost, "ESMTP", strings.Repeat("0a", 16), time.Now())
			for _, m := range []struct{ head, want string }{
				{"Subject: " + strings.Repeat("x", 60_000) + "\r\n", "554 5.6.0 Header section too large"},
				{strings.Repeat("X: y\r\n", 8_000), "250"},
				{strings.Repeat(one, maxOurHops), "250"},
				{strings.Repeat(one, maxOurHops+1), "554 5.4.6"},
				{strings.Repeat("Received: from x\r\n", maxHops), "250"},
				{strings.Repeat("Received: from x\r\n", maxHops+1), "554 5.4.6"},
				{"Subject: x\r\n" + strings.Repeat(" y\r\n", maxFolds-1), "250"},
				{"Subject: x\r\n" + strings.Repeat(" y\r\n", maxFolds), "554 5.6.0"},
				{strings.Repeat("x", maxNameSize+1) + ": y\r\n", "554 5.6.0"},
				{"From: " + strings.Repeat("x", 9_000) + " <mail@shop.test>\r\n", "554 5.6.0"},
			} {
				c.envelope("mail@shop.test", "a@example.test")
				c.message("DATA", m.head+"From: mail@shop.test\r\n\r\nx", m.want)
			}
			k := r.kept()
			if n := strings.Count(k[1].raw, one); n != maxOurHops {
				t.Errorf("%d of our earlier lines kept", n)
			}
			if strings.Contains(k[2].raw, "from x") {
				t.Errorf("foreign trace kept: %.300s", k[2].raw)
			}
		})
	}
}

// TestStoreErrors: what fails behind us is 451 without a word of why, the
// session lives on, and nothing stays reserved.
func TestStoreErrors(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			secret := errors.New("disk /dev/sda1 on fire")
			for _, step := range []string{"new", "write", "put"} {
				t.Run(step, func(t *testing.T) {
					r := way.rig(t)
					c := r.byNet()
					c.envelope("mail@shop.test", "a@example.test")
					r.notes.inject(step, secret)
					c.cmd("DATA", "354")
					c.send(simple + strings.Repeat("more text\r\n", 50_000) + ".\r\n")
					got := c.expect("451 4.3.0 Not stored, try again (", "message")
					if strings.Contains(got, "sda1") {
						t.Errorf("said %q", got)
					}
					id := got[strings.Index(got, "(")+1 : len(got)-1]
					if log := r.logs.String(); !strings.Contains(log, id) || !strings.Contains(log, "sda1") {
						t.Errorf("log does not explain %s", id)
					}
					r.quota.settled(t)
					r.notes.fail.Delete(step)
					c.envelope("mail@shop.test", "a@example.test")
					c.message("DATA", simple, "250")
					r.quota.settled(t)
					if n := len(r.kept()); n != 1 || r.quota.spent.Mails < 1 {
						t.Errorf("%d kept, %+v spent", n, r.quota.spent)
					}
				})
			}
		})
	}
}

func TestFullQueueInTheMidst(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			r := way.rig(t)
			c := r.byNet()
			c.envelope("mail@shop.test", "a@example.test")
			r.notes.inject("put", errFullQueue)
			c.message("DATA", simple, "452 4.3.1")
		})
	}
}

// TestClientLeaves: a connection that breaks anywhere leaves nothing behind.
func TestClientLeaves(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			r := way.rig(t)
			for _, said := range []string{
				"MAIL FROM:<mail@shop.test>\r\n",
				"MAIL FROM:<mail@shop.test>\r\nRCPT TO:<a@example.test>\r\nDATA\r\n",
				"MAIL FROM:<mail@shop.test>\r\nRCPT TO:<a@example.test>\r\nBDAT 50\r\nFrom: mail@shop.test\r\n\r\n",
				"MAIL FROM:<mail@shop.test>\r\nRCPT TO:<a@example.test>\r\nBDAT 4\r\nFromBDAT 9",
				"MAIL FROM:<mail@shop.test>\r\nRCPT TO:<a@example.test>\r\nBDAT 4\r\nFromRSET\r\n",
			} {
				c := r.byNet()
				c.send(said)
				c.expect("250 2.1.0", said)
				c.conn.Close()
			}
			r.quota.settled(t)
			eventually(t, "connections gone", func() bool {
				r.srv.mu.Lock()
				defer r.srv.mu.Unlock()
				return len(r.srv.wires) == 0
			})
			if n := len(r.kept()); n != 0 {
				t.Errorf("%d kept", n)
			}
		})
	}
}

// TestShutdown: idle clients are told at once, one in its message gets its end.
func TestShutdown(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config, _ *rig) { c.Grace = 2 * time.Minute })
	idle, inTLS, fresh := r.byNet(), r.login(tUser), r.dial()
	fresh.expect("220", "banner")
	mid := r.byNet()
	mid.envelope("mail@shop.test", "a@example.test")
	body := r.byNet()
	body.envelope("mail@shop.test", "a@example.test")
	body.cmd("DATA", "354")
	body.send("From: mail@shop.test\r\n")
	chunks := r.byNet()
	chunks.envelope("mail@shop.test", "a@example.test")
	chunks.send("BDAT 4\r\nFrom")
	chunks.expect("250", "chunk")

	ended := make(chan struct{})
	start := time.Now()
	go func() { r.stop(); close(ended) }()
	for _, c := range []*client{idle, inTLS, fresh, mid, chunks} {
		c.expect("421 4.3.2", "shutdown")
		c.gone()
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("told after %v", took)
	}
	body.send("\r\nlast words\r\n.\r\n")
	body.expect("250 2.0.0 OK: queued as", "message in its body")
	body.expect("421 4.3.2", "behind it")
	body.gone()
	<-ended
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("ended after %v: somebody was not told", took)
	}
	if m := r.one(); m.body() != "last words\r\n" {
		t.Errorf("kept %q", m.raw)
	}
}

// TestShutdownIsBounded: a message that does not end is cut after the grace.
func TestShutdownIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config, _ *rig) { c.Grace = 200 * time.Millisecond })
	c := r.byNet()
	c.envelope("mail@shop.test", "a@example.test")
	c.cmd("DATA", "354")
	start := time.Now()
	r.stop()
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("took %v", took)
	}
	c.expect("421 4.3.2", "cut")
	r.quota.settled(t)
}

func TestNotReady(t *testing.T) {
	r := newRig(t, func(c *Config, _ *rig) { c.Ready = func() error { return errors.New("no quorum") } })
	c := r.dial()
	c.expect("421 4.3.2", "banner")
	c.gone()
}

// TestLargeMessage takes 90 MB in and holds little of it.
func TestLargeMessage(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) { testLargeMessage(t, way.rig(t)) })
	}
}

func testLargeMessage(t *testing.T, r *rig) {
	c := r.byNet()
	line := bytes.Repeat([]byte("x"), 998)
	block := bytes.Repeat(append(line, crlf...), 64)
	c.envelope("mail@shop.test", "a@example.test")
	c.cmd("DATA", "354")
	c.send("From: mail@shop.test\r\n\r\n")
	defer debug.SetGCPercent(debug.SetGCPercent(10)) // what is held counts, not garbage
	watch := watchHeap()
	_ = c.conn.SetDeadline(time.Now().Add(3 * time.Minute))
	for sent := 0; sent < 90_000_000; sent += len(block) {
		if _, err := c.conn.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	c.cmd(".", "250")
	if grown := watch(); grown > 48<<20 {
		t.Errorf("heap grew by %d MB", grown>>20)
	}
	r.notes.mu.Lock()
	defer r.notes.mu.Unlock()
	if size := r.notes.list[0].env.Size; size < 90_000_000 {
		t.Errorf("kept %d octets", size)
	}
}

// TestNothingRunsOn: behind Run there is no goroutine of ours.
func TestNothingRunsOn(t *testing.T) {
	before := goleak.IgnoreCurrent()
	r := newRig(t)
	c := r.login(tUser)
	c.envelope("mail@shop.test", "a@example.test")
	c.message("BDAT in pieces", simple, "250")
	r.byNet().envelope("mail@shop.test", "a@example.test")
	r.dial()
	r.close()
	eventually(t, "the end of all goroutines", func() bool { return goleak.Find(before) == nil })
}

// A client that sends and never reads is not waited for.
func TestClientThatNeverReads(t *testing.T) {
	t.Parallel()
	r := newRig(t, short(300*time.Millisecond), limited(func(l *Limits) { l.Commands = 1 << 30 }))
	c := r.dial()
	block := bytes.Repeat([]byte("NOOP\r\n"), 10_000)
	_ = c.conn.SetWriteDeadline(time.Now().Add(time.Minute))
	for {
		if _, err := c.conn.Write(block); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("still waited for")
		} else if err != nil {
			return
		}
	}
}

// A panic ends one connection, is logged as an error, and keeps nothing.
func TestPanicEndsOneConnection(t *testing.T) {
	var armed atomic.Bool
	armed.Store(true)
	r := newRig(t, func(c *Config, _ *rig) {
		c.MayAnswer = func(context.Context, tenant.ID, uint64) error {
			if armed.Load() {
				panic("pretended bug")
			}
			return nil
		}
	})
	c, other := r.byNet(), r.byNet()
	armed.Store(false)
	c.envelope("mail@shop.test", "a@example.test")
	armed.Store(true)
	c.message("DATA", simple, "421 4.0.0")
	c.gone()
	r.quota.settled(t)
	eventually(t, "panic logged", func() bool {
		log := r.logs.String()
		return strings.Contains(log, "level=ERROR") && strings.Contains(log, "pretended bug")
	})
	armed.Store(false)
	other.envelope("mail@shop.test", "a@example.test")
	other.message("DATA", simple, "250")
	if n := len(r.kept()); n != 1 {
		t.Errorf("%d kept", n)
	}
}
