package tenant

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Suspect is an account that used a listed source, with what speaks against it.
type Suspect struct {
	Account AccountID
	Tenant  ID
	Score   int
	Terms   []SuspectTerm
	Held    bool // by this case
}

// SuspectTerm is one thing that may speak against an account.
type SuspectTerm struct {
	Name   string
	Points int
	NoData bool   // nothing is known: it counts 0, and says nothing good either
	Text   string // what the points rest on
}

// Sum is the arithmetic in words: "70 = evidence 50 + growth 20".
func (s *Suspect) Sum() string {
	var parts []string
	for _, t := range s.Terms {
		if t.Points > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", t.Name, t.Points))
		}
	}
	if len(parts) == 0 {
		return "0"
	}
	return fmt.Sprintf("%d = %s", s.Score, strings.Join(parts, " + "))
}

func (s Suspect) equal(o Suspect) bool {
	return s.Account == o.Account && s.Tenant == o.Tenant && s.Score == o.Score && s.Held == o.Held && slices.Equal(s.Terms, o.Terms)
}

const maxSuspects = 64

// suspects scores the accounts that used a source in the window, the worst
// first. Blocked or delayed mail speaks against nobody: a victim of its
// neighbour would look like the culprit.
func (s *State) suspects(src SourceID, at time.Time) (all []Suspect) {
	r := s.containRule()
	now, window := slotOf(at, r.Slot), uint64(r.Window/r.Slot)
	var total uint64
	sent := make(map[AccountID]Counts)
	for x := range s.uses.all() {
		if c := x.in(src, now, window); c.Tried > 0 {
			sent[x.account] = c
			total = plus(total, c.Tried)
		}
	}
	for e := range s.evidence.all() {
		if e.Source == src && s.accounts.has(e.Account) && e.At.Add(r.Window).After(at) {
			sent[e.Account] = sent[e.Account].Plus(Counts{})
		}
	}
	loops := s.loops(at, r)
	w := s.weighing(src, at)
	for a, c := range sent {
		x := Suspect{Account: a, Tenant: s.accounts.get(a).Tenant}
		if s.level >= weighVersion {
			x.Terms = w.terms(a, c.Tried, total)
		} else {
			x.Terms = []SuspectTerm{s.trapped(s.named(a, src, at, r), a, at, r), s.unknown(a, c, at, r), contentTerm(c), s.growth(a, now, r), s.followed(a, src, at, r), share(c.Tried, total),
				s.complained(a, at, r, loops), {Name: "domain lists", NoData: true}, {Name: "first-time recipients", NoData: true}, s.loggedIn(a, at, r)}
		}
		for _, t := range x.Terms {
			x.Score += t.Points
		}
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b Suspect) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Account, b.Account))
	})
	return all[:min(len(all), maxSuspects)]
}

// named is evidence that names the account: a report, a trap, a list's record.
func (s *State) named(a AccountID, src SourceID, at time.Time, r ContainRule) SuspectTerm {
	t := SuspectTerm{Name: "evidence", Text: "none was given"}
	for e := range s.evidence.all() {
		if e.Account == a && (e.Source == src || e.Source == 0) && e.At.Add(r.Window).After(at) {
			t.Points, t.Text = 50, e.Note
		}
	}
	return t
}

// steps gives the points of the highest step that v per mille reaches.
func steps(v uint64, all ...[2]uint64) (points int) {
	for _, s := range all {
		if v >= s[0] {
			points = int(s[1])
		}
	}
	return points
}

func ratio(name string, part, of, least uint64, all ...[2]uint64) SuspectTerm {
	t := SuspectTerm{Name: name, Text: fmt.Sprintf("%d of %d", part, of)}
	if of < least {
		t.NoData = true
		return t
	}
	t.Points = steps(part*1000/of, all...)
	return t
}

func unknownTerm(c Counts) SuspectTerm {
	return ratio("unknown users", c.Unknown, c.Tried, 50, [2]uint64{50, 10}, [2]uint64{100, 20}, [2]uint64{200, 25})
}

func contentTerm(c Counts) SuspectTerm {
	return ratio("content refused", c.Content, c.Tried, 20, [2]uint64{20, 8}, [2]uint64{50, 15})
}

// share is what part of all that left by the source was the account's.
func share(tried, total uint64) SuspectTerm {
	t := SuspectTerm{Name: "share", Text: fmt.Sprintf("%d of %d", tried, total)}
	if total == 0 {
		t.NoData = true
		return t
	}
	t.Points = int((tried*10 + total/2) / total)
	return t
}

// leastVolume is below what growth says nothing.
const leastVolume = 500

// growth compares the last two spans with the same ones of earlier days.
func (s *State) growth(a AccountID, now uint64, r ContainRule) SuspectTerm {
	t := SuspectTerm{Name: "growth"}
	x := s.uses.get(a)
	if x == nil || len(x.spans) == 0 {
		t.NoData = true
		return t
	}
	two := func(slot uint64) uint64 { return plus(x.tried(slot), x.tried(slot-1)) }
	first, recent := x.spans[0].slot, two(now)
	day := daySlots(r)
	if age := time.Duration(now-first) * r.Slot; age < r.Young {
		t.Points, t.Text = 10, "new: it began to send "+spell(age)+" ago"
		if recent < leastVolume {
			t.Points, t.Text = 0, fmt.Sprintf("new, with %d recipients only", recent)
		}
		return t
	}
	var usual []uint64
	for slot := now - day; slot > first && slot < now; slot -= day {
		usual = append(usual, two(slot))
	}
	if len(usual) == 0 {
		t.NoData = true
		return t
	}
	slices.Sort(usual)
	median := usual[len(usual)/2]
	t.Text = fmt.Sprintf("%d recipients, usually %d", recent, median)
	if recent >= leastVolume {
		t.Points = steps(recent/max(median, 1), [2]uint64{5, 10}, [2]uint64{10, 20})
	}
	return t
}

// scaledDay is a day as long as the rule's windows are: a third of the time in
// which uses count.
func scaledDay(r ContainRule) time.Duration { return r.Window / 3 }

// daySlots is a scaled day in spans.
func daySlots(r ContainRule) uint64 { return max(uint64(scaledDay(r)/r.Slot), 1) }

// followed speaks against who also used another source that was listed lately.
func (s *State) followed(a AccountID, src SourceID, at time.Time, r ContainRule) SuspectTerm {
	t := SuspectTerm{Name: "followed", Text: "used no other source that was listed"}
	x := s.uses.get(a)
	for c := range s.cases.all() {
		if c.Source == src || c.Drill || c.Dismissed || !c.Raised.Add(r.Window).After(at) {
			continue
		}
		if x.in(c.Source, slotOf(c.Raised, r.Slot), uint64(r.Window/r.Slot)).Tried > 0 {
			t.Points, t.Text = 30, "used "+c.Addr.String()+", too, before it was listed"
		}
	}
	return t
}

// Evidence is what somebody trustworthy said of an account.
type Evidence struct {
	ID      uint64
	Account AccountID
	Source  SourceID // it was said of; 0: of any
	At      time.Time
	Note    string
}

// AddEvidence records what speaks against an account by name: 50 points for the
// window. What is open is decided anew.
type AddEvidence struct {
	Account AccountID
	Source  SourceID // 0: any
	Note    string
}

func (AddEvidence) op()           {}
func (AddEvidence) since() uint32 { return containVersion }

const maxEvidence = 1000

func (d *draft) addEvidence(c AddEvidence) error {
	switch {
	case !d.accounts.has(c.Account):
		return refuse("account %d is not known", c.Account)
	case c.Source != 0 && !d.sources.has(c.Source):
		return refuse("source %d is not known", c.Source)
	case c.Note == "" || !validText(c.Note, maxReason):
		return refuse("evidence needs a note without control characters, of %d octets at most", maxReason)
	}
	id := uint64(1)
	if n := d.evidence.len(); n > 0 {
		id = d.evidence.keys[n-1] + 1
	}
	put(d, &d.evidence, id, &Evidence{ID: id, Account: c.Account, Source: c.Source, At: d.Now(), Note: c.Note})
	if d.evidence.len() > maxEvidence {
		remove(d, &d.evidence, d.evidence.keys[0])
	}
	d.emit(AccountChanged{c.Account})
	d.review()
	return nil
}
