package lab

import (
	"strings"
)

// maxFailed bounds the recipients read out of one notice.
const maxFailed = 1000

// Notice is what a delivery status notification (RFC 3464) says.
type Notice struct {
	Failed []FailedRcpt
	// Of the message it returns, as far as its header came along.
	UID        string
	ReceivedID string
	MessageID  string
}

// FailedRcpt is a recipient given up.
type FailedRcpt struct {
	Addr, Status, Diagnostic string
}

// ReadNotice reads a notice; ok is false when text calls no recipient failed.
func ReadNotice(text string) (n Notice, ok bool) {
	var cur FailedRcpt
	action := ""
	end := func() {
		if cur.Addr != "" && action == "failed" && len(n.Failed) < maxFailed {
			n.Failed = append(n.Failed, cur)
		}
		cur, action = FailedRcpt{}, ""
	}
	last := new(string) // what a folded line belongs to
	returned := false
	for rest := text; rest != ""; {
		line, more, _ := strings.Cut(rest, "\n")
		rest = more
		line = strings.TrimRight(line, "\r")
		if line != "" && (line[0] == ' ' || line[0] == '\t') {
			if *last += line; len(*last) > 1000 {
				*last = (*last)[:1000]
			}
			continue
		}
		last = new(string)
		name, value, found := strings.Cut(line, ":")
		if !found {
			if line == "" || strings.HasPrefix(line, "--") {
				end()
			}
			if line == "" && returned {
				var m Mail
				m.readHead([]byte(rest))
				n.UID, n.ReceivedID, n.MessageID = m.UID, m.ReceivedID, m.MessageID
				break
			}
			continue
		}
		value = strings.TrimSpace(value)
		_, typed, _ := strings.Cut(value, ";")
		switch strings.ToLower(name) {
		case "content-type":
			returned = isReturned(strings.ToLower(value))
		case "final-recipient":
			cur.Addr = strings.Trim(strings.TrimSpace(typed), "<>")
		case "action":
			action, _, _ = strings.Cut(strings.ToLower(value), " ")
		case "status":
			cur.Status = value
		case "diagnostic-code":
			cur.Diagnostic = strings.TrimSpace(typed)
			last = &cur.Diagnostic
		}
	}
	end()
	return n, len(n.Failed) > 0
}

// isReturned knows the types of a part that holds the original (RFC 6522 §3,
// RFC 6533 §3).
func isReturned(contentType string) bool {
	for _, t := range []string{"text/rfc822-headers", "message/rfc822", "message/global-headers", "message/global"} {
		if contentType == t || strings.HasPrefix(contentType, t+";") || strings.HasPrefix(contentType, t+" ") {
			return true
		}
	}
	return false
}

// Book enters what an exchanger took into a ledger: arrivals of the messages
// of a load, and failure notices about them. It reports whether m was either;
// otherwise it is somebody else's mail, or another load's.
func Book(l *Ledger, run RunID, m *Mail) bool {
	if uid, ok := m.ID(); ok {
		if uid.Run() != run {
			return false
		}
		for _, r := range m.Rcpts {
			l.Arrived(KeyOf(uid, r), m.Body)
		}
		return true
	}
	if m.From != "" {
		return false
	}
	n, ok := ReadNotice(m.Text)
	if !ok {
		return false
	}
	uid, ok := ParseUID(n.UID)
	if !ok || uid.Run() != run {
		return false
	}
	for _, r := range n.Failed {
		l.Bounced(KeyOf(uid, r.Addr))
	}
	return true
}
