package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"postern/tenant"
)

const (
	x509ClientAuth = x509.ExtKeyUsageClientAuth
	x509ServerAuth = x509.ExtKeyUsageServerAuth

	maxGreeting = 512
	// deafTime is how long data may lie unanswered on a connection before the
	// kernel gives it up: a dead node is noticed well before TCP's minutes.
	deafTime = 10 * time.Second
)

// errNotWelcome is the other node's no, or ours to it.
var errNotWelcome = errors.New("not a peer")

// nodeAddr is the address of a proved peer: its name.
type nodeAddr string

// Network implements net.Addr.
func (nodeAddr) Network() string { return "postern" }

// String implements net.Addr.
func (a nodeAddr) String() string { return string(a) }

// peerConn is a connection whose other end proved who it is.
type peerConn struct {
	*tls.Conn
	port  *port
	proto string
	peer  credential // zero while joining
	link  *link      // nil while joining
	once  sync.Once
	err   error
}

// RemoteAddr is the peer's node name.
func (c *peerConn) RemoteAddr() net.Addr {
	if c.peer.name == "" {
		return c.Conn.RemoteAddr()
	}
	return nodeAddr(c.peer.name)
}

// Read implements net.Conn, and notes that the peer lives.
func (c *peerConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.link != nil {
		c.link.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

// abort ends the connection without a word to the peer, so at once.
func (c *peerConn) abort() {
	_ = c.Conn.NetConn().Close()
	_ = c.Close()
}

// Close implements net.Conn.
func (c *peerConn) Close() error {
	c.once.Do(func() {
		c.port.mu.Lock()
		delete(c.port.conns, c)
		c.port.mu.Unlock()
		c.err = c.Conn.Close()
	})
	return c.err
}

// config is the common part of both sides' TLS. There is no resumption: each
// connection proves itself again.
func (p *port) config(proto string, use x509.ExtKeyUsage) *tls.Config {
	id := p.id.Load()
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{proto},
		SessionTicketsDisabled: true,
		Time:                   p.now,
		Certificates:           []tls.Certificate{id.tls},
		ClientAuth:             tls.RequireAnyClientCert,
		// The name is a node's and in a URI; verify below does all the work
		// that crypto/tls does for host names.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if s.NegotiatedProtocol != proto || len(s.PeerCertificates) == 0 {
				return errors.New("check peer: no common protocol or no certificate")
			}
			_, err := id.authority.verify(s.PeerCertificates[0], p.now(), use)
			return err
		},
	}
}

// judge says whether a holder of a good certificate is a peer by the state:
// its node is known and has this key. An empty state knows nobody and takes
// all; and a node that lags behind must not refuse those who came while it
// slept, or it would never catch up: a certificate that is younger than the
// state is believed, unless the state is the newest one for sure.
func (p *port) judge(peer credential) error {
	if peer.name == p.name {
		return fmt.Errorf("node %s: it bears this node's own name: %w", peer.name, errNotWelcome)
	}
	s := p.state()
	n := s.NodeByName(peer.name)
	if n != nil && n.Key == peer.key {
		return nil
	}
	if noNodes(s) || peer.since > s.Index() && !p.fresh() {
		return nil
	}
	switch {
	case n == nil:
		return fmt.Errorf("node %s: unknown or removed: %w", peer.name, errNotWelcome)
	case n.Key == [32]byte{}:
		return fmt.Errorf("node %s: it has to join again: %w", peer.name, errNotWelcome)
	default:
		return fmt.Errorf("node %s: its key was replaced: %w", peer.name, errNotWelcome)
	}
}

func noNodes(s *tenant.State) bool {
	for range s.Nodes() {
		return false
	}
	return true
}

// track keeps a connection for the sweep; false when the port is closed.
func (p *port) track(c *peerConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

// sweep closes connections of nodes that are peers no longer.
func (p *port) sweep() {
	p.mu.Lock()
	conns := make([]*peerConn, 0, len(p.conns))
	for c := range p.conns {
		if c.proto != protoJoin {
			conns = append(conns, c)
		}
	}
	p.mu.Unlock()
	for _, c := range conns {
		if err := p.judge(c.peer); err != nil {
			p.log.Warn("peer connection closed", "node", c.peer.name, "proto", c.proto, "err", err)
			c.abort()
		}
	}
}

// tune sets what TCP has to know of a connection between nodes.
func tune(c net.Conn) {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return // a test's
	}
	// Each of these only makes a dead peer known earlier; none can be needed.
	_ = t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 3 * time.Second, Count: 3})
	if raw, err := t.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(deafTime/time.Millisecond))
		})
	}
}

// readRecord reads one record of at most limit octets of payload.
func readRecord(r io.Reader, limit int) ([]byte, error) {
	head := make([]byte, recordHead, recordHead+256)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	size := binary.LittleEndian.Uint32(head[1:])
	if head[0] != recordVersion || size > uint32(limit) {
		return nil, fmt.Errorf("read record: version %d, %d octets of at most %d", head[0], size, limit)
	}
	record := append(head, make([]byte, size)...)
	if _, err := io.ReadFull(r, record[recordHead:]); err != nil {
		return nil, noEOF(err)
	}
	return unseal(record)
}

// noEOF makes an end in the middle of a record an error of its own.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// putGreeting tells the dialing node that it is welcome, or why not: TLS
// itself ends a client's handshake before the server has judged.
func putGreeting(w io.Writer, refusal error) error {
	text := ""
	if refusal != nil {
		text = refusal.Error()
		text = text[:min(len(text), maxGreeting)]
	}
	if _, err := w.Write(sealed([]byte(text))); err != nil {
		return fmt.Errorf("greet: %w", err)
	}
	return nil
}

func getGreeting(r io.Reader) error {
	text, err := readRecord(r, maxGreeting)
	if err != nil {
		return fmt.Errorf("wait for greeting: %w", noEOF(err))
	}
	if len(text) > 0 {
		return fmt.Errorf("refused by the other side: %q: %w", text, errNotWelcome)
	}
	return nil
}
