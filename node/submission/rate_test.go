package submission

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/node/queue"
	"postern/tenant"
)

// TestRate says how fast messages are accepted from Postfix's smtp-source on
// the same processors. It is a figure, not a judgement: make bench judges.
func TestRate(t *testing.T) {
	if os.Getenv("POSTERN_SOAK") == "" {
		t.Skip("set POSTERN_SOAK=1 to measure")
	}
	bin, err := exec.LookPath("smtp-source")
	if err != nil {
		t.Skip("smtp-source is not installed")
	}
	for _, c := range []struct{ size, count int }{{5 << 10, 20_000}, {100 << 10, 3_000}} {
		for _, way := range ways {
			t.Run(strconv.Itoa(c.size)+" "+way.name, func(t *testing.T) {
				measure(t, way.rig(t, func(c *Config, _ *rig) { c.Log = slog.New(slog.DiscardHandler) }), bin, c.size, c.count)
			})
		}
	}
}

func measure(t *testing.T, r *rig, bin string, size, count int) {
	t.Helper()
	r.notes.quiet.Store(true)
	r.apply(tenant.SetAccount{Account: r.current().AccountByUsername(tNet).ID,
		Networks: &[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if name := os.Getenv("POSTERN_PROFILE"); name != "" {
		f, err := os.Create(name + "." + strings.ReplaceAll(t.Name(), "/", "."))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			t.Fatal(err)
		}
		defer pprof.StopCPUProfile()
	}
	start := time.Now()
	cmd := exec.Command(bin, "-d", "-s", "20", "-l", strconv.Itoa(size), "-m", strconv.Itoa(count),
		"-f", "mail@shop.test", "-t", "a@example.test", r.addr)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("smtp-source: %v: %s", err, out)
	}
	took := time.Since(start)
	fmt.Printf("accepted %d messages of %d octets in %v: %.0f/s\n", count, size, took.Round(time.Millisecond), float64(count)/took.Seconds())
}

// script is a connection on which the client's half is always there already.
type script struct {
	scripted
	parts [][]byte
	next  int
	limit int
}

func (s *script) Read(p []byte) (int, error) {
	if s.next == s.limit {
		return 0, io.EOF
	}
	part := s.parts[0]
	if s.next > 0 {
		part = s.parts[1+(s.next-1)%(len(s.parts)-1)]
	}
	s.next++
	return copy(p, part), nil
}

// void is nowhere without the checks.
type void struct{ nowhere }

func (v void) NewMessage(tenant.ID) (message, error) { return v, nil }
func (void) Write(p []byte) (int, error)             { return len(p), nil }
func (v void) Put(context.Context, []byte, *queue.Envelope, []queue.Spend) (queue.ID, error) {
	*v.put++
	return queue.ID{Tenant: 1, Epoch: 1, Seq: 1}, nil
}

// BenchmarkMessage is submission's own share of a 5 KB message: no sockets, no
// queue.
func BenchmarkMessage(b *testing.B) {
	srv := bareServer(b)
	put := 0
	srv.store = void{nowhere{&put}}
	benchmarkMessage(b, srv, &put)
}

// BenchmarkPassed is the same with another node in between, over loopback.
func BenchmarkPassed(b *testing.B) {
	owner, in := bareServer(b), bareServer(b)
	put := 0
	owner.store = void{nowhere{&put}}
	in.cfg.Node = func() tenant.NodeID { return tNode + 1 }
	l := listen(b)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			owner.peers.serve(owner, c, "node-2")
		}
	}()
	in.links = newLinks(func(ctx context.Context, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", l.Addr().String())
	})
	b.Cleanup(func() { l.Close(); in.links.close(); owner.peers.wg.Wait() })
	benchmarkMessage(b, in, &put)
}

func benchmarkMessage(b *testing.B, srv *Server, put *int) {
	text := "From: Shop <mail@shop.test>\r\nTo: a@example.test\r\nSubject: hello\r\nDate: Mon, 02 Jan 2006 15:04:05 +0000\r\nMessage-Id: <x@shop.test>\r\n\r\n" +
		strings.Repeat("A line of text as long as mail programs like to make them, 72 octets.\r\n", 70) + ".\r\n"
	done := make(chan error, 1)
	go func() { done <- srv.engine.Serve(srv.queue) }()
	b.Cleanup(func() { srv.queue.close(); <-done })
	b.ReportAllocs()
	b.ResetTimer()
	w := newWire(srv, &script{limit: 1 + 4*b.N, parts: [][]byte{[]byte("EHLO client.test\r\n"), []byte("MAIL FROM:<mail@shop.test>\r\n"),
		[]byte("RCPT TO:<a@example.test>\r\n"), []byte("DATA\r\n"), []byte(text)}}, false)
	w.peer = netip.MustParseAddr("127.0.0.9")
	srv.doors.enter(w.netKey)
	srv.drained.Add(1)
	if !srv.queue.put(context.Background(), w) {
		b.Fatal("server ended")
	}
	srv.drained.Wait()
	if *put != b.N {
		b.Fatalf("%d put, want %d", *put, b.N)
	}
}

// TestRateTLS is the same over TLS with a login, on kept connections.
func TestRateTLS(t *testing.T) {
	if os.Getenv("POSTERN_SOAK") == "" {
		t.Skip("set POSTERN_SOAK=1 to measure")
	}
	r := newRig(t, func(c *Config, _ *rig) { c.Log = slog.New(slog.DiscardHandler) })
	r.notes.quiet.Store(true)
	const sessions, each = 20, 1000
	text := simple + strings.Repeat("A line of text as long as mail programs like to make them, 72 octets.\r\n", 70) + ".\r\n"
	var clients []*client
	for range sessions {
		c := r.login(tUser)
		_ = c.conn.SetDeadline(time.Now().Add(time.Minute))
		clients = append(clients, c)
	}
	start := time.Now()
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			for range each {
				c.send("MAIL FROM:<mail@shop.test>\r\nRCPT TO:<a@example.test>\r\nDATA\r\n")
				for _, want := range []string{"250", "250", "354"} {
					if got := c.reply(); !strings.HasPrefix(got, want) {
						t.Errorf("got %q", got)
						return
					}
				}
				c.send(text)
				if got := c.reply(); !strings.HasPrefix(got, "250") {
					t.Errorf("got %q", got)
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	fmt.Printf("accepted %d messages over TLS in %v: %.0f/s, client included\n", sessions*each, took.Round(time.Millisecond), sessions*each/took.Seconds())
}
