package tenant

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// openTown is a town of one node whose journal is open.
func openTown(t tb) *town {
	w, version := newTown(), uint32(NewestVersion)
	w.must(t, AddNode{Name: "one"}, SetNode{Node: 1, Version: &version}, OpenJournal{},
		AddSource{Node: 1, Addr: netip.MustParseAddr("127.77.1.1"), EHLO: "a.test", Shared: true},
		AddTenant{Name: "shoes", Hostname: "shoes.test", Home: Place{Node: 1}}, AddAccount{Tenant: 1, Username: "news@shoes.test"})
	return w
}

func acts(s *State) (all []string) {
	for e := range s.Journal() {
		all = append(all, fmt.Sprintf("%s: %s %s (%s)", e.Actor, e.Act, e.Subject, e.Why))
	}
	return all
}

// What was asked for carries its asker, what follows by itself does not; what
// was refused, and what comes every second, leaves nothing.
func TestJournalNotes(t *testing.T) {
	w := openTown(t)
	before, _, _ := w.s.JournalOf()
	w.must(t, By{Actor: "operator anna", Op: Hold{Account: 1, Reason: "spam trap, ticket 4"}})
	if _, err := w.try(t, By{Actor: "operator anna", Op: Hold{Account: 9, Reason: "x"}}); err == nil {
		t.Fatal("an account that is not there is held")
	}
	if _, err := w.try(t, Hold{Account: 1, Reason: "tab\t"}); err == nil {
		t.Fatal("a reason with a tab is taken")
	}
	w.must(t, TakeGrant{Node: 1}, Observe{Node: 1}, Used{Node: 1}, Review{}, Own{Tenant: 1, Node: 1, Expect: 1, Read: true})
	w.must(t, Hold{Account: 1}, RemoveTenant{Tenant: 1})
	if n, _, _ := w.s.JournalOf(); n != before+3 {
		t.Fatalf("%d entries, want 3 more than %d:\n%s", n, before, strings.Join(acts(w.s), "\n"))
	}
}

func TestJournalChain(t *testing.T) {
	w := openTown(t)
	for i := range 200 {
		w.must(t, Pause{Tenant: 1, Reason: fmt.Sprint("because ", i)})
	}
	n, err := w.s.VerifyJournal()
	count, first, last := w.s.JournalOf()
	if err != nil || uint64(n) != count || first != 1 || last == [32]byte{} {
		t.Fatalf("verified %d of %d from %d: %v", n, count, first, err)
	}
	for seq := first; seq <= count; seq++ {
		if e := w.s.JournalEntry(seq); e == nil || e.Seq != seq {
			t.Fatalf("entry %d is %+v", seq, e)
		}
	}
	for name, change := range map[string]func(*Entry){
		"text": func(e *Entry) { e.Why = "another" }, "actor": func(e *Entry) { e.Actor = "operator" }, "time": func(e *Entry) { e.At = e.At.Add(1) },
		"case": func(e *Entry) { e.Case = 7 }, "hash": func(e *Entry) { e.Hash[3]++ },
		"rewritten": func(e *Entry) { e.Why, e.Hash = "another", [32]byte{1} },
	} {
		forged, err := Decode(w.s.Encode())
		if err != nil {
			t.Fatal(err)
		}
		change(forged.JournalEntry(77))
		var broken *BrokenEntry
		if n, err := forged.VerifyJournal(); !errors.As(err, &broken) || broken.Seq != 77 || n != 76 {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	// Whoever takes the newest away, and all that says so, meets the head.
	forged, _ := Decode(w.s.Encode())
	last1 := len(forged.entries.pages) - 1
	forged.entries.pages[last1] = forged.entries.pages[last1][:len(forged.entries.pages[last1])-1]
	if _, err := forged.VerifyJournal(); err == nil {
		t.Error("a journal without its newest entry is sound")
	}
}

// Old entries leave; the chain holds from the anchor on, and siblings made of one
// state do not write into each other's pages.
func TestJournalIsBounded(t *testing.T) {
	w := openTown(t)
	d := w.s.draft()
	for i := range MaxJournal + 150 {
		d.decided(Entry{Act: "test", Subject: fmt.Sprint(i)})
	}
	s := d.publish()
	if err := sound(s); err != nil {
		t.Fatal(err)
	}
	count, first, _ := s.JournalOf()
	if n, err := s.VerifyJournal(); err != nil || n != MaxJournal || count-first+1 != MaxJournal || first < 150 {
		t.Fatalf("%d entries kept, %d to %d: %v", n, first, count, err)
	}
	if s.JournalEntry(first-1) != nil || s.JournalEntry(first) == nil || s.JournalEntry(count+1) != nil {
		t.Fatal("what is kept is not from the first to the last")
	}
	was := s.Encode()
	var siblings []*State
	for i := range 3 {
		d := s.draft()
		for range 70 {
			d.decided(Entry{Act: "sibling", Subject: fmt.Sprint(i)})
		}
		siblings = append(siblings, d.publish())
	}
	for i, x := range siblings {
		if _, err := x.VerifyJournal(); err != nil {
			t.Errorf("sibling %d: %v", i, err)
		}
	}
	if !bytes.Equal(s.Encode(), was) {
		t.Error("a sibling changed the state it was made from")
	}
}

// Before every node knows the journal nothing is noted, and the state has its
// older form.
func TestJournalWaitsForAllNodes(t *testing.T) {
	w, older := newTown(), uint32(containVersion)
	w.must(t, AddNode{Name: "one"}, SetNode{Node: 1, Version: &older})
	if JournalDue(w.s) {
		t.Error("it is due before all know it")
	}
	for _, op := range []Op{OpenJournal{}, By{Actor: "operator", Op: AddNode{Name: "two"}}} {
		if _, err := w.try(t, op); err == nil {
			t.Errorf("%T is carried out", op)
		}
	}
	w.must(t, SetContain{Contain{Mode: AutomationOn, Rule: DefaultContainRule()}})
	if n, _, _ := w.s.JournalOf(); n != 0 || w.s.form() != containSnapshot {
		t.Errorf("%d entries in form %d", n, w.s.form())
	}
	newest := uint32(NewestVersion)
	w.must(t, SetNode{Node: 1, Version: &newest})
	if !JournalDue(w.s) {
		t.Error("it is not due when all know it")
	}
	w.must(t, OpenJournal{}, OpenJournal{})
	if n, _, _ := w.s.JournalOf(); n != 1 || JournalDue(w.s) {
		t.Errorf("%d entries after opening it twice", n)
	}
}

// A name that was added stops no operator's word while it has not joined; a
// program that does not know the journal cannot come in under it.
func TestAddedNodeStopsNobody(t *testing.T) {
	w := openTown(t)
	w.must(t, AddNode{Name: "two"}, By{Actor: "operator", Op: Hold{Account: 1, Reason: "x"}}, By{Actor: "operator", Op: AddNode{Name: "three"}})
	older := uint32(journalVersion - 1)
	if _, err := w.try(t, SetNode{Node: 2, Version: &older}); err == nil {
		t.Error("an older program comes in")
	}
	if _, err := w.try(t, later{}); err == nil || !strings.Contains(err.Error(), "knows") {
		t.Errorf("a newer operation: %v", err)
	}
}

func TestByIsNotNested(t *testing.T) {
	if _, err := EncodeCommand(Command{Op: By{Op: By{Op: Review{}}}}); err == nil {
		t.Error("a By in a By is written")
	}
	b, err := EncodeCommand(Command{Op: By{Actor: "x", Op: Review{}}})
	if err != nil {
		t.Fatal(err)
	}
	body := bytes.Clone(b[5 : len(b)-4])
	// The inner operation's number is the last octet: make it a By again.
	body[len(body)-1] = byte(opBy)
	if _, err := decodeCommand(append(body, 0, byte(opReview)), false); err == nil {
		t.Error("a By in a By is read")
	}
	if _, err := EncodeCommand(Command{Op: By{Actor: strings.Repeat("x", maxActor+1), Op: Review{}}}); err == nil {
		t.Error("an actor without end is written")
	}
}
