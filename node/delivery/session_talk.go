package delivery

import (
	"strconv"
	"time"
)

// talk keeps the dialogue of one transaction for the trace: a line for each
// command, reply and remark with its milliseconds since the beginning. What
// does not fit is left out of the middle, so the end is always there.
type talk struct {
	start time.Time
	head  []byte
	tail  []byte
	cut   bool
}

const (
	maxTalkHead = 3 << 10
	maxTalkTail = 1 << 10
	maxTalkLine = 300
)

func (t *talk) reset(now time.Time) {
	t.start, t.head, t.tail, t.cut = now, t.head[:0], t.tail[:0], false
}

// Marks of a line's direction.
const (
	said   = '>'
	heard  = '<'
	remark = '*'
)

func (t *talk) say(line []byte)      { t.add(said, line) }
func (t *talk) note(remarked string) { t.add(remark, []byte(remarked)) }

func (t *talk) hear(p reply) {
	dst := t.begin(heard)
	dst = strconv.AppendInt(dst, int64(p.code), 10)
	if p.enhanced != "" {
		dst = append(append(dst, ' '), p.enhanced...)
	}
	if len(p.text) > 0 {
		dst = append(dst, ' ')
		if len(p.text) > maxTalkLine {
			dst = append(dst, shorten(p.text, maxTalkLine)...)
		} else {
			dst = append(dst, p.text...)
		}
	}
	t.end(dst)
}

func (t *talk) add(mark byte, line []byte) {
	dst := t.begin(mark)
	if len(line) > maxTalkLine {
		dst = append(dst, shorten(line, maxTalkLine)...)
	} else {
		dst = append(dst, line...)
	}
	t.end(dst)
}

// begin starts a line in whichever part still takes it.
func (t *talk) begin(mark byte) []byte {
	dst := t.head
	if t.cut = t.cut || len(t.head) > maxTalkHead-maxTalkLine-32; t.cut {
		dst = t.tail
		for len(dst) > maxTalkTail-maxTalkLine-32 {
			dst = dropLine(dst)
		}
	}
	dst = strconv.AppendInt(dst, time.Since(t.start).Milliseconds(), 10)
	return append(dst, ' ', mark, ' ')
}

func (t *talk) end(dst []byte) {
	dst = append(dst, '\n')
	if t.cut {
		t.tail = dst
	} else {
		t.head = dst
	}
}

func dropLine(b []byte) []byte {
	for i, c := range b {
		if c == '\n' {
			return b[:copy(b, b[i+1:])]
		}
	}
	return b[:0]
}

func (t *talk) String() string {
	if !t.cut {
		return string(t.head)
	}
	return string(t.head) + "...\n" + string(t.tail)
}
