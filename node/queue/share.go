package queue

import (
	"encoding/binary"
	"time"
)

// shareState is what is known of an item after its first attempt. Before that
// nothing is written for it: the message record implies it.
type shareState struct {
	ended    bool // the item has no recipients left; its message still has others
	attempts int
	due      int64
	at       int64 // when this was written
	delayed  bool
	rcpts    []int
	last     Reply
}

const (
	shareEnded = 1 << iota
	shareDelayed
)

func (s *shareState) append(b []byte) []byte {
	var flags byte
	if s.ended {
		flags |= shareEnded
	}
	if s.delayed {
		flags |= shareDelayed
	}
	b = binary.AppendUvarint(append(b, flags), uint64(s.attempts))
	b = binary.AppendVarint(binary.AppendVarint(b, s.due), s.at)
	b = binary.AppendUvarint(b, uint64(len(s.rcpts)))
	for _, r := range s.rcpts {
		b = binary.AppendUvarint(b, uint64(r))
	}
	return appendReply(b, s.last)
}

func readShare(b []byte) (*shareState, error) {
	r := &reader{b: b}
	flags := r.byte()
	s := &shareState{ended: flags&shareEnded != 0, delayed: flags&shareDelayed != 0}
	s.attempts = int(min(r.uint(), 1<<31))
	s.due, s.at = r.int(), r.int()
	n := r.count()
	for i := 0; i < n && !r.bad; i++ {
		v := r.uint()
		if v >= maxRcpts {
			r.fail()
			break
		}
		s.rcpts = append(s.rcpts, int(v))
	}
	s.last = readReply(r)
	return s, r.done("item")
}

// maxReplyText is the most of a reply's text that is kept (types.go).
const maxReplyText = 500

func appendReply(b []byte, p Reply) []byte {
	b = binary.AppendUvarint(b, uint64(max(p.Code, 0)))
	return putString(putString(b, cut(p.Enhanced, 16)), cut(p.Text, maxReplyText))
}

func readReply(r *reader) Reply {
	return Reply{Code: int(r.uint() & 0xffff), Enhanced: r.string(), Text: r.string()}
}

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// appendAttempt writes an attempt without its dialogue, which has a shorter life.
func appendAttempt(b []byte, a *Attempt) []byte {
	b = binary.AppendUvarint(b, uint64(max(a.N, 0)))
	b = binary.AppendVarint(putTime(b, a.At), int64(a.Took))
	for _, s := range [...]string{a.Source, a.EHLO, a.Host, a.Addr, a.TLS} {
		b = putString(b, cut(s, 300))
	}
	if a.DotSent {
		return append(b, 1)
	}
	return append(b, 0)
}

func readAttempt(r *reader) Attempt {
	a := Attempt{N: int(r.uint() & 0x7fffffff), At: r.time(), Took: time.Duration(r.int())}
	a.Source, a.EHLO, a.Host, a.Addr, a.TLS = r.string(), r.string(), r.string(), r.string(), r.string()
	a.DotSent = r.byte() == 1
	return a
}
