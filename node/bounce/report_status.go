package bounce

import (
	"strconv"
	"strings"
)

// status writes the machine's part (RFC 3464 §2, RFC 6533 §4).
func (w *writer) status(r Report) {
	w.field("Reporting-MTA", "dns; "+r.ReportingMTA)
	w.field("Original-Envelope-Id", r.EnvID)
	if !r.Arrived.IsZero() {
		w.field("Arrival-Date", date(r.Arrived))
	}
	for _, rc := range r.Rcpts {
		w.raw("\r\n")
		if kind, addr, ok := strings.Cut(rc.ORcpt, ";"); ok && addrType(kind) && addr != "" {
			w.field("Original-Recipient", kind+"; "+w.address(kind, addr))
		}
		kind := "rfc822"
		if !isASCII(rc.Final) {
			kind = "utf-8"
		}
		w.field("Final-Recipient", kind+"; "+w.address(kind, rc.Final))
		w.field("Action", string(rc.Action))
		w.field("Status", statusCode(rc))
		if rc.RemoteMTA != "" {
			w.field("Remote-MTA", "dns; "+rc.RemoteMTA)
		}
		if rc.Diagnostic != "" {
			// Only another host's words are of type smtp (RFC 3464 §2.3.6).
			kind := "smtp"
			if code, _ := splitReply(rc.Diagnostic); code == 0 {
				kind = "x-local"
			}
			w.field("Diagnostic-Code", kind+"; "+rc.Diagnostic)
		}
		if !rc.LastTry.IsZero() {
			w.field("Last-Attempt-Date", date(rc.LastTry))
		}
		if rc.Action == Delayed && !rc.RetryUntil.IsZero() {
			w.field("Will-Retry-Until", date(rc.RetryUntil))
		}
	}
}

// address writes an address of a type. In an ASCII report a UTF-8 one takes the
// form of RFC 6533 §3, which says every octet without using it.
func (w *writer) address(kind, addr string) string {
	if w.utf8 || !strings.EqualFold(kind, "utf-8") {
		return addr
	}
	var b strings.Builder
	for _, ch := range addr {
		if ch <= ' ' || ch >= 0x7f || ch == '+' || ch == '=' || ch == '\\' {
			b.WriteString(`\x{` + strings.ToUpper(strconv.FormatInt(int64(ch), 16)) + "}")
		} else {
			b.WriteRune(ch)
		}
	}
	return b.String()
}

func addrType(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if !(c >= 'a' && c <= 'z' || s[i] >= '0' && s[i] <= '9' || s[i] == '-') {
			return false
		}
	}
	return s != "" && len(s) < 40
}

// statusCode is the recipient's status, or the plain one of its action.
func statusCode(rc ReportRcpt) string {
	parts := strings.Split(rc.Status, ".")
	ok := len(parts) == 3 && (parts[0] == "2" || parts[0] == "4" || parts[0] == "5")
	for _, p := range parts {
		_, err := strconv.ParseUint(p, 10, 16)
		ok = ok && err == nil && len(p) <= 3
	}
	switch {
	case ok:
		return rc.Status
	case rc.Action == Failed:
		return "5.0.0"
	case rc.Action == Delayed:
		return "4.0.0"
	}
	return "2.0.0"
}

// splitReply takes a reply's code off its text; 0 when it has none.
func splitReply(s string) (code int, rest string) {
	if len(s) < 3 || s[0] < '2' || s[0] > '5' || len(s) > 3 && s[3] != ' ' && s[3] != '-' {
		return 0, s
	}
	n, err := strconv.ParseUint(s[:3], 10, 16)
	if err != nil {
		return 0, s
	}
	return int(n), strings.TrimLeft(s[3:], " -")
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
