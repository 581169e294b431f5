package main

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// slowWay is a TCP proxy that hands on every octet a while after it came, each
// direction for itself: a long line, not a narrow one.
type slowWay struct {
	l     net.Listener
	to    string
	delay atomic.Int64
	conns sync.WaitGroup
}

// newSlowWay listens at addr and passes on to another address.
func newSlowWay(t *testing.T, addr, to string, delay time.Duration) *slowWay {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	w := &slowWay{l: l, to: to}
	w.delay.Store(int64(delay))
	ctx, end := context.WithCancel(context.Background())
	t.Cleanup(func() {
		end()
		_ = l.Close()
		w.conns.Wait()
	})
	w.conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.conns.Go(func() { w.pass(ctx, c) })
		}
	})
	return w
}

func (w *slowWay) pass(ctx context.Context, in net.Conn) {
	defer in.Close()
	out, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", w.to)
	if err != nil {
		return
	}
	defer out.Close()
	stop := context.AfterFunc(ctx, func() { _ = in.Close(); _ = out.Close() })
	defer stop()
	var g sync.WaitGroup
	g.Go(func() { w.pump(out, in) })
	g.Go(func() { w.pump(in, out) })
	g.Wait()
}

type late struct {
	b   []byte
	due time.Time
}

// pump copies one direction; the end travels as slowly as what came before.
func (w *slowWay) pump(to, from net.Conn) {
	line := make(chan late, 4096)
	var g sync.WaitGroup
	g.Go(func() {
		for x := range line {
			time.Sleep(time.Until(x.due))
			if _, err := to.Write(x.b); err != nil {
				_ = from.Close()
			}
		}
		if c, ok := to.(*net.TCPConn); ok {
			_ = c.CloseWrite()
		}
	})
	for {
		b := make([]byte, 16<<10)
		n, err := from.Read(b)
		if n > 0 {
			line <- late{b[:n], time.Now().Add(time.Duration(w.delay.Load()))}
		}
		if err != nil {
			break
		}
	}
	close(line)
	g.Wait()
}

func TestSlowWay(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	const delay = 100 * time.Millisecond
	w := newSlowWay(t, "127.0.0.1:0", l.Addr().String(), delay)
	c, err := net.Dial("tcp", w.l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	start := time.Now()
	const text = "there and back"
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != text {
		t.Fatalf("read %q, %v", b, err)
	}
	if took := time.Since(start); took < 2*delay {
		t.Errorf("there and back took %v, want %v at least", took, 2*delay)
	}
	if c, ok := c.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
		t.Errorf("after the end: %q, %v", rest, err)
	}
}
