package delivery

import (
	"bufio"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// crowd is a quick SMTP server that counts: connections open at once, messages
// on each, and what came from which source.
type crowd struct {
	addr netip.AddrPort
	slow func(from string) time.Duration // before the reply to the dot
	say  func(verb, line string, n int) string

	mu      sync.Mutex
	open    map[string]int // by source address
	most    map[string]int
	conns   int
	perConn int // most messages on one connection
	total   int
	froms   map[string]int
	rcpts   []string
	dials   []time.Time
	live    map[net.Conn]bool
}

func startCrowd(t testing.TB, c *crowd) *crowd {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return c.serveOn(t, ln)
}

func (c *crowd) serveOn(t testing.TB, ln net.Listener) *crowd {
	c.addr = ln.Addr().(*net.TCPAddr).AddrPort()
	c.open, c.most, c.froms = map[string]int{}, map[string]int{}, map[string]int{}
	c.live = map[net.Conn]bool{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { c.serve(conn) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		c.mu.Lock()
		for conn := range c.live {
			conn.Close()
		}
		c.mu.Unlock()
		wg.Wait()
	})
	return c
}

func (c *crowd) serve(conn net.Conn) {
	defer conn.Close()
	src := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().String()
	c.mu.Lock()
	c.live[conn] = true
	c.conns++
	nth := c.conns
	c.open[src]++
	c.most[src] = max(c.most[src], c.open[src])
	c.dials = append(c.dials, time.Now())
	c.mu.Unlock()
	left := sync.OnceFunc(func() {
		c.mu.Lock()
		c.open[src]--
		delete(c.live, conn)
		c.mu.Unlock()
	})
	defer left()
	r, w := bufio.NewReaderSize(conn, 16<<10), bufio.NewWriter(conn)
	reply := func(verb, line, normal string) bool {
		if c.say != nil {
			if s := c.say(verb, line, nth); s != "" {
				normal = s
			}
		}
		w.WriteString(normal + "\r\n")
		return normal[0] < '4'
	}
	if !reply("BANNER", "", "220 crowd.test") {
		w.Flush()
		return
	}
	n, from := 0, ""
	var rcpts []string
	for {
		if r.Buffered() == 0 {
			w.Flush()
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		switch verb {
		case "EHLO":
			w.WriteString("250-crowd.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
		case "MAIL":
			from, rcpts = rest, nil
			reply(verb, rest, "250 ok")
		case "RCPT":
			if reply(verb, rest, "250 ok") {
				rcpts = append(rcpts, rest)
			}
		case "DATA":
			if len(rcpts) == 0 {
				w.WriteString("503 5.5.1 no recipients\r\n")
				continue
			}
			w.WriteString("354 go\r\n")
			w.Flush()
			for {
				b, err := r.ReadSlice('\n')
				if err != nil {
					return
				}
				if string(b) == ".\r\n" {
					break
				}
			}
			if c.slow != nil {
				time.Sleep(c.slow(from)) // a slow server is what is tested here
			}
			if c.say != nil && c.say("DOT", from, nth) == "hang up" {
				return
			}
			n++
			if reply("DOT", from, "250 kept") {
				c.mu.Lock()
				c.perConn = max(c.perConn, n)
				c.total++
				c.froms[from]++
				c.rcpts = append(c.rcpts, rcpts...)
				c.mu.Unlock()
			}
		case "QUIT":
			left() // before the client can see the connection end
			w.WriteString("221 bye\r\n")
			w.Flush()
			return
		default:
			w.WriteString("250 ok\r\n")
		}
	}
}

func (c *crowd) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total
}
