package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// levels counts what is logged from a level up.
type levels struct {
	from  slog.Level
	count atomic.Int64
}

func (l *levels) Enabled(context.Context, slog.Level) bool { return true }
func (l *levels) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *levels) WithGroup(string) slog.Handler            { return l }
func (l *levels) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= l.from {
		l.count.Add(1)
	}
	return nil
}

// knock opens a connection for joining, as anybody can.
func knock(t *testing.T, s *seat) net.Conn {
	t.Helper()
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protoJoin}}}
	c, err := d.DialContext(soon(t), "tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// noisy is a cluster of one whose lines are counted.
func noisy(t *testing.T, lines slog.Handler) *seat {
	t.Helper()
	r := newTribe(t)
	dir, l := filepath.Join(t.TempDir(), "pki"), bind(t)
	if _, err := Found(dir, "a", l.Addr().String(), time.Hour); err != nil {
		t.Fatal(err)
	}
	s := r.open("a", dir, l, func(p *port) { p.log = slog.New(lines) })
	if err := s.port.found(t.Context(), r.propose); err != nil {
		t.Fatal(err)
	}
	return r.run(s)
}

// TestKnocks: those who only say that they want to join hold few connections,
// however many they open.
func TestKnocks(t *testing.T) {
	t.Parallel()
	s := noisy(t, slog.DiscardHandler)
	most := 0
	for range 3 * (maxJoining + acceptQueue) / 2 {
		knock(t, s)
		s.port.mu.Lock()
		most = max(most, len(s.port.conns))
		s.port.mu.Unlock()
	}
	// One more is on its way into the queue, or refused, and one on its way out.
	if most > maxJoining+acceptQueue+2 {
		t.Errorf("%d connections are held", most)
	}
}

// TestKnocksNoise: nor can they fill the log.
func TestKnocksNoise(t *testing.T) {
	t.Parallel()
	lines := &levels{from: slog.LevelInfo}
	s := noisy(t, lines)
	before, began := lines.count.Load(), time.Now()
	for range 60 {
		c := knock(t, s)
		if _, err := c.Write(sealed([]byte("let me in"))); err != nil {
			t.Fatal(err)
		}
		if _, err := readRecord(c, maxJoined); err != nil {
			t.Fatal(err)
		}
	}
	for range 60 { // anybody can send such a packet
		_, _ = gossipLog{s.port.log, &s.port.seldom}.Write([]byte("[ERR] memberlist: Decrypt packet failed: from=192.0.2.1\n"))
	}
	if told, most := lines.count.Load()-before, 10+2*int64(time.Since(began)/seldomPause); told > most {
		t.Errorf("%d lines, at most %d expected", told, most)
	}
}

// TestStandingNoise: what goes on for minutes is told now and then, and not with
// every lease.
func TestStandingNoise(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := emptyTrio(t)
		lines := &levels{from: slog.LevelWarn}
		var full atomic.Bool
		set := x.set
		x.set = func(cfg *Config) {
			set(cfg)
			cfg.Log = slog.New(lines)
			cfg.Peering.Durable = func() error {
				if full.Load() {
					return errors.New("no sync for 5 s")
				}
				return nil
			}
		}
		x.grow(3)
		full.Store(true)
		for _, r := range x.all() { // a state that differs, as the leader sees it
			d := r.fsm.digests
			d.mu.Lock()
			for i := range d.ring {
				d.ring[i].digest[0] ^= byte(len(r.cfg.Name) + int(r.cfg.Name[1]))
			}
			d.mu.Unlock()
		}
		before := lines.count.Load()
		time.Sleep(time.Minute)
		if told := lines.count.Load() - before; told > 3*2*7 {
			t.Errorf("%d lines in a minute", told)
		}
	})
}

// TestNoticesToTheDeaf: of a follower that takes connections and says nothing,
// as a stopped process does, only one notice is on its way.
func TestNoticesToTheDeaf(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := emptyTrio(t)
		deaf := &dials{}
		set := x.set
		x.set = func(cfg *Config) {
			set(cfg)
			cfg.peers = &counted{station: cfg.peers.(*station), dials: deaf}
		}
		x.grow(3)
		l, victim := x.awaitLeader(), x.follower().cfg.Name
		x.converge()
		x.lan.sever(l.cfg.Name, victim)
		for i := range 200 {
			l.mustAdd(numbered("r", i))
			time.Sleep(5 * time.Millisecond)
		}
		// raft's own are the heartbeat and the entries.
		if most := deaf.most.Load(); most > 3 {
			t.Errorf("%d dials at once", most)
		}
	})
}

// dials counts those under way to nodes that do not answer.
type dials struct{ now, most atomic.Int64 }

type counted struct {
	*station
	dials *dials
}

func (c *counted) dial(ctx context.Context, node, proto string) (net.Conn, error) {
	n := c.dials.now.Add(1)
	defer c.dials.now.Add(-1)
	c.dials.most.Store(max(c.dials.most.Load(), n))
	return c.station.dial(ctx, node, proto)
}
