package bounce

import (
	"net/netip"
	"strings"
)

// conclude says what the report is.
func (r *reader) conclude(to Role) Feedback {
	f := Feedback{Kind: KindUnread, Subject: cutText(r.field("subject"), maxSubject)}
	if to == RoleTrap {
		// The mail itself: what it quotes or carries is not what came.
		f.Kind = KindTrap
		f.Clues.header(r.head)
		return f
	}
	rcpts := r.statusRcpts()
	var words []FeedbackRcpt
	if len(rcpts) == 0 && len(r.feedback) == 0 && r.saysBounce() {
		words = r.wordRcpts()
	}
	hasOriginal := len(r.original) > 0 || r.redacted
	zone := ListOperator(domainOf(mailbox(r.field("from"))))
	switch {
	case len(r.feedback) > 0:
		f.Kind = KindComplaint
		r.complaint(&f)
	case len(rcpts) > 0:
		f.Kind, f.Rcpts = KindBounce, rcpts
	case zone != "" && to != RoleBounce:
		f.Kind, f.Zone = KindList, zone
	case to == RoleFeedback && hasOriginal, r.olderComplaint() && hasOriginal:
		f.Kind, f.Type = KindComplaint, "abuse"
		if a := mailbox(first(r.original, "x-hmxmroriginalrecipient")); a != "" {
			f.Rcpts = []FeedbackRcpt{{Addr: a}}
		}
	case len(words) > 0:
		f.Kind, f.Rcpts = KindBounce, words
	case r.saysReply():
		f.Kind = KindReply
	case to == RoleAbuse:
		f.Kind = KindNotice
	}
	r.clues(&f.Clues)
	return f
}

// olderComplaint knows the forms from before ARF by who writes them, or how.
func (r *reader) olderComplaint() bool {
	if strings.HasPrefix(strings.ToLower(strings.TrimSpace(r.field("subject"))), "complaint about message from ") {
		return true
	}
	switch strings.ToLower(mailbox(r.field("from"))) {
	case "staff@hotmail.com", "fbl@mail.ru", "scomp@aol.net", "feedbackloop@comcastfbl.senderscore.net":
		return true
	}
	return false
}

// complaint reads the fields of a feedback report (RFC 5965 §3).
func (r *reader) complaint(f *Feedback) {
	f.Type = "other"
	switch t := strings.ToLower(strings.TrimSpace(first(r.feedback, "feedback-type"))); t {
	case "abuse", "fraud", "virus", "not-spam", "auth-failure":
		f.Type = t
	case "opt-out", "opt-out-list", "complaint":
		f.Type = "abuse"
	}
	for _, x := range r.feedback {
		if x.name != "original-rcpt-to" || len(f.Rcpts) >= maxFailed {
			continue
		}
		a := mailbox(x.value)
		if a == "" {
			a = cutText(strings.Trim(x.value, "<> "), maxFeedAddr) // hashed, or redacted
		}
		f.Rcpts = append(f.Rcpts, FeedbackRcpt{Addr: a})
	}
}

// addressIn reads an IP out of a field: "192.0.2.1", "[192.0.2.1]", "dns;
// host (192.0.2.1)".
func addressIn(s string) (netip.Addr, bool) {
	for word := range strings.FieldsFuncSeq(s, func(c rune) bool { return c > 0x7f || !literalOctet(byte(c)) }) {
		if a, ok := literal(word); ok && !a.IsUnspecified() {
			return a, true
		}
	}
	return netip.Addr{}, false
}
