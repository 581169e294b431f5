package admin

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"postern/tenant"
)

// headerOperator names who asks, for the journal. It is the caller's own word;
// the token is what lets it ask.
const headerOperator = "Postern-Operator"

const maxActorName = 60

// actorName makes one plain line of what a caller says it is called.
func actorName(name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(name, ""))
	name = strings.TrimSpace(name)
	if len(name) > maxActorName {
		name = strings.ToValidUTF8(name[:maxActorName], "")
	}
	return name
}

// actor is who asks, in the journal's words.
func (c caller) actor(st *tenant.State) string {
	who := "operator"
	if !c.operator {
		who = "tenant"
		if t := st.Tenant(c.tenant); t != nil {
			who += " " + t.Name
		}
	}
	if c.name != "" {
		who += " " + c.name
	}
	return who
}

// signed gives an operation the name of who asks, once the journal is open:
// before, a node may not know such operations.
func (s *Server) signed(ctx context.Context, op tenant.Op) tenant.Op {
	if st := s.cfg.State(); st.Journals() {
		return tenant.By{Actor: callerOf(ctx).actor(st), Op: op}
	}
	return op
}

func (s *Server) journalRoutes() {
	type list struct {
		After  uint64 `query:"after" doc:"Go on with entries older than this one"`
		Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
		Case   uint64 `query:"case" doc:"Only of this listing"`
		Tenant string `query:"tenant" maxLength:"63" doc:"Only about this tenant"`
	}
	register(s, in{verb: http.MethodGet, path: "/v1/journal", id: "list-journal", tag: "journal", does: "List decisions, the newest first"},
		func(_ context.Context, _ caller, i *list) (*out[Page[JournalEntry]], error) {
			p, err := s.journalPage(i.After, i.Limit, func(st *tenant.State) func(*tenant.Entry) bool {
				return func(e *tenant.Entry) bool {
					return (i.Case == 0 || e.Case == i.Case) && (i.Tenant == "" || about(st, e, i.Tenant))
				}
			})
			return reply(p), err
		})
	type one struct {
		Seq uint64 `path:"seq"`
	}
	register(s, in{verb: http.MethodGet, path: "/v1/journal/{seq}", id: "get-journal-entry", tag: "journal", does: "Show one decision"},
		func(_ context.Context, _ caller, i *one) (*out[JournalEntry], error) {
			e, err := s.journalEntry(i.Seq)
			if err == nil && e == nil {
				err = absent("journal entry", strconv.FormatUint(i.Seq, 10))
			}
			if err != nil {
				return nil, err
			}
			return reply(viewEntry(e)), nil
		})
	register(s, in{verb: http.MethodGet, path: "/v1/journal/check", id: "check-journal", tag: "journal", does: "Compute this node's journal anew and say whether its chain holds"},
		func(context.Context, caller, *struct{}) (*out[JournalCheck], error) {
			v, err := s.checkJournal()
			return reply(v), err
		})
}

// about says whether an entry is about a tenant, also one that is removed.
func about(st *tenant.State, e *tenant.Entry, name string) bool {
	if t := st.TenantByName(name); t != nil && e.Tenant == t.ID {
		return true
	}
	return e.Subject == "tenant "+name || strings.HasSuffix(e.Subject, " of tenant "+name)
}

func (s *Server) journalPage(after uint64, limit int, match func(*tenant.State) func(*tenant.Entry) bool) (Page[JournalEntry], error) {
	st := s.cfg.State()
	fits := match(st)
	last, first, _ := st.JournalOf()
	if after > 0 {
		last = min(last, after-1)
	}
	page := Page[JournalEntry]{Items: []JournalEntry{}}
	all, further := s.entriesFrom(st, last, first)
	for e := range all {
		if !fits(e) {
			continue
		}
		if len(page.Items) == limit {
			page.Next = strconv.FormatUint(e.Seq+1, 10)
			return page, nil
		}
		page.Items = append(page.Items, viewEntry(e))
	}
	next, err := further()
	if next > 0 {
		page.Next = strconv.FormatUint(next, 10)
	}
	return page, err
}

// entriesFrom gives the entries up to last, the newest first: those of the state
// and, behind its first one, some of the archive's. The function says where to go
// on when these are read.
func (s *Server) entriesFrom(st *tenant.State, last, first uint64) (iter.Seq[*tenant.Entry], func() (uint64, error)) {
	var next uint64
	var err error
	return func(yield func(*tenant.Entry) bool) {
		for seq := last; seq >= first && seq > 0; seq-- {
			if !yield(st.JournalEntry(seq)) {
				return
			}
		}
		if s.cfg.Archive == nil || first <= 1 {
			return
		}
		var older []*tenant.Entry
		if older, next, err = s.cfg.Archive.Before(min(first, last+1)); err != nil {
			err = fmt.Errorf("read the journal's files: %w", err)
		}
		for _, e := range older {
			if !yield(e) {
				return
			}
		}
	}, func() (uint64, error) { return next, err }
}

func viewEntry(e *tenant.Entry) JournalEntry {
	return JournalEntry{Seq: e.Seq, At: e.At, Index: e.Index, Actor: e.Actor, Act: e.Act, Subject: e.Subject, Why: e.Why, Case: e.Case, Hash: hex.EncodeToString(e.Hash[:])}
}

func (s *Server) journalEntry(seq uint64) (*tenant.Entry, error) {
	st := s.cfg.State()
	_, first, _ := st.JournalOf()
	if seq >= first || s.cfg.Archive == nil {
		return st.JournalEntry(seq), nil
	}
	all, _, err := s.cfg.Archive.Before(seq + 1)
	if err != nil {
		return nil, fmt.Errorf("read the journal's files: %w", err)
	}
	if len(all) == 0 || all[0].Seq != seq {
		return nil, nil
	}
	return all[0], nil
}

func (s *Server) checkJournal() (JournalCheck, error) {
	st := s.cfg.State()
	n, err := st.VerifyJournal()
	count, first, head := st.JournalOf()
	v := JournalCheck{Node: s.cfg.Node, OK: err == nil, Entries: n, First: first, Last: count, Head: hex.EncodeToString(head[:])}
	if broken := (*tenant.BrokenEntry)(nil); errors.As(err, &broken) {
		v.Broken = flaw(broken)
	}
	if s.cfg.Archive == nil {
		return v, nil
	}
	files, err := s.cfg.Archive.Check(st)
	if err != nil {
		return v, fmt.Errorf("read the journal's files: %w", err)
	}
	v.Files = &JournalFiles{Entries: files.Entries, First: files.First, Last: files.Last, Missing: files.Missing}
	if files.Broken != nil {
		v.OK, v.Files.Broken = false, flaw(files.Broken)
	}
	return v, nil
}

func flaw(b *tenant.BrokenEntry) *JournalFlaw {
	return &JournalFlaw{Seq: b.Seq, Want: hex.EncodeToString(b.Want[:]), Have: hex.EncodeToString(b.Have[:])}
}

// aroundCase is how long before and after a case what was said of its source
// belongs to it.
const aroundCase = time.Hour

// incident tells a case as people need it: what happened when, what to answer,
// and what to do.
func (s *Server) incident(st *tenant.State, c *tenant.Case) *Incident {
	v := &Incident{Timeline: []Moment{}, Next: []string{}}
	v.Timeline = append(v.Timeline, Moment{At: c.Seen, Act: "first seen", Subject: "source " + c.Addr.String()})
	if c.Drill {
		v.Timeline = v.Timeline[:0]
	}
	until := c.Ended
	if until.IsZero() {
		until = st.Now()
	}
	for e := range st.Journal() {
		near := e.Case == 0 && e.Source == c.Source && !e.At.Before(c.Seen.Add(-aroundCase)) && !e.At.After(until.Add(aroundCase))
		if e.Case == c.ID || near {
			v.Timeline = append(v.Timeline, Moment{At: e.At, Seq: e.Seq, Actor: e.Actor, Act: e.Act, Subject: e.Subject, Why: e.Why})
		}
	}
	for _, f := range c.Fates {
		name := "tenant removed"
		if t := st.Tenant(f.Tenant); t != nil {
			name = "tenant " + t.Name
		}
		for _, m := range []Moment{{At: f.LastDot, Act: "last dot", Subject: name}, {At: f.First, Act: "first delivery", Subject: name}} {
			if !m.At.IsZero() {
				v.Timeline = append(v.Timeline, m)
			}
		}
	}
	slices.SortStableFunc(v.Timeline, func(a, b Moment) int { return a.At.Compare(b.At) })
	if s.cfg.Incident != nil {
		var next []string
		v.Answer, next = s.cfg.Incident(st, c)
		v.Next = append(v.Next, next...)
	}
	return v
}

// Archive is where entries of the journal are that the state keeps no more.
type Archive interface {
	// Before gives entries with a sequence below seq, the newest first, and before
	// which to go on; 0: there are no more.
	Before(seq uint64) (all []*tenant.Entry, next uint64, err error)
	// Check computes the chain of what is archived anew, up to what st has.
	Check(st *tenant.State) (ArchiveCheck, error)
}

// ArchiveCheck is what was found.
type ArchiveCheck struct {
	Entries     uint64 // that hold
	First, Last uint64
	Missing     uint64 // between First and Last
	Broken      *tenant.BrokenEntry
}
