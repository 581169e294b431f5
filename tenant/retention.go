package tenant

import (
	"fmt"
	"time"
)

// Retention is for how many days each class of personal data is kept.
type Retention struct {
	Recipients uint32 // of ended messages, with their outcomes
	Dialogues  uint32 // with receivers
	Reports    uint32 // that came in and name no sender of ours
	Journal    uint32 // in files on the nodes; 0: for ever
}

// SetRetention replaces it.
type SetRetention struct{ Retention Retention }

func (SetRetention) op()           {}
func (SetRetention) since() uint32 { return customerVersion }

// DefaultRetention is what counts until somebody sets something else.
func DefaultRetention() Retention { return Retention{Recipients: 30, Dialogues: 7, Reports: 30} }

// Bounds of what is kept, in days. Less than a day cannot be told by a trace's
// day; a journal must reach back as far as what a listing is judged by.
const (
	MaxKeptRecipients = 365
	MaxKeptDialogues  = 90
	MaxKeptReports    = 90
	MinKeptJournal    = 90
	MaxKeptJournal    = 3650
)

// Days is a number of them.
func Days(n uint32) time.Duration { return time.Duration(n) * 24 * time.Hour }

func (r Retention) wrong() string {
	in := func(n, least, most uint32) bool { return n >= least && n <= most }
	switch {
	case !in(r.Recipients, 1, MaxKeptRecipients):
		return fmt.Sprintf("recipients are kept for 1 to %d days", MaxKeptRecipients)
	case !in(r.Dialogues, 1, MaxKeptDialogues):
		return fmt.Sprintf("dialogues are kept for 1 to %d days", MaxKeptDialogues)
	case r.Dialogues > r.Recipients:
		return "a dialogue names recipients: it is kept no longer than they are"
	case !in(r.Reports, 1, MaxKeptReports):
		return fmt.Sprintf("reports are kept for 1 to %d days", MaxKeptReports)
	case r.Journal != 0 && !in(r.Journal, MinKeptJournal, MaxKeptJournal):
		return fmt.Sprintf("the journal's files are kept for %d to %d days, or with 0 for ever", MinKeptJournal, MaxKeptJournal)
	}
	return ""
}

// Retention is for how long personal data is kept.
func (s *State) Retention() Retention {
	if x := s.retention.get(0); x != nil {
		return *x
	}
	return DefaultRetention()
}

func (d *draft) setRetention(c SetRetention) error {
	if why := c.Retention.wrong(); why != "" {
		return refuse("%s", why)
	}
	put(d, &d.retention, 0, &c.Retention)
	return nil
}

func (r Retention) text() string {
	journal := "for ever"
	if r.Journal > 0 {
		journal = fmt.Sprintf("%d days", r.Journal)
	}
	return fmt.Sprintf("recipients %d days, dialogues %d, reports %d, the journal's files %s", r.Recipients, r.Dialogues, r.Reports, journal)
}

func (s *State) checkRetention() error {
	for i, r := range s.retention.vals {
		if why := r.wrong(); s.retention.keys[i] != 0 || why != "" {
			return fmt.Errorf("retention: %s", why)
		}
	}
	return nil
}

func (*Retention) kind() recordKind { return kindRetention }

func (r *Retention) code(c *coder) {
	number(c, &r.Recipients)
	number(c, &r.Dialogues)
	number(c, &r.Reports)
	number(c, &r.Journal)
}
