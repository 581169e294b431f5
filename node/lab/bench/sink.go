package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"strconv"
	"sync/atomic"
	"time"
)

// sink is Postfix's smtp-sink with its running message counter.
type sink struct {
	addr  string
	cmd   *exec.Cmd
	count atomic.Int64
}

// startSink starts one with further flags of smtp-sink.
func startSink(ctx context.Context, flags ...string) (*sink, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	s := &sink{addr: addr}
	args := append([]string{"-u", "nobody", "-c"}, flags...)
	s.cmd = exec.Command(sbin("smtp-sink"), append(args, addr, "512")...)
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start smtp-sink: %w", err)
	}
	go s.follow(out) // ends with the process
	return s, waitPort(ctx, addr)
}

// follow reads "sess=1 quit=0 mesg=17" as it is rewritten after each change.
func (s *sink) follow(r io.Reader) {
	sc := bufio.NewScanner(r)
	sc.Split(func(b []byte, eof bool) (int, []byte, error) {
		if i := bytes.LastIndexByte(b, '\r'); i >= 0 {
			j := bytes.LastIndexByte(b[:i], '\r')
			return i + 1, b[j+1 : i], nil
		}
		if eof {
			return len(b), nil, nil
		}
		return 0, nil, nil
	})
	for sc.Scan() {
		if _, after, ok := bytes.Cut(sc.Bytes(), []byte("mesg=")); ok {
			if n, err := strconv.ParseInt(string(bytes.TrimSpace(after)), 10, 64); err == nil {
				s.count.Store(n)
			}
		}
	}
}

// Count is the number of messages received so far.
func (s *sink) Count() int { return int(s.count.Load()) }

// Wait blocks until n messages arrived; no progress for limit is an error.
func (s *sink) Wait(ctx context.Context, n int, limit time.Duration) error {
	last, since := s.Count(), time.Now()
	for {
		got := s.Count()
		if got >= n {
			return nil
		}
		if got != last {
			last, since = got, time.Now()
		}
		if time.Since(since) > limit {
			return fmt.Errorf("sink has %d messages of %d and gets no more", got, n)
		}
		if pause(ctx, 2*time.Millisecond); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (s *sink) Stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// freeAddr looks below the ports that systems give to outgoing connections, so
// that a node finds its own free when it comes back.
func freeAddr() (addr string, err error) {
	for range 1000 {
		addr = fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(12_000))
		var l net.Listener
		if l, err = net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", err
}

func waitPort(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		if pause(ctx, 20*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("nothing listens on %s: %w", addr, err)
		}
	}
}
