package submission

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// maxPeers bounds the connections of all other nodes.
const maxPeers = 4 * maxLinks

// peers are the connections on which other nodes pass messages to this one.
type peers struct {
	mu       sync.Mutex // guards all below
	open     map[*peer]struct{}
	stopping bool
	wg       sync.WaitGroup
}

// acceptPeers takes connections of other nodes until ctx ends.
func (s *Server) acceptPeers(ctx context.Context, l net.Listener) error {
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			s.peers.serve(s, c, c.RemoteAddr().String())
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept node: %w", err)
		default:
			s.log.acceptFailed(l.Addr().String(), err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

// serve runs a connection in a goroutine of its own, unless it is one too many.
func (ps *peers) serve(s *Server, c net.Conn, node string) {
	p := &peer{srv: s, node: node, in: frames{conn: c}}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.stopping || len(ps.open) >= maxPeers {
		_ = c.Close()
		return
	}
	if ps.open == nil {
		ps.open = map[*peer]struct{}{}
	}
	ps.open[p] = struct{}{}
	ps.wg.Go(func() {
		defer func() {
			_ = c.Close()
			ps.mu.Lock()
			delete(ps.open, p)
			ps.mu.Unlock()
		}()
		p.run()
	})
}

// stop ends what is idle at once, and messages that come in at the time given.
func (ps *peers) stop(until time.Time) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.stopping = true
	for p := range ps.open {
		p.mu.Lock()
		p.stopping, p.lastCall = true, until
		if p.inBody {
			_ = p.in.conn.SetReadDeadline(until)
		} else {
			_ = p.in.conn.SetReadDeadline(time.Unix(1, 0))
		}
		p.mu.Unlock()
	}
}

// kill cuts all.
func (ps *peers) kill() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for p := range ps.open {
		_ = p.in.conn.Close()
	}
}
