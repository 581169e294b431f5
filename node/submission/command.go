package submission

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// readLine returns the next line with its line feed, of at most max octets. It
// stays valid until the next read.
func (w *wire) readLine(max int) ([]byte, error) {
	if w.e == w.r {
		w.begun = time.Time{}
		w.shrink()
	}
	from := 0
	for {
		if i := bytes.IndexByte(w.buf[w.r+from:w.e], '\n'); i >= 0 {
			n := from + i + 1
			if n > max {
				return nil, errLineTooLong
			}
			line := w.buf[w.r : w.r+n]
			w.r += n
			return line, nil
		}
		from = w.e - w.r
		if from >= max {
			return nil, errLineTooLong
		}
		if from > 0 && w.begun.IsZero() {
			w.begun = time.Now()
		}
		if err := w.fill(); err != nil {
			return nil, err
		}
	}
}

// checkLine cuts the CRLF off. A bare CR or LF, or any other control character,
// has no place in a command: what one host takes for one line and the next for
// two is how commands are smuggled.
func checkLine(line []byte) (string, bool) {
	n := len(line)
	if n < 2 || line[n-2] != '\r' {
		return "", false
	}
	line = line[:n-2]
	for _, c := range line {
		if c < ' ' && c != '\t' || c == 0x7f {
			return "", false
		}
	}
	return string(line), true
}

// dispatch answers a command line here, or hands it to the engine. What it
// refuses it returns.
func (w *wire) dispatch(raw []byte) *reply {
	w.verb, w.arg, w.cmd = verbOther, "", ""
	if w.commands++; w.commands > w.srv.cfg.Limits.Commands {
		return errTooManyCmds
	}
	line, ok := checkLine(raw)
	if !ok {
		return errBadLine
	}
	name, arg, _ := strings.Cut(line, " ")
	if len(raw) > maxLine && !strings.EqualFold(name, "AUTH") {
		return errLineTooLong
	}
	arg = strings.TrimSpace(arg)
	name = strings.ToUpper(name)
	if name != "RCPT" {
		// The next step depends on what the owner says to the ones before.
		if w.settle(); w.ended {
			return nil
		}
	}
	w.arg, w.cmd = arg, name
	switch name {
	case "EHLO", "HELO", "MAIL", "RCPT":
	default:
		if !isASCII(line) {
			return errNotASCII
		}
	}
	switch name {
	case "EHLO", "HELO":
		return w.onHello(name, arg)
	case "STARTTLS":
		return w.onStartTLS(arg)
	case "AUTH":
		return w.onAuth(arg)
	case "MAIL":
		if !w.greeted {
			return errHelloFirst
		}
		if w.sess.tx != nil {
			return errNestedMail
		}
		return w.pass(verbMail, line)
	case "RCPT":
		if w.sess.tx == nil {
			return errMailFirst
		}
		return w.pass(verbRcpt, line)
	case "DATA":
		return w.onData(arg)
	case "BDAT":
		return w.onBdat(arg)
	case "RSET", "QUIT":
		if arg != "" {
			return errNoArgument
		}
		return w.pass(verbRset, name)
	case "NOOP":
		w.say("250 2.0.0 OK\r\n")
		return nil
	case "VRFY", "EXPN", "HELP":
		return w.pass(verbOther, name)
	}
	// The engine would look at the first four octets only.
	return errUnknown
}

// pass hands the line to the engine.
func (w *wire) pass(v verb, line string) *reply {
	w.verb, w.sess.promised = v, false
	w.hand = append(append(w.hand[:0], line...), '\r', '\n')
	return nil
}

// onHello: the name is required and used for nothing. It is not shown to the
// engine either: programs send computer names in any encoding there, some with
// spaces, and must not be turned away for that.
func (w *wire) onHello(name, arg string) *reply {
	if w.r != w.e {
		return errPipelinedHello
	}
	if arg == "" || len(arg) > maxDomain {
		return errHelloName
	}
	if name == "EHLO" {
		return w.pass(verbEhlo, "EHLO client")
	}
	return w.pass(verbHelo, "HELO client")
}

// hello is the whole EHLO reply. The size and the number of recipients are
// those of the account's plan once it is known.
func (w *wire) hello() {
	size, rcpts := w.sess.limits()
	w.say("250-" + w.srv.cfg.Hostname + "\r\n250-PIPELINING\r\n")
	fmt.Fprintf(outWriter{w}, "250-SIZE %d\r\n", size)
	if w.tls == "" && w.srv.tls() != nil {
		w.say("250-STARTTLS\r\n")
	}
	if w.tls != "" && w.sess.account == 0 {
		w.say("250-AUTH PLAIN LOGIN\r\n")
	}
	fmt.Fprintf(outWriter{w}, "250-LIMITS RCPTMAX=%d\r\n", rcpts)
	w.say("250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250-ENHANCEDSTATUSCODES\r\n250 CHUNKING\r\n")
}

type outWriter struct{ w *wire }

func (o outWriter) Write(p []byte) (int, error) {
	o.w.out = append(o.w.out, p...)
	return len(p), nil
}

// onStartTLS: RFC 3207 §4.2. What came in clear behind the command is dropped,
// and what the client told before is forgotten.
func (w *wire) onStartTLS(arg string) *reply {
	switch {
	case arg != "":
		return errNoArgument
	case w.tls != "":
		return errTLSAlready
	case w.srv.tls() == nil:
		return errTLSMissing
	case w.sess.tx != nil:
		return errNestedMail
	}
	w.say("220 2.0.0 Ready to start TLS\r\n")
	if w.flush() != nil {
		return nil
	}
	w.r, w.e = 0, 0
	w.greeted, w.esmtp = false, false
	w.handshake()
	return nil
}

// onData: the engine gets DATA and, when the session has taken the message, a
// lone dot; it never sees a line of the message.
func (w *wire) onData(arg string) *reply {
	switch {
	case arg != "":
		return errNoArgument
	case w.sess.tx == nil:
		return errMailFirst
	}
	if r := w.sess.mayTake(); r != nil {
		return r
	}
	if w.r != w.e {
		return errPipelinedData
	}
	w.dotOwed = true
	newBody(w)
	return w.pass(verbData, "DATA")
}

// onBdat: RFC 3030. To the engine a chunked message looks like DATA too: its
// own BDAT would run the session in a second goroutine.
func (w *wire) onBdat(arg string) *reply {
	size, last, ok := parseBdat(arg)
	switch {
	case !ok:
		return errBdatSyntax // how much to skip is unknown
	case size > w.largest():
		return errChunkTooLarge
	}
	var r *reply
	if w.sess.tx == nil {
		r = errMailFirst
	} else {
		r = w.sess.mayTake()
	}
	if r != nil {
		b := newBody(w)
		err := b.skip(size)
		b.finish()
		if err != nil {
			w.farewell(err)
			return nil
		}
		return r
	}
	w.dotOwed, w.swallow = true, true
	newBody(w).chunk(size, last)
	return w.pass(verbData, "DATA")
}

func parseBdat(arg string) (size int64, last, ok bool) {
	num, rest, _ := strings.Cut(arg, " ")
	rest = strings.TrimSpace(rest)
	if rest != "" && !strings.EqualFold(rest, "LAST") {
		return 0, false, false
	}
	n, err := strconv.ParseUint(num, 10, 62)
	if err != nil || len(num) > 20 {
		return 0, false, false
	}
	return int64(n), rest != "", true
}

// largest is the most octets a chunk may announce.
func (w *wire) largest() int64 {
	most := w.srv.cfg.Limits.MaxSize
	if w.sess.tx != nil {
		most = max(most, w.sess.maxSize)
	}
	return most
}
