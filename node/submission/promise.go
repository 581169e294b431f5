package submission

// promise is a reply that the owner still owes: its place among the replies
// that were made since. They all wait, and go out in the order of the commands.
type promise struct {
	at   int // in w.out
	verb verb
	cmd  string
}

// owe notes that the reply to the command at hand is the owner's to give.
func (w *wire) owe() {
	w.promises = append(w.promises, promise{len(w.out), w.verb, w.cmd})
}

// settle waits for what the owner owes and puts it in its places. So a group of
// commands that came at once costs one round trip to the owner.
func (w *wire) settle() {
	if len(w.promises) == 0 {
		return
	}
	list, out := w.promises, w.out
	w.promises, w.out = nil, nil
	last, cmd := 0, w.cmd
	defer func() { w.cmd = cmd }()
	for _, p := range list {
		w.out = append(w.out, out[last:p.at]...)
		last = p.at
		w.cmd = p.cmd
		r := w.sess.redeem(p.verb)
		switch {
		case r != nil:
			w.say(r.line())
			if p.verb == verbRcpt {
				w.commands++
			}
			if r.close {
				w.linger = true
				w.end()
				return
			}
		case p.verb == verbMail:
			w.say("250 2.1.0 OK\r\n")
		default:
			w.say("250 2.1.5 OK\r\n")
		}
	}
	w.out = append(w.out, out[last:]...)
	w.promises = list[:0]
}

// redeem is the owner's word to one command; nil is yes.
func (s *session) redeem(v verb) *reply {
	x, ok := s.tx.(*remote)
	if !ok {
		return errMailFirst // MAIL was refused, in the same group
	}
	err := x.answerTo(v)
	if err == nil {
		return nil
	}
	at := stageRcpt
	if v == verbMail {
		at = stageMail
	}
	r := s.srv.answer(at, err)
	s.srv.count(s.w, s.tenant, s.sender, r)
	if v == verbMail {
		s.Reset()
	}
	return r
}
