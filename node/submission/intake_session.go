package submission

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"postern/node/bounce"
)

// takeWait bounds what the node may do with a report while its sender waits.
const takeWait = 10 * time.Second

var (
	errIntakeRelay  = refuse(550, [3]int{5, 7, 1}, reasonRecipient, "Relaying denied: only reports about our own mail are taken here")
	errIntakeNobody = refuse(550, [3]int{5, 1, 1}, reasonRecipient, "No such mailbox here")
	errIntakeOne    = refuse(452, [3]int{4, 5, 3}, reasonRecipient, "One recipient at a time")
	errIntakeBusy   = refuse(451, [3]int{4, 3, 2}, reasonBusy, "Too many messages at once, try again later")
	errIntakeMany   = refuseAndClose(421, [3]int{4, 7, 0}, reasonRate, "Enough messages for one session")
	errIntakeVerb   = refuse(502, [3]int{5, 5, 1}, reasonSyntax, "Command not implemented")
	errIntakeParam  = refuse(555, [3]int{5, 5, 4}, reasonSyntax, "Parameter not recognized")
	errSessionOver  = refuseAndClose(421, [3]int{4, 4, 2}, reasonGone, "The session took too long")
)

// run talks until either side has had enough.
func (s *visit) run() {
	if talksEarly(s.raw) {
		s.last(errTalksEarly)
		return
	}
	if s.in.cfg.Ready() != nil {
		s.last(errNotReady)
		return
	}
	s.say("220 %s ESMTP", s.in.cfg.Hostname)
	for {
		line, err := s.line()
		if err != nil {
			s.farewell(err)
			return
		}
		if s.commands++; s.commands > s.in.cfg.Limits.Commands {
			s.last(errTooManyCmds)
			return
		}
		r, quit := s.command(line)
		if r != nil && !s.refuse(r) || quit {
			s.flush()
			return
		}
	}
}

// say queues a reply; it is written when nothing more waits to be read.
func (s *visit) say(format string, args ...any) { fmt.Fprintf(s.w, format+"\r\n", args...) }

func (s *visit) flush() {
	wait := writeWait
	if s.ctx.Err() != nil {
		wait = time.Second
	}
	// What ends a session that took too long still has a second to be said.
	_ = s.conn.SetWriteDeadline(s.until(wait).Add(time.Second))
	_ = s.w.Flush() // a client that is gone is noticed by the next read
}

func (s *visit) last(r *reply) {
	s.in.metrics.refused.WithLabelValues(string(r.reason)).Inc()
	s.say("%s", r.Error())
	s.flush()
}

// refuse says no, and reports whether the session goes on.
func (s *visit) refuse(r *reply) bool {
	s.in.metrics.refused.WithLabelValues(string(r.reason)).Inc()
	s.say("%s", r.Error())
	if s.errors++; r.code >= 500 && s.errors >= s.in.cfg.Limits.Errors && !r.close {
		s.say("%s", errTooManyErrors.Error())
		return false
	}
	return !r.close
}

func (s *visit) farewell(err error) {
	switch {
	case errors.Is(err, errLineTooLong):
		s.last(errLineTooLong)
	case s.ctx.Err() != nil:
		s.last(errShutdown)
	case !time.Now().Before(s.ends):
		s.last(errSessionOver)
	default:
		if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
			s.last(errIdle)
		}
	}
}

// until is a wait from now that does not pass the session's end.
func (s *visit) until(d time.Duration) time.Time {
	if t := time.Now().Add(d); t.Before(s.ends) {
		return t
	}
	return s.ends
}

// await sets the read deadline, unless the node is ending: then it stays what
// makes reads end at once.
func (s *visit) await(d time.Duration) error {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	if s.ctx.Err() != nil {
		return errShutdown
	}
	return s.raw.SetReadDeadline(s.until(d))
}

// line reads one command line, with its line end.
func (s *visit) line() ([]byte, error) {
	if s.r.Buffered() == 0 || bytes.IndexByte(peek(s.r), '\n') < 0 {
		s.flush()
	}
	if err := s.await(s.in.cfg.Limits.Idle); err != nil {
		return nil, err
	}
	b, err := s.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, errLineTooLong
	}
	return b, err
}

func peek(r *bufio.Reader) []byte {
	b, _ := r.Peek(r.Buffered())
	return b
}

// command answers one line; a refusal is returned.
func (s *visit) command(raw []byte) (r *reply, quit bool) {
	line, ok := checkLine(raw)
	if !ok {
		return errBadLine, false
	}
	name, arg, _ := strings.Cut(line, " ")
	arg = strings.TrimSpace(arg)
	switch strings.ToUpper(name) {
	case "EHLO", "HELO":
		return s.hello(strings.EqualFold(name, "EHLO"), arg), false
	case "STARTTLS":
		return s.startTLS(arg)
	case "MAIL":
		return s.mail(arg), false
	case "RCPT":
		return s.rcpt(arg), false
	case "DATA":
		return s.data(arg), false
	case "RSET":
		s.drop()
		s.say("250 2.0.0 OK")
	case "NOOP":
		s.say("250 2.0.0 OK")
	case "QUIT":
		s.say("221 2.0.0 Bye")
		return nil, true
	case "VRFY":
		s.say("252 2.5.0 Send the message and see")
	case "AUTH", "BDAT", "EXPN", "HELP", "TURN", "ETRN":
		return errIntakeVerb, false
	default:
		return errUnknown, false
	}
	return nil, false
}

func (s *visit) hello(extended bool, name string) *reply {
	if name == "" || len(name) > maxDomain {
		return errHelloName
	}
	s.drop()
	s.greeted = true
	if !extended {
		s.say("250 %s", s.in.cfg.Hostname)
		return nil
	}
	s.say("250-%s\r\n250-PIPELINING\r\n250-SIZE %d\r\n250-LIMITS RCPTMAX=1", s.in.cfg.Hostname, s.in.cfg.Limits.MaxSize)
	if s.in.cfg.TLS != nil && !s.tls {
		s.say("250-STARTTLS")
	}
	s.say("250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES")
	return nil
}

// startTLS: RFC 3207 §4.2. Octets that came in clear behind the command end the
// session: they might be taken for said under TLS.
func (s *visit) startTLS(arg string) (r *reply, quit bool) {
	switch {
	case arg != "":
		return errNoArgument, false
	case s.tls:
		return errTLSAlready, false
	case s.in.cfg.TLS == nil:
		return errTLSMissing, false
	case s.open:
		return errNestedMail, false
	case s.r.Buffered() > 0:
		return errPipelinedHello, true
	}
	s.say("220 2.0.0 Ready to start TLS")
	s.flush()
	if s.await(min(s.in.cfg.Limits.Idle, writeWait)) != nil {
		return nil, true
	}
	_ = s.raw.SetWriteDeadline(s.until(writeWait))
	c := tls.Server(s.raw, s.in.cfg.TLS())
	if err := c.HandshakeContext(s.ctx); err != nil {
		s.in.cfg.Log.Info("TLS handshake failed", "client", s.client, "err", err)
		return nil, true
	}
	s.conn, s.tls = c, true
	s.reset()
	return nil, false
}

func (s *visit) mail(arg string) *reply {
	switch {
	case !s.greeted:
		return errHelloFirst
	case s.open:
		return errNestedMail
	case len(arg) < 5 || !strings.EqualFold(arg[:5], "FROM:"):
		return errMailSyntax
	case s.messages >= s.in.cfg.Limits.Messages:
		return errIntakeMany
	}
	from, params, err := parsePath(strings.TrimLeft(arg[5:], " "), true)
	if err != nil {
		return errMailSyntax
	}
	if paramTwice(params) {
		return errParamTwice
	}
	for p := range strings.FieldsSeq(params) {
		key, value, _ := strings.Cut(p, "=")
		switch strings.ToUpper(key) {
		case "SIZE":
			n, err := strconv.ParseUint(value, 10, 62)
			if err != nil {
				return errMailSyntax
			}
			if int64(n) > s.in.cfg.Limits.MaxSize {
				return errTooLarge
			}
		case "BODY", "SMTPUTF8":
		default:
			return errIntakeParam
		}
	}
	s.open, s.from = true, from.String()
	s.say("250 2.1.0 OK")
	return nil
}

func (s *visit) rcpt(arg string) *reply {
	switch {
	case !s.open:
		return errMailFirst
	case len(arg) < 3 || !strings.EqualFold(arg[:3], "TO:"):
		return errRcptSyntax
	}
	path := strings.TrimLeft(arg[3:], " ")
	if strings.EqualFold(path, "<postmaster>") { // RFC 5321 §4.5.1: without a domain
		path = "<postmaster@" + s.in.cfg.Hostname + ">"
	}
	to, params, err := parsePath(path, true)
	switch {
	case err != nil || to.local == "":
		return errRcptSyntax
	case strings.TrimSpace(params) != "":
		return errIntakeParam
	}
	box, r := s.in.judge(to)
	switch {
	case r != nil:
		return r
	case s.to != nil:
		return errIntakeOne
	}
	s.to = box
	s.say("250 2.1.5 OK")
	return nil
}

// data takes the message, of which only the first part is kept.
func (s *visit) data(arg string) *reply {
	switch {
	case arg != "":
		return errNoArgument
	case !s.open:
		return errMailFirst
	case s.to == nil:
		return errRcptFirst
	case s.r.Buffered() > 0:
		return errPipelinedData
	}
	select {
	case s.in.bodies <- struct{}{}:
		defer func() { <-s.in.bodies }()
	default:
		return errIntakeBusy
	}
	s.say("354 End with <CRLF>.<CRLF>")
	s.flush()
	body, size, err := s.body()
	from, to := s.from, s.to
	s.drop()
	switch {
	case errors.Is(err, errTooLarge):
		return refuseAndClose(errTooLarge.code, errTooLarge.enh, errTooLarge.reason, errTooLarge.text)
	case err != nil:
		r := *errIdle
		if s.ctx.Err() != nil {
			r = *errShutdown
		}
		return &r
	}
	s.messages++
	if err := s.in.take(s.ctx, body, size, from, to, s); err != nil {
		s.in.cfg.Log.Error("report not taken", "client", s.client, "err", err)
		return errNotStored
	}
	s.say("250 2.0.0 OK: read")
	return nil
}

// body reads to CRLF.CRLF, and nothing else ends a message (RFC 5321
// §4.1.1.4). It keeps what bounce reads at most.
func (s *visit) body() (kept []byte, size int64, err error) {
	ends := s.until(s.in.cfg.Limits.Body)
	fresh := true     // behind CRLF: a dot means something here
	carriage := false // the piece before, of a long line, ended in CR
	for {
		if err := s.await(min(s.in.cfg.Limits.Idle, time.Until(ends))); err != nil {
			return nil, size, err
		}
		b, err := s.r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, size, err
		}
		if fresh && b[0] == '.' {
			if string(b) == ".\r\n" {
				return kept, size, nil
			}
			b = b[1:]
		}
		if size += int64(len(b)); size > s.in.cfg.Limits.MaxSize {
			return nil, size, errTooLarge
		}
		if room := bounce.MaxFeedback - len(kept); room > 0 {
			kept = append(kept, b[:min(room, len(b))]...)
		}
		fresh = err == nil && (bytes.HasSuffix(b, crlf) || carriage && len(b) == 1)
		carriage = err != nil && b[len(b)-1] == '\r'
	}
}

// take reads the report, finds out whom it means and hands it on.
func (in *Intake) take(ctx context.Context, body []byte, size int64, from string, to *mailbox, s *visit) error {
	in.reading <- struct{}{}
	f := bounce.ReadFeedback(body, to.role)
	<-in.reading
	proof := in.prove(ctx, f, body, size)
	r := IntakeReport{
		Feedback: f, At: time.Now(), Client: s.client, From: from, To: to.address.String(), Role: to.role, Size: size, Raw: body, Proof: proof,
		Attribution: in.attribute(f, to),
	}
	ctx, cancel := context.WithTimeout(ctx, takeWait)
	defer cancel()
	if err := in.cfg.Reports.Take(ctx, r); err != nil {
		return fmt.Errorf("take report: %w", err)
	}
	in.metrics.reports.WithLabelValues(string(f.Kind), string(r.By)).Inc()
	return nil
}
