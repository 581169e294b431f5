package lab

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"
)

// body makes messages of one size; only the first line differs.
type body struct {
	buf  []byte
	fill []byte
}

func newBody(first string, size int) *body {
	const line = "The quick brown fox jumps over the lazy dog, and nobody minds it.\r\n"
	n := max(0, size-400)/len(line) + 1
	if first != "" {
		first += "\r\n"
	}
	return &body{fill: []byte(first + strings.Repeat(line, n))}
}

// make writes s's message and notes its body's hash.
func (b *body) make(s *Submission) []byte {
	id := s.UID.String()
	b.buf = b.buf[:0]
	b.buf = fmt.Appendf(b.buf, "From: <%s>\r\nTo: <%s>\r\nSubject: load %s\r\nDate: %s\r\nMessage-ID: <%s@load.lab.test>\r\n%s: %s\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n",
		s.From, s.Rcpts[0], id[16:], s.At.Format(time.RFC1123Z), id, UIDHeader, id)
	head := len(b.buf)
	b.buf = append(b.buf, "id: "...)
	b.buf = append(b.buf, id...)
	b.buf = append(b.buf, "\r\n"...)
	b.buf = append(b.buf, b.fill...)
	sum := sha256.Sum256(b.buf[head:])
	s.Body = Hash(sum[:16])
	return b.buf
}
