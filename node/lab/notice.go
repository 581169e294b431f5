package lab

import (
	"strings"
)

// maxFailed bounds the recipients read out of one notice.
const maxFailed = 1000

// FailureNotice reads a delivery status notification (RFC 3464): the UID of
// the message it returns and the recipients it calls failed. ok is false when
// text is none or speaks of no message of a load.
func FailureNotice(text string) (uid UID, failed []string, ok bool) {
	final, action := "", ""
	end := func() {
		if final != "" && action == "failed" && len(failed) < maxFailed {
			failed = append(failed, final)
		}
		final, action = "", ""
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		name, value, found := strings.Cut(line, ":")
		if !found {
			if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "--") {
				end()
			}
			continue
		}
		switch value = strings.TrimSpace(value); strings.ToLower(name) {
		case "final-recipient":
			if _, addr, typed := strings.Cut(value, ";"); typed {
				final = strings.Trim(strings.TrimSpace(addr), "<>")
			}
		case "action":
			action, _, _ = strings.Cut(strings.ToLower(value), " ")
		case strings.ToLower(UIDHeader):
			if u, fine := ParseUID(value); fine {
				uid, ok = u, true
			}
		}
	}
	end()
	return uid, failed, ok && len(failed) > 0
}

// Book enters what an exchanger took into a ledger: arrivals of a load's
// messages, and failure notices about them. It reports whether m was either;
// otherwise it is somebody else's mail.
func Book(l *Ledger, m *Mail) bool {
	if uid, ok := m.ID(); ok {
		for _, r := range m.Rcpts {
			l.Arrived(KeyOf(uid, r), m.Body)
		}
		return true
	}
	if m.From != "" {
		return false
	}
	uid, failed, ok := FailureNotice(m.Text)
	for _, r := range failed {
		if ok {
			l.Bounced(KeyOf(uid, r))
		}
	}
	return ok
}
