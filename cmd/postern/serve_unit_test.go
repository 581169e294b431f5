package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// play runs a unit in a bubble's time and notes what systemd hears, and when.
type play struct {
	mu             sync.Mutex // guards what follows; act has it but while it waits
	heard          []string
	at             []time.Duration
	ready, healthy error
}

func (p *play) run(t *testing.T, act func(after func(time.Duration))) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		u := &unit{look: unitLook, alive: true, well: true, log: slog.New(slog.DiscardHandler),
			ready: func() error { return p.locked(p.readyNow) }, healthy: func() error { return p.locked(p.healthyNow) },
			send: func(s string) error {
				return p.locked(func() error {
					p.heard, p.at = append(p.heard, s), append(p.at, time.Since(began))
					return nil
				})
			}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); u.run(ctx) }()
		p.mu.Lock()
		act(func(d time.Duration) {
			p.mu.Unlock()
			time.Sleep(d)
			synctest.Wait()
			p.mu.Lock()
		})
		p.mu.Unlock()
		cancel()
		<-ended
	})
}

func (p *play) locked(do func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return do()
}

func (p *play) readyNow() error   { return p.ready }
func (p *play) healthyNow() error { return p.healthy }

func (p *play) count(s string) (n int) {
	for _, h := range p.heard {
		if h == s {
			n++
		}
	}
	return n
}

// A node that becomes ready after a second has started then, and is alive.
func TestUnitStarts(t *testing.T) {
	p := &play{ready: errors.New("replays\nits log")}
	p.run(t, func(after func(time.Duration)) {
		after(time.Second)
		if slices.Contains(p.heard, "READY=1") || slices.Contains(p.heard, "WATCHDOG=1") {
			t.Errorf("started before it was ready: %q", p.heard)
		}
		p.ready = nil
		after(time.Minute)
	})
	if p.heard[0] != "STATUS=NOT READY: replays its log" {
		t.Errorf("first: %q", p.heard[0])
	}
	if n := p.count("READY=1"); n != 1 {
		t.Errorf("READY=1 %d times", n)
	}
	if n := p.count("WATCHDOG=1"); n < 11 || n > 14 {
		t.Errorf("%d signs of life in a minute", n)
	}
	if !slices.Contains(p.heard, "STATUS=accepts and sends mail") || p.heard[len(p.heard)-1] != "STOPPING=1" {
		t.Errorf("%q", p.heard)
	}
}

// A node that waits for others has started too: its operator can reach it.
func TestUnitStartsWithoutOthers(t *testing.T) {
	p := &play{ready: errors.New("no majority")}
	p.run(t, func(after func(time.Duration)) { after(time.Minute) })
	i := slices.Index(p.heard, "READY=1")
	if i < 0 || p.at[i] < unitPatience || p.at[i] > unitPatience+time.Second {
		t.Fatalf("%q at %v", p.heard, p.at)
	}
	if p.count("STATUS=accepts and sends mail") != 0 || p.count("WATCHDOG=1") == 0 {
		t.Errorf("%q", p.heard)
	}
}

// No sign of life while the node is not healthy, and again when it is.
func TestUnitSilentWhenSick(t *testing.T) {
	p := &play{}
	p.run(t, func(after func(time.Duration)) {
		after(time.Minute)
		p.healthy = errors.New("a sync does not end")
		n := p.count("WATCHDOG=1")
		after(time.Minute)
		if p.count("WATCHDOG=1") != n {
			t.Errorf("signs of life of a sick node")
		}
		p.healthy = nil
		after(6 * time.Second)
		if p.count("WATCHDOG=1") <= n {
			t.Errorf("none when it was well again")
		}
	})
	if strings.Join(p.heard, "") == "" {
		t.Error("nothing was said")
	}
}
