package tenant

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"time"
)

// Case is one listing of one source and what followed: the input of the
// decision, its arithmetic, and what became of each tenant.
type Case struct {
	ID     uint64
	Source SourceID
	Addr   netip.Addr
	Node   NodeID // that has the source
	Drill  bool   // pretended
	Only   ID     // a drill for this tenant alone; 0: for all
	// Mode is the automation when it was raised. Only a case that is On keeps
	// mail from leaving by the source.
	Mode   Automation
	Seen   time.Time // the first answer that counted in the verdict
	Raised time.Time
	Entry  uint64 // of the log, that made the verdict
	Score  int
	Inputs []CaseInput
	// Suspects are the accounts that used the source, the worst first; Culprit
	// is the one that is surely it, or 0.
	Suspects []Suspect
	Culprit  AccountID
	Fates    []Fate
	// Ended is when the source could be used again, and Why; zero while it is
	// left alone.
	Ended     time.Time
	Why       string
	Dismissed bool // it was none, says the operator
}

// InputRefusals is the name of the input that is no zone's: refusals measured
// while delivering. Listed counts the groups of providers.
const InputRefusals = "refused while delivering"

// CaseInput is one zone's part in the verdict when it was made.
type CaseInput struct {
	Zone                 string
	Listed, Clean, Blind int
	Counts               int
	Codes                []netip.Addr
}

// FateKind is what a case means for a tenant.
type FateKind uint8

const (
	FateMove FateKind = iota + 1 // it goes to its other place
	FateStay                     // it stays and sends by what is left of its pool
	FateWait                     // its mail waits
	FateHold                     // it is held: its own source was listed again
)

var fateNames = map[FateKind]string{FateMove: "moves", FateStay: "stays", FateWait: "waits", FateHold: "held"}

func (k FateKind) String() string { return fateNames[k] }

// Fate is what became of one tenant that used the source.
type Fate struct {
	Tenant ID
	Kind   FateKind
	Why    string
	At     time.Time // of the decision
	To     Place     // FateMove
	Until  time.Time // FateWait: when it is decided anew at the latest; zero: when something changes
	Owned  time.Time // FateMove: when its new owner had taken over
	// What the nodes measured; zero while nothing was told.
	LastDot, First time.Time
}

// Plight is what listings have done to a tenant so far.
type Plight struct {
	Tenant ID
	Since  time.Time // its mail waits since then; zero: it does not
	Why    string    // and for this; "" when only the source is missing
	Spans  []Span    // the times before
	Moved  time.Time // when it last moved because of a listing
	Home   time.Time // it does not go home by itself before that
}

// Bounds of cases.
const (
	maxCases = 128
	maxFates = 4 * NodeTenants
	maxTerms = 16
)

// Cases lists the cases, the oldest first.
func (s *State) Cases() iter.Seq[*Case] { return s.cases.all() }

// Case returns a case or nil.
func (s *State) Case(id uint64) *Case { return s.cases.get(id) }

// OpenCase is the case that is open on a source, or nil.
func (s *State) OpenCase(src SourceID) *Case {
	for _, c := range slices.Backward(s.cases.vals) {
		if c.Source == src && c.Ended.IsZero() {
			return c
		}
	}
	return nil
}

// Plight returns what listings have done to a tenant, or nil.
func (s *State) Plight(t ID) *Plight { return s.plights.get(t) }

// Barred reports whether nothing of the tenant may leave by the source.
func (s *State) Barred(src SourceID, t ID) bool {
	for _, c := range s.cases.vals {
		if c.Source == src && c.Ended.IsZero() && (c.Only == 0 || c.Only == t) && s.mode(c, t) == AutomationOn {
			return true
		}
	}
	return false
}

// SourcesFor lists what a tenant may leave a place by: the place's sources but
// those that are listed, and those that are less prepared than another.
func (s *State) SourcesFor(t ID, p Place) []*Source {
	all := s.exits(t, p)
	barred := func(x *Source) bool { return s.Barred(x.ID, t) }
	if slices.ContainsFunc(all, barred) {
		all = slices.DeleteFunc(slices.Clone(all), barred)
	}
	return s.fittest(t, s.outside(all))
}

func (s *State) sends(t *Tenant, p Place) bool { return p != Place{} && len(s.SourcesFor(t.ID, p)) > 0 }

// Fleeing reports whether a tenant is being handed over because of a listing:
// it must not be waited for what is under way.
func (s *State) Fleeing(t *Tenant) bool {
	return t.To != 0 && t.Place() != Place{} && !s.sends(t, t.Place())
}

// place of a tenant at a node, or zero.
func (t *Tenant) at(n NodeID) Place {
	switch n {
	case t.Home.Node:
		return t.Home
	case t.Backup.Node:
		return t.Backup
	}
	return Place{}
}

// other is the place of a tenant that is not its owner's: its backup, or its
// home; zero when it has no second one.
func (t *Tenant) other() Place {
	if t.Owner == t.Backup.Node {
		return t.Home
	}
	return t.Backup
}

// openCase makes a case of a listing. It does nothing yet: review does.
func (d *draft) openCase(src *Source, v *ListingVerdict, c Case) uint64 {
	c.ID = 1
	if n := d.cases.len(); n > 0 {
		c.ID = d.cases.keys[n-1] + 1
	}
	c.Source, c.Addr, c.Node, c.Raised, c.Entry = src.ID, src.Addr, src.Node, d.Now(), d.header.index
	if v != nil {
		c.Score = v.Score
		for _, t := range v.Terms {
			in := CaseInput{Zone: t.Zone, Listed: t.Listed, Clean: t.Clean, Blind: t.Blind, Counts: t.Counts}
			for _, h := range t.Hits[:min(len(t.Hits), maxValues)] {
				in.Codes = append(in.Codes, h.Code)
			}
			c.Inputs = append(c.Inputs, in)
		}
		if x := d.denials.get(src.ID); v.Evidence > 0 && x != nil && len(c.Inputs) < maxZones {
			c.Inputs = append(c.Inputs, CaseInput{Zone: InputRefusals, Listed: len(x.Providers), Counts: v.Evidence})
		}
		c.Seen = d.firstSeen(src.ID)
	}
	d.from(weighVersion)
	d.from(pastVersion)
	d.from(pointsVersion)
	c.Suspects = d.suspects(src.ID, d.Now())
	put(d, &d.cases, c.ID, &c)
	d.decided(Entry{Act: "case", Subject: d.sourceText(src.ID), Source: src.ID, Case: c.ID, Why: caseSum(&c)})
	for d.cases.len() > maxCases {
		i := slices.IndexFunc(d.cases.vals, func(x *Case) bool { return !x.Ended.IsZero() })
		if i < 0 {
			break
		}
		remove(d, &d.cases, d.cases.keys[i])
	}
	return c.ID
}

// firstSeen is when a source was first told to be listed, of what counts now.
func (d *draft) firstSeen(src SourceID) (first time.Time) {
	l, x := d.Lists(), d.seen.get(src)
	if l == nil || x == nil {
		return d.Now()
	}
	first = d.Now()
	for i := range x.seen {
		g := &x.seen[i]
		if z := l.Zone(g.zone); z != nil && g.rounds > 0 && z.Read(g.values).Weight() > 0 && g.since.Before(first) {
			first = g.since
		}
	}
	return first
}

// changeCase puts a changed copy of a case; its slices are the copy's own.
func (d *draft) changeCase(id uint64, change func(*Case)) {
	c := *d.cases.get(id)
	c.Suspects, c.Fates = slices.Clone(c.Suspects), slices.Clone(c.Fates)
	change(&c)
	put(d, &d.cases, id, &c)
}

// fate finds a tenant's fate in a case, or nil.
func (c *Case) fate(t ID) *Fate {
	for i := range c.Fates {
		if c.Fates[i].Tenant == t {
			return &c.Fates[i]
		}
	}
	return nil
}

// end closes a case: its source may be used again. Where to is when its tenants
// may go home by themselves; zero is now.
func (d *draft) end(id uint64, why string, home time.Time, dismissed bool) {
	c := d.cases.get(id)
	d.decided(Entry{Act: "end case", Subject: "source " + c.Addr.String(), Source: c.Source, Case: id, Why: why})
	d.changeCase(id, func(c *Case) { c.Ended, c.Why, c.Dismissed = d.Now(), why, dismissed })
	for _, f := range c.Fates {
		t := d.tenants.get(f.Tenant)
		if t == nil || d.mode(c, t.ID) != AutomationOn {
			continue
		}
		if f.Kind == FateMove {
			d.changePlight(t.ID, func(p *Plight) {
				p.Home = home
				if dismissed || c.Drill {
					p.Moved = time.Time{} // it cost the tenant nothing
				}
			})
		}
		if f.Kind == FateHold && dismissed && t.Held == heldText(c) {
			d.letGo(id, t.ID, 0)
		}
	}
	for _, x := range c.Suspects {
		if a := d.accounts.get(x.Account); x.Held && dismissed && a != nil && a.Held == culpritText(c) {
			d.letGo(id, 0, a.ID)
		}
	}
	d.emit(CaseEnded{id})
	d.goHome(c, home)
}

// letGo lifts a hold that a case has put on a tenant or an account.
func (d *draft) letGo(id uint64, t ID, a AccountID) {
	if d.stillOpen(t, a) != nil {
		return // closed for ever meanwhile
	}
	e := Entry{Act: "release", Subject: d.tenantText(t), Tenant: t, Case: id, Why: "the listing was none"}
	if a != 0 {
		e.Subject, e.Tenant, e.account = d.accountText(a), d.tenantOf(a), a
	}
	d.decided(e)
	_ = d.hold(Hold{Tenant: t, Account: a}) // both exist
}

// goHome hands back at once what an untrue listing moved.
func (d *draft) goHome(c *Case, home time.Time) {
	if !home.IsZero() || c.Mode != AutomationOn {
		return
	}
	for _, f := range c.Fates {
		t := d.tenants.get(f.Tenant)
		if t == nil || f.Kind != FateMove || d.mode(c, t.ID) != AutomationOn {
			continue
		}
		home := Entry{Act: "come home", Subject: d.tenantText(t.ID), Tenant: t.ID, Case: c.ID}
		if t.To == f.To.Node { // it has not left yet
			home.Why = "it had not left yet"
			d.decided(home)
			d.changeTenant(t.ID, func(t *Tenant) { t.To = 0 })
			d.emit(TenantChanged{t.ID})
			continue
		}
		if t.Owner == f.To.Node && t.at(c.Node) != (Place{}) && t.To == 0 && d.takes(t, c.Node) == nil {
			home.Why = "handed back to " + d.nodeText(c.Node)
			d.decided(home)
			d.changeTenant(t.ID, func(t *Tenant) { t.To = c.Node })
			d.emit(TenantChanged{t.ID})
		}
	}
}

// changePlight puts a changed copy of a tenant's plight.
func (d *draft) changePlight(id ID, change func(*Plight)) {
	p := Plight{Tenant: id}
	if old := d.plights.get(id); old != nil {
		p = *old
	}
	change(&p)
	put(d, &d.plights, id, &p)
}

// waits makes a tenant's mail wait, or go on. why is what stops it besides the
// missing source.
func (d *draft) waits(id ID, waiting bool, why string) {
	old := d.plights.get(id)
	was := old != nil && !old.Since.IsZero()
	if was == waiting && (!waiting || old.Why == why) {
		return
	}
	d.changePlight(id, func(p *Plight) {
		switch {
		case waiting && !was:
			p.Since = d.Now()
		case !waiting && d.Now().After(p.Since):
			p.Spans = append(slices.Clone(p.Spans), Span{From: p.Since, Until: d.Now()})
			p.Spans = p.Spans[max(0, len(p.Spans)-maxSpans/2):]
			p.Since = time.Time{}
		case !waiting:
			p.Since = time.Time{}
		}
		p.Why = why
	})
	d.emit(TenantChanged{id})
}

func compareFates(a, b Fate) int { return cmp.Compare(a.Tenant, b.Tenant) }
