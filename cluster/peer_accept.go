package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// accept hands each new connection to a handshake of its own.
func (p *port) accept(ctx context.Context) error {
	pause := 5 * time.Millisecond
	for {
		c, err := p.peering.Listener.Accept()
		if err == nil {
			pause = 5 * time.Millisecond
			p.shake(ctx, c)
			continue
		}
		if ctx.Err() != nil || p.isClosed() {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept on peer port: %w", err)
		}
		// Out of descriptors, or the peer was faster: the next one may do.
		p.log.Warn("accept on peer port failed", "node", p.name, "err", err)
		if !sleep(ctx, pause) {
			return nil
		}
		pause = min(2*pause, time.Second)
	}
}

// shake starts the handshake of a connection, unless too many are under way.
func (p *port) shake(ctx context.Context, c net.Conn) {
	from, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	p.mu.Lock()
	full := p.closed || p.shaking[from] >= maxHandshakesFrom
	if !full {
		select {
		case p.shakes <- struct{}{}:
			p.shaking[from]++
		default:
			full = true
		}
	}
	p.mu.Unlock()
	if full {
		_ = c.Close()
		return
	}
	p.serving.Go(func() {
		err := p.greet(ctx, c)
		p.mu.Lock()
		if p.shaking[from]--; p.shaking[from] <= 0 {
			delete(p.shaking, from)
		}
		p.mu.Unlock()
		<-p.shakes
		if err != nil {
			_ = c.Close()
			if ctx.Err() == nil {
				p.log.Debug("connection to the peer port refused", "addr", c.RemoteAddr().String(), "err", err)
			}
		}
	})
}

// greet does the handshake of an accepted connection, judges who it is, says
// so, and hands it to its protocol.
func (p *port) greet(ctx context.Context, raw net.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, p.pace.handshake)
	defer cancel()
	tune(raw)
	if err := raw.SetDeadline(time.Now().Add(p.pace.handshake)); err != nil {
		return err
	}
	t := tls.Server(raw, &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		Time:                   p.now,
		GetConfigForClient:     p.configFor,
	})
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	c := &peerConn{Conn: t, port: p, proto: t.ConnectionState().NegotiatedProtocol}
	if c.proto != protoJoin {
		peer, err := credentialOf(t.ConnectionState().PeerCertificates[0])
		if err == nil {
			err = p.judge(peer)
		}
		if greeted := putGreeting(t, err); err != nil || greeted != nil {
			return errors.Join(err, greeted)
		}
		c.peer, c.link = peer, p.link(peer.name)
		p.reached(peer.name, "")
	}
	if err := t.SetDeadline(time.Time{}); err != nil {
		return err
	}
	return p.deliver(c)
}

// configFor chooses by the one protocol the client offers. Only for joining
// is no certificate asked.
func (p *port) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if len(hello.SupportedProtos) != 1 {
		return nil, fmt.Errorf("client offers %d protocols, not one", len(hello.SupportedProtos))
	}
	proto := hello.SupportedProtos[0]
	p.mu.Lock()
	_, known := p.listeners[proto]
	p.mu.Unlock()
	if !known {
		return nil, fmt.Errorf("nobody here speaks %.40q", proto)
	}
	config := p.config(proto, x509ClientAuth)
	if proto == protoJoin {
		config.ClientAuth, config.VerifyConnection = tls.NoClientCert, nil
	}
	return config, nil
}

// peerListener is the accepting end of one protocol.
type peerListener struct {
	port  *port
	proto string
	queue chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// listen takes the connections of a protocol; a second call while the first is
// open gives the same one.
func (p *port) listen(proto string) net.Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.listeners[proto]; l != nil {
		return l
	}
	l := &peerListener{port: p, proto: proto, queue: make(chan net.Conn, acceptQueue), done: make(chan struct{})}
	if p.closed {
		l.once.Do(func() { close(l.done) })
		return l
	}
	p.listeners[proto] = l
	return l
}

// Accept implements net.Listener.
func (l *peerListener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	case c := <-l.queue:
		return c, nil
	}
}

// Addr implements net.Listener; it prints as this node's name.
func (l *peerListener) Addr() net.Addr { return nodeAddr(l.port.name) }

// Close implements net.Listener.
func (l *peerListener) Close() error {
	l.once.Do(func() {
		l.port.mu.Lock()
		if l.port.listeners[l.proto] == l {
			delete(l.port.listeners, l.proto)
		}
		close(l.done)
		l.port.mu.Unlock()
		for {
			select {
			case c := <-l.queue:
				_ = c.Close()
			default:
				return
			}
		}
	})
	return nil
}

// deliver hands a proved connection to who listens.
func (p *port) deliver(c *peerConn) error {
	if !p.track(c) {
		return net.ErrClosed
	}
	p.mu.Lock()
	l := p.listeners[c.proto]
	ok := false
	if l != nil {
		select {
		case l.queue <- c: // under the lock: Close empties the queue after it
			ok = true
		default:
		}
	}
	p.mu.Unlock()
	if !ok {
		return errors.Join(fmt.Errorf("nobody takes %s", c.proto), c.Close())
	}
	return nil
}

// serve gives each connection of a listener a goroutine until ctx ends, most of
// them at a time.
func (p *port) serve(ctx context.Context, l net.Listener, most int, answer func(context.Context, *peerConn)) {
	places := make(chan struct{}, most)
	for {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return
		}
		c, err := l.Accept()
		if err != nil {
			return
		}
		p.serving.Go(func() {
			defer func() { <-places }()
			defer c.Close()
			answer(ctx, c.(*peerConn))
		})
	}
}
