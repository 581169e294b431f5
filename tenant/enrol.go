package tenant

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Programme is a receiver's register in which the operator of a source enrols it
// by hand: nothing of it can be asked by a program.
type Programme uint8

const (
	ProgrammeSNDS       Programme = iota + 1 // Microsoft's view of an IP
	ProgrammeJMRP                            // Microsoft's complaints, by IP
	ProgrammeTOnline                         // T-Online takes unknown IPs only when written to
	ProgrammeYahooCFL                        // Yahoo's complaints, by DKIM domain
	ProgrammePostmaster                      // Google Postmaster Tools, by domain
	ProgrammeAbuse                           // the abuse contact of the IP's range
)

// Programmes are all of them, in the order they are shown.
func Programmes() []Programme {
	return []Programme{ProgrammeSNDS, ProgrammeJMRP, ProgrammeTOnline, ProgrammeYahooCFL, ProgrammePostmaster, ProgrammeAbuse}
}

var programmeNames = [...]string{"", "snds", "jmrp", "t-online", "yahoo-cfl", "postmaster-tools", "abuse-contact"}

func (p Programme) String() string {
	if int(p) < len(programmeNames) {
		return programmeNames[p]
	}
	return "unknown"
}

// ParseProgramme reads what String writes.
func ParseProgramme(name string) (Programme, error) {
	if i := slices.Index(programmeNames[:], lower(name)); i > 0 {
		return Programme(i), nil
	}
	return 0, refuse("there is no programme %q: write snds, jmrp, t-online, yahoo-cfl, postmaster-tools or abuse-contact", clip(name))
}

// EnrolState is how far an enrolment is.
type EnrolState uint8

const (
	EnrolToDo EnrolState = iota
	EnrolApplied
	EnrolDone
	EnrolNotNeeded // the operator's word: nobody at that receiver, say
)

var enrolNames = [...]string{"to-do", "applied", "done", "not-needed"}

func (e EnrolState) String() string {
	if int(e) < len(enrolNames) {
		return enrolNames[e]
	}
	return "unknown"
}

// ParseEnrolState reads what String writes.
func ParseEnrolState(name string) (EnrolState, error) {
	if i := slices.Index(enrolNames[:], lower(name)); i >= 0 {
		return EnrolState(i), nil
	}
	return 0, refuse("an enrolment is to-do, applied, done or not-needed, not %q", clip(name))
}

// Enrolment is one source's place in one programme.
type Enrolment struct {
	Programme Programme
	State     EnrolState
	At        time.Time // when it came into that state
	Note      string    // the operator's: a ticket, a login's owner
}

// Enrol notes how far an enrolment is. To do without a note forgets it.
type Enrol struct {
	Source    SourceID
	Programme Programme
	State     EnrolState
	Note      string
}

func (Enrol) op()           {}
func (Enrol) since() uint32 { return hashVersion }

// enrolments are those of one source that are not simply to do, by programme.
type enrolments struct {
	source SourceID
	list   []Enrolment
}

// Enrolments lists every programme with how far a source's enrolment is.
func (s *State) Enrolments(id SourceID) []Enrolment {
	all := make([]Enrolment, 0, len(programmeNames)-1)
	for _, p := range Programmes() {
		all = append(all, Enrolment{Programme: p})
	}
	if x := s.enrolled.get(id); x != nil {
		for _, e := range x.list {
			all[e.Programme-1] = e
		}
	}
	return all
}

func (d *draft) enrol(c Enrol) error {
	switch {
	case !d.sources.has(c.Source):
		return refuse("source %d is not known", c.Source)
	case c.Programme == 0 || int(c.Programme) >= len(programmeNames):
		return refuse("programme %d is not known", c.Programme)
	case int(c.State) >= len(enrolNames):
		return refuse("state %d of an enrolment is not known", c.State)
	case c.Note != "" && !validText(c.Note, maxReason):
		return refuse("the note is longer than %d octets or holds control characters", maxReason)
	}
	x := &enrolments{source: c.Source}
	if old := d.enrolled.get(c.Source); old != nil {
		x.list = slices.DeleteFunc(slices.Clone(old.list), func(e Enrolment) bool { return e.Programme == c.Programme })
	}
	if c.State != EnrolToDo || c.Note != "" {
		x.list = append(x.list, Enrolment{Programme: c.Programme, State: c.State, At: d.Now(), Note: c.Note})
		slices.SortFunc(x.list, func(a, b Enrolment) int { return cmp.Compare(a.Programme, b.Programme) })
	}
	if len(x.list) == 0 {
		remove(d, &d.enrolled, c.Source)
	} else {
		put(d, &d.enrolled, c.Source, x)
	}
	return nil
}

func (*enrolments) kind() recordKind { return kindEnrolments }

func (x *enrolments) code(c *coder) {
	number(c, &x.source)
	list(c, &x.list, len(programmeNames), func(c *coder, e *Enrolment) {
		number(c, &e.Programme)
		number(c, &e.State)
		c.time(&e.At)
		c.str(&e.Note, maxReason)
	})
}

func (c *coder) enrol(o *Enrol) {
	number(c, &o.Source)
	number(c, &o.Programme)
	number(c, &o.State)
	c.str(&o.Note, 2*maxReason)
}

func (s *State) checkEnrolments() error {
	for i, x := range s.enrolled.vals {
		if x.source != s.enrolled.keys[i] || !s.sources.has(x.source) || len(x.list) == 0 {
			return fmt.Errorf("enrolments of source %d", x.source)
		}
		for k, e := range x.list {
			if e.Programme == 0 || int(e.Programme) >= len(programmeNames) || int(e.State) >= len(enrolNames) || k > 0 && e.Programme <= x.list[k-1].Programme ||
				e.State == EnrolToDo && e.Note == "" || e.Note != "" && !validText(e.Note, maxReason) || e.At.After(s.Now()) {
				return fmt.Errorf("enrolments of source %d", x.source)
			}
		}
	}
	return nil
}
