package tenant

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// traces are hashes of what a tenant was known by, kept while its erasing is
// under way: a node that was away cannot ask the state for the names any more,
// and has to find them in files of its own.
type traces struct {
	tenant ID
	name   string
	marks  []traceMark // ascending
}

// traceMark is the beginning of the SHA-256 of a name. It has no key, because
// Apply has none; the record goes with the last node's word.
type traceMark [8]byte

// maxTraces is more than the accounts with their references, domains and the
// host name of one tenant.
const maxTraces = 3*maxOfTenant + 8

// maxTraceWord bounds what is looked at as one word.
const maxTraceWord = maxAddress + 2

func markTrace(word string) (m traceMark) {
	h := sha256.Sum256([]byte("postern trace 1\x00" + word))
	return traceMark(h[:len(m)])
}

// traceMarks is what a tenant is known by, before it goes.
func (s *State) traceMarks(t *Tenant) (all []traceMark) {
	words := []string{t.Hostname}
	for x := range s.DomainsOf(t.ID) {
		words = append(words, x.Name)
	}
	for _, id := range s.lookup.accounts[t.ID] {
		a := s.accounts.get(id)
		words = append(words, a.Username, a.Reference)
	}
	for _, w := range words {
		if w != "" {
			all = append(all, markTrace(lower(w)))
		}
	}
	slices.SortFunc(all, compareTraces)
	return slices.Compact(all)
}

func compareTraces(a, b traceMark) int { return bytes.Compare(a[:], b[:]) }

// Traces finds where an erased tenant is spoken of.
type Traces struct{ of *traces }

// TracesOf gives what finds a tenant's names, or nil when its erasing is done.
// Of one that began before names were noted only its own is known.
func (s *State) TracesOf(t ID) *Traces {
	if x := s.traces.get(t); x != nil {
		return &Traces{x}
	}
	if x := s.erasures.get(t); x != nil && x.Done.IsZero() {
		return &Traces{&traces{tenant: t, name: x.Name}}
	}
	return nil
}

// In reports whether a text speaks of the tenant: by one of its addresses, its
// host name, a domain of it or below it, or as "tenant NAME". Case does not
// matter.
func (x *Traces) In(text string) bool {
	text = lower(text)
	before := ""
	for len(text) > 0 {
		i := strings.IndexFunc(text, func(r rune) bool { return !partOfTrace(r) })
		word := text
		if i < 0 {
			text = ""
		} else {
			word, text = text[:i], text[i+1:]
		}
		if word == "" {
			continue
		}
		if x.word(word) || before == "tenant" && strings.TrimRight(word, ".") == x.of.name {
			return true
		}
		before = word
	}
	return false
}

// partOfTrace says which characters may stand in an address or a name.
func partOfTrace(r rune) bool {
	return r > ' ' && r != 0x7f && !strings.ContainsRune("<>()[]{},;:\"\\|`", r)
}

func (x *Traces) word(w string) bool {
	w = strings.Trim(w, ".'!?")
	if len(w) > maxTraceWord || !strings.ContainsAny(w, ".@") {
		return false
	}
	if x.has(w) {
		return true
	}
	if at := strings.LastIndexByte(w, '='); at >= 0 && x.word(w[at+1:]) { // from=mail@shoes.example
		return true
	}
	if at := strings.LastIndexByte(w, '@'); at >= 0 {
		w = w[at+1:]
		if x.has(w) {
			return true
		}
	}
	for {
		dot := strings.IndexByte(w, '.')
		if dot < 0 {
			return false
		}
		if w = w[dot+1:]; x.has(w) {
			return true
		}
	}
}

func (x *Traces) has(w string) bool {
	_, ok := slices.BinarySearchFunc(x.of.marks, markTrace(w), compareTraces)
	return ok
}

// eraseTraces takes out of what stays what speaks of a tenant that is gone.
func (d *draft) eraseTraces(x *traces, accounts []AccountID) {
	put(d, &d.traces, x.tenant, x)
	t := &Traces{x}
	d.eraseJournal(t)
	for _, n := range slices.Clone(d.outbox.vals) {
		if t.In(n.Subject) || t.In(n.Why) {
			remove(d, &d.outbox, n.ID)
		}
	}
	for _, e := range slices.Clone(d.State.evidence.vals) {
		if slices.Contains(accounts, e.Account) {
			remove(d, &d.State.evidence, e.ID)
		}
	}
	for _, c := range slices.Clone(d.cases.vals) {
		d.eraseCase(c, t)
	}
	// Bills are made of the numbers, and name who pays by the customer's number.
	for _, old := range slices.Clone(d.sold.vals) {
		if old.tenant == x.tenant {
			s := *old
			s.name, s.username = fmt.Sprintf("erased-%d", s.tenant), fmt.Sprintf("erased-%d", s.account)
			put(d, &d.sold, s.account, &s)
		}
	}
	d.eraseRequests(t)
	// Nor may what is remembered of this command name its domains.
	d.events = slices.DeleteFunc(d.events, func(e Event) bool { _, ok := e.(DomainChanged); return ok })
}

// eraseJournal takes the texts of entries away and leaves their hashes: the
// chain holds from one entry to the next without them.
func (d *draft) eraseJournal(t *Traces) {
	j := &d.entries
	for p := range j.pages {
		var page []*Entry
		for i, e := range j.pages[p] {
			if !t.Speaks(e) {
				continue
			}
			if page == nil {
				page = slices.Clone(j.pages[p])
			}
			page[i] = e.Erased()
		}
		if page != nil {
			j.pages = slices.Clone(j.pages)
			j.pages[p] = page
		}
	}
}

// Speaks reports whether an entry of the journal has to lose its texts. That a
// tenant was erased is what stays of it.
func (x *Traces) Speaks(e *Entry) bool {
	if e.Gone() || e.Act == actErase || e.Act == actErased {
		return false
	}
	return e.Tenant == x.of.tenant || x.In(e.Subject) || x.In(e.Why)
}

// Erased is the entry without its texts, but for the act.
func (e *Entry) Erased() *Entry {
	x := *e
	x.Actor, x.Subject, x.Why = "", "", ""
	return &x
}

// Gone reports whether the entry's texts were erased: no other is without an
// actor. Its hash is of what it said, so nobody can compute it any more.
func (e *Entry) Gone() bool { return e.Actor == "" }

// eraseCase takes the reasons away that speak of the tenant; points and what
// became of it stay, because others were judged beside it.
func (d *draft) eraseCase(old *Case, t *Traces) {
	c, touched := *old, false
	c.Suspects, c.Fates = slices.Clone(old.Suspects), slices.Clone(old.Fates)
	for i := range c.Suspects {
		x := &c.Suspects[i]
		x.Terms = slices.Clone(x.Terms)
		for k := range x.Terms {
			if x.Terms[k].Text != "" && (x.Tenant == t.of.tenant || t.In(x.Terms[k].Text)) {
				x.Terms[k].Text, touched = "", true
			}
		}
	}
	for i := range c.Fates {
		if f := &c.Fates[i]; f.Why != "" && (f.Tenant == t.of.tenant || t.In(f.Why)) {
			f.Why, touched = "", true
		}
	}
	if c.Why != "" && t.In(c.Why) {
		c.Why, touched = "erased", true
	}
	if touched {
		put(d, &d.cases, c.ID, &c)
	}
}

// eraseRequests takes names out of what is remembered of requests: one that is
// made again is still known, and hears that it was done, or not.
func (d *draft) eraseRequests(t *Traces) {
	var all requests
	touched := false
	for r := range d.requests.all() {
		events, err := decodeOutcome(r.outcome)
		var refused *Refused
		speaks := errors.As(err, &refused) && t.In(refused.Reason)
		for _, e := range events {
			x, ok := e.(DomainChanged)
			speaks = speaks || ok && t.In(x.Name)
		}
		if speaks {
			touched = true
			d.sum.sub(d.hash(r))
			if err != nil {
				err = refuse("it was about a tenant that was erased")
			}
			r = &request{id: r.id, index: r.index, outcome: encodeOutcome(nil, err)}
			d.sum.add(d.hash(r))
		}
		all.load(r)
	}
	if touched {
		d.requests = all
	}
}

func (s *State) checkTraces() error {
	for i, x := range s.traces.vals {
		e := s.erasures.get(x.tenant)
		if s.traces.keys[i] != x.tenant || e == nil || !e.Done.IsZero() || e.Name != x.name || len(x.marks) > maxTraces {
			return fmt.Errorf("traces of tenant %d", x.tenant)
		}
		for k := range x.marks {
			if k > 0 && compareTraces(x.marks[k-1], x.marks[k]) >= 0 {
				return fmt.Errorf("traces of tenant %d: mark %d", x.tenant, k)
			}
		}
	}
	return nil
}

func (*traces) kind() recordKind { return kindTraces }

func (x *traces) code(c *coder) {
	number(c, &x.tenant)
	c.str(&x.name, maxName)
	list(c, &x.marks, maxTraces, func(c *coder, m *traceMark) { c.raw(m[:]) })
}
