package submission

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"
)

// smallChunk is the size from which chunks are not counted as commands: a large
// message has many, and a loop of empty ones must end.
const smallChunk = 1 << 10

// crlf is what a bare line feed becomes.
var crlf = []byte("\r\n")

// body is a message on its way in, by DATA or by BDAT. What it gives out has
// only CRLF line ends, no NUL, and no dot-stuffing; a bare LF becomes CRLF,
// because submitters' programs send them and the recipients' hosts must not see
// them (SMTP smuggling); a bare CR has no meaning anyone agrees on and spoils
// the message. The end is CRLF.CRLF and nothing else (RFC 5321 §4.1.1.4).
type body struct {
	w       *wire
	chunked bool
	left    int64 // of the chunk
	size    int64 // of the chunk
	last    bool  // no chunk behind this one
	over    bool  // the end was seen
	fresh   bool  // at the start, or behind CRLF: a dot means something here
	held    bool  // a CR was taken and what follows is not known yet
	barelf  bool  // the next octet is a bare LF
	wild    bool  // in the midst of a line
	eight   bool  // has octets above 127
	seen    int64 // octets taken from the wire
	bad     *reply
	dead    error // the wire failed before the end
	ended   time.Time
	check   func() error // asked behind each chunk but the last; nil: none needed
}

func newBody(w *wire) *body {
	w.inBody, w.begun = true, time.Now()
	w.body = &body{w: w, fresh: true}
	return w.body
}

func (b *body) chunk(size int64, last bool) {
	b.chunked, b.size, b.left, b.last = true, size, size, last
}

// next returns the next piece, valid until the next call; io.EOF at the end of
// a good message, the reply for a spoiled one, also at its end.
func (b *body) next() ([]byte, error) {
	for {
		if b.dead != nil {
			return nil, b.dead
		}
		p, err := b.step()
		if err != nil {
			if !b.over {
				b.dead = err
				b.w.inBody = false
			}
			return nil, err
		}
		if len(p) == 0 || b.bad != nil {
			continue
		}
		if bytes.IndexByte(p, 0) >= 0 {
			b.bad = errNUL
			continue
		}
		b.eight = b.eight || !ascii(p)
		return p, nil
	}
}

func (b *body) highBits() bool { return b.eight }

// drain reads to the end and drops it. Of a chunked message only the chunk is
// at hand; the client learns of the refusal by the reply to it.
func (b *body) drain() error {
	if b.dead != nil {
		return b.dead
	}
	if b.chunked && !b.over {
		err := b.skip(b.left)
		b.left = 0
		b.finish()
		return err
	}
	for enough := b.seen + b.w.largest(); !b.over; {
		if b.seen > enough {
			// Who sends that much more does not listen: the reply goes out, and
			// that is all.
			b.w.hangUp = true
			b.finish()
			return errTooLarge
		}
		if _, err := b.next(); err != nil && !b.over {
			return err
		}
	}
	return nil
}

// skip drops the next n octets.
func (b *body) skip(n int64) error {
	w := b.w
	for n > 0 {
		if w.r == w.e {
			if err := w.fill(); err != nil {
				return err
			}
		}
		k := min(int64(w.e-w.r), n)
		w.r += int(k)
		b.seen += k
		n -= k
	}
	return nil
}

// finish is called once, at the end.
func (b *body) finish() {
	b.over = true
	b.ended = time.Now()
	b.w.inBody, b.w.begun = false, time.Time{}
}

// step takes one piece off the wire.
func (b *body) step() ([]byte, error) {
	if b.over {
		return nil, b.verdict()
	}
	if b.chunked && b.left == 0 {
		return b.chunkEnd()
	}
	w := b.w
	if w.r == w.e {
		if err := w.fill(); err != nil {
			return nil, err
		}
	}
	in := w.buf[w.r:w.e]
	if b.chunked && int64(len(in)) > b.left {
		in = in[:b.left]
	}
	switch {
	case b.barelf:
		b.barelf = false
		b.take(1)
		b.fresh, b.wild = false, false
		return crlf, nil
	case b.held:
		b.held = false
		if in[0] != '\n' {
			b.bad = errBareCR
			b.fresh, b.wild = false, true // a dot behind a bare CR is no line start
			return nil, nil
		}
		b.take(1)
		b.fresh, b.wild = true, false
		return crlf, nil
	case b.fresh && in[0] == '.' && !b.chunked:
		return nil, b.dot(in)
	}
	return b.run(in), nil
}

// dot decides what a dot at the start of a line is.
func (b *body) dot(in []byte) error {
	for len(in) < 3 && (len(in) < 2 || in[1] == '\r') {
		if err := b.w.fill(); err != nil {
			return err
		}
		in = b.w.buf[b.w.r:b.w.e]
	}
	if in[1] == '\r' && in[2] == '\n' {
		b.take(3)
		b.finish()
		return b.verdict()
	}
	b.take(1) // stuffed, RFC 5321 §4.5.2
	b.fresh, b.wild = false, true
	return nil
}

// run takes as many whole lines as the buffer holds, up to one that needs a
// decision, in one piece.
func (b *body) run(in []byte) []byte {
	pos := 0
	for pos < len(in) {
		i := bytes.IndexByte(in[pos:], '\n')
		if i < 0 {
			return b.partial(in, pos)
		}
		end := pos + i
		if end == pos || in[end-1] != '\r' {
			if bytes.IndexByte(in[pos:end], '\r') >= 0 {
				b.bad = errBareCR
			}
			b.take(end)
			b.barelf = true
			return in[:end]
		}
		if bytes.IndexByte(in[pos:end-1], '\r') >= 0 {
			b.bad = errBareCR
		}
		b.fresh, b.wild = true, false
		pos = end + 1
		if !b.chunked && pos < len(in) && in[pos] == '.' {
			break
		}
	}
	b.take(pos)
	return in[:pos]
}

// partial takes a line whose end has not come yet; a CR at its end waits for
// what follows.
func (b *body) partial(in []byte, pos int) []byte {
	end := len(in)
	if in[end-1] == '\r' {
		end--
		b.held = true
	}
	if bytes.IndexByte(in[pos:end], '\r') >= 0 {
		b.bad = errBareCR
	}
	if end > pos {
		b.fresh, b.wild = false, true
	}
	b.take(len(in))
	return in[:end]
}

func (b *body) take(n int) {
	b.w.r += n
	b.seen += int64(n)
	if b.chunked {
		b.left -= int64(n)
	}
}

// verdict is what next says behind the end.
func (b *body) verdict() error {
	if b.bad != nil {
		return b.bad
	}
	return io.EOF
}

// chunkEnd ends the message behind its last chunk, or answers a chunk and waits
// for the next one.
func (b *body) chunkEnd() ([]byte, error) {
	if b.last {
		if b.held {
			b.bad = errBareCR
		}
		open := b.wild
		b.finish()
		if open && b.bad == nil {
			return crlf, nil // a last line without an end
		}
		return nil, b.verdict()
	}
	if b.bad != nil {
		b.finish()
		return nil, b.bad
	}
	if b.check != nil {
		if err := b.check(); err != nil {
			b.finish()
			return nil, err
		}
	}
	b.w.say(fmt.Sprintf("250 2.0.0 %d octets received\r\n", b.size))
	for {
		r, err := b.nextChunk()
		if err != nil || r == nil {
			return nil, err
		}
		b.w.refused(r)
		if b.w.ended {
			return nil, errGone
		}
	}
}

// nextChunk reads the command between two chunks. Nothing but another chunk,
// RSET, NOOP and QUIT makes sense there.
func (b *body) nextChunk() (*reply, error) {
	w := b.w
	w.inBody = false
	raw, err := w.readLine(maxLine)
	if err != nil {
		return nil, err
	}
	if w.commands++; w.commands > w.srv.cfg.Limits.Commands {
		return errTooManyCmds, nil
	}
	w.cmd = "BDAT"
	line, ok := checkLine(raw)
	if !ok {
		return errBadLine, nil
	}
	name, arg, _ := strings.Cut(line, " ")
	switch strings.ToUpper(name) {
	case "BDAT":
		size, last, ok := parseBdat(strings.TrimSpace(arg))
		if !ok {
			return errBdatSyntax, nil
		}
		if size > w.largest() {
			return errChunkTooLarge, nil
		}
		if size >= smallChunk {
			w.commands--
		}
		w.inBody, w.begun = true, time.Now()
		b.chunk(size, last)
		return nil, nil
	case "RSET":
		b.finish()
		return nil, errReset
	case "QUIT":
		b.finish()
		return nil, errQuit
	case "NOOP":
		w.say("250 2.0.0 OK\r\n")
		return b.nextChunk()
	}
	return errMidMessage, nil
}

// ascii looks at eight octets at a time.
func ascii(p []byte) bool {
	const high = 0x8080808080808080
	for len(p) >= 32 {
		if (binary.LittleEndian.Uint64(p)|binary.LittleEndian.Uint64(p[8:])|
			binary.LittleEndian.Uint64(p[16:])|binary.LittleEndian.Uint64(p[24:]))&high != 0 {
			return false
		}
		p = p[32:]
	}
	for _, c := range p {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
