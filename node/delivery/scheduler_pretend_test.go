package delivery

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/node/queue"
)

// pretend is a pretend far end without sockets, for tests in which time is pretended too.
type pretend struct {
	mu    sync.Mutex
	sites map[string]*site       // by domain
	fault map[string]*routeError // by domain
	refus func(h host) *hostError
	send  func(src netip.Addr, m outbound) result
	dials []time.Time
	tried []tries
	s     *scheduler // that sends to it
}

type tries struct {
	at   time.Time
	src  netip.Addr
	rcpt string
}

// triedFor lists when a recipient's message was tried.
func (p *pretend) triedFor(rcpt string) (list []time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.tried {
		if x.rcpt == rcpt {
			list = append(list, x.at)
		}
	}
	return list
}

func (p *pretend) Site(_ context.Context, domain string) (*site, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.fault[domain]; f != nil {
		return nil, f
	}
	if s := p.sites[domain]; s != nil {
		s.Until = time.Now().Add(time.Hour)
		return s, nil
	}
	return siteOf("mx." + domain), nil
}

func siteOf(names ...string) *site {
	s := &site{Until: time.Now().Add(time.Hour)}
	for i, n := range names {
		s.Key += n + ","
		s.Hosts = append(s.Hosts, host{Name: n, Pref: uint16(i), Port: 25, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
	}
	return s
}

func (p *pretend) Route(_ context.Context, name string, port uint16) (*site, error) {
	s := siteOf(name)
	s.Route = true
	return s, nil
}

func (p *pretend) Dial(_ context.Context, src netip.Addr, ehlo string, h host) (session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dials = append(p.dials, time.Now())
	if p.refus != nil {
		if err := p.refus(h); err != nil {
			return nil, err
		}
	}
	return &pretendSession{p: p, src: src, peer: peer{Host: h.Name, Addr: netip.AddrPortFrom(h.Addrs[0], h.Port)}, alive: true}, nil
}

type pretendSession struct {
	p     *pretend
	src   netip.Addr
	peer  peer
	alive bool
}

func (s *pretendSession) Send(ctx context.Context, m outbound, before func() error) result {
	time.Sleep(time.Millisecond) // the wire, in pretended time
	s.p.mu.Lock()
	s.p.tried = append(s.p.tried, tries{time.Now(), s.src, m.Rcpts[0].Addr})
	send := s.p.send
	s.p.mu.Unlock()
	if err := before(); err != nil {
		s.alive = false
		return result{Stage: stageBody, Err: err, Replies: repeat(queue.Reply{Enhanced: "4.3.0"}, len(m.Rcpts))}
	}
	if send != nil {
		s.p.mu.Lock()
		defer s.p.mu.Unlock()
		r := send(s.src, m)
		s.alive = r.Err == nil
		return r
	}
	return result{Stage: stageDot, DotSent: true, Replies: repeat(queue.Reply{Code: 250, Text: "ok"}, len(m.Rcpts))}
}

func (s *pretendSession) Alive() bool { return s.alive }
func (s *pretendSession) Peer() peer  { return s.peer }
func (s *pretendSession) Close()      { s.alive = false }

func refusedAt(at stage, code int, enhanced, text string) result {
	return result{Stage: at, DotSent: at == stageDot, Replies: []queue.Reply{{Code: code, Enhanced: enhanced, Text: text}}}
}

func repeat(r queue.Reply, n int) []queue.Reply {
	list := make([]queue.Reply, n)
	for i := range list {
		list[i] = r
	}
	return list
}

// inBubble runs a test in pretended time: a real store, a pretended far end.
func inBubble(t *testing.T, change func(*Config), setUp func(w *world), test func(r *rig, p *pretend)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		setUp(w)
		p := &pretend{sites: map[string]*site{}, fault: map[string]*routeError{}}
		r := newRig(t, w, change)
		cfg, err := r.cfg.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		s, err := newScheduler(cfg, r.store, r.store, p, p, func() float64 { return 0.5 })
		if err != nil {
			t.Fatal(err)
		}
		p.s = s
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- s.run(ctx) }()
		test(r, p)
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
		if s.open != 0 || len(s.opened) != 0 {
			t.Errorf("connections not given back: %d, %v", s.open, s.opened)
		}
	})
}

// pass lets pretended time pass and everything that is due happen.
func (p *pretend) pass(d time.Duration) {
	p.mu.Lock()
	_ = p.dials // what the test read is before what happens now
	p.mu.Unlock()
	time.Sleep(d)
	synctest.Wait()
}
