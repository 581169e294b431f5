package submission

import (
	"bytes"
	"errors"
	"net"
	"time"
)

// Write takes the engine's replies line by line and corrects them on the way.
func (w *wire) Write(p []byte) (int, error) {
	if w.ended {
		return 0, net.ErrClosed
	}
	if !w.started {
		// What the engine wants to say is its greeting; ours replaces it.
		w.start()
		return len(p), nil
	}
	w.torn = append(w.torn, p...)
	for {
		i := bytes.IndexByte(w.torn, '\n')
		if i < 0 {
			return len(p), nil
		}
		w.relay(w.torn[:i+1])
		w.torn = w.torn[:copy(w.torn, w.torn[i+1:])]
	}
}

// relay passes one reply line on. Success is worded here: the engine's texts
// would repeat the client's octets, and its enhanced codes are generic.
func (w *wire) relay(line []byte) {
	if len(line) < 4 {
		return
	}
	code, final := string(line[:3]), line[3] != '-'
	if code == "250" && w.verb == verbRcpt {
		w.commands-- // the plan bounds these
	}
	switch {
	case code == "354": // the answer to DATA is still to come
		if w.swallow {
			w.swallow = false
			return
		}
		w.say("354 End data with <CR><LF>.<CR><LF>\r\n")
	case code == "500" && (w.verb == verbMail || w.verb == verbRcpt):
		w.say("555") // an unknown parameter, RFC 5321 §4.1.1.11
		w.out = append(w.out, line[3:]...)
	case code != "250" && w.verb == verbRcpt && len(w.promises) > 0:
		if w.settle(); w.sess.tx == nil {
			w.say(errMailFirst.line())
			return
		}
		w.out = append(w.out, line...)
	case code != "250" || w.verb == verbData || w.verb == verbOther:
		w.out = append(w.out, line...)
	case !final:
		// A line of the engine's EHLO reply.
	case w.verb == verbEhlo:
		w.greeted, w.esmtp = true, true
		w.hello()
	case w.verb == verbHelo:
		w.greeted, w.esmtp = true, false
		w.say("250 " + w.srv.cfg.Hostname + "\r\n")
	case w.sess.promised:
		w.owe()
	case w.verb == verbMail:
		w.say("250 2.1.0 OK\r\n")
	case w.verb == verbRcpt:
		w.say("250 2.1.5 OK\r\n")
	default:
		w.say("250 2.0.0 OK\r\n")
	}
	if final && w.hangUp && code != "354" {
		w.linger = true
		w.end()
	}
}

func (w *wire) say(s string) { w.out = append(w.out, s...) }

// refused says a reply that was made here.
func (w *wire) refused(r *reply) {
	if w.ended {
		return
	}
	w.srv.refusal(w.sess, r)
	if r == errBadLine || r == errNotASCII || r == errUnknown {
		if w.bad++; w.bad >= maxBad {
			r = errTooManyErrors
		}
	}
	w.say(r.line())
	if r.close {
		w.linger = true
		w.end()
	}
}

// last says a reply outside any command and ends the connection.
func (w *wire) last(r *reply) {
	w.srv.refusal(w.sess, r)
	w.say(r.line())
	w.linger = true
	w.end()
}

// end sends what is pending; nothing is read or said afterwards.
func (w *wire) end() {
	if !w.ended {
		_ = w.flush()
		w.ended = true
	}
}

// farewell ends the connection after a failed read.
func (w *wire) farewell(err error) {
	var r *reply
	if errors.As(err, &r) {
		w.last(r)
		return
	}
	w.ended = true
}

func (w *wire) flush() error {
	w.settle()
	if len(w.out) == 0 {
		return nil
	}
	_ = w.conn.SetWriteDeadline(time.Now().Add(min(w.srv.cfg.Idle, writeWait)))
	_, err := w.conn.Write(w.out)
	w.out = w.out[:0]
	if err != nil {
		w.ended = true
		return errGone
	}
	return nil
}
