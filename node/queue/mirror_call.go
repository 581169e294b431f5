package queue

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Verbs of calls between stores. The numbers are on the wire.
const (
	verbFence     byte = 1
	verbInventory byte = 2
	verbFetch     byte = 3
	verbReturn    byte = 4
	verbForward   byte = 5
)

// call is a question to another store, or the answering side of one. Both may
// send any number of parts and then end; each part is bounded by maxFrame.
// Methods are not for several goroutines, except that one may send while
// another receives.
type call struct {
	node string
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	stop func() bool
}

// callQuiet is how long either side may be silent within a call.
const callQuiet = time.Minute

// verbFunc answers a call. An error it returns is told the asking side, if the
// connection still works.
type verbFunc func(ctx context.Context, c *call) error

// errRemote is the root of what the other side of a call told.
var errRemote = errors.New("other node")

// Errors that keep their meaning over a call, by their number on the wire.
var remoteErrors = map[byte]error{1: ErrStale, 2: ErrNotFound, 3: ErrFull, 4: ErrFailed, 5: ErrBusy}

// ask begins a call. It ends with close; ctx ends it too.
func (s *Store) ask(ctx context.Context, node string, verb byte) (*call, error) {
	if s.ship == nil {
		return nil, errAlone
	}
	conn, err := s.dial(ctx, node, connCall)
	if err != nil {
		return nil, err
	}
	c := newCall(ctx, node, conn, bufio.NewReaderSize(conn, 64<<10))
	if err := c.send([]byte{verb}); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func newCall(ctx context.Context, node string, conn net.Conn, r *bufio.Reader) *call {
	return &call{node: node, conn: conn, r: r, w: bufio.NewWriterSize(conn, 64<<10),
		stop: context.AfterFunc(ctx, func() { _ = conn.Close() })}
}

// send buffers one part; flush, end and next send it.
func (c *call) send(parts ...[]byte) error { return c.frame(frameMore, parts...) }

func (c *call) frame(typ byte, parts ...[]byte) error {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	if n > maxFrame {
		return fmt.Errorf("call %s: part of %d octets", c.node, n)
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(callQuiet))
	if _, err := c.w.Write(appendFrame(make([]byte, 0, n+frameOverhead), typ, parts...)); err != nil {
		return fmt.Errorf("call %s: %w", c.node, err)
	}
	return nil
}

func (c *call) flush() error {
	_ = c.conn.SetWriteDeadline(time.Now().Add(callQuiet))
	if err := c.w.Flush(); err != nil {
		return fmt.Errorf("call %s: %w", c.node, err)
	}
	return nil
}

// end says that this side has sent everything.
func (c *call) end() error {
	if err := c.frame(frameEnd); err != nil {
		return err
	}
	return c.flush()
}

// next receives one part; io.EOF after the last one.
func (c *call) next() ([]byte, error) {
	if c.w.Buffered() > 0 {
		if err := c.flush(); err != nil {
			return nil, err
		}
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(callQuiet))
	typ, b, err := readFrame(c.r, maxFrame)
	if err != nil {
		if err == io.EOF { // a cut connection is no end
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("call %s: %w", c.node, err)
	}
	switch typ {
	case frameMore:
		return b, nil
	case frameEnd:
		return nil, io.EOF
	case frameRefused:
		if len(b) < 1 {
			break
		}
		if known := remoteErrors[b[0]]; known != nil {
			return nil, fmt.Errorf("%w %s: %w", errRemote, c.node, known)
		}
		return nil, fmt.Errorf("%w %s: %q", errRemote, c.node, cut(string(b[1:]), 300))
	}
	return nil, fmt.Errorf("call %s: %w: frame %x", c.node, errCorrupt, typ)
}

// answer is next for who has asked: an end is no answer.
func (c *call) answer() ([]byte, error) {
	b, err := c.next()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// each answers one question after the other, until the other side has no more.
func (c *call) each(answer func(question []byte) ([]byte, error)) error {
	for {
		q, err := c.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		b, err := answer(q)
		if err != nil {
			return err
		}
		if err := c.send(b); err != nil {
			return err
		}
	}
}

func (c *call) close() {
	c.stop()
	_ = c.conn.Close()
}

// verbs is the answering side's table.
func (s *Store) verbs() map[byte]verbFunc {
	m := map[byte]verbFunc{verbFence: s.answerFence, verbForward: s.answerForward}
	s.copyVerbs(m)
	return m
}

// answer serves a call.
func (s *Store) answer(ctx context.Context, node string, conn net.Conn, r *bufio.Reader) error {
	c := newCall(ctx, node, conn, r)
	defer c.close()
	b, err := c.next()
	if err != nil {
		return err
	}
	if len(b) != 1 {
		return fmt.Errorf("answer call: %w: verb", errCorrupt)
	}
	f := s.verbs()[b[0]]
	if f == nil {
		return fmt.Errorf("answer call: %w: verb %d", errCorrupt, b[0])
	}
	if err := f(ctx, c); err != nil {
		no, text := byte(0), cut(err.Error(), 300)
		for n, known := range remoteErrors {
			if errors.Is(err, known) {
				no = n
			}
		}
		if terr := c.frame(frameRefused, []byte{no}, []byte(text)); terr == nil {
			_ = c.flush()
		}
		return fmt.Errorf("answer call %d: %w", b[0], err)
	}
	return c.end()
}
