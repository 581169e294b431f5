package node

import (
	"context"
	"errors"
	"net"
	"sync"
)

// wires are the TCP connections between nodes of this process. They can be cut
// between any two, in both directions.
type wires struct {
	mu   sync.Mutex // guards what follows
	cut  map[[2]int]bool
	open map[*line]bool
}

// line is one connection, closed when its line is cut.
type line struct {
	net.Conn
	all     *wires
	between [2]int
}

var errCut = errors.New("the line is cut")

func newWires() *wires { return &wires{cut: map[[2]int]bool{}, open: map[*line]bool{}} }

// between names a line by its ends, the same from both.
func between(a, b int) [2]int { return [2]int{min(a, b), max(a, b)} }

// dialer is how node i reaches the others.
func (c *several) dialer(i int) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		to := -1
		for k := range c.cfgs {
			if c.cfgs[k].Peer.Advertise == addr {
				to = k
			}
		}
		if c.lines.isCut(between(i, to)) {
			return nil, errCut
		}
		raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		return c.lines.add(raw, between(i, to))
	}
}

func (l *wires) isCut(b [2]int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut[b]
}

func (l *wires) add(raw net.Conn, b [2]int) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut[b] {
		return nil, errors.Join(errCut, raw.Close())
	}
	x := &line{Conn: raw, all: l, between: b}
	l.open[x] = true
	return x, nil
}

func (x *line) Close() error {
	x.all.mu.Lock()
	delete(x.all.open, x)
	x.all.mu.Unlock()
	return x.Conn.Close()
}

// sever cuts the line between two nodes: what is open ends, and nothing new
// opens until mend.
func (l *wires) sever(a, b int) {
	l.mu.Lock()
	l.cut[between(a, b)] = true
	var ends []net.Conn
	for x := range l.open {
		if x.between == between(a, b) {
			ends = append(ends, x.Conn)
		}
	}
	l.mu.Unlock()
	for _, c := range ends {
		_ = c.Close()
	}
}

// mend joins all.
func (l *wires) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.cut)
}
