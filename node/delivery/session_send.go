package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postern/node/queue"
)

// transaction is one run of MAIL, RCPT, DATA, body and dot.
type transaction struct {
	s   *smtpSession
	m   *outbound
	res result

	rcpts   []rcptState
	waiting int // recipients in a state other than done
	utf8    bool
	body    body
}

// rcptState is how far one recipient is.
type rcptState uint8

const (
	rcptNew   rcptState = iota
	rcptAsked           // RCPT was said; refused by nobody yet
	rcptDone            // has its final reply
)

// Send makes one transaction. See session.
func (s *smtpSession) Send(ctx context.Context, m outbound, before func() error) result {
	stop := s.begin(ctx, s.d.cfg.Timeouts.Total)
	defer stop()
	t := transaction{s: s, m: &m, waiting: len(m.Rcpts)}
	t.res.Stage = stageMail
	t.res.Replies = make([]queue.Reply, len(m.Rcpts))
	t.rcpts = make([]rcptState, len(m.Rcpts))
	s.sent++
	if s.sent > 1 {
		s.talk.reset(time.Now())
		s.talk.note("session reused")
	}
	defer t.body.release(s.d)
	switch {
	case s.dead:
		t.lost(errors.New("session is closed"))
	case t.prepare():
		if t.envelope() {
			t.message(before)
		}
	}
	// Octets nobody asked for would be taken for the next transaction's replies.
	if s.dead = s.dead || s.in.buffered(); s.dead {
		s.conn.Close()
	}
	t.res.Dialogue = s.talk.String()
	t.res.DSN = s.ext.dsn
	return t.res
}

// settle gives every recipient still waiting its reply.
func (t *transaction) settle(r queue.Reply) {
	for i := range t.rcpts {
		if t.rcpts[i] != rcptDone {
			t.refuse(i, r)
		}
	}
}

func (t *transaction) refuse(i int, r queue.Reply) {
	t.rcpts[i] = rcptDone
	t.res.Replies[i] = r
	t.waiting--
}

// lost ends the transaction by a fault of the connection.
func (t *transaction) lost(err error) {
	t.s.dead = true
	t.res.Err = err
	text := describe(err) + " " + [...]string{
		stageMail: "after MAIL", stageRcpt: "after RCPT", stageData: "after DATA",
		stageBody: "while the message was sent", stageDot: "after the end of the message",
	}[t.res.Stage]
	t.s.talk.note(text)
	t.settle(diagnosis("4.4.2", text))
}

// ours ends the transaction by a fault of this side in mid-message: the only
// way back is to drop the connection.
func (t *transaction) ours(r queue.Reply, err error) {
	t.s.dead = true
	t.res.Err = err
	t.s.talk.note(r.Text)
	t.settle(r)
}

// prepare refuses what cannot be sent to this host unchanged, before anything
// is said.
func (t *transaction) prepare() bool {
	s, m := t.s, t.m
	t.utf8 = m.UTF8 || !ascii(m.From)
	for _, r := range m.Rcpts {
		t.utf8 = t.utf8 || !ascii(r.Addr)
	}
	size := m.Body.Size()
	switch {
	case t.utf8 && !s.ext.utf8:
		t.settle(queue.Reply{Code: 553, Enhanced: "5.6.7", Text: "host does not take internationalized mail (SMTPUTF8)"})
	case m.EightBit && !s.ext.eightBit && !s.ext.utf8:
		t.settle(queue.Reply{Code: 554, Enhanced: "5.6.3", Text: "message has 8-bit content and the host does not take it (8BITMIME)"})
	case s.ext.size > 0 && size > s.ext.size:
		t.settle(queue.Reply{Code: 552, Enhanced: "5.3.4", Text: fmt.Sprintf("message of %d octets is larger than the host takes (%d)", size, s.ext.size)})
	}
	if t.waiting == 0 {
		return false
	}
	if err := t.body.open(s.d, m.Body); err != nil {
		t.settle(errBody(err))
		return false
	}
	return true
}

// errBody is the reply for a message that must not leave, or cannot be read.
func errBody(err error) queue.Reply {
	if errors.Is(err, errBareLine) {
		return queue.Reply{Code: 554, Enhanced: "5.6.0", Text: "message has a bare CR or LF and cannot be sent"}
	}
	return diagnosis("4.3.0", "message could not be read from the queue")
}

// envelope says MAIL, RCPT and DATA. It reports whether the host waits for the
// message and somebody for it.
func (t *transaction) envelope() bool {
	t.s.out = t.s.out[:0]
	if t.s.ext.pipelining {
		return t.pipelined()
	}
	return t.stepwise()
}

// pipelined says all of it in one write (RFC 2920).
func (t *transaction) pipelined() bool {
	s := t.s
	if s.open {
		t.writeLine("RSET")
	}
	if !t.writeMail() {
		return false
	}
	asked := make([]int, 0, len(t.rcpts))
	for i := range t.rcpts {
		if t.rcpts[i] == rcptNew {
			t.writeRcpt(i)
			asked = append(asked, i)
		}
	}
	t.writeLine("DATA")
	if err := s.write(s.out); err != nil {
		t.lostOrStale(err)
		return false
	}
	if s.open && !t.readReset() || !t.readMail() {
		return false
	}
	for _, i := range asked {
		// After a refused MAIL everybody has that reply; what comes for RCPT
		// only has to be read.
		if !t.readRcpt(i) {
			return false
		}
	}
	return t.readData()
}

// stepwise waits for each reply and stops as soon as nothing is left to say.
func (t *transaction) stepwise() bool {
	s := t.s
	if s.open {
		t.writeLine("RSET")
		if !t.flush() || !t.readReset() {
			return false
		}
	}
	if !t.writeMail() || !t.flush() || !t.readMail() {
		return false
	}
	for i := range t.rcpts {
		if t.rcpts[i] != rcptNew {
			continue
		}
		t.writeRcpt(i)
		if !t.flush() || !t.readRcpt(i) {
			return false
		}
	}
	if t.waiting == 0 {
		return false
	}
	t.writeLine("DATA")
	return t.flush() && t.readData()
}

// flush writes what is in s.out.
func (t *transaction) flush() bool {
	err := t.s.write(t.s.out)
	t.s.out = t.s.out[:0]
	if err != nil {
		t.lostOrStale(err)
	}
	return err == nil
}
