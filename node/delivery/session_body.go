package delivery

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"postern/node/queue"
)

// smallBody is the largest body that goes out in one write together with its
// dot. It fits any socket buffer, so that write does not wait and the lease
// asked for right before it still holds.
const smallBody = 32 << 10

// blockSize is what one write of a larger body carries.
const blockSize = 64 << 10

// errBareLine is a CR without LF or an LF without CR in a message: servers
// disagree where a line ends then, and one message could become two.
var errBareLine = errors.New("message has a bare CR or LF")

var errShort = errors.New("message in the queue is shorter or longer than recorded")

// stuffer makes the form of a message that goes over the wire: dots doubled
// (RFC 5321 §4.5.2), every line ended by CRLF.
type stuffer struct {
	mid  bool // in the middle of a line
	held bool // the last octet was a CR; it waits for its LF
}

// add appends the wire form of p to dst.
func (f *stuffer) add(dst, p []byte) ([]byte, error) {
	if len(p) == 0 {
		return dst, nil
	}
	if f.held {
		if p[0] != '\n' {
			return dst, errBareLine
		}
		dst = append(dst, '\r', '\n')
		f.held, f.mid = false, false
		p = p[1:]
	}
	from := 0 // p[from:at] is checked and needs no change
	for at := 0; at < len(p); {
		if !f.mid && p[at] == '.' {
			dst = append(append(dst, p[from:at]...), '.')
			from = at
		}
		line := p[at:]
		n := bytes.IndexByte(line, '\n')
		if n < 0 {
			if i := bytes.IndexByte(line, '\r'); i == len(line)-1 {
				f.held = true
				p = p[:len(p)-1]
			} else if i >= 0 {
				return dst, errBareLine
			}
			f.mid = true
			break
		}
		if bytes.IndexByte(line[:n], '\r') != n-1 || n == 0 {
			return dst, errBareLine
		}
		at += n + 1
		f.mid = false
	}
	return append(dst, p[from:]...), nil
}

// end appends what is missing after the last add, without the dot.
func (f *stuffer) end(dst []byte) ([]byte, error) {
	if f.held {
		return dst, errBareLine
	}
	if f.mid {
		dst = append(dst, '\r', '\n')
		f.mid = false
	}
	return dst, nil
}

var finalDot = []byte(".\r\n")

// body is a message on its way out. A small one is stuffed before anything is
// said; a large one in memory is at least checked then.
type body struct {
	src  queue.Body
	buf  *[]byte
	wire []byte // the whole small body, stuffed, with its dot
}

func (b *body) open(d *smtpDialer, src queue.Body) error {
	b.src = src
	b.buf = d.bufs.Get().(*[]byte)
	p := src.Bytes()
	if p == nil {
		return nil
	}
	if int64(len(p)) != src.Size() {
		return errShort
	}
	var f stuffer
	var err error
	if len(p) > smallBody {
		for at := 0; at < len(p) && err == nil; at += smallBody {
			_, err = f.add((*b.buf)[:0], p[at:min(at+smallBody, len(p))])
		}
		if err == nil {
			_, err = f.end((*b.buf)[:0])
		}
		return err
	}
	wire, err := f.add((*b.buf)[:0], p)
	if err == nil {
		wire, err = f.end(wire)
	}
	if err != nil {
		return err
	}
	b.wire = append(wire, finalDot...)
	return nil
}

// release gives the buffer back, unless a body of dots made it grow.
func (b *body) release(d *smtpDialer) {
	if b.buf == nil {
		return
	}
	if cap(b.wire) > cap(*b.buf) && cap(b.wire) <= 2*smallBody+64 {
		*b.buf = b.wire[:0]
	}
	d.bufs.Put(b.buf)
	b.buf, b.wire = nil, nil
}

// message sends body and dot and reads the reply.
func (t *transaction) message(before func() error) {
	s := t.s
	t.res.Stage = stageBody
	s.talk.note(fmt.Sprintf("message (%d octets)", t.m.Body.Size()))
	last := t.body.wire
	if last == nil {
		if !t.stream() {
			return
		}
		last = finalDot
	}
	if err := before(); err != nil {
		t.ours(diagnosis("4.3.2", "stopped before the end of the message"), err)
		return
	}
	t.res.Stage, t.res.DotSent = stageDot, true
	if err := s.wait(s.d.cfg.Timeouts.Block); err != nil {
		t.res.Stage, t.res.DotSent = stageBody, false
		t.lost(err)
		return
	}
	s.talk.add(said, finalDot[:1])
	n, err := s.conn.Write(last)
	if err != nil {
		// In clear text the count says whether the dot went into the socket;
		// in TLS a record that failed may still be on its way.
		if s.peer.TLS == "" && n <= len(last)-len(finalDot) {
			t.res.Stage, t.res.DotSent = stageBody, false
		}
		t.broken(s.cause(err))
		return
	}
	t.finalReply()
}

func (t *transaction) finalReply() {
	s := t.s
	p, err := s.reply(s.d.cfg.Timeouts.Dot)
	switch {
	case err != nil:
		t.lost(err)
		return
	case p.code == 421 || p.code/100 == 3:
		t.bad(p)
		return
	}
	t.settle(p.keep())
	s.open = p.code/100 != 2
}

// blocks are the buffers of a large body on its way.
type blocks struct{ in, out []byte }

// stream sends a large body without its dot, block by block.
func (t *transaction) stream() bool {
	s := t.s
	buf := s.d.blocks.Get().(*blocks)
	defer s.d.blocks.Put(buf)
	var f stuffer
	var sent int64
	whole := t.m.Body.Bytes()
	for end := false; !end; {
		block, err := whole[:min(blockSize, len(whole))], error(nil)
		if whole != nil {
			whole = whole[len(block):]
			end = len(whole) == 0
		} else {
			var n int
			n, err = t.m.Body.Read(buf.in)
			if end = err == io.EOF; end {
				err = nil
			}
			block = buf.in[:n]
		}
		sent += int64(len(block))
		if err == nil {
			buf.out, err = f.add(buf.out[:0], block)
		}
		if err == nil && end {
			if buf.out, err = f.end(buf.out); err == nil && sent != t.m.Body.Size() {
				err = errShort
			}
		}
		if err != nil {
			t.ours(errBody(err), fmt.Errorf("read message: %w", err))
			return false
		}
		if len(buf.out) > 0 {
			if err := s.write(buf.out); err != nil {
				t.broken(err)
				return false
			}
		}
	}
	return true
}

// broken ends a transaction whose write failed. A host that refuses in the
// middle of a message often says why before it hangs up.
func (t *transaction) broken(err error) {
	s := t.s
	if !t.res.DotSent && s.ctx.Err() == nil && !timedOut(err) {
		s.conn.SetReadDeadline(s.until(2 * time.Second))
		if p, e := s.in.read(); e == nil && p.code >= 400 {
			s.talk.hear(p)
			s.dead = true
			t.res.Err = err
			t.settle(p.keep())
			return
		}
	}
	t.lost(err)
}
