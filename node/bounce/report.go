package bounce

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Report is a delivery status notification (RFC 3464 in RFC 6522).
type Report struct {
	ReportingMTA string
	From         string // From header: mailer-daemon at the tenant's host name
	To           string // the reverse-path
	EnvID        string
	Arrived      time.Time
	Date         time.Time
	MessageID    string // of the report, whole: <x@y>
	Full         bool   // return the whole message (RET=FULL), else its headers
	UTF8         bool   // use message/global-* (RFC 6533)
	Original     []byte // the original message or its headers, bounded by the caller
	Rcpts        []ReportRcpt
}

// Action is RFC 3464 §2.3.3.
type Action string

// Actions.
const (
	Failed      Action = "failed"
	Delayed     Action = "delayed"
	DeliveredTo Action = "delivered"
	Relayed     Action = "relayed"
)

// ReportRcpt is the per-recipient part.
type ReportRcpt struct {
	Final      string
	ORcpt      string // "type;address" or ""
	Action     Action
	Status     string // "5.1.1"
	RemoteMTA  string
	Diagnostic string // the remote reply, one line
	LastTry    time.Time
	RetryUntil time.Time // Delayed only
}

const (
	foldAt  = 76  // columns a line is folded at where it has blanks
	maxLine = 900 // octets of a line at the very most (RFC 5322 §2.1.1: 998)
	maxPart = 2000
)

// Compose writes the notification with CRLF lines. It is ASCII, unless UTF8 is
// set or Full returns a message that has octets above 127.
func Compose(r Report) ([]byte, error) {
	switch {
	case len(r.Rcpts) == 0:
		return nil, errors.New("compose report: no recipients")
	case !addressField(r.To, r.UTF8):
		return nil, fmt.Errorf("compose report: address %q cannot be written", r.To)
	case !addressField(r.From, r.UTF8):
		return nil, fmt.Errorf("compose report: address %q cannot be written", r.From)
	case !msgID(r.MessageID):
		return nil, fmt.Errorf("compose report: message id %q is not valid", r.MessageID)
	}
	for _, rc := range r.Rcpts {
		switch rc.Action {
		case Failed, Delayed, DeliveredTo, Relayed:
		default:
			return nil, fmt.Errorf("compose report: unknown action %q", rc.Action)
		}
	}
	w := &writer{utf8: r.UTF8}
	w.text(r)
	text := w.take()
	w.status(r)
	status := w.take()
	kind, original, eight := returned(r)

	boundary := pickBoundary(r, text, status, original)
	w.header(r, boundary, eight || r.UTF8)
	w.raw("This is a report in several parts about mail you sent.\r\n")
	charset, enc, statusType := "us-ascii", "7bit", "message/delivery-status"
	if r.UTF8 {
		charset, enc, statusType = "utf-8", "8bit", "message/global-delivery-status"
	}
	part := func(ctype, enc, description string, body []byte) {
		w.raw("\r\n--" + boundary + "\r\n")
		w.raw("Content-Type: " + ctype + "\r\n")
		w.raw("Content-Description: " + description + "\r\n")
		w.raw("Content-Transfer-Encoding: " + enc + "\r\n\r\n")
		w.buf.Write(body)
	}
	part("text/plain; charset="+charset, enc, "Notification", text)
	part(statusType, enc, "Delivery report", status)
	if len(original) > 0 {
		if eight {
			enc = "8bit"
		}
		part(kind, enc, "Returned message", original)
	}
	w.raw("\r\n--" + boundary + "--\r\n")
	return w.take(), nil
}

// writer builds lines in which nothing from outside can begin a new one.
type writer struct {
	buf  bytes.Buffer
	utf8 bool
}

func (w *writer) raw(s string) { w.buf.WriteString(s) }

func (w *writer) take() []byte {
	b := bytes.Clone(w.buf.Bytes())
	w.buf.Reset()
	return b
}

// field writes "name: value", cleaned and folded; nothing when value is empty.
func (w *writer) field(name, value string) {
	value = strings.TrimSpace(clean(value, w.utf8))
	if value == "" {
		return
	}
	w.raw(name + ":")
	w.fold(value, len(name)+1, "\r\n ")
	w.raw("\r\n")
}

// fold writes " word word", with breaks where a line would grow past foldAt. A
// word too long for any line is cut into pieces.
func (w *writer) fold(value string, column int, brk string) {
	for i, word := range strings.Fields(value) {
		for len(word) > maxLine {
			cut := maxLine
			for cut > 0 && !utf8.RuneStart(word[cut]) {
				cut--
			}
			w.raw(brk + word[:cut])
			word, column = word[cut:], maxLine
		}
		if column+1+len(word) > foldAt && (i > 0 || column > foldAt) {
			w.raw(brk + word)
			column = 1 + len(word)
			continue
		}
		w.raw(" " + word)
		column += 1 + len(word)
	}
}

// clean makes one line of printable text of s, at most maxPart octets.
func clean(s string, intl bool) string {
	if len(s) > maxPart {
		s = s[:maxPart]
	}
	return strings.Map(func(ch rune) rune {
		switch {
		case ch == '\t' || ch == '\r' || ch == '\n':
			return ' '
		case ch >= ' ' && ch < 0x7f:
			return ch
		case intl && ch != utf8.RuneError && strconv.IsPrint(ch):
			return ch
		}
		return '?'
	}, s)
}

func (w *writer) header(r Report, boundary string, eight bool) {
	subject := "Mail delivery report"
	switch worst(r) {
	case Failed:
		subject = "Your message could not be delivered"
	case Delayed:
		subject = "Your message is delayed"
	case Relayed, DeliveredTo:
		subject = "Your message was passed on"
	}
	w.raw("From: Mail Delivery System <" + r.From + ">\r\n")
	w.raw("To: <" + r.To + ">\r\n")
	w.field("Subject", subject)
	w.field("Date", date(r.Date))
	w.raw("Message-ID: " + r.MessageID + "\r\n")
	if id := originalID(r.Original); id != "" {
		// RFC 3834 §3.1.5: an answer made by a program names what it answers.
		w.raw("In-Reply-To: " + id + "\r\nReferences: " + id + "\r\n")
	}
	w.raw("Auto-Submitted: auto-replied\r\n") // RFC 3834 §5
	w.raw("MIME-Version: 1.0\r\n")
	w.raw("Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"" + boundary + "\"\r\n")
	if eight {
		w.raw("Content-Transfer-Encoding: 8bit\r\n")
	}
	w.raw("\r\n")
}

// worst is the action that names the report.
func worst(r Report) Action {
	got := r.Rcpts[0].Action
	for _, rc := range r.Rcpts {
		if rc.Action == Failed || rc.Action == Delayed && got != Failed {
			got = rc.Action
		}
	}
	return got
}

func date(t time.Time) string { return t.Format("Mon, 2 Jan 2006 15:04:05 -0700") }

// pickBoundary makes a boundary that stands in none of the parts.
func pickBoundary(r Report, parts ...[]byte) string {
	for n := 0; ; n++ {
		sum := sha256.Sum256([]byte(r.MessageID + "\x00" + strconv.Itoa(n)))
		b := "=_" + hex.EncodeToString(sum[:16])
		free := true
		for _, p := range parts {
			free = free && !bytes.Contains(p, []byte(b))
		}
		if free {
			return b
		}
	}
}

// addressField reports whether an address may stand in angle brackets as it is.
func addressField(a string, intl bool) bool {
	at := strings.LastIndexByte(a, '@')
	if at < 1 || at == len(a)-1 || len(a) > 500 || strings.ContainsAny(a[at:], "<>\"\\ ,;:()") && !strings.HasPrefix(a[at:], "@[") {
		return false
	}
	for _, ch := range a {
		if ch < ' ' || ch == 0x7f || ch > 0x7f && (!intl || ch == utf8.RuneError || !strconv.IsPrint(ch)) {
			return false
		}
	}
	local := a[:at]
	if local[0] == '"' {
		return len(local) > 1 && quoted(local)
	}
	return !strings.ContainsAny(local, "<>\"\\ ,;:()[]@")
}

// quoted reports whether s is one whole quoted string.
func quoted(s string) bool {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i == len(s)-1
		}
	}
	return false
}

func msgID(id string) bool {
	if len(id) < 5 || len(id) > 250 || id[0] != '<' || id[len(id)-1] != '>' || !strings.Contains(id, "@") {
		return false
	}
	for i := 1; i < len(id)-1; i++ {
		if c := id[i]; c <= ' ' || c >= 0x7f || c == '<' || c == '>' {
			return false
		}
	}
	return true
}
