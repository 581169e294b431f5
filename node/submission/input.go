package submission

import (
	"errors"
	"os"
	"time"
)

// fill waits for more octets. Replies are kept back until here, so a pipelined
// group is answered in one write.
func (w *wire) fill() error {
	if w.ended {
		return errGone
	}
	if err := w.flush(); err != nil {
		return err
	}
	if w.push != nil {
		w.push()
	}
	if w.r == w.e {
		w.r, w.e = 0, 0
	}
	if w.e == len(w.buf) {
		w.makeRoom()
	}
	if w.e == len(w.buf) {
		return errLineTooLong // cannot be: every reader takes or refuses before
	}
	for {
		if err := w.arm(); err != nil {
			return err
		}
		n, err := w.conn.Read(w.buf[w.e:])
		w.e += n
		switch {
		case n > 0:
			return nil
		case err == nil:
			continue
		case errors.Is(err, os.ErrDeadlineExceeded):
			if again, why := w.expired(); !again {
				return why
			}
		default:
			return errGone
		}
	}
}

// makeRoom moves the unused octets to the front; a message that fills the small
// buffer in one read gets a large one for its time.
func (w *wire) makeRoom() {
	if w.r > 0 && !(w.inBody && len(w.buf) == readSmall) {
		w.e = copy(w.buf, w.buf[w.r:w.e])
		w.r = 0
		return
	}
	if len(w.buf) == 0 {
		w.buf = make([]byte, readSmall)
		return
	}
	if len(w.buf) == readLarge {
		return
	}
	large := *w.srv.large.Get().(*[]byte)
	w.e = copy(large, w.buf[w.r:w.e])
	w.r = 0
	w.buf = large
}

// shrink gives a large buffer back when what is left fits the small one.
func (w *wire) shrink() {
	if len(w.buf) != readLarge || w.e-w.r > readSmall {
		return
	}
	var small []byte
	if w.e > w.r || !w.ended {
		small = make([]byte, readSmall)
	}
	large := w.buf
	w.e = copy(small, large[w.r:w.e])
	w.r = 0
	w.buf = small
	w.srv.large.Put(&large)
}

// patience is how long the line or message that is coming in may still take in
// all: one byte now and then must not hold a connection for ever. A message
// gets an hour, and more as long as it moves at 1 KB/s.
func (w *wire) patience() time.Time {
	switch {
	case w.begun.IsZero():
		return time.Time{}
	case w.inBody:
		return w.begun.Add(12*w.srv.cfg.Idle + time.Duration(w.body.seen)*time.Millisecond)
	default:
		return w.begun.Add(w.srv.cfg.Idle)
	}
}

// arm sets the read deadline: Idle from now, never beyond patience. It is left
// alone while it is nearly right, because setting it costs more than reading
// the clock.
func (w *wire) arm() error {
	now := time.Now()
	until := now.Add(w.srv.cfg.Idle)
	if p := w.patience(); !p.IsZero() && p.Before(until) {
		until = p
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopping {
		if !w.inBody {
			return errShutdown
		}
		if w.lastCall.Before(until) {
			until = w.lastCall
		}
	} else if d := until.Sub(w.armed); d >= 0 && d < w.srv.cfg.Idle/64 {
		return nil
	}
	w.armed = until
	if err := w.raw.SetReadDeadline(until); err != nil {
		return errGone
	}
	return nil
}

// expired says whether a read that timed out is to be tried again, or why not.
func (w *wire) expired() (again bool, why error) {
	w.mu.Lock()
	stopping, lastCall := w.stopping, w.lastCall
	w.mu.Unlock()
	now := time.Now()
	switch {
	case stopping && (!w.inBody || !now.Before(lastCall)):
		return false, errShutdown
	case stopping:
		return true, nil
	case now.Before(w.armed):
		return true, nil
	}
	return false, errIdle
}
