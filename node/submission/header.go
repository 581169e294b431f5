package submission

import (
	"bytes"
	"net/mail"
	"strings"
	"time"
)

// Bounds of a header section that are no setting.
const (
	maxFrom     = 8 << 10 // octets of the From field
	maxHops     = 100     // Received fields in all (RFC 5321 §6.3)
	maxOurHops  = 10      // Received fields of ours: passes through here
	dateLayout  = "Mon, 02 Jan 2006 15:04:05 -0700"
	maxNameSize = 128
	maxFolds    = 1000 // lines of one field; the DKIM library joins them one by one
)

// fate is what becomes of a header field.
type fate uint8

const (
	stays fate = iota
	once       // stays, and may be there only once (RFC 5322 §3.6)
	goes       // never leaves here
)

// The fields that matter here, as bits of a letter's set.
type field uint32

const (
	fFrom field = 1 << iota
	fSender
	fReplyTo
	fTo
	fCc
	fSubject
	fDate
	fMessageID
	fInReplyTo
	fReferences
	fMIMEVersion
	fContentType
	fEncoding
	fListID
	fUnsubscribe
	fUnsubscribePost
	fFeedbackID
	fPrecedence
	fReceived
	fReference
	fOther field = 0
)

// fieldOf says what a field is, by its name in lower case. What goes: Bcc,
// which the other recipients must not see; what only a receiving host may set;
// and everything by which hosts and programs note the client's address, its
// login or its scripts. Nobody but the tenant is to be seen.
func fieldOf(name []byte) (field, fate) {
	switch string(name) {
	case "from":
		return fFrom, once
	case "sender":
		return fSender, once
	case "reply-to":
		return fReplyTo, once
	case "to":
		return fTo, once
	case "cc":
		return fCc, once
	case "subject":
		return fSubject, once
	case "date":
		return fDate, once
	case "message-id":
		return fMessageID, once
	case "in-reply-to":
		return fInReplyTo, once
	case "references":
		return fReferences, once
	case "mime-version":
		return fMIMEVersion, once
	case "content-type":
		return fContentType, once
	case "content-transfer-encoding":
		return fEncoding, once
	case "list-id":
		return fListID, stays
	case "list-unsubscribe":
		return fUnsubscribe, stays
	case "list-unsubscribe-post":
		return fUnsubscribePost, stays
	case "feedback-id":
		return fFeedbackID, stays
	case "precedence":
		return fPrecedence, stays
	case "received":
		return fReceived, goes // ours are looked at once more
	case "bcc", "resent-bcc",
		"return-path", "delivered-to", "x-original-to", "envelope-to", "x-envelope-from", "x-envelope-to",
		"x-originating-ip", "x-original-ip", "x-orig-ip", "x-origin-ip", "x-client-ip", "x-client-addr", "x-client-address",
		"x-client-host", "x-clientproxiedby", "x-sender-ip", "x-senderip", "x-sender-host", "x-sender-address-ip",
		"x-source-ip", "x-source", "x-source-args", "x-source-dir", "x-source-auth", "x-source-sender", "x-source-cap",
		"x-source-l", "x-exim-id", "x-bwhitelist", "x-local-domain", "x-email-count", "x-antiabuse",
		"x-get-message-sender-via", "x-authenticated-sender", "x-authenticated-user", "x-authenticated-id", "x-authuser",
		"x-auth-user", "x-auth-id", "x-sasl-user", "x-smtp-auth", "x-remote-ip", "x-remoteip", "x-remote-addr", "x-remote-host",
		"x-real-ip", "x-realip", "x-forwarded-for", "x-forwarded", "forwarded-for", "x-http-client-ip", "x-http-x-forwarded-for",
		"x-http-via", "x-user-ip", "x-userip", "x-ip", "x-ip-address", "x-host", "x-host-ip", "x-from-ip", "x-peer-ip",
		"x-connecting-ip", "x-submission-ip", "x-submitting-ip", "x-mailer-ip", "x-web-client-ip", "x-webmail-ip",
		"x-yahoo-post-ip", "x-en-origip", "x-en-orighost", "x-mdremoteip", "x-mdhelolookup", "x-aol-ip",
		"x-php-script", "x-php-originating-script", "x-php-originating-ip", "x-originating-host", "x-originating-client",
		"x-ms-exchange-organization-originalclientipaddress", "x-ms-exchange-organization-originalserveripaddress",
		"x-relay-ref", // ours, and nobody shall wear another's
		"received-spf", "authentication-results", "x-forefront-antispam-report", "x-received", "x-spam-relays-external", "x-greylist":
		return fOther, goes
	}
	return fOther, stays
}

// letter is what a header section was found to hold.
type letter struct {
	keep      [][2]int // what stays, as spans of the section
	has       field
	from      string // domain of the From address, A-label
	messageID string
	bulk      bool
	eight     bool
	hops      int
	ours      int
}

// inspect reads a header section (without its empty line, each line with CRLF).
// hostname is the tenant's own; our earlier Received lines show it.
func inspect(head []byte, hostname string, l *letter) error {
	*l = letter{keep: l.keep[:0], eight: !ascii(head)}
	for pos := 0; pos < len(head); {
		end, lines := fieldEnd(head, pos)
		if lines > maxFolds {
			return errHeaderSyntax
		}
		f := head[pos:end]
		what, then, err := l.note(f)
		if err != nil {
			return err
		}
		if what == fReceived {
			l.hops++
			if isOurs(f, hostname) {
				l.ours++
				then = stays
			}
		}
		if then != goes {
			if n := len(l.keep); n > 0 && l.keep[n-1][1] == pos {
				l.keep[n-1][1] = end
			} else {
				l.keep = append(l.keep, [2]int{pos, end})
			}
		}
		pos = end
	}
	if l.hops > maxHops || l.ours > maxOurHops {
		return errLoop
	}
	if l.has&fFrom == 0 {
		return errNoFrom
	}
	return nil
}

// fieldEnd finds the end of the field that starts at pos, folded lines included.
func fieldEnd(head []byte, pos int) (end, lines int) {
	for {
		i := bytes.IndexByte(head[pos:], '\n')
		if i < 0 {
			return len(head), lines + 1
		}
		lines++
		pos += i + 1
		if pos >= len(head) || head[pos] != ' ' && head[pos] != '\t' {
			return pos, lines
		}
	}
}

// note takes up one field.
func (l *letter) note(f []byte) (field, fate, error) {
	colon := bytes.IndexByte(f, ':')
	if colon <= 0 {
		return 0, 0, errHeaderSyntax
	}
	var buf [maxNameSize]byte
	if colon > len(buf) {
		return 0, 0, errHeaderSyntax
	}
	name := buf[:colon]
	for i, c := range f[:colon] {
		if c <= ' ' || c >= 0x7f {
			return 0, 0, errHeaderSyntax
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		name[i] = c
	}
	what, then := fieldOf(name)
	if then == once && l.has&what != 0 {
		return 0, 0, refuse(554, [3]int{5, 6, 0}, reasonContent, "Header field "+string(f[:colon])+" given twice")
	}
	l.has |= what
	value := f[colon+1:]
	switch what {
	case fFrom:
		d, err := fromDomain(value)
		if err != nil {
			return 0, 0, err
		}
		l.from = d
	case fMessageID:
		l.messageID = clip(unfold(value), 250)
	case fUnsubscribe:
		l.bulk = true
	case fPrecedence:
		switch strings.ToLower(unfold(value)) {
		case "bulk", "list", "junk":
			l.bulk = true
		}
	}
	return what, then, nil
}

// unfold joins the lines of a field's value.
func unfold(v []byte) string {
	s := strings.TrimSpace(string(v))
	if strings.IndexByte(s, '\n') < 0 {
		return s
	}
	return strings.ReplaceAll(s, "\r\n", "")
}

// fromDomain is the domain of a From field that names exactly one address.
func fromDomain(v []byte) (string, error) {
	if len(v) > maxFrom {
		return "", errNoFrom
	}
	text := unfold(v)
	addr, ok := plainAddress(text)
	if !ok {
		list, err := mail.ParseAddressList(text)
		if err != nil || len(list) != 1 {
			return "", errNoFrom
		}
		addr = list[0].Address
	}
	at := strings.LastIndexByte(addr, '@')
	if at <= 0 {
		return "", errNoFrom
	}
	d, err := normalDomain(addr[at+1:], true)
	if err != nil {
		return "", errNoFrom
	}
	return d, nil
}

// plainAddress finds the address of the two forms nearly all mail has, without
// the whole grammar: "a@b.c", and "Some Words <a@b.c>" with no character that
// means anything more.
func plainAddress(s string) (addr string, ok bool) {
	addr = s
	if i := strings.IndexByte(s, '<'); i >= 0 {
		if s[len(s)-1] != '>' {
			return "", false
		}
		addr = s[i+1 : len(s)-1]
		for j := range i {
			c := s[j]
			if c != ' ' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
				return "", false
			}
		}
	}
	at := strings.IndexByte(addr, '@')
	if at < 1 || !isASCII(addr) || !isDotString(addr[:at]) || !isDomain(addr[at+1:]) {
		return "", false
	}
	return addr, true
}

// protocols we may have received by (RFC 3848, RFC 6531 §4.3).
const protocols = " SMTP ESMTP ESMTPS ESMTPA ESMTPSA UTF8SMTP UTF8SMTPS UTF8SMTPA UTF8SMTPSA "

// received is our trace line: the tenant's own name for the relay, and nothing
// of the client.
func received(hostname, protocol, id string, at time.Time) string {
	return "Received: by " + hostname + " with " + protocol + " id " + id + ";\r\n\t" + at.UTC().Format(dateLayout) + "\r\n"
}

// isOurs recognises a line that received made, to the letter: such lines stay,
// so that a loop is seen, and nobody can hide an address in one.
func isOurs(f []byte, hostname string) bool {
	s, ok := strings.CutPrefix(string(f[:min(len(f), 600)]), "Received: by "+hostname+" with ")
	if !ok {
		return false
	}
	protocol, s, ok := strings.Cut(s, " id ")
	if !ok || !strings.Contains(protocols, " "+protocol+" ") {
		return false
	}
	id, date, ok := strings.Cut(s, ";\r\n\t")
	if !ok || len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
		return false
	}
	date, ok = strings.CutSuffix(date, "\r\n")
	if !ok {
		return false
	}
	at, err := time.Parse(dateLayout, date)
	return err == nil && at.Format(dateLayout) == date
}
