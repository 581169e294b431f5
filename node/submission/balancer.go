package submission

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

// introduceWait is how long a balancer may take to say for whom it connects: it
// knows before it connects.
const introduceWait = 5 * time.Second

// introduced is a balancer's connection. Its first octets are a PROXY header,
// which says who the client is; they are read past TLS and commands. The parser
// bounds a header: 107 octets of version 1, 4 KB and a bit of version 2.
type introduced struct {
	net.Conn
	head *bufio.Reader // nil once it has nothing more that came with the header
}

func newIntroduced(c net.Conn) *introduced {
	return &introduced{Conn: c, head: bufio.NewReaderSize(c, 256)}
}

func (c *introduced) Read(p []byte) (int, error) {
	if c.head != nil {
		if c.head.Buffered() > 0 {
			return c.head.Read(p)
		}
		c.head = nil
	}
	return c.Conn.Read(p)
}

// CloseWrite is what a last reply to a client that still sends needs.
func (c *introduced) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

var errOtherClient = errors.New("the header does not name a client that could have connected")

// client reads the header. It is invalid for a connection of the balancer's own,
// such as its health checks.
func (c *introduced) client(balancer netip.Addr) (netip.Addr, error) {
	h, err := proxyproto.Read(c.head)
	if err != nil {
		return netip.Addr{}, err
	}
	// LOCAL, and UNKNOWN of version 1 (PROXY protocol §2.1, §2.2): the connection
	// as it is.
	if h.Command.IsLocal() || h.TransportProtocol.IsUnspec() {
		return netip.Addr{}, nil
	}
	if !h.TransportProtocol.IsStream() {
		return netip.Addr{}, errOtherClient
	}
	a := addrOf(h.SourceAddr)
	switch {
	case !a.IsValid() || a.IsUnspecified() || a.IsMulticast():
		return netip.Addr{}, errOtherClient
	case a.IsLoopback() && !balancer.IsLoopback():
		// Another machine's loopback is not ours, which no limit counts.
		return netip.Addr{}, errOtherClient
	}
	return a, nil
}

// balances says whether connections from an address begin with a PROXY header.
func (c *Config) balances(a netip.Addr) bool {
	for _, p := range c.ProxyFrom {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// introduce reads who the client is, and only then counts the connection by the
// client's network. False means that the connection is over.
func (w *wire) introduce() bool {
	w.mu.Lock()
	if !w.stopping {
		_ = w.raw.SetReadDeadline(time.Now().Add(min(w.srv.cfg.Idle, introduceWait)))
	}
	w.mu.Unlock()
	if _, err := w.balancer.head.Peek(1); errors.Is(err, io.EOF) {
		w.ended = true // looked whether the port is open
		return false
	}
	client, err := w.balancer.client(w.peer)
	w.mu.Lock()
	stopping := w.stopping
	if !stopping {
		_ = w.raw.SetReadDeadline(time.Time{})
	}
	w.mu.Unlock()
	if stopping {
		w.unwelcome(errShutdown)
		return false
	}
	if err != nil {
		w.srv.log.notIntroduced(w.peer, err)
		w.unwelcome(errNotIntroduced)
		return false
	}
	w.local = !client.IsValid()
	if !w.local {
		w.peer = client
	}
	network := networkOf(w.peer)
	if !w.srv.doors.join(network) {
		w.unwelcome(errTooManyConns)
		return false
	}
	w.netKey = network
	return true
}

// unwelcome ends a connection before its greeting; where TLS is expected,
// without a word.
func (w *wire) unwelcome(r *reply) {
	if !w.implicit {
		w.last(r)
		return
	}
	w.srv.refusal(w.sess, r)
	w.linger = true
	w.ended = true
}
