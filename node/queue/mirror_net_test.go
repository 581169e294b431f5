package queue

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

// network joins the stores of a test in memory.
type network struct {
	mu      sync.Mutex
	nodes   map[string]*netListener
	conns   map[net.Conn][2]string
	cut     map[[2]string]bool
	prepare func(*Store)
	wrap    func(from, to string, c net.Conn) net.Conn // of the dialing side
}

func newNetwork() *network {
	return &network{nodes: map[string]*netListener{}, conns: map[net.Conn][2]string{}, cut: map[[2]string]bool{}}
}

type netListener struct {
	node string
	in   chan net.Conn
	once sync.Once
	done chan struct{}
}

func (l *netListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.in:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *netListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *netListener) Addr() net.Addr { return nodeAddr(l.node) }

type nodeAddr string

func (nodeAddr) Network() string  { return "test" }
func (a nodeAddr) String() string { return string(a) }

type namedConn struct {
	net.Conn
	peer string
}

func (c *namedConn) RemoteAddr() net.Addr { return nodeAddr(c.peer) }

// peers makes a store's place in the network; an earlier one of that name is over.
func (n *network) peers(node string) *Peers {
	l := &netListener{node: node, in: make(chan net.Conn), done: make(chan struct{})}
	n.mu.Lock()
	n.nodes[node] = l
	n.mu.Unlock()
	return &Peers{Node: node, Listener: l, Dial: func(ctx context.Context, to string) (net.Conn, error) {
		return n.dial(ctx, node, to)
	}}
}

func (n *network) dial(ctx context.Context, from, to string) (net.Conn, error) {
	n.mu.Lock()
	l, dead := n.nodes[to], n.cut[[2]string{from, to}]
	n.mu.Unlock()
	if l == nil || dead {
		return nil, errors.New("no way to " + to)
	}
	near, far := net.Pipe()
	select {
	case l.in <- &namedConn{far, from}:
	case <-l.done:
		return nil, errors.New(to + " is down")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	n.mu.Lock()
	n.conns[near] = [2]string{from, to}
	wrap := n.wrap
	n.mu.Unlock()
	var c net.Conn = &namedConn{near, to}
	if wrap != nil {
		c = wrap(from, to, c)
	}
	return c, nil
}

// sever ends the way between two nodes, or opens it again.
func (n *network) sever(a, b string, dead bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, way := range [][2]string{{a, b}, {b, a}} {
		n.cut[way] = dead
		for c, w := range n.conns {
			if dead && w == way {
				_ = c.Close()
				delete(n.conns, c)
			}
		}
	}
}

// member is a store in a network.
func (n *network) member(t testing.TB, node string, fs vfs.FS, change func(*Config)) *Store {
	t.Helper()
	return testStore(t, fs, func(c *Config) {
		c.Peers = n.peers(node)
		c.prepare = func(s *Store) {
			watchKeys(t, s)
			s.limits.again = 5 * time.Millisecond
			if n.prepare != nil {
				n.prepare(s)
			}
		}
		if change != nil {
			change(c)
		}
	})
}

func mirror(t testing.TB, s *Store, id tenant.ID, epoch, generation uint64, node string, ends ...tenant.End) {
	t.Helper()
	if err := s.Mirror(id, epoch, generation, node, ends); err != nil {
		t.Fatalf("Mirror: %v", err)
	}
}

// until waits for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("waited for: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

func synced(s *Store, id tenant.ID) func() bool {
	return func() bool { m := s.Mirrors()[id]; return m.Synced && m.Behind == 0 && m.Broken == 0 }
}

// pause ends after a moment, or with ctx.
func pause(ctx context.Context) <-chan struct{} {
	c, cancel := context.WithTimeout(ctx, 2*time.Millisecond)
	context.AfterFunc(c, cancel)
	return c.Done()
}

// setWord changes how long a store waits for a holder's word.
func setWord(s *Store, d time.Duration) {
	s.ship.mu.Lock()
	defer s.ship.mu.Unlock()
	s.limits.word = d
}

// wrapping makes connections from now on go through wrap.
func (n *network) wrapping(wrap func(from, to string, c net.Conn) net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wrap = wrap
}
