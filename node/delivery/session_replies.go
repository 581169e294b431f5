package delivery

import "fmt"

// readReset reads the reply to RSET.
func (t *transaction) readReset() bool {
	s := t.s
	p, err := s.reply(s.d.cfg.Timeouts.Command)
	switch {
	case err != nil:
		t.lostOrStale(err)
		return false
	case p.code != 250:
		t.res.Stale = p.code == 421
		s.dead = true
		t.settle(answered(p))
		return false
	}
	s.open = false
	return true
}

// readMail reads the reply to MAIL. It is true after a refusal too when the
// replies to further commands are on their way.
func (t *transaction) readMail() bool {
	s := t.s
	p, err := s.reply(s.d.cfg.Timeouts.Command)
	switch {
	case err != nil:
		t.lostOrStale(err)
		return false
	case p.code == 421 || p.code/100 == 3:
		// A session that was idle too long says so with the next command.
		t.res.Stale = p.code == 421 && s.sent > 1
		t.bad(p)
		return false
	case p.code >= 400:
		s.open = s.ext.pipelining
		t.settle(p.keep())
		return s.ext.pipelining
	}
	s.open = true
	t.res.Stage = stageRcpt
	return true
}

// lostOrStale ends a transaction by a fault of the connection. When the first
// reply never came on a session that carried mail before, that is an idle
// session's end and not an attempt.
func (t *transaction) lostOrStale(err error) {
	t.res.Stale = t.res.Stage == stageMail && t.s.sent > 1 && t.s.ctx.Err() == nil && !timedOut(err)
	t.lost(err)
}

// readRcpt reads the reply to RCPT i; false means the session ended.
func (t *transaction) readRcpt(i int) bool {
	p, err := t.s.reply(t.s.d.cfg.Timeouts.Command)
	switch {
	case err != nil:
		t.lost(err)
		return false
	case p.code == 421 || p.code/100 == 3:
		t.bad(p)
		return false
	case p.code >= 400 && t.rcpts[i] != rcptDone:
		t.refuse(i, p.keep())
	}
	return true
}

// readData reads the reply to DATA.
func (t *transaction) readData() bool {
	s := t.s
	if t.waiting > 0 {
		t.res.Stage = stageData
	}
	p, err := s.reply(s.d.cfg.Timeouts.Data)
	switch {
	case err != nil:
		t.lost(err)
	case p.code == 354 && t.waiting > 0:
		return true
	case p.code == 354:
		t.loneDot()
	case p.code == 421 || p.code < 400:
		t.bad(p)
	default:
		t.settle(p.keep())
	}
	return false
}

// bad ends the session on a reply after which it cannot go on: 421, or one that
// does not fit the command.
func (t *transaction) bad(p reply) {
	t.s.dead = true
	if p.code == 421 {
		t.settle(p.keep())
		return
	}
	err := fmt.Errorf("reply %d does not fit: %w", p.code, errReplySyntax)
	t.res.Err = err
	t.settle(answered(p))
}

// loneDot ends a DATA that was taken although no recipient was (RFC 2920 §3.1).
// There is no recipient, so whatever the host says to it changes nothing.
func (t *transaction) loneDot() {
	s := t.s
	s.talk.add(said, []byte("."))
	if err := s.write([]byte(".\r\n")); err != nil {
		s.dead = true
		return
	}
	p, err := s.reply(s.d.cfg.Timeouts.Command)
	if err != nil || p.code == 421 {
		s.dead = true
		return
	}
	s.open = p.code/100 != 2
}
