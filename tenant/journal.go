package tenant

import (
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
	"unicode"
)

// MaxJournal is how many entries of the journal the state keeps. Older ones
// leave; the hash of the last one that left stays, so that the chain of those
// that are kept still has its beginning.
const MaxJournal = 10000

// Bounds of an entry's texts, in octets.
const (
	maxActor   = 100
	maxAct     = 32
	maxSubject = 400
)

// ActorAutomation is the actor of what nobody asked for.
const ActorAutomation = "automation"

// Entry is one decision: what was done to what, when, by whom and why. Texts
// name things as they were called then, so that an entry is readable when they
// are gone.
type Entry struct {
	Seq     uint64    // from 1, without gaps
	At      time.Time // the state's clock
	Index   uint64    // of the log entry that made it
	Actor   string    // ActorAutomation, or who asked
	Act     string    // one word: "hold", "move"
	Subject string    // "tenant shoes"
	Why     string
	Case    uint64 // the listing it belongs to, which has the evidence; 0: none
	Tenant  ID     // 0: none
	Source  SourceID
	account AccountID // whom a notice is for, while the entry is made; not kept
	// Hash is over the hash of the entry before and all that is above.
	Hash [32]byte
}

// journalHead is where the chain begins and ends.
type journalHead struct {
	first, next  uint64   // sequence of the oldest entry kept, and of the next one
	anchor, last [32]byte // hash of the entry before the first, and of the newest
}

// journal is a persistent queue of the entries kept: adding one copies a page.
// Only its head is hashed into the digest; the head's hash covers the entries.
type journal struct {
	pages [][]*Entry // oldest first; all but the last are full
	skip  int        // gone from the first page
}

func (j *journal) all() iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		skip := j.skip
		for _, p := range j.pages {
			for _, e := range p[skip:] {
				if !yield(e) {
					return
				}
			}
			skip = 0
		}
	}
}

func (j *journal) len() int {
	n := len(j.pages)
	if n == 0 {
		return 0
	}
	return (n-1)*pageLen + len(j.pages[n-1]) - j.skip
}

// load adds an entry in place; for a receiver no other version shares.
func (j *journal) load(e *Entry) {
	if n := len(j.pages); n == 0 || len(j.pages[n-1]) == pageLen {
		j.pages = append(j.pages, make([]*Entry, 0, pageLen))
	}
	last := len(j.pages) - 1
	j.pages[last] = append(j.pages[last], e)
}

// add adds an entry; other versions go on sharing the pages.
func (j *journal) add(e *Entry) {
	if last := len(j.pages) - 1; last >= 0 && len(j.pages[last]) < pageLen {
		j.pages = slices.Clone(j.pages)
		j.pages[last] = append(slices.Clip(j.pages[last]), e)
		return
	}
	j.pages = append(slices.Clip(j.pages), []*Entry{e})
}

func (j *journal) oldest() *Entry { return j.pages[0][j.skip] }

// drop takes the oldest entry away and gives it.
func (j *journal) drop() *Entry {
	e := j.pages[0][j.skip]
	if j.skip++; j.skip == len(j.pages[0]) {
		j.pages, j.skip = j.pages[1:], 0
	}
	return e
}

// OpenJournal begins the journal; nothing is noted before it, because programs
// that know no journal must not meet one inside an older command.
type OpenJournal struct{}

func (OpenJournal) op()           {}
func (OpenJournal) since() uint32 { return journalVersion }

func (d *draft) openJournal(OpenJournal) error {
	if d.heads.has(0) {
		return nil
	}
	put(d, &d.heads, 0, &journalHead{first: 1, next: 1})
	d.decided(Entry{Act: "open", Subject: "journal", Why: "every node's program knows it"})
	return nil
}

// Journals says whether the journal is open.
func (s *State) Journals() bool { return s.heads.has(0) }

// JournalDue says whether the journal can be opened and is not.
func JournalDue(s *State) bool { return !s.heads.has(0) && s.Version() >= journalVersion }

// Journal lists the entries kept, oldest first.
func (s *State) Journal() iter.Seq[*Entry] { return s.entries.all() }

// JournalOf gives the head of the journal: how many entries there ever were,
// the sequence of the oldest one kept, and the newest one's hash.
func (s *State) JournalOf() (count, first uint64, last [32]byte) {
	if h := s.heads.get(0); h != nil {
		return h.next - 1, h.first, h.last
	}
	return 0, 0, last
}

// JournalAnchor is the newest entry that left the state, 0 when none did, and
// its hash: what was written down elsewhere must end in it.
func (s *State) JournalAnchor() (seq uint64, hash [32]byte) {
	if h := s.heads.get(0); h != nil {
		return h.first - 1, h.anchor
	}
	return 0, hash
}

// HashAfter is the hash that the entry has behind one with the hash prev. Of one
// whose texts were erased it is the one that is noted.
func (e *Entry) HashAfter(prev [32]byte) [32]byte {
	if e.Gone() {
		return e.Hash
	}
	return e.chain(&coder{}, prev)
}

// endJournal lets entries leave that are older than they are kept, but for the
// newest: it says since when nobody spoke. A command takes a page away at most.
func (d *draft) endJournal() {
	r, h := d.retention.get(0), d.heads.get(0)
	if r == nil || r.Journal == 0 || h == nil || d.entries.len() < 2 {
		return
	}
	until := d.Now().Add(-Days(r.Journal))
	if !d.entries.oldest().At.Before(until) || !d.from(eraseVersion) {
		return
	}
	d.names = true // the level may have risen
	x := *h
	for n := 0; n < pageLen && d.entries.len() > 1 && d.entries.oldest().At.Before(until); n++ {
		x.anchor, x.first = d.entries.drop().Hash, x.first+1
	}
	put(d, &d.heads, 0, &x)
}

// JournalEntry returns an entry by its sequence, or nil.
func (s *State) JournalEntry(seq uint64) *Entry {
	h := s.heads.get(0)
	if h == nil || seq < h.first || seq >= h.next {
		return nil
	}
	i := s.entries.skip + int(seq-h.first)
	return s.entries.pages[i/pageLen][i%pageLen]
}

// BrokenEntry says where the journal's chain does not hold.
type BrokenEntry struct {
	Seq  uint64
	Want [32]byte // the hash by the chain
	Have [32]byte // the hash that is noted
}

func (b *BrokenEntry) Error() string {
	return fmt.Sprintf("journal entry %d is not what was noted: its hash is %x and the chain gives %x", b.Seq, b.Have[:8], b.Want[:8])
}

// VerifyJournal computes the chain anew over all entries kept. The error is a
// *BrokenEntry with the first one that was changed, taken out or put in. A
// broken journal is a finding, no broken state: mail goes on.
func (s *State) VerifyJournal() (n int, err error) {
	h := s.heads.get(0)
	if h == nil {
		return 0, nil
	}
	c, prev, seq := &coder{}, h.anchor, h.first
	for e := range s.entries.all() {
		if want := e.chain(c, prev); want != e.Hash && !e.Gone() || e.Seq != seq {
			return n, &BrokenEntry{Seq: seq, Want: want, Have: e.Hash}
		}
		prev, seq, n = e.Hash, seq+1, n+1
	}
	if prev != h.last || seq != h.next {
		return n, &BrokenEntry{Seq: seq, Want: prev, Have: h.last}
	}
	return n, nil
}

// chain is the hash of the entry behind prev.
func (e *Entry) chain(c *coder, prev [32]byte) [32]byte {
	c.out = append(append(c.out[:0], "postern journal 1\x00"...), prev[:]...)
	e.body(c)
	return sha256.Sum256(c.out)
}

// decided notes what the state decided by its own rules.
func (d *draft) decided(e Entry) {
	e.Actor = ActorAutomation
	d.note(e)
}

// note adds an entry to the journal. What does not fit is cut: an entry is never
// a reason to refuse a command.
func (d *draft) note(e Entry) {
	old := d.heads.get(0)
	if old == nil {
		return
	}
	h := *old
	e.Seq, e.At, e.Index = h.next, d.Now(), d.header.index
	e.Actor, e.Act = plain(e.Actor, maxActor), plain(e.Act, maxAct)
	e.Subject, e.Why = plain(e.Subject, maxSubject), plain(e.Why, maxReason)
	e.Hash = e.chain(&d.scratch, h.last)
	d.entries.add(&e)
	h.next, h.last = h.next+1, e.Hash
	if d.entries.len() > MaxJournal {
		h.anchor, h.first = d.entries.drop().Hash, h.first+1
	}
	put(d, &d.heads, 0, &h)
	d.notify(&e)
}

// plain makes a bounded text without control characters.
func plain(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}

func (s *State) checkHead() error {
	h := s.heads.get(0)
	switch {
	case s.heads.len() == 0 && s.entries.len() == 0:
		return nil
	case h == nil || s.heads.len() != 1 || h.first == 0 || h.next < h.first || h.next-h.first != uint64(s.entries.len()) || s.entries.len() > MaxJournal:
		return fmt.Errorf("journal: %d entries", s.entries.len())
	}
	return nil
}

// checkEntries judges what entries may hold, not whether the chain holds: that
// is VerifyJournal's to say.
func (s *State) checkEntries() error {
	h := s.heads.get(0)
	if h == nil {
		return nil
	}
	seq := h.first
	for e := range s.entries.all() {
		if e.Seq != seq || e.At.After(s.Now()) || e.Index > s.header.index ||
			!validText(e.Actor, maxActor) || !validText(e.Act, maxAct) || !validText(e.Subject, maxSubject) || !validText(e.Why, maxReason) {
			return fmt.Errorf("journal: entry %d", seq)
		}
		seq++
	}
	return nil
}

func (*journalHead) kind() recordKind { return kindJournal }

func (h *journalHead) code(c *coder) {
	c.uint(&h.first)
	c.uint(&h.next)
	c.raw(h.anchor[:])
	c.raw(h.last[:])
}

// body codes all of an entry but its hash.
func (e *Entry) body(c *coder) {
	c.uint(&e.Seq)
	c.time(&e.At)
	c.uint(&e.Index)
	c.str(&e.Actor, maxActor)
	c.str(&e.Act, maxAct)
	c.str(&e.Subject, maxSubject)
	c.str(&e.Why, maxReason)
	c.uint(&e.Case)
	number(c, &e.Tenant)
	number(c, &e.Source)
}

func (s *State) codeJournal(c *coder) {
	codeTable(c, &s.heads, func(*journalHead) byte { return 0 })
	n := uint64(s.entries.len())
	c.uint(&n)
	if !c.reading {
		for e := range s.entries.all() {
			e.body(c)
			c.raw(e.Hash[:])
		}
		return
	}
	if n > MaxJournal || n > uint64(len(c.in)) {
		c.fail(errBounds)
		return
	}
	for range n {
		e := new(Entry)
		e.body(c)
		c.raw(e.Hash[:])
		if c.err != nil {
			return
		}
		s.entries.load(e)
	}
}
