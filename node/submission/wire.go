package submission

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
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
	balancer *introduced // raw, when a balancer opened it
	local    bool        // for no client of its own: no network lets it send
	peer     netip.Addr
	netKey   netip.Addr // what the limits per network count by

	buf      []byte // read and not yet used: buf[r:e]
	r, e     int
	out      []byte    // replies not yet sent
	promises []promise // those among them that the owner still owes
	push     func()    // sends what is gathered for the owner, before a wait
	torn     []byte    // start of a reply line the engine has not finished
	hand     []byte    // command line on its way to the engine

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
	if b, ok := c.(*introduced); ok {
		w.balancer, w.netKey = b, netip.Addr{} // until it has said who it is
	}
	return w
}

// start runs what comes before the greeting; false means that there is none.
func (w *wire) start() bool {
	w.started = true
	if w.balancer != nil && !w.introduce() {
		return false
	}
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
		if w.balancer == nil || w.peer != addrOf(w.raw.RemoteAddr()) { // a balancer's health check goes no further
			w.srv.log.handshakeFailed(w.peer, err)
		}
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
