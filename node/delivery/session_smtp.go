package delivery

import (
	"context"
	"net"
	"time"
)

// smtpSession is a session over TCP, with or without TLS.
type smtpSession struct {
	d    *smtpDialer
	conn net.Conn
	in   replyReader
	out  []byte // commands on their way, reused
	talk talk
	peer peer
	ext  extensions

	ctx context.Context // of the Dial or Send that runs
	end time.Time       // its cap

	sent int  // transactions tried
	open bool // the far end may hold a half-made transaction: RSET first
	dead bool
}

var _ session = (*smtpSession)(nil)

func (s *smtpSession) Alive() bool { return !s.dead }

func (s *smtpSession) Peer() peer { return s.peer }

// Close says QUIT and waits a moment for the answer, so that the far end sees
// an orderly end.
func (s *smtpSession) Close() {
	if !s.dead {
		s.dead = true
		s.conn.SetDeadline(time.Now().Add(s.d.cfg.Timeouts.Quit))
		if _, err := s.conn.Write([]byte("QUIT\r\n")); err == nil {
			s.in.read()
		}
	}
	s.conn.Close()
}

// kill ends a session that cannot be used any more.
func (s *smtpSession) kill() {
	s.dead = true
	s.conn.Close()
}

// until is the end of a phase that may take d and begins now.
func (s *smtpSession) until(d time.Duration) time.Time {
	t := time.Now().Add(d)
	if s.end.Before(t) {
		return s.end
	}
	return t
}

// wait sets the deadline of a phase. The check afterwards closes the gap in
// which ctx ended and its own deadline was overwritten.
func (s *smtpSession) wait(d time.Duration) error {
	s.conn.SetDeadline(s.until(d))
	return s.ctx.Err()
}

// command says one line and reads its reply.
func (s *smtpSession) command(d time.Duration, line string) (reply, error) {
	s.out = append(append(s.out[:0], line...), '\r', '\n')
	s.talk.add(said, s.out[:len(line)])
	if err := s.write(s.out); err != nil {
		return reply{}, err
	}
	return s.reply(d)
}

// write sends b within one block's time.
func (s *smtpSession) write(b []byte) error {
	if err := s.wait(s.d.cfg.Timeouts.Block); err != nil {
		return err
	}
	_, err := s.conn.Write(b)
	return s.cause(err)
}

// reply reads the next reply; the whole of it must come within d.
func (s *smtpSession) reply(d time.Duration) (reply, error) {
	if !s.in.buffered() {
		if err := s.wait(d); err != nil {
			return reply{}, err
		}
	}
	p, err := s.in.read()
	if err != nil {
		return reply{}, s.cause(err)
	}
	s.talk.hear(p)
	return p, nil
}

// cause prefers the end of ctx to what it did to the connection.
func (s *smtpSession) cause(err error) error {
	if err != nil && s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	return err
}
