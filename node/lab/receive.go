package lab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"strings"
	"time"
)

// data takes one message. It is recorded before the 250 is written: from then
// on the exchanger answers for it, whether or not the client hears the reply.
func (s *session) data(ctx context.Context) bool {
	if len(s.rcpts) == 0 {
		return s.reply(ctx, 554, "5.5.1 No valid recipients")
	}
	m := &Mail{Early: s.r.Buffered() > 0}
	if !s.reply(ctx, 354, "End data with <CR><LF>.<CR><LF>") || s.flush() != nil {
		return false
	}
	fits, err := s.read(m)
	if err != nil {
		return false
	}
	if !fits {
		s.x.refused.Add(1)
		s.reset()
		return s.reply(ctx, 552, "5.3.4 Message too big")
	}
	m.At, m.MX, m.Source, m.EHLO, m.TLS = time.Now(), s.x.name, s.source, s.ehlo, s.tls
	m.From, m.Rcpts = s.from, s.rcpts
	kind := s.mood.Kind
	if kind == HangUp || kind == Forgetful {
		if s.x.first("h\x00"+m.UID+m.MessageID+"\x00"+s.from+"\x00"+strings.Join(s.rcpts, ","), 0) {
			if kind == Forgetful {
				s.keep(m)
			}
			s.x.hung.Add(1)
			return false
		}
	}
	s.keep(m)
	s.reset()
	return s.reply(ctx, 250, "2.0.0 Taken")
}

func (s *session) keep(m *Mail) {
	s.x.kept.Add(1)
	s.x.taken(m)
}

// read takes the message up to the final dot: hashes the body, keeps the head
// and counts line ends that are none. It reports whether the message fits.
func (s *session) read(m *Mail) (bool, error) {
	var head []byte
	inBody, lineStart, crlf, keep := false, true, true, keepHead
	s.body.Reset()
	for {
		if s.r.Buffered() == 0 {
			if err := s.conn.SetReadDeadline(time.Now().Add(sessionIdle)); err != nil {
				return false, err
			}
		}
		b, err := s.r.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return false, err
		}
		if lineStart && b[0] == '.' {
			if crlf && len(b) == 3 && b[1] == '\r' {
				break
			}
			b = b[1:] // RFC 5321 §4.5.2
		}
		ended := err == nil
		crlf = ended && len(b) >= 2 && b[len(b)-2] == '\r'
		m.Bare += bare(b, ended, crlf)
		m.Size += int64(len(b))
		if len(head) < keep {
			head = append(head, b...)
		}
		switch {
		case inBody:
			s.body.Write(b)
		case lineStart && len(bytes.TrimRight(b, "\r\n")) == 0:
			inBody = true
			m.readHead(head)
			if keep = keepText; m.UID != "" {
				keep = 0 // a load made it: its text is known
			}
		}
		lineStart = ended
	}
	sum := s.body.Sum(nil)
	m.Body = Hash(sum[:16])
	m.BodyHex = hex.EncodeToString(m.Body[:])
	if m.UID == "" {
		m.Text = string(head[:min(len(head), keepText)])
	}
	return m.Size <= maxMail, nil
}

// bare counts CR and LF in b that do not end a line together.
func bare(b []byte, ended, crlf bool) int {
	n := 0
	if ended && !crlf {
		n++
	}
	if crlf {
		b = b[:len(b)-2]
	}
	if i := bytes.IndexByte(b, '\r'); i >= 0 {
		n += bytes.Count(b[i:], []byte{'\r'})
	}
	return n
}
