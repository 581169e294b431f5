package bounce

import (
	"net/netip"
	"time"
)

// Bounds of what is read of one report. What lies beyond is not looked at: a
// report that needs more is not about one message.
const (
	MaxFeedback = 1 << 20 // octets of a whole report

	maxHead     = 64 << 10 // octets of one header section
	maxDepth    = 6        // parts within parts
	maxParts    = 60
	maxFields   = 500
	maxValue    = 2000     // octets of a field
	maxText     = 64 << 10 // octets of text read for words
	maxFailed   = 200      // recipients
	maxClues    = 16       // of each sort
	maxFeedAddr = 320      // octets of an address
	maxSubject  = 200
)

// Kind is what a report is.
type Kind string

// Kinds of reports, a closed set.
const (
	KindBounce    Kind = "bounce"    // a delivery status, standard or not
	KindComplaint Kind = "complaint" // a recipient's, by ARF (RFC 5965) or in an older form
	KindList      Kind = "list"      // from somebody who says to be a list's operator
	KindNotice    Kind = "notice"    // somebody wrote to abuse@
	KindReply     Kind = "reply"     // a vacation notice and its like: nothing failed
	KindTrap      Kind = "trap"      // no report at all: mail that came to a spam trap of ours
	KindUnread    Kind = "unread"    // none of these
)

// Role is the sort of address a report was sent to.
type Role uint8

// Roles of our addresses.
const (
	RoleBounce   Role = iota + 1 // return paths
	RoleAbuse                    // abuse@ and postmaster@
	RoleFeedback                 // where feedback loops send
	RoleTrap                     // nobody who was asked ever writes there
)

// Feedback is one report as it was read. Everything in it comes from outside:
// what it says is a claim, and Clues tell nothing until one of them is checked.
type Feedback struct {
	Kind    Kind
	Type    string // of a complaint: abuse, fraud, virus, not-spam, auth-failure or other
	Rcpts   []FeedbackRcpt
	Zone    string // of a list's notice: the zone it speaks for
	Subject string // bounded and printable
	Clues   Clues
}

// FeedbackRcpt is one recipient of a bounce or complaint.
type FeedbackRcpt struct {
	Addr    string // as reported; "" or a hash where it was made unreadable
	Action  Action // of a bounce
	Status  string // "5.1.1" or ""
	Text    string // the diagnosis, bounded and printable
	Verdict Verdict
}

// Hard reports whether the recipient's address failed for good.
func (r FeedbackRcpt) Hard() bool { return r.Action == Failed && r.Verdict.Hard() }

// Clues are what a report holds that may tell which message of ours it means.
type Clues struct {
	Refs       []string     // values of the reference header, unchecked
	Returns    []string     // reverse-paths named, which may be VERP
	EnvIDs     []string     // Original-Envelope-Id
	MessageIDs []string     // of the original, with brackets
	Received   []string     // transaction ids in lines like our Received
	Domains    []string     // of the original's From and DKIM signatures
	Sources    []netip.Addr // addresses the report names
	Arrived    time.Time    // when the original came to the reporter; zero unknown
}

func addClue(list *[]string, s string) {
	if s == "" || len(s) > maxValue || len(*list) >= maxClues {
		return
	}
	for _, have := range *list {
		if have == s {
			return
		}
	}
	*list = append(*list, s)
}

func (c *Clues) addSource(a netip.Addr) {
	if !a.IsValid() || a.IsUnspecified() || len(c.Sources) >= maxClues {
		return
	}
	for _, have := range c.Sources {
		if have == a {
			return
		}
	}
	c.Sources = append(c.Sources, a)
}

// ReadFeedback reads a whole report, leniently: what cannot be understood is
// passed over, and there is always an answer. Octets beyond MaxFeedback are not
// read.
func ReadFeedback(b []byte, to Role) Feedback {
	r := &reader{}
	r.message(b[:min(len(b), MaxFeedback)])
	return r.conclude(to)
}
