package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// dialTime bounds connect, handshake and greeting.
	dialTime = 3 * time.Second
	// heardTime is how long a node that was heard counts as alive.
	heardTime = 5 * time.Second
	// silentTime is how long a failed dial counts; gossip knows by then.
	silentTime = 15 * time.Second
)

// errUnreached says that nothing was sent.
var errUnreached = errors.New("node is out of reach")

// errSilent says that nothing answered at an address.
var errSilent = errors.New("nothing answers")

// link is what is known of the way to one node.
type link struct {
	heard atomic.Int64 // Unix nanoseconds of the last octet from it
	rtt   atomic.Int64 // nanoseconds

	mu    sync.Mutex // guards what follows
	rests map[string]rest
	idle  []*callConn
}

// rest is the pause after failed dials. Each protocol has its own: that nobody
// there speaks one of them says nothing of the others.
type rest struct {
	fails int
	until time.Time // no dial before
	err   error     // of the last one
}

func (p *port) link(node string) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.links[node]
	if l == nil {
		l = &link{}
		p.links[node] = l
	}
	return l
}

// reached forgets failures: the node is there and speaks proto.
func (p *port) reached(node, proto string) {
	l := p.link(node)
	l.heard.Store(time.Now().UnixNano())
	l.mu.Lock()
	delete(l.rests, proto)
	delete(l.rests, "")
	l.mu.Unlock()
}

// failed makes callers of the next moments fail fast: those of proto, or all
// when nothing answered there ("").
func (p *port) failed(node, proto string, err error) {
	l := p.link(node)
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.rests[proto]
	r.until, r.err = time.Now().Add(min(p.pace.retryMin<<min(r.fails, 16), p.pace.retryMax)), err
	r.fails++
	if l.rests == nil {
		l.rests = map[string]rest{}
	}
	l.rests[proto] = r
}

// resting returns the last failure while no dial may be tried.
func (l *link) resting(proto string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range []rest{l.rests[""], l.rests[proto]} {
		if time.Now().Before(r.until) {
			return r.err
		}
	}
	return nil
}

// dial opens a connection to a node, and to nobody else. An error means that
// nothing was sent; it wraps errUnreached.
func (p *port) dial(ctx context.Context, node, proto string) (net.Conn, error) {
	c, err := p.open(ctx, node, proto)
	if err != nil {
		return nil, fmt.Errorf("dial %s for %s: %w: %w", node, proto, errUnreached, err)
	}
	return c, nil
}

func (p *port) open(ctx context.Context, node, proto string) (*peerConn, error) {
	if p.isClosed() {
		return nil, ErrClosed
	}
	if node == p.name {
		return nil, errors.New("it is this node itself")
	}
	addrs := p.book.addrs(p.state(), node)
	if len(addrs) == 0 {
		return nil, errors.New("its address is not known")
	}
	if err := p.link(node).resting(proto); err != nil {
		return nil, err
	}
	var problems []error
	silent := true
	for _, addr := range addrs {
		c, err := p.openAt(ctx, addr, node, proto)
		if err == nil {
			p.reached(node, proto)
			return c, nil
		}
		silent = silent && errors.Is(err, errSilent)
		problems = append(problems, fmt.Errorf("at %s: %w", addr, err))
		if ctx.Err() != nil {
			break
		}
	}
	err := errors.Join(problems...)
	switch {
	case ctx.Err() != nil: // it was the caller who gave up
	case silent:
		p.failed(node, "", err)
	default:
		p.failed(node, proto, err)
	}
	return nil, err
}

// openAt opens a connection to an address where node must answer; "" is any
// node.
func (p *port) openAt(ctx context.Context, addr, node, proto string) (*peerConn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.pace.dial)
	defer cancel()
	open := p.peering.Dial
	if open == nil {
		open = func(ctx context.Context, addr string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		}
	}
	raw, err := open(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSilent, err)
	}
	c, err := p.prove(ctx, raw, node, proto)
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

// prove does the dialing side's handshake and waits for the greeting.
func (p *port) prove(ctx context.Context, raw net.Conn, node, proto string) (*peerConn, error) {
	tune(raw)
	// Ends reads and writes when ctx does, which HandshakeContext does for the
	// handshake only.
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	t := tls.Client(raw, p.config(proto, x509ServerAuth))
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	peer, err := credentialOf(t.ConnectionState().PeerCertificates[0])
	if err != nil {
		return nil, err
	}
	if node != "" && peer.name != node {
		return nil, fmt.Errorf("node %s answers there: %w", peer.name, errNotWelcome)
	}
	if err := p.judge(peer); err != nil {
		return nil, err
	}
	if err := getGreeting(t); err != nil {
		return nil, err
	}
	if !stop() {
		return nil, context.Cause(ctx)
	}
	c := &peerConn{Conn: t, port: p, proto: proto, peer: peer, link: p.link(peer.name)}
	if !p.track(c) {
		return nil, ErrClosed
	}
	return c, nil
}

// alive is a hint: the node was heard lately, or gossip says it lives.
func (p *port) alive(node string) bool {
	if node == p.name || p.hints.alive(node) {
		return true
	}
	p.mu.Lock()
	l := p.links[node]
	p.mu.Unlock()
	return l != nil && time.Since(time.Unix(0, l.heard.Load())) < heardTime
}

// silent is a hint: nothing answered there when the node was dialed a moment
// ago, and nothing came from it since. Gossip takes longer to see that.
func (p *port) silent(node string) bool {
	p.mu.Lock()
	l := p.links[node]
	p.mu.Unlock()
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r, failed := l.rests[""]
	return failed && time.Since(r.until) < silentTime
}

// rtt is the time a small call to the node and back took last, without the
// node's own work; 0 is unknown.
func (p *port) rtt(node string) time.Duration {
	p.mu.Lock()
	l := p.links[node]
	p.mu.Unlock()
	if l == nil {
		return 0
	}
	return time.Duration(l.rtt.Load())
}
