package delivery

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// foe is one scripted connection; its methods end the script when the client
// goes away.
type foe struct {
	net.Conn
	r *bufio.Reader
}

func (f *foe) say(s string) { io.WriteString(f.Conn, s) }

// hear reads lines until one begins with verb.
func (f *foe) hear(verb string) bool {
	for {
		line, err := f.r.ReadString('\n')
		if err != nil {
			return false
		}
		if strings.HasPrefix(line, verb) {
			return true
		}
	}
}

// drip says s slowly until the client hangs up.
func (f *foe) drip(s string, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := range len(s) {
		<-tick.C
		if _, err := f.Write([]byte{s[i]}); err != nil {
			return
		}
	}
}

// stay keeps the connection open until the client hangs up.
func (f *foe) stay() { io.Copy(io.Discard, f.r) }

// reset ends the connection with an RST.
func (f *foe) reset() {
	f.Conn.(*net.TCPConn).SetLinger(0)
	f.Close()
}

// greet goes as far as the EHLO reply.
func (f *foe) greet(ext ...string) bool {
	f.say("220 foe.test\r\n")
	if !f.hear("EHLO") {
		return false
	}
	f.say("250-foe.test\r\n")
	for _, e := range ext {
		f.say("250-" + e + "\r\n")
	}
	f.say("250 HELP\r\n")
	return true
}

// take goes as far as the reply to DATA, for a client that pipelines.
func (f *foe) take() bool {
	if !f.greet("PIPELINING") || !f.hear("DATA") {
		return false
	}
	f.say("250 ok\r\n250 ok\r\n354 go\r\n")
	return true
}

func startFoe(t testing.TB, script func(f *foe, n int)) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for n := 1; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				script(&foe{c, bufio.NewReader(c)}, n)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// What a hostile host does before MAIL, and the hostError it gives.
func TestHostileGreetings(t *testing.T) {
	cases := []struct {
		name   string
		script func(f *foe, n int)
		stage  stage
		want   string // "code enhanced"
		text   string
	}{
		{"no banner", func(f *foe, _ int) { f.stay() }, stageBanner, "0 4.4.2", "timed out"},
		{"banner octet by octet", func(f *foe, _ int) { f.drip("220 "+strings.Repeat("x", 5000), 20*time.Millisecond) }, stageBanner, "0 4.4.2", "timed out"},
		{"endless banner", func(f *foe, _ int) {
			for {
				if _, err := io.WriteString(f, "220-and so on\r\n"); err != nil {
					return
				}
			}
		}, stageBanner, "0 4.4.2", "too long"},
		{"8 MB line", func(f *foe, _ int) {
			b := strings.Repeat("x", 1<<20)
			f.say("220 ")
			for range 8 {
				f.say(b)
			}
			f.stay()
		}, stageBanner, "0 4.4.2", "too long"},
		{"hang-up", func(f *foe, _ int) {}, stageBanner, "0 4.4.2", "closed"},
		{"RST after EHLO", func(f *foe, _ int) { f.say("220 x\r\n"); f.hear("EHLO"); f.reset() }, stageEHLO, "0 4.4.2", "reset"},
		{"banner 554", func(f *foe, _ int) { f.say("554-No SMTP service\r\n554 IP address is block listed\r\n"); f.stay() }, stageBanner, "554 ", "No SMTP service IP address is block listed"},
		{"banner 421", func(f *foe, _ int) { f.say("421 4.3.2 busy\r\n"); f.stay() }, stageBanner, "421 4.3.2", "busy"},
		{"banner 250", func(f *foe, _ int) { f.say("250 hello\r\n"); f.stay() }, stageBanner, "0 4.5.0", "250"},
		{"HTTP", func(f *foe, _ int) { f.say("HTTP/1.1 400 Bad Request\r\n\r\n"); f.stay() }, stageBanner, "0 4.4.2", "not SMTP"},
		{"codes differ", func(f *foe, _ int) { f.say("220-a\r\n554 b\r\n"); f.stay() }, stageBanner, "0 4.4.2", "not SMTP"},
		{"EHLO and HELO refused", func(f *foe, _ int) {
			f.say("220 x\r\n")
			f.hear("EHLO")
			f.say("502 5.5.1 what\r\n")
			f.hear("HELO")
			f.say("550 5.7.1 go away\r\n")
			f.stay()
		}, stageEHLO, "550 5.7.1", "go away"},
		{"EHLO 421", func(f *foe, _ int) { f.say("220 x\r\n"); f.hear("EHLO"); f.say("421 later\r\n"); f.stay() }, stageEHLO, "421 ", "later"},
		{"endless EHLO", func(f *foe, _ int) {
			f.say("220 x\r\n")
			f.hear("EHLO")
			for {
				if _, err := io.WriteString(f, "250-X\r\n"); err != nil {
					return
				}
			}
		}, stageEHLO, "0 4.4.2", "too long"},
		{"hang-up after EHLO", func(f *foe, _ int) { f.say("220 x\r\n"); f.hear("EHLO") }, stageEHLO, "0 4.4.2", "closed"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := newDialer(dialerConfig{Timeouts: waits(c.text)}).Dial(context.Background(), testSource, "out.test", at(startFoe(t, c.script)))
			he, ok := errors.AsType[*hostError](err)
			if !ok {
				t.Fatalf("no hostError: %v", err)
			}
			got := show3(he.Reply.Code, he.Reply.Enhanced)
			if he.Stage != c.stage || got != c.want || !strings.Contains(he.Reply.Text, c.text) || he.Ours {
				t.Errorf("stage %d, %q %q, ours %v\n%s", he.Stage, got, he.Reply.Text, he.Ours, he.Dialogue)
			}
			if len(he.Dialogue) == 0 || len(he.Dialogue) > 5000 {
				t.Errorf("dialogue of %d octets", len(he.Dialogue))
			}
		})
	}
}

// waits are short where the case is about them, else longer than any test.
func waits(text string) timeouts {
	if strings.Contains(text, "timed out") {
		return quick
	}
	return patient
}

func show3(code int, enhanced string) string { return fmt.Sprintf("%d %s", code, enhanced) }

// What a hostile host does in a transaction.
func TestHostileTransactions(t *testing.T) {
	small, large := "hello\r\n", strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n", 200_000)
	cases := []struct {
		name   string
		script func(f *foe, n int)
		body   string
		stage  stage
		dot    bool
		want   string
		text   string
	}{
		{"354 then stops reading", func(f *foe, _ int) {
			f.take()
			f.Conn.(*net.TCPConn).SetReadBuffer(4096)
			f.idle()
		}, large, stageBody, false, "0 4.4.2", "timed out"},
		{"354 then RST", func(f *foe, _ int) { f.take(); f.r.Peek(1); f.reset() }, large, stageBody, false, "0 4.4.2", "while the message was sent"},
		{"552 in mid-message", func(f *foe, _ int) {
			f.take()
			io.CopyN(io.Discard, f.r, 1<<20)
			f.say("552 5.3.4 too much\r\n")
			f.Conn.(*net.TCPConn).CloseWrite()
			io.CopyN(io.Discard, f.r, 1<<20)
			f.idle()
		}, large, stageBody, false, "", ""},
		{"silence after the dot", func(f *foe, _ int) { f.take(); f.stay() }, small, stageDot, true, "0 4.4.2", "timed out after the end"},
		{"RST after the dot", func(f *foe, _ int) { f.take(); f.hear(".\r\n"); f.reset() }, small, stageDot, true, "0 4.4.2", "after the end of the message"},
		{"RST after a large body's dot", func(f *foe, _ int) { f.take(); f.hear(".\r\n"); f.reset() }, large, stageDot, true, "0 4.4.2", "after the end of the message"},
		{"half a reply after the dot", func(f *foe, _ int) { f.take(); f.hear(".\r\n"); f.say("250-almost\r\n") }, small, stageDot, true, "0 4.4.2", "closed"},
		{"endless reply after the dot", func(f *foe, _ int) {
			f.take()
			f.hear(".\r\n")
			for {
				if _, err := io.WriteString(f, "250-more\r\n"); err != nil {
					return
				}
			}
		}, small, stageDot, true, "0 4.4.2", "too long"},
		{"250 then RST", func(f *foe, _ int) { f.take(); f.hear(".\r\n"); f.say("250 2.0.0 kept\r\n"); f.r.Peek(1); f.reset() }, small, stageDot, true, "250 2.0.0", "kept"},
		{"421 mid-way", func(f *foe, _ int) {
			f.greet("PIPELINING")
			f.hear("DATA")
			f.say("250 ok\r\n421 4.3.2 going down\r\n")
		}, small, stageRcpt, false, "421 4.3.2", "going down"},
		{"hang-up after MAIL", func(f *foe, _ int) { f.greet(); f.hear("MAIL") }, small, stageMail, false, "0 4.4.2", "closed"},
		{"silence after RCPT", func(f *foe, _ int) { f.greet(); f.hear("MAIL"); f.say("250 ok\r\n"); f.stay() }, small, stageRcpt, false, "0 4.4.2", "timed out"},
		{"replies octet by octet", func(f *foe, _ int) {
			f.greet("PIPELINING")
			f.hear("DATA")
			f.drip("250 "+strings.Repeat("y", 5000), 20*time.Millisecond)
		}, small, stageMail, false, "0 4.4.2", "timed out"},
		{"replies ahead of time", func(f *foe, _ int) { f.greet("PIPELINING"); f.say("250 a\r\n250 b\r\n550 c\r\n"); f.stay() }, small, stageData, false, "550 ", "c"},
		{"terminal codes", func(f *foe, _ int) { f.take(); f.hear(".\r\n"); f.say("550 5.7.1 \x1b[2J\x00\x07\xff no\u202e\r\n") }, small, stageDot, true, "550 5.7.1", "?[2J???"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := dialTo(t, dialerConfig{Timeouts: waits(c.text)}, startFoe(t, c.script))
			r := s.Send(context.Background(), letter(inMemory(c.body), "a@b.example"), yes)
			got := show3(r.Replies[0].Code, r.Replies[0].Enhanced)
			if r.Stage != c.stage || r.DotSent != c.dot || c.want != "" && got != c.want || !strings.Contains(r.Replies[0].Text, c.text) || r.Stale {
				t.Errorf("stage %d, dot %v, %q %q\n%s", r.Stage, r.DotSent, got, r.Replies[0].Text, r.Dialogue)
			}
			if lost := r.Replies[0].Code == 0; lost && (s.Alive() || r.Err == nil) {
				t.Errorf("session lives after %v", r.Err)
			}
			if len(r.Dialogue) > 5000 {
				t.Errorf("dialogue of %d octets", len(r.Dialogue))
			}
		})
	}
}

// idle holds the connection open without reading until the test's end or, by
// the keep-alive of writes, until the client is gone.
func (f *foe) idle() {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if _, err := f.Write([]byte("2")); err != nil { // never a whole line
			return
		}
	}
}

func TestKeptSessionThatWasClosedIsStale(t *testing.T) {
	for name, end := range map[string]func(f *foe){
		"hang-up": func(f *foe) { f.Close() },
		"RST":     func(f *foe) { f.reset() },
		"421":     func(f *foe) { f.say("421 4.4.2 idle too long\r\n"); f.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan struct{})
			addr := startFoe(t, func(f *foe, _ int) {
				f.take()
				f.hear(".\r\n")
				f.say("250 2.0.0 kept\r\n")
				end(f)
				close(done)
			})
			s := dialTo(t, dialerConfig{Timeouts: patient}, addr)
			if r := s.Send(context.Background(), letter(inMemory("x\r\n"), "a@b.example"), yes); r.Replies[0].Code != 250 || r.Stale {
				t.Fatalf("%+v", r)
			}
			<-done
			if !s.Alive() { // the 421 came together with the reply to the dot
				return
			}
			r := s.Send(context.Background(), letter(inMemory("x\r\n"), "a@b.example"), yes)
			if !r.Stale || r.DotSent || s.Alive() {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestCancelEndsEachPhase(t *testing.T) {
	for name, script := range map[string]func(f *foe, n int){
		"banner": func(*foe, int) {},
		"ehlo":   func(f *foe, _ int) { f.say("220 x\r\n"); f.hear("EHLO") },
		"mail":   func(f *foe, _ int) { f.greet(); f.hear("MAIL") },
		"dot":    func(f *foe, _ int) { f.take(); f.hear(".\r\n") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(context.Background())
			begin := time.Now()
			s, err := newDialer(dialerConfig{}).Dial(ctx, testSource, "out.test", at(startFoe(t, func(f *foe, n int) {
				script(f, n)
				time.AfterFunc(50*time.Millisecond, cancel)
				f.stay()
			})))
			if err == nil {
				r := s.Send(ctx, letter(inMemory("x\r\n"), "a@b.example"), yes)
				err = r.Err
				if r.DotSent != (name == "dot") {
					t.Errorf("dot %v", r.DotSent)
				}
			} else if he, ok := errors.AsType[*hostError](err); !ok || !he.Ours {
				t.Errorf("a cancelled dial counts against the host: %+v", err)
			} else {
				err = he.Err
			}
			if !errors.Is(err, context.Canceled) || time.Since(begin) > 50*time.Second {
				t.Errorf("%v after %v", err, time.Since(begin))
			}
		})
	}
}

// Nothing a host does may leave a goroutine behind.
func TestNoGoroutineIsLeft(t *testing.T) {
	addr := startFoe(t, func(f *foe, _ int) { f.take(); f.hear(".\r\n"); f.reset() })
	before := runtime.NumGoroutine()
	for range 20 {
		s, err := newDialer(dialerConfig{Timeouts: patient}).Dial(context.Background(), testSource, "out.test", at(addr))
		if err != nil {
			t.Fatal(err)
		}
		s.Send(context.Background(), letter(inMemory("x\r\n"), "a@b.example"), yes)
		s.Close()
	}
	end := time.Now().Add(30 * time.Second)
	for runtime.NumGoroutine() > before+2 {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
		time.Sleep(time.Millisecond)
	}
}
