package tenant

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Retention is for how many days each class of personal data is kept.
type Retention struct {
	Recipients uint32 // of ended messages, with their outcomes
	Dialogues  uint32 // with receivers
	Reports    uint32 // that came in and name no sender of ours
	Journal    uint32 // in files on the nodes and, since eraseVersion, in the state; 0: for ever
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

// DaysText writes for how many days something is kept: 30d, or forever.
func DaysText(n uint32) string {
	if n == 0 {
		return "forever"
	}
	return fmt.Sprintf("%dd", n)
}

// ParseDays reads what DaysText writes.
func ParseDays(text string) (uint32, error) {
	number, ok := strings.CutSuffix(text, "d")
	n, err := strconv.ParseUint(number, 10, 32)
	switch {
	case text == DaysText(0):
		return 0, nil
	case !ok || err != nil || n == 0 || DaysText(uint32(n)) != text:
		return 0, fmt.Errorf("%q is no number of days: write 30d, or forever", clip(text))
	}
	return uint32(n), nil
}

// Days is a number of them.
func Days(n uint32) time.Duration { return time.Duration(n) * 24 * time.Hour }

// RetentionClass is one class of personal data with its bounds, in days.
type RetentionClass struct {
	Name, What  string
	Least, Most uint32
	Usual       uint32 // 0: for ever
	Forever     bool   // 0 is allowed, and means that
}

// RetentionClasses lists the classes that can be set.
func RetentionClasses() []RetentionClass {
	usual := DefaultRetention()
	return []RetentionClass{
		{"recipients", "recipients and outcomes of ended messages (trace, errors)", 1, MaxKeptRecipients, usual.Recipients, false},
		{"dialogues", "SMTP dialogues with receivers", 1, MaxKeptDialogues, usual.Dialogues, false},
		{"reports", "reports that came in and name no sender of ours", 1, MaxKeptReports, usual.Reports, false},
		{"journal", "the journal: its files, and what the state keeps of it", MinKeptJournal, MaxKeptJournal, usual.Journal, true},
	}
}

// Class is the field of a class by its name, or nil.
func (r *Retention) Class(name string) *uint32 {
	switch name {
	case "recipients":
		return &r.Recipients
	case "dialogues":
		return &r.Dialogues
	case "reports":
		return &r.Reports
	case "journal":
		return &r.Journal
	}
	return nil
}

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
