package submission

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	smtp "github.com/emersion/go-smtp"

	"postern/node/queue"
	"postern/tenant"
)

// reason is why something was refused: a closed set, the label of
// postern_refused_total.
type reason string

const (
	reasonAuth      reason = "auth"
	reasonTLS       reason = "tls"
	reasonSyntax    reason = "syntax"
	reasonOrder     reason = "order"
	reasonSender    reason = "sender"
	reasonRecipient reason = "recipient"
	reasonQuota     reason = "quota"
	reasonRate      reason = "rate"
	reasonHeld      reason = "held"
	reasonSize      reason = "size"
	reasonContent   reason = "content"
	reasonLoop      reason = "loop"
	reasonFull      reason = "full"
	reasonBusy      reason = "busy"
	reasonInternal  reason = "internal"
	reasonProxy     reason = "proxy" // a balancer that does not say who its client is
	reasonGone      reason = "gone"  // the client left; nothing was said
)

// reply is one SMTP reply that refuses something; as an error it travels to the
// edge unchanged.
type reply struct {
	code   int
	enh    [3]int
	text   string
	reason reason
	close  bool // the connection ends behind it
}

func (r *reply) Error() string { return fmt.Sprintf("%d %s %s", r.code, r.enhanced(), r.text) }

func (r *reply) enhanced() string { return fmt.Sprintf("%d.%d.%d", r.enh[0], r.enh[1], r.enh[2]) }

// line is the reply as it goes over the wire.
func (r *reply) line() string { return r.Error() + "\r\n" }

// library is the reply in the form the command engine understands; it looks at
// the concrete type and would show any other error's text to the client.
func (r *reply) engineError() error {
	return &smtp.SMTPError{Code: r.code, EnhancedCode: smtp.EnhancedCode(r.enh), Message: r.text}
}

func refuse(code int, enh [3]int, why reason, text string) *reply {
	return &reply{code: code, enh: enh, text: text, reason: why}
}

func refuseAndClose(code int, enh [3]int, why reason, text string) *reply {
	r := refuse(code, enh, why, text)
	r.close = true
	return r
}

// The replies that say the same thing every time.
var (
	errTooManyConns   = refuseAndClose(421, [3]int{4, 7, 0}, reasonBusy, "Too many connections, try again later")
	errTooManyFails   = refuseAndClose(421, [3]int{4, 7, 0}, reasonAuth, "Too many failed logins, try again later")
	errTooManyCmds    = refuseAndClose(421, [3]int{4, 7, 0}, reasonOrder, "Too many commands without a message")
	errTooManyErrors  = refuseAndClose(421, [3]int{4, 7, 0}, reasonSyntax, "Too many errors")
	errNotReady       = refuseAndClose(421, [3]int{4, 3, 2}, reasonBusy, "Service not available, try another host")
	errShutdown       = refuseAndClose(421, [3]int{4, 3, 2}, reasonBusy, "Service shutting down, try another host")
	errIdle           = refuseAndClose(421, [3]int{4, 4, 2}, reasonGone, "Timeout, closing connection")
	errNotIntroduced  = refuseAndClose(421, [3]int{4, 7, 0}, reasonProxy, "PROXY header expected")
	errTalksEarly     = refuseAndClose(554, [3]int{5, 5, 0}, reasonOrder, "You sent before the greeting")
	errPipelinedHello = refuseAndClose(503, [3]int{5, 5, 1}, reasonOrder, "Pipelining is not allowed before the EHLO reply")
	errPipelinedData  = refuseAndClose(554, [3]int{5, 5, 0}, reasonOrder, "Message sent before the 354 reply")

	errLineTooLong = refuseAndClose(500, [3]int{5, 5, 2}, reasonSyntax, "Command line too long")
	errBadLine     = refuse(500, [3]int{5, 5, 2}, reasonSyntax, "Command lines end in CRLF and hold no control characters")
	errUnknown     = refuse(500, [3]int{5, 5, 1}, reasonSyntax, "Command unrecognized")
	errNotASCII    = refuse(500, [3]int{5, 5, 2}, reasonSyntax, "Command holds octets above 127")
	errHelloFirst  = refuse(503, [3]int{5, 5, 1}, reasonOrder, "Send EHLO first")
	errHelloName   = refuse(501, [3]int{5, 5, 4}, reasonSyntax, "EHLO needs a domain or an address literal")
	errNestedMail  = refuse(503, [3]int{5, 5, 1}, reasonOrder, "Sender already given")
	errMailFirst   = refuse(503, [3]int{5, 5, 1}, reasonOrder, "Send MAIL first")
	errRcptFirst   = refuse(503, [3]int{5, 5, 1}, reasonOrder, "Send RCPT first")
	errMidMessage  = refuse(503, [3]int{5, 5, 1}, reasonOrder, "Finish the message with BDAT LAST, or send RSET")
	errNoArgument  = refuse(501, [3]int{5, 5, 4}, reasonSyntax, "This command takes no argument")
	errBdatSyntax  = refuseAndClose(501, [3]int{5, 5, 4}, reasonSyntax, "Send BDAT size [LAST]")

	errTLSAlready    = refuse(503, [3]int{5, 5, 1}, reasonOrder, "Already in TLS")
	errTLSMissing    = refuse(454, [3]int{4, 7, 0}, reasonTLS, "TLS not available")
	errTLSNeeded     = refuse(530, [3]int{5, 7, 0}, reasonTLS, "Must issue a STARTTLS command first")
	errAuthNeedsTLS  = refuse(538, [3]int{5, 7, 11}, reasonTLS, "Encryption required for the authentication mechanism")
	errAuthNeeded    = refuse(530, [3]int{5, 7, 0}, reasonAuth, "Authentication required")
	errAuthAlready   = refuse(503, [3]int{5, 5, 1}, reasonOrder, "Already authenticated")
	errAuthInMessage = refuse(503, [3]int{5, 5, 1}, reasonOrder, "AUTH is not allowed during a mail transaction")
	errAuthMechanism = refuse(504, [3]int{5, 5, 4}, reasonAuth, "Unknown authentication mechanism")
	errAuthSyntax    = refuse(501, [3]int{5, 5, 2}, reasonSyntax, "Malformed authentication exchange")
	errAuthCancelled = refuse(501, [3]int{5, 7, 0}, reasonAuth, "Authentication cancelled")
	errGateBusy      = refuse(454, [3]int{4, 7, 0}, reasonBusy, "Temporary authentication failure, try again later")
	errAuthFailed    = refuse(535, [3]int{5, 7, 8}, reasonAuth, "Authentication credentials invalid")
	errHeldAtAuth    = refuse(525, [3]int{5, 7, 13}, reasonHeld, "Account suspended, contact your provider")
	errHeldAtMail    = refuse(550, [3]int{5, 7, 1}, reasonHeld, "Account suspended, contact your provider")

	errNullSender    = refuse(550, [3]int{5, 7, 1}, reasonSender, "Submissions need a sender address")
	errMailSyntax    = refuse(501, [3]int{5, 1, 7}, reasonSyntax, "Bad sender address syntax")
	errRcptSyntax    = refuse(501, [3]int{5, 1, 3}, reasonSyntax, "Bad recipient address syntax")
	errRcptForm      = refuse(553, [3]int{5, 1, 3}, reasonRecipient, "Recipient must be local-part@domain without routing")
	errNeedsUTF8     = refuse(553, [3]int{5, 6, 7}, reasonSyntax, "Address needs the SMTPUTF8 parameter")
	errParamTwice    = refuse(501, [3]int{5, 5, 4}, reasonSyntax, "Parameter given twice")
	errTooLarge      = refuse(552, [3]int{5, 3, 4}, reasonSize, "Message too large")
	errChunkTooLarge = refuseAndClose(552, [3]int{5, 3, 4}, reasonSize, "Chunk too large")
	errTooManyRcpts  = refuse(452, [3]int{4, 5, 3}, reasonRecipient, "Too many recipients")
	errFull          = refuse(452, [3]int{4, 3, 1}, reasonFull, "Insufficient system storage")
	errNotHere       = refuse(451, [3]int{4, 3, 0}, reasonInternal, "Not served here now, try again")
	errNotStored     = refuse(451, [3]int{4, 3, 0}, reasonInternal, "Not stored, try again")

	errBareCR       = refuse(550, [3]int{5, 6, 0}, reasonContent, "Message holds a carriage return without line feed")
	errNUL          = refuse(550, [3]int{5, 6, 0}, reasonContent, "Message holds a NUL octet")
	errHeaderSize   = refuse(554, [3]int{5, 6, 0}, reasonContent, "Header section too large")
	errHeaderSyntax = refuse(554, [3]int{5, 6, 0}, reasonContent, "Malformed header section")
	errNoFrom       = refuse(554, [3]int{5, 6, 0}, reasonContent, "Message needs one From field with one address")
	errHeaderSender = refuse(550, [3]int{5, 7, 1}, reasonSender, "From address rejected: not owned by user")
	errLoop         = refuse(554, [3]int{5, 4, 6}, reasonLoop, "Mail loop: too many hops")
)

// errGone says that nobody is there any more to take a reply.
var errGone = errors.New("client left")

// What ends a chunked message before its last chunk; as replies, they answer
// the command that did it.
var (
	errReset = refuse(250, [3]int{2, 0, 0}, reasonGone, "OK")
	errQuit  = refuseAndClose(221, [3]int{2, 0, 0}, reasonGone, "Bye")
)

// stage is where in the dialogue an error came up.
type stage uint8

const (
	stageMail stage = iota + 1
	stageRcpt
	stageData
)

// answer makes the reply to an error; nothing else does. What it does not know
// is temporary, and shows an id that the log has too, never the error's text.
func (s *Server) answer(at stage, err error) *reply {
	var r *reply
	var over *OverLimit
	switch {
	case errors.As(err, &r):
		return r
	case errors.As(err, &over):
		return overLimit(at, over, time.Now())
	case errors.Is(err, queue.ErrFull):
		return errFull
	case errors.Is(err, errGone):
		return refuseAndClose(421, [3]int{4, 4, 2}, reasonGone, "Connection lost")
	case errors.Is(err, context.Canceled), errors.Is(err, queue.ErrStale):
		s.log.internal(at, err, "")
		return refuse(451, [3]int{4, 3, 0}, reasonInternal, "Not stored, try again")
	}
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	id := hex.EncodeToString(b[:])
	s.log.internal(at, err, id)
	return refuse(451, [3]int{4, 3, 0}, reasonInternal, "Not stored, try again ("+id+")")
}

// overLimit words a reached limit. A month's end is final, so that the client's
// queue does not retry for days; a short window passes by itself. At RCPT it is
// always temporary: list cleaners take a 5xx there for a dead address.
func overLimit(at stage, o *OverLimit, now time.Time) *reply {
	unit := "e-mails"
	if o.Bytes {
		unit = "bytes"
	}
	if o.Window == tenant.Month {
		text := fmt.Sprintf("Monthly sending quota reached (%d %s); resets %s", o.Limit, unit, o.Resets.UTC().Format("2006-01-02"))
		if at == stageRcpt {
			return refuse(452, [3]int{4, 5, 3}, reasonQuota, text)
		}
		return refuse(550, [3]int{5, 7, 1}, reasonQuota, text)
	}
	wait := max(int(o.Resets.Sub(now).Seconds())+1, 1)
	text := fmt.Sprintf("Rate limit (%d %s%s), retry after %d s", o.Limit, unit, each(o.Window), wait)
	if at == stageRcpt {
		return refuse(452, [3]int{4, 5, 3}, reasonRate, text)
	}
	return refuse(450, [3]int{4, 7, 1}, reasonRate, text)
}

// each names a short window behind a number.
func each(k tenant.WindowKind) string {
	switch k {
	case tenant.Minute:
		return " a minute"
	case tenant.Hour:
		return " an hour"
	case tenant.HalfDay:
		return " in 12 hours"
	case tenant.Day:
		return " a day"
	}
	return ""
}

// senderRejected names the address, which was checked to be printable.
func senderRejected(addr string) *reply {
	return refuse(553, [3]int{5, 7, 1}, reasonSender, "<"+addr+">: Sender address rejected: not owned by user")
}
