package queue

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// What a connection between two stores is for: said in its first octets.
const (
	connStream byte = 'S' // the logs of the sender's tenants
	connChunk  byte = 'C' // one big body
	connCall   byte = 'Q' // a question and its answer
)

// greeting starts every connection; its kind follows. The digit is the version.
const greeting = "pstq1"

const greetTime = 10 * time.Second

// dial opens a connection of a kind to a node.
func (s *Store) dial(ctx context.Context, node string, kind byte) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, linkDial)
	defer cancel()
	conn, err := s.cfg.Peers.Dial(ctx, node)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", node, err)
	}
	_ = conn.SetWriteDeadline(time.Now().Add(greetTime))
	if _, err := io.WriteString(conn, greeting+string(kind)); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("greet %s: %w", node, err)
	}
	return conn, nil
}

// maxPeerConns bounds how many connections the store serves at once.
const maxPeerConns = 256

// accept serves the connections of other stores until the ship stops.
func (p *ship) accept() {
	slots := make(chan struct{}, maxPeerConns)
	for {
		conn, err := p.s.cfg.Peers.Listener.Accept()
		if err != nil {
			if p.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			p.s.cfg.Log.Warn("accept peer failed", "err", err)
			select {
			case <-time.After(p.s.limits.again):
			case <-p.ctx.Done():
				return
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = conn.Close()
			continue
		}
		p.all.Go(func() {
			defer func() { <-slots }()
			defer conn.Close()
			stop := context.AfterFunc(p.ctx, func() { _ = conn.Close() })
			defer stop()
			err := p.s.serve(p.ctx, conn)
			switch {
			case err == nil || p.ctx.Err() != nil || errors.Is(err, io.EOF):
			case hungUp(err):
				p.s.cfg.Log.Debug("peer connection ended by the peer", "node", conn.RemoteAddr().String(), "err", err)
			default:
				p.s.metrics.peerErrors.Inc()
				p.s.cfg.Log.Warn("peer connection ended", "node", conn.RemoteAddr().String(), "err", err)
			}
		})
	}
}

// hungUp says whether the other store went away in the midst of what it asked,
// which is its right: it hangs up as soon as it knows enough, and it may die. If
// that harmed anything, the side that needed the answer says so.
func hungUp(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// serve answers one connection.
func (s *Store) serve(ctx context.Context, conn net.Conn) error {
	var b [len(greeting) + 1]byte
	_ = conn.SetReadDeadline(time.Now().Add(greetTime))
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		return fmt.Errorf("read greeting: %w", err)
	}
	if string(b[:len(greeting)]) != greeting {
		return fmt.Errorf("read greeting: %w", errCorrupt)
	}
	r := bufio.NewReaderSize(conn, 64<<10)
	node := conn.RemoteAddr().String()
	switch b[len(greeting)] {
	case connStream:
		return s.hold.stream(ctx, node, conn, r)
	case connChunk:
		return s.hold.chunk(conn, r)
	case connCall:
		return s.answer(ctx, node, conn, r)
	}
	return fmt.Errorf("read greeting: %w: kind %x", errCorrupt, b[len(greeting)])
}
