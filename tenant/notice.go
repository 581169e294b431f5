package tenant

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// Notices is where the operator, and tenants, are told what happened: by mail
// through a smarthost outside the cluster, and by a signed webhook.
type Notices struct {
	Operators []string // addresses
	From      string
	Smarthost string // HOST:PORT; "": no mail
	User      string // "": without AUTH
	// SealedPassword and SealedSecret are AEAD ciphertext.
	SealedPassword []byte
	Plain          bool   // without TLS: for a smarthost on a network of one's own
	Webhook        string // http or https URL; "": none
	SealedSecret   []byte
	Tenants        bool // tenants are told, at their reference addresses
}

// SetNotices replaces it; the zero Notices ends them. What waits for a way that
// is no more is dropped.
type SetNotices struct{ Notices Notices }

// TestNotices sends a notice every way the operator has.
type TestNotices struct{}

// Notified tells what became of notices: those that were taken leave, others are
// tried again, but not for ever.
type Notified struct{ Results []NoticeResult }

// NoticeResult is one try of one notice; Error is "" when it was taken.
type NoticeResult struct {
	ID    uint64
	Error string
}

func (SetNotices) op()  {}
func (TestNotices) op() {}
func (Notified) op()    {}

func (SetNotices) since() uint32  { return noticeVersion }
func (TestNotices) since() uint32 { return noticeVersion }
func (Notified) since() uint32    { return noticeVersion }

// Notice is one message that somebody has still to be given.
type Notice struct {
	ID      uint64 // the log entry's index and a number in it; never used again
	At      time.Time
	Entry   uint64 // of the journal, that it tells of
	Act     string // that entry's act and subject
	Subject string
	Why     string
	Case    uint64
	Tenant  ID     // whom it tells; 0: the operator
	To      string // an address; "": the webhook
	Tries   uint64
	Tried   time.Time
	Error   string // of the last try
}

// Bounds of notices.
const (
	maxOperators = 8
	maxURL       = 500
	maxOutbox    = 1000
	maxTold      = 8 // addresses of one tenant
	noticeBits   = 10
	// NoticeTries is how often a notice is tried; NoticeLife how long.
	NoticeTries = 8
	NoticeLife  = 24 * time.Hour
	// noticeRest is how long a notice waits for what else the same moment brings.
	noticeRest = 3 * time.Second
	noticeMost = 2 * time.Hour
)

// MaxNotified is the most results of one Notified.
const MaxNotified = 64

// Due is when the notice is tried next: at once, then after 10 s, 30 s and so on.
func (n *Notice) Due() time.Time {
	if n.Tries == 0 {
		return n.At.Add(noticeRest)
	}
	wait := 10 * time.Second
	for range min(n.Tries-1, NoticeTries) {
		wait *= 3
	}
	return n.Tried.Add(min(wait, noticeMost))
}

// Notices is where notices go; nil when none do. It is shared and must not be
// changed.
func (s *State) Notices() *Notices { return s.notices.get(0) }

// Outbox lists the notices that wait, the oldest first.
func (s *State) Outbox() iter.Seq[*Notice] { return s.outbox.all() }

// wrong says what is wrong with it, or "".
func (n *Notices) wrong() string {
	mail := n.Smarthost != ""
	bad := func(a string) bool { return !ValidAddress(lower(a)) }
	switch {
	case len(n.Operators) > maxOperators || slices.ContainsFunc(n.Operators, bad):
		return fmt.Sprintf("the operators' addresses: at most %d", maxOperators)
	case mail && (!ValidPeer(n.Smarthost) || bad(n.From)):
		return "mail needs a smarthost HOST:PORT and a sender's address"
	case !mail && (len(n.Operators) > 0 || n.Tenants || n.User != "" || n.From != "" || n.Plain):
		return "mail needs a smarthost"
	case (n.User == "") != (len(n.SealedPassword) == 0) || !validText(n.User, maxAddress) || len(n.SealedPassword) > maxKey:
		return "a user needs a password, and a password a user"
	case n.User != "" && n.Plain:
		return "a password does not go out without TLS"
	case n.Webhook != "" && (len(n.Webhook) > maxURL || !validText(n.Webhook, maxURL) || !strings.HasPrefix(n.Webhook, "https://") && !strings.HasPrefix(n.Webhook, "http://")):
		return "the webhook is an http or https URL"
	case (n.Webhook == "") != (len(n.SealedSecret) == 0) || len(n.SealedSecret) > maxKey:
		return "a webhook needs a secret to be signed with"
	}
	return ""
}

func (d *draft) setNotices(c SetNotices) error {
	n := c.Notices
	if why := n.wrong(); why != "" {
		return refuse("notices cannot go so: %s", why)
	}
	if n.Smarthost == "" && n.Webhook == "" {
		remove(d, &d.notices, 0)
	} else {
		put(d, &d.notices, 0, &n)
	}
	for _, x := range slices.Clone(d.outbox.vals) {
		if !n.reaches(x) {
			remove(d, &d.outbox, x.ID)
		}
	}
	return nil
}

// reaches says whether a notice still has its way.
func (n *Notices) reaches(x *Notice) bool {
	switch {
	case x.To == "":
		return n.Webhook != ""
	case x.Tenant != 0:
		return n.Tenants
	}
	return slices.Contains(n.Operators, x.To)
}

func (d *draft) testNotices(TestNotices) error {
	if d.Notices() == nil {
		return refuse("notices go nowhere: postern notices set says where")
	}
	return nil
}

func (d *draft) notified(c Notified) error {
	if len(c.Results) > MaxNotified {
		return refuse("more than %d results in one command", MaxNotified)
	}
	for _, r := range c.Results {
		old := d.outbox.get(r.ID)
		if old == nil {
			continue // another leader's word came first
		}
		if r.Error == "" {
			remove(d, &d.outbox, r.ID)
			continue
		}
		x := *old
		x.Tries, x.Tried, x.Error = x.Tries+1, d.Now(), plain(r.Error, maxReason)
		if x.Tries < NoticeTries && d.Now().Before(x.At.Add(NoticeLife)) {
			put(d, &d.outbox, x.ID, &x)
			continue
		}
		remove(d, &d.outbox, x.ID)
		d.decided(Entry{Act: "give up", Subject: fmt.Sprintf("notice of entry %d", x.Entry), Case: x.Case, Tenant: x.Tenant,
			Why: either(x.To == "", "the webhook", x.To) + ": " + x.Error})
	}
	return nil
}

// notify makes the notices of an entry. It is called for every entry, so that
// what is told is decided in one place, by what is noted anyway.
func (d *draft) notify(e *Entry) {
	n := d.Notices()
	if n == nil {
		return
	}
	c := d.cases.get(e.Case)
	drill := c != nil && c.Drill
	switch e.Act {
	case "case", "end case":
		if !drill {
			d.tellOperators(n, e)
		}
	case "name culprit": // the first one stands in the case's own notice
		if c != nil && c.Entry != e.Index && !drill {
			d.tellOperators(n, e)
		}
	case "down", "set aside", "test notices", "domain listed":
		d.tellOperators(n, e)
	case "move", "wait":
		if c != nil && !drill && d.mode(c, e.Tenant) == AutomationOn {
			d.tellTenant(n, e)
		}
	case "hold", "release", "close", "suspend":
		if c == nil || !drill && d.mode(c, e.Tenant) == AutomationOn {
			d.tellTenant(n, e)
		}
	}
}

func (d *draft) tellOperators(n *Notices, e *Entry) {
	for _, to := range n.Operators {
		d.enqueue(e, 0, to)
	}
	if n.Webhook != "" {
		d.enqueue(e, 0, "")
	}
}

// tellTenant writes to the reference address of the account an entry is about,
// or to those of all the tenant's accounts.
func (d *draft) tellTenant(n *Notices, e *Entry) {
	if n.Webhook != "" {
		d.enqueue(e, 0, "")
	}
	if !n.Tenants || !d.tenants.has(e.Tenant) {
		return
	}
	var told []string
	for _, a := range d.accounts.vals {
		to := lower(a.Reference)
		if a.Tenant != e.Tenant || e.account != 0 && a.ID != e.account || to == "" || slices.Contains(told, to) || len(told) >= maxTold {
			continue
		}
		told = append(told, to)
		d.enqueue(e, e.Tenant, to)
	}
}

// enqueue puts a notice into the outbox; of too many the oldest leaves.
func (d *draft) enqueue(e *Entry, t ID, to string) {
	if d.told >= 1<<noticeBits-1 {
		return
	}
	d.told++
	x := &Notice{ID: d.header.index<<noticeBits | d.told, At: d.Now(), Entry: e.Seq, Act: e.Act, Subject: e.Subject, Why: e.Why, Case: e.Case, Tenant: t, To: to}
	put(d, &d.outbox, x.ID, x)
	if d.outbox.len() > maxOutbox {
		remove(d, &d.outbox, d.outbox.keys[0])
	}
}

func (s *State) checkNotices() error {
	for i, n := range s.notices.vals {
		if s.notices.keys[i] != 0 || n.wrong() != "" {
			return fmt.Errorf("notices: %s", n.wrong())
		}
	}
	if s.outbox.len() > maxOutbox || s.outbox.len() > 0 && s.Notices() == nil {
		return fmt.Errorf("outbox: %d notices", s.outbox.len())
	}
	for i, x := range s.outbox.vals {
		if s.outbox.keys[i] != x.ID || x.Tries >= NoticeTries || x.At.After(s.Now()) || x.Tried.After(s.Now()) || x.ID>>noticeBits > s.header.index {
			return fmt.Errorf("notice %d", x.ID)
		}
	}
	return nil
}
