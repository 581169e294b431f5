package submission

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"time"
)

// Sizes of the wire.
const (
	readSmall = 16 << 10 // a connection's own buffer; holds any command line
	readLarge = 64 << 10 // lent while a long message streams in
	maxLine   = 4 << 10  // command line with its CRLF (RFC 5321 §4.5.3.1.4 asks for 512)
	maxAuth   = 12 << 10 // line of an AUTH exchange (RFC 4954 §4)
	maxBad    = 4        // malformed lines before the connection ends
)

// writeWait bounds one write to a client that does not read.
const writeWait = time.Minute

// verb is the command that is being answered.
type verb uint8

const (
	verbOther verb = iota
	verbHelo
	verbEhlo
	verbMail
	verbRcpt
	verbData
	verbRset // and what else the engine answers with a plain 250
)

// wire is the net.Conn that the command engine reads from. It ends TLS itself
// and hands over exactly one checked command line a Read, so a Read means that
// the line before was answered. AUTH, STARTTLS and message bodies never reach
// the engine: it sees DATA, and then a lone dot when the session has taken the
// body from here, to its true end. Everything runs in the one goroutine the
// engine has for the connection, except stop and kill.
type wire struct {
	srv      *Server
	raw      net.Conn
	conn     net.Conn // raw, or TLS over it
	tls      string   // version and cipher; "" in clear
	implicit bool
	peer     netip.Addr
	netKey   netip.Addr // what the limits per network count by

	buf  []byte // read and not yet used: buf[r:e]
	r, e int
	out  []byte // replies not yet sent
	torn []byte // start of a reply line the engine has not finished
	hand []byte // command line on its way to the engine

	started  bool
	ended    bool // say nothing more, read nothing more
	greeted  bool // EHLO or HELO answered since the start or STARTTLS
	esmtp    bool // it was EHLO
	verb     verb
	swallow  bool   // the engine's 354 is not for the client: it sent BDAT
	dotOwed  bool   // the engine waits for the end of data
	cmd, arg string // the command being answered, and the rest of its line
	body     *body
	sess     *session
	commands int // since the last message
	bad      int
	inBody   bool
	hangUp   bool // end behind the reply the engine is about to give
	linger   bool // the last reply is one the client may not expect

	begun time.Time // first octet of the line or message that is coming in
	armed time.Time // the read deadline that is set

	mu       sync.Mutex // guards stopping, and setting read deadlines against it
	stopping bool
	lastCall time.Time // when a body that is still coming is cut
	closed   bool
}

func newWire(srv *Server, c net.Conn, implicit bool) *wire {
	w := &wire{srv: srv, raw: c, conn: c, implicit: implicit}
	w.peer = addrOf(c.RemoteAddr())
	w.netKey = networkOf(w.peer)
	w.sess = &session{w: w, srv: srv}
	return w
}

// start runs what comes before the greeting; false means that there is none.
func (w *wire) start() bool {
	w.started = true
	if w.implicit {
		if !w.handshake() {
			return false
		}
	} else if talksEarly(w.raw) {
		w.last(errTalksEarly)
		return false
	}
	if err := w.srv.cfg.Ready(); err != nil {
		w.last(errNotReady)
		return false
	}
	w.say("220 " + w.srv.cfg.Hostname + " ESMTP\r\n")
	return true
}

// Read gives the engine its next command line, or EOF when it is over.
func (w *wire) Read(p []byte) (n int, err error) {
	defer func() {
		if what := recover(); what != nil {
			w.srv.log.panicked(w.peer, what, debug.Stack())
			w.end()
			n, err = 0, io.EOF
		}
	}()
	for len(w.hand) == 0 {
		if w.ended {
			return 0, io.EOF
		}
		if w.dotOwed {
			w.dotOwed, w.hand = false, append(w.hand[:0], ".\r\n"...)
			break
		}
		line, err := w.readLine(maxAuth)
		if err != nil {
			w.farewell(err)
			return 0, io.EOF
		}
		if r := w.dispatch(line); r != nil {
			w.refused(r)
		}
	}
	n = copy(p, w.hand)
	w.hand = w.hand[:copy(w.hand, w.hand[n:])]
	return n, nil
}

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
	case w.verb == verbMail:
		w.say("250 2.1.0 OK\r\n")
	case w.verb == verbRcpt:
		w.commands-- // the plan bounds these
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

// fill waits for more octets. Replies are kept back until here, so a pipelined
// group is answered in one write.
func (w *wire) fill() error {
	if w.ended {
		return errGone
	}
	if err := w.flush(); err != nil {
		return err
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

// stop tells an idle client 421 at once; a message in its body gets until then.
func (w *wire) stop(until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopping, w.lastCall = true, until
	_ = w.raw.SetReadDeadline(time.Unix(1, 0))
}

// kill cuts the connection.
func (w *wire) kill() { _ = w.raw.Close() }

// Close is the engine's end of the connection.
func (w *wire) Close() error {
	w.mu.Lock()
	was := w.closed
	w.closed = true
	w.mu.Unlock()
	if was {
		return nil
	}
	w.end()
	w.sess.leave()
	err := w.closeSocket()
	w.r, w.e = 0, 0
	w.shrink()
	w.srv.gone(w)
	return err
}

// closeSocket ends the connection. Closing with unread octets would make the
// kernel reset it, and the client might never see our last reply; so what it
// still sends is read for a moment, unless it said QUIT itself.
func (w *wire) closeSocket() error {
	_ = w.raw.SetDeadline(time.Now().Add(lingerWait))
	half, ok := w.raw.(interface{ CloseWrite() error })
	if !w.linger || !ok {
		return w.conn.Close()
	}
	if c, ok := w.conn.(*tls.Conn); ok {
		_ = c.CloseWrite()
	}
	_ = half.CloseWrite()
	if w.buf == nil {
		w.buf = make([]byte, readSmall)
	}
	for dropped := 0; dropped < lingerMost; {
		n, err := w.raw.Read(w.buf)
		if dropped += n; err != nil {
			break
		}
	}
	return w.raw.Close()
}

// How long, and for how many octets, a refused client is listened to.
const (
	lingerWait = 300 * time.Millisecond
	lingerMost = 1 << 20
)

// The rest of net.Conn. Deadlines are the wire's own affair.
func (w *wire) LocalAddr() net.Addr              { return w.raw.LocalAddr() }
func (w *wire) RemoteAddr() net.Addr             { return w.raw.RemoteAddr() }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// handshake turns the socket into TLS; what failed is closed without a word.
func (w *wire) handshake() bool {
	cfg := w.srv.tls()
	if cfg == nil {
		w.ended = true
		return false
	}
	_ = w.raw.SetDeadline(time.Now().Add(min(w.srv.cfg.Idle, writeWait)))
	c := tls.Server(w.raw, cfg)
	if err := c.Handshake(); err != nil {
		w.srv.log.handshakeFailed(w.peer, err)
		w.ended = true
		return false
	}
	w.mu.Lock()
	_ = w.raw.SetDeadline(time.Time{})
	w.armed = time.Time{}
	w.mu.Unlock()
	w.conn = c
	st := c.ConnectionState()
	w.tls = tls.VersionName(st.Version) + " " + tls.CipherSuiteName(st.CipherSuite)
	return true
}
