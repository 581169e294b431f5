package tenant

import "time"

type (
	// Review decides open cases anew when time has passed; ReviewDue says when.
	Review struct{}
	// Drill pretends that a source is listed, for one tenant or for all. What
	// follows is real but for holds, and is undone by EndCase.
	Drill struct {
		Source SourceID
		Only   ID
	}
	// EndCase ends a case by the operator's word: a drill is over, or a listing
	// was none. The source is used again, and who moved goes home.
	EndCase struct {
		Case   uint64
		Reason string
	}
	// Passed tells what nodes measured of a tenant in a case; zero is nothing.
	// The first word counts of what left the new place, the latest of the dots.
	Passed struct {
		Case           uint64
		Tenant         ID
		LastDot, First time.Time
	}
)

func (Review) op()  {}
func (Drill) op()   {}
func (EndCase) op() {}
func (Passed) op()  {}

func (Review) since() uint32  { return containVersion }
func (Drill) since() uint32   { return containVersion }
func (EndCase) since() uint32 { return containVersion }
func (Passed) since() uint32  { return containVersion }

// ReviewDue says whether a decision falls due at now.
func ReviewDue(s *State, now time.Time) bool {
	r := s.containRule()
	for c := range s.cases.all() {
		if !c.Ended.IsZero() {
			continue
		}
		if c.Drill && now.Sub(c.Raised) > r.drill() {
			return true
		}
		for _, f := range c.Fates {
			if f.Kind == FateWait && !f.Until.IsZero() && !now.Before(f.Until) {
				return true
			}
		}
	}
	return false
}

func (d *draft) reviewAgain(Review) error {
	d.judgeAll()
	d.review()
	return nil
}

func (d *draft) drill(c Drill) error {
	src := d.sources.get(c.Source)
	switch {
	case src == nil:
		return refuse("source %d is not known", c.Source)
	case c.Only != 0 && !d.tenants.has(c.Only):
		return refuse("tenant %d is not known", c.Only)
	case d.OpenCase(src.ID) != nil:
		return refuse("source %s has an open case already", src.Addr)
	}
	used := false
	for t := range d.tenants.all() {
		for _, x := range d.exits(t.ID, t.Place()) {
			used = used || x.ID == src.ID && (c.Only == 0 || c.Only == t.ID)
		}
	}
	if !used {
		return refuse("nothing of that tenant, or of any, leaves by %s now", src.Addr)
	}
	id := d.openCase(src, nil, Case{Drill: true, Only: c.Only, Mode: AutomationOn, Seen: d.Now()})
	d.emit(CaseOpened{Case: id, Source: src.ID})
	d.review()
	return nil
}

func (d *draft) endCase(c EndCase) error {
	x := d.cases.get(c.Case)
	switch {
	case x == nil:
		return refuse("case %d is not known", c.Case)
	case !x.Ended.IsZero():
		return refuse("case %d has ended already", c.Case)
	case c.Reason == "" || !validText(c.Reason, maxReason):
		return refuse("an end needs a reason without control characters, of %d octets at most", maxReason)
	}
	d.end(x.ID, c.Reason, time.Time{}, !x.Drill)
	if !x.Drill {
		d.dismiss(x.Source)
	}
	d.review()
	return nil
}

// dismiss makes a verdict count no more until the source was clean.
func (d *draft) dismiss(src SourceID) {
	if l := d.listings.get(src); l != nil {
		next := *l
		next.Raised = time.Time{}
		put(d, &d.listings, src, &next)
		d.ranged()
	}
	put(d, &d.dismissed, src, &dismissal{src, d.Now()})
}

func (d *draft) passed(c Passed) error {
	x := d.cases.get(c.Case)
	if x == nil || x.fate(c.Tenant) == nil {
		return nil // a fact about what is forgotten
	}
	old := x.fate(c.Tenant)
	f := *old
	clock := func(t time.Time) time.Time {
		if t.After(d.Now()) {
			return d.Now()
		}
		return t
	}
	if inRange(c.LastDot) && c.LastDot.After(f.LastDot) {
		f.LastDot = clock(c.LastDot)
	}
	if inRange(c.First) && f.First.IsZero() {
		f.First = clock(c.First)
	}
	if f != *old {
		d.changeCase(x.ID, func(x *Case) { *x.fate(c.Tenant) = f })
	}
	return nil
}
