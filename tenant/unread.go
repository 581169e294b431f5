package tenant

import (
	"strings"
	"unicode/utf8"
)

// ReasonUnread is why a tenant is paused while another node may have settled
// what waits here, and its copy cannot be read. It stands behind an operator's
// reason, if there is one; its owner sets and lifts it.
const ReasonUnread = "a copy of its log cannot be read now; its mail waits for that node"

// maxOwnReason is what is kept of an operator's reason beside it: a reason has
// its bound in the state.
const maxOwnReason = 400

// Unread reports whether a pause waits for a copy that cannot be read.
func Unread(reason string) bool { return strings.HasSuffix(reason, ReasonUnread) }

// WithUnread adds ReasonUnread to an operator's reason.
func WithUnread(reason string) string {
	if reason == "" {
		return ReasonUnread
	}
	for len(reason) > maxOwnReason {
		_, n := utf8.DecodeLastRuneInString(reason)
		reason = reason[:len(reason)-n]
	}
	return reason + "; " + ReasonUnread
}

// WithoutUnread is the operator's reason alone.
func WithoutUnread(reason string) string {
	return strings.TrimSuffix(strings.TrimSuffix(reason, ReasonUnread), "; ")
}
