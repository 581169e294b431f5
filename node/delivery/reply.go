package delivery

import (
	"bytes"
	"errors"
	"io"
	"unicode"
	"unicode/utf8"

	"postern/node/queue"
)

// Bounds of one reply. Longer ones end the session: no server needs them, and a
// hostile one must not fill our memory.
const (
	maxReplyLines = 100
	maxReplySize  = 16 << 10
	maxReplyText  = 500 // octets kept of it in a queue.Reply
)

var (
	errReplySize   = errors.New("reply is too long")
	errReplySyntax = errors.New("reply is not SMTP")
)

// replyReader reads SMTP replies (RFC 5321 §4.2). Its memory is reused: a reply
// is good until the next one is read.
type replyReader struct {
	src  io.Reader
	buf  []byte // buf[r:w] was read and not used
	r, w int

	raw  []byte // text of the reply's lines, one after the other
	ends []int  // where each line ends in raw
	text []byte // the joined, clean text
}

// reply is one reply as it was read; its slices belong to the reader.
type reply struct {
	code     int
	enhanced string
	text     []byte
}

// buffered reports whether octets wait that were read already.
func (r *replyReader) buffered() bool { return r.r < r.w }

// reset drops what was read ahead and goes on with src. Octets that came in
// clear text behind a STARTTLS reply must never count as said under TLS.
func (r *replyReader) reset(src io.Reader) (dropped int) {
	dropped = r.w - r.r
	r.src, r.r, r.w = src, 0, 0
	return dropped
}

// read gives the next whole reply.
func (r *replyReader) read() (reply, error) {
	r.raw, r.ends = r.raw[:0], r.ends[:0]
	code, total := 0, 0
	for {
		line, err := r.line(maxReplySize - total)
		if err != nil {
			if err == io.EOF && len(r.ends) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return reply{}, err
		}
		total += len(line) + 1
		line = bytes.TrimSuffix(line, []byte{'\r'})
		n, last, ok := readCode(line)
		if !ok || code != 0 && n != code {
			return reply{}, errReplySyntax
		}
		code = n
		r.raw = append(r.raw, line[min(4, len(line)):]...)
		r.ends = append(r.ends, len(r.raw))
		if last {
			break
		}
		if len(r.ends) == maxReplyLines {
			return reply{}, errReplySize
		}
	}
	enhanced := r.join(code)
	return reply{code: code, enhanced: enhanced, text: r.text}, nil
}

// line gives the next line without its LF, at most limit octets of it.
func (r *replyReader) line(limit int) ([]byte, error) {
	seen := 0
	for {
		if i := bytes.IndexByte(r.buf[r.r+seen:r.w], '\n'); i >= 0 {
			line := r.buf[r.r : r.r+seen+i]
			r.r += seen + i + 1
			if len(line) > limit {
				return nil, errReplySize
			}
			return line, nil
		}
		seen = r.w - r.r
		if seen > limit {
			return nil, errReplySize
		}
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

func (r *replyReader) fill() error {
	if r.r > 0 {
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	if r.w == len(r.buf) {
		grown := make([]byte, max(1<<10, 2*len(r.buf)))
		copy(grown, r.buf[:r.w])
		r.buf = grown
	}
	for range 8 {
		n, err := r.src.Read(r.buf[r.w:])
		r.w += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// readCode takes "250 text", "250-text" and "250".
func readCode(line []byte) (code int, last, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' {
		return 0, false, false
	}
	for _, c := range line[:3] {
		if c < '0' || c > '9' {
			return 0, false, false
		}
		code = code*10 + int(c-'0')
	}
	if len(line) == 3 || line[3] == ' ' {
		return code, true, true
	}
	return code, false, line[3] == '-'
}

// lineAt gives the text of one line of the last reply, without its code.
func (r *replyReader) lineAt(i int) []byte {
	from := 0
	if i > 0 {
		from = r.ends[i-1]
	}
	return r.raw[from:r.ends[i]]
}

// join makes r.text of the lines and returns their enhanced code. All lines
// count: some hosts put the reason into the last one.
func (r *replyReader) join(code int) (enhanced string) {
	r.text = r.text[:0]
	for i := range r.ends {
		line := r.lineAt(i)
		if n := enhancedLen(line, code); n > 0 {
			if enhanced == "" {
				enhanced = string(line[:n])
			}
			if string(line[:n]) == enhanced {
				line = line[n:]
			}
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		if len(r.text) > 0 {
			r.text = append(r.text, ' ')
		}
		r.text = appendClean(r.text, line)
	}
	return enhanced
}

// enhancedLen is the length of the enhanced status code that line begins with
// (RFC 2034 §4), or 0. Its class must be that of the code.
func enhancedLen(line []byte, code int) int {
	if len(line) < 5 || int(line[0]-'0') != code/100 || line[1] != '.' {
		return 0
	}
	at := 2
	for part := range 2 {
		digits := 0
		for at < len(line) && line[at] >= '0' && line[at] <= '9' {
			at++
			digits++
		}
		if digits < 1 || digits > 3 {
			return 0
		}
		if part == 0 {
			if at == len(line) || line[at] != '.' {
				return 0
			}
			at++
		}
	}
	if at < len(line) && line[at] != ' ' {
		return 0
	}
	return at
}

// appendClean appends text with all that is not printable replaced, so that a
// far end's words can go into logs, screens and reports.
func appendClean(dst, text []byte) []byte {
	for i := 0; i < len(text); {
		c := text[i]
		if c >= ' ' && c < 0x7f {
			dst = append(dst, c)
			i++
			continue
		}
		ch, n := utf8.DecodeRune(text[i:])
		switch {
		case c == '\t':
			dst = append(dst, ' ')
		case ch == utf8.RuneError || !unicode.IsPrint(ch):
			dst = append(dst, '?')
		default:
			dst = append(dst, text[i:i+n]...)
		}
		i += n
	}
	return dst
}

// shorten cuts text to limit octets, keeping more of its head than of its tail.
func shorten(text []byte, limit int) string {
	if len(text) <= limit {
		return string(text)
	}
	const gap = " ... "
	head := limit * 2 / 3
	tail := len(text) - (limit - head - len(gap))
	for head > 0 && !utf8.RuneStart(text[head]) {
		head--
	}
	for tail < len(text) && !utf8.RuneStart(text[tail]) {
		tail++
	}
	return string(text[:head]) + gap + string(text[tail:])
}

// keep makes the value that outlives the reader.
func (p reply) keep() queue.Reply {
	return queue.Reply{Code: p.code, Enhanced: p.enhanced, Text: shorten(p.text, maxReplyText)}
}
