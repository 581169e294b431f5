package delivery

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"postern/node/queue"
)

// maxPath bounds an address as it is said: RFC 5321 §4.5.3.1.3 asks for 256,
// some hosts' automatic addresses are longer.
const maxPath = 500

var errAddress = errors.New("address cannot be written")

// writeLine puts one command into s.out and into the dialogue.
func (t *transaction) writeLine(line string) {
	t.endLine(len(t.s.out), append(t.s.out, line...))
}

func (t *transaction) endLine(from int, out []byte) {
	t.s.talk.add(said, out[from:])
	t.s.out = append(out, '\r', '\n')
}

// writeMail puts MAIL into s.out and looks at all addresses. False: none of
// them can be used and everybody has a reply.
func (t *transaction) writeMail() bool {
	s, m := t.s, t.m
	from := len(s.out)
	out, err := appendPath(append(s.out, "MAIL FROM:"...), m.From, s.ext.utf8)
	if err != nil {
		t.settle(queue.Reply{Code: 553, Enhanced: "5.1.7", Text: "sender address is not valid"})
		return false
	}
	if s.ext.hasSize {
		out = strconv.AppendInt(append(out, " SIZE="...), m.Body.Size(), 10)
	}
	if m.EightBit && s.ext.eightBit {
		out = append(out, " BODY=8BITMIME"...)
	}
	if t.utf8 {
		out = append(out, " SMTPUTF8"...)
	}
	if s.ext.dsn {
		if m.Ret == "FULL" || m.Ret == "HDRS" {
			out = append(append(out, " RET="...), m.Ret...)
		}
		// RFC 3461 §5.4: at most 100 characters, printable.
		if m.EnvID != "" && len(m.EnvID) <= 100 && printableASCII(m.EnvID) {
			out = appendXtext(append(out, " ENVID="...), m.EnvID)
		}
	}
	for i, r := range m.Rcpts {
		if _, err := appendPath(out[len(out):], r.Addr, s.ext.utf8); err != nil || r.Addr == "" {
			t.refuse(i, queue.Reply{Code: 553, Enhanced: "5.1.3", Text: "recipient address is not valid"})
		}
	}
	if t.waiting == 0 {
		return false
	}
	t.endLine(from, out)
	return true
}

// writeRcpt puts RCPT for recipient i into s.out; its address was checked.
func (t *transaction) writeRcpt(i int) {
	t.rcpts[i] = rcptAsked
	s, r := t.s, &t.m.Rcpts[i]
	from := len(s.out)
	out, _ := appendPath(append(s.out, "RCPT TO:"...), r.Addr, s.ext.utf8)
	if s.ext.dsn {
		out = appendNotify(out, r.Notify)
		out = appendORcpt(out, r.ORcpt)
	}
	t.endLine(from, out)
}

func appendNotify(out []byte, n queue.Notify) []byte {
	if n == 0 {
		return out
	}
	out = append(out, " NOTIFY="...)
	if n&queue.NotifyNever != 0 {
		return append(out, "NEVER"...)
	}
	for _, b := range [...]struct {
		bit  queue.Notify
		word string
	}{{queue.NotifySuccess, "SUCCESS"}, {queue.NotifyFailure, "FAILURE"}, {queue.NotifyDelay, "DELAY"}} {
		if n&b.bit != 0 {
			if out[len(out)-1] != '=' {
				out = append(out, ',')
			}
			out = append(out, b.word...)
		}
	}
	return out
}

// appendORcpt appends ORCPT (RFC 3461 §4.2, RFC 6533 §3), or nothing when the
// value cannot be one.
func appendORcpt(out []byte, v string) []byte {
	kind, addr, ok := strings.Cut(v, ";")
	if !ok || addr == "" || len(v) > maxPath || !validWord(kind) {
		return out
	}
	if strings.EqualFold(kind, "utf-8") {
		if !utf8.ValidString(addr) {
			return out
		}
		return appendUnicodeXtext(append(append(append(out, " ORCPT="...), kind...), ';'), addr)
	}
	if !printableASCII(addr) {
		return out
	}
	return appendXtext(append(append(append(out, " ORCPT="...), kind...), ';'), addr)
}

const hexDigits = "0123456789ABCDEF"

// appendXtext encodes printable ASCII (RFC 3461 §4).
func appendXtext(out []byte, v string) []byte {
	for i := range len(v) {
		if c := v[i]; c <= ' ' || c >= 0x7f || c == '+' || c == '=' {
			out = append(out, '+', hexDigits[c>>4], hexDigits[c&15])
		} else {
			out = append(out, c)
		}
	}
	return out
}

// appendUnicodeXtext encodes text as utf-8-addr-xtext (RFC 6533 §3).
func appendUnicodeXtext(out []byte, v string) []byte {
	for _, ch := range v {
		if ch <= ' ' || ch >= 0x7f || ch == '+' || ch == '=' || ch == '\\' {
			out = append(out, `\x{`...)
			out = append(out, strings.ToUpper(strconv.FormatInt(int64(ch), 16))...)
			out = append(out, '}')
		} else {
			out = append(out, byte(ch))
		}
	}
	return out
}

// appendPath appends addr in angle brackets, its local part quoted where it
// must be. It refuses what could end the command or the address early.
func appendPath(out []byte, addr string, intl bool) ([]byte, error) {
	out = append(out, '<')
	if addr == "" {
		return append(out, '>'), nil
	}
	at := strings.LastIndexByte(addr, '@')
	if at < 1 || at == len(addr)-1 || len(addr) > maxPath {
		return out, errAddress
	}
	local, domain := addr[:at], addr[at+1:]
	if !intl && !ascii(addr) || !utf8.ValidString(addr) || !validDomain(domain) {
		return out, errAddress
	}
	for _, ch := range local {
		if ch < ' ' || ch >= 0x7f && !unicode.IsPrint(ch) {
			return out, errAddress
		}
	}
	switch {
	case dotAtom(local), quotedString(local):
		out = append(out, local...)
	default:
		out = append(out, '"')
		for i := range len(local) {
			if c := local[i]; c == '"' || c == '\\' {
				out = append(out, '\\')
			}
			out = append(out, local[i])
		}
		out = append(out, '"')
	}
	out = append(append(out, '@'), domain...)
	return append(out, '>'), nil
}

// dotAtom is RFC 5321 §4.1.2's Dot-string, with RFC 6531's letters.
func dotAtom(s string) bool {
	dot := true
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '.':
			if dot {
				return false
			}
			dot = true
			continue
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80:
		case strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0:
		default:
			return false
		}
		dot = false
	}
	return !dot
}

// quotedString reports whether s is already a whole Quoted-string.
func quotedString(s string) bool {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return false
	}
	inner := s[1 : len(s)-1]
	for i := 0; i < len(inner); i++ {
		switch inner[i] {
		case '"':
			return false
		case '\\':
			if i++; i == len(inner) {
				return false
			}
		}
	}
	return true
}

// validDomain takes names and address literals; it is about safety, not about
// whether the name exists.
func validDomain(d string) bool {
	if d[0] == '[' {
		inner, ok := strings.CutSuffix(d[1:], "]")
		if rest, six := cutPrefixFold(inner, "IPv6:"); six {
			inner = rest
		}
		return ok && net.ParseIP(inner) != nil
	}
	for _, ch := range d {
		switch {
		case ch >= 'a' && ch <= 'z', ch >= 'A' && ch <= 'Z', ch >= '0' && ch <= '9', ch == '-', ch == '.', ch == '_':
		case ch >= 0x80 && unicode.IsPrint(ch) && !unicode.IsSpace(ch):
		default:
			return false
		}
	}
	return len(d) <= 255
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
		return s[len(prefix):], true
	}
	return s, false
}

// validWord is what may stand as one word of a command: an EHLO name, a type.
func validWord(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._:[]", c) >= 0) {
			return false
		}
	}
	return s != "" && len(s) <= 255
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func printableASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
