package tenant

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// review decides, and decides anew, what every open case means for the tenants
// it touches. It runs whenever a case was opened or closed, tenants, places or
// nodes changed, or time has passed (Review), and changes nothing twice.
func (d *draft) review() {
	if d.cases.len() == 0 {
		return
	}
	d.dropHandovers()
	for _, id := range slices.Clone(d.cases.keys) {
		c := d.cases.get(id)
		if !c.Ended.IsZero() {
			continue
		}
		if src := d.sources.get(c.Source); src == nil {
			d.end(id, "the source was removed", time.Time{}, false)
		} else if c.Drill && d.Now().Sub(c.Raised) > d.containRule().drill() {
			d.end(id, "the drill took too long", time.Time{}, false)
		} else if !c.Drill && d.caseOver(c) {
			d.end(id, "the source is clean again", d.Now().Add(d.containRule().HomeIn), false)
		} else {
			d.decide(c, src)
		}
	}
	d.swap()
	d.settlePlights()
}

// caseOver says whether the verdict has been lifted.
func (s *State) caseOver(c *Case) bool {
	l := s.listings.get(c.Source)
	return l == nil || l.Raised.IsZero()
}

// dropHandovers takes back what is to go where it could not send.
func (d *draft) dropHandovers() {
	for _, t := range slices.Clone(d.tenants.vals) {
		if t.To != 0 && !d.sends(t, t.at(t.To)) {
			d.changeTenant(t.ID, func(t *Tenant) { t.To = 0 })
			d.emit(TenantChanged{t.ID})
		}
	}
}

// decide finds who did it and gives every tenant that leaves by the source its
// fate: the least suspicious first, for the room may not do for all.
func (d *draft) decide(c *Case, src *Source) {
	id := c.ID
	d.from(weighVersion)
	d.from(pastVersion)
	d.from(pointsVersion)
	found := d.suspects(src.ID, c.Raised)
	for i := range found {
		found[i].Held = slices.ContainsFunc(c.Suspects, func(x Suspect) bool { return x.Account == found[i].Account && x.Held })
	}
	if who := d.culprit(c, found); who != c.Culprit || !slices.EqualFunc(found, c.Suspects, Suspect.equal) {
		if who != c.Culprit && who != 0 {
			d.decided(Entry{Act: "name culprit", Subject: d.accountText(who), Tenant: d.tenantOf(who), Case: id, Why: found[0].Sum()})
		}
		d.changeCase(id, func(c *Case) { c.Suspects, c.Culprit = found, who })
	}
	d.holdCulprit(id)
	d.from(throttleVersion)
	c = d.cases.get(id)
	var touched []*Tenant
	for _, t := range d.tenants.vals {
		if (c.Only == 0 || c.Only == t.ID) && d.mode(c, t.ID) != AutomationOff && slices.ContainsFunc(d.exits(t.ID, t.Place()), func(x *Source) bool { return x.ID == src.ID }) {
			touched = append(touched, t)
		}
	}
	scores := c.scores()
	slices.SortStableFunc(touched, func(a, b *Tenant) int { return cmp.Compare(scores[a.ID], scores[b.ID]) })
	for _, t := range touched {
		d.fateOf(c.ID, t, src)
	}
}

// scores are the points of each tenant's worst account, but for a culprit that
// is held: its tenant's other accounts have done nothing.
func (c *Case) scores() map[ID]int {
	m := make(map[ID]int)
	for _, x := range c.Suspects {
		if x.Account != c.Culprit {
			m[x.Tenant] = max(m[x.Tenant], x.Score)
		}
	}
	return m
}

func (s *State) ownerOf(a AccountID) ID {
	if x := s.accounts.get(a); x != nil {
		return x.Tenant
	}
	return 0
}

func heldText(c *Case) string {
	return fmt.Sprintf("%s, its own source, was listed again: case %d", c.Addr, c.ID)
}

// fateOf decides about one tenant.
func (d *draft) fateOf(id uint64, t *Tenant, src *Source) {
	c := d.cases.get(id)
	old := c.fate(t.ID)
	if old != nil && (old.Kind == FateHold || old.Kind == FateMove && t.To == old.To.Node && t.Owner == c.Node) {
		return // it stands, or is on its way
	}
	if t.To != 0 && (old == nil || old.Kind == FateWait && d.from(readyVersion)) && d.sends(t, t.at(t.To)) {
		// It leaves anyway.
		d.setFate(id, Fate{Tenant: t.ID, Kind: FateMove, Why: "it was on its way already", To: t.at(t.To)})
		return
	}
	f := d.choose(c, t, src)
	if d.mode(c, t.ID) == AutomationShadow && c.Mode == AutomationOn {
		f.Why = shorten("only told, by its setting: "+f.Why, maxReason)
	}
	d.setFate(id, f)
}

// choose is the decision itself.
func (d *draft) choose(c *Case, t *Tenant, src *Source) Fate {
	r, f := d.containRule(), Fate{Tenant: t.ID}
	left, near := d.left(c, t)
	wait := func(until time.Time, format string, args ...any) Fate {
		f.Kind, f.Why, f.Until = FateWait, fmt.Sprintf(format, args...), until
		return f
	}
	if !c.Drill {
		if !src.Shared && d.listedBefore(c, r) {
			f.Kind, f.Why = FateHold, "its own source was listed again within "+spell(r.Repeat)
			return f
		}
		if until := c.Raised.Add(r.Patience); src.Shared && c.suspected(t.ID, r) && d.Now().Before(until) {
			return wait(until, "one of its accounts may be the cause: %d points, and nobody is surely it", c.scores()[t.ID])
		}
	}
	if left >= 2 {
		f.Kind, f.Why = FateStay, fmt.Sprintf("%d clean sources of the pool are left", left)
		return f
	}
	if how := d.onListing(t.ID); how != OnListingMove {
		until := c.Raised.Add(r.Patience)
		switch {
		case how == OnListingWait && d.Now().Before(until):
			return wait(until, "by its setting it waits")
		case left+near > 0:
			f.Kind, f.Why = FateStay, "by its setting it goes on by what is clean here"
			return f
		}
		return wait(time.Time{}, "nothing clean is left here, and by its setting it does not move")
	}
	other := t.other()
	why, until := d.flight(c, t, r)
	switch {
	case why == "":
		f.Kind, f.To, f.Why = FateMove, other, "its backup takes it"
		if other == t.Home {
			f.Why = "its home takes it"
		}
		return f
	case left == 1:
		f.Kind, f.Why = FateStay, "one clean source of the pool is left; it cannot move: "+why
		return f
	case left == 0 && near > 0:
		f.Kind, f.Why = FateStay, "what is left of the pool is in a listed range; it cannot move: "+why
		return f
	}
	if !d.from(roomVersion) {
		until = time.Time{}
	}
	if strings.HasPrefix(why, unarmed) {
		why = shorten(fmt.Sprintf("%s; mail does not age for %s while it waits, bulk for %s", why, spell(r.Transactional), spell(r.Bulk)), maxReason)
	}
	return wait(until, "%s", why)
}

// unarmed begins the reason of whose backup is not prepared.
const unarmed = "its backup is not armed: "

// left counts the clean sources of a tenant's place outside listed ranges, and
// those inside: they are on the list next, or on it elsewhere.
func (s *State) left(c *Case, t *Tenant) (n, near int) {
	for _, x := range s.exits(t.ID, t.Place()) {
		if x.ID == c.Source || s.Barred(x.ID, t.ID) {
			continue
		}
		if _, in := s.inListedRange(x.Addr); in {
			near++
		} else {
			n++
		}
	}
	return n, near
}

// suspected says whether a tenant is among the few that may be the cause while
// nobody surely is.
func (c *Case) suspected(t ID, r ContainRule) bool {
	if c.Culprit != 0 {
		return false
	}
	seen := make(map[ID]bool)
	for _, x := range c.Suspects {
		if x.Score < r.Suspect || len(seen) >= r.Top {
			return false
		}
		if seen[x.Tenant] = true; x.Tenant == t {
			return true
		}
	}
	return false
}

// listedBefore says whether the source of a dedicated place's tenant was listed
// before, within the time that makes it a pattern: this source, or the other
// one the tenant was moved to.
func (s *State) listedBefore(c *Case, r ContainRule) bool {
	var carries ID
	for t := range s.tenants.all() {
		if t.Home.Source == c.Source || t.Backup.Source == c.Source {
			carries = t.ID
		}
	}
	for x := range s.cases.all() {
		if x.ID != c.ID && !x.Drill && !x.Dismissed && x.Mode == AutomationOn && x.Raised.Add(r.Repeat).After(c.Raised) && !x.Raised.After(c.Raised) {
			if f := x.fate(carries); x.Source == c.Source || f != nil && f.Kind == FateMove && f.To.Source == c.Source {
				return true
			}
		}
	}
	return false
}

// flight says why a tenant cannot go to its other place now, or "", and until
// when that is so if time alone changes it.
func (d *draft) flight(c *Case, t *Tenant, r ContainRule) (why string, until time.Time) {
	if why, until := d.bars(c, t, r); why != "" {
		return why, until
	}
	if err := d.takes(t, t.other().Node); err != nil {
		return err.Error(), until
	}
	return "", until
}

// bars is flight without the question for room.
func (d *draft) bars(c *Case, t *Tenant, r ContainRule) (why string, until time.Time) {
	other := t.other()
	if other == (Place{}) || t.Place() == (Place{}) {
		return "it has no backup", until
	}
	if t.restoring() || len(t.Awaited) > 0 {
		return "its log is awaited after a restore", until
	}
	judge := d.fits
	if !d.from(roomVersion) { // room was asked for first
		judge = d.takes
	}
	if err := judge(t, other.Node); err != nil {
		return err.Error(), until
	}
	if d.from(readyVersion) {
		if why := d.hinders(t); why != "" {
			return unarmed + why, until
		}
	}
	if c.Drill {
		return "", until
	}
	f := c.fate(t.ID)
	again := f != nil && f.Kind == FateMove && f.Owned.IsZero() // it has not gone yet
	if p := d.plights.get(t.ID); !again && p != nil && !p.Moved.IsZero() && p.Moved.Add(r.Again).After(d.Now()) {
		return fmt.Sprintf("a listing moved it already at %s, and does so once in %s", p.Moved.Format(time.TimeOnly), spell(r.Again)), p.Moved.Add(r.Again)
	}
	if lately := d.movedLately(r); !again && len(lately) >= r.Hourly {
		if r.Hourly > 0 {
			until = lately[len(lately)-r.Hourly].Add(r.Hour)
		}
		return fmt.Sprintf("listings moved %d tenants within %s already", len(lately), spell(r.Hour)), until
	}
	if x := d.rival(c, t, other); x != nil {
		return fmt.Sprintf("it would share its sources with tenant %q, and one of the two may be the cause", x.Name), until
	}
	return "", until
}

// movedLately lists when listings moved tenants within the last hour, the
// earliest first.
func (s *State) movedLately(r ContainRule) (all []time.Time) {
	for p := range s.plights.all() {
		if !p.Moved.IsZero() && p.Moved.Add(r.Hour).After(s.Now()) {
			all = append(all, p.Moved)
		}
	}
	slices.SortFunc(all, time.Time.Compare)
	return all
}

// rival is another suspect of an undetermined case that is, or will be, at the
// place: two who may both be the cause never share a source afterwards.
func (d *draft) rival(c *Case, t *Tenant, p Place) *Tenant {
	r := d.containRule()
	for past := range d.cases.all() {
		if past.Drill || past.Dismissed || !past.suspected(t.ID, r) {
			continue
		}
		for x := range d.tenants.all() {
			if x.ID != t.ID && past.suspected(x.ID, r) && (x.Place() == p && x.To == 0 || x.To != 0 && x.at(x.To) == p) {
				return x
			}
		}
	}
	return nil
}

// setFate notes a decision and carries it out, if the case is not a shadow.
func (d *draft) setFate(id uint64, f Fate) {
	c := d.cases.get(id)
	old := c.fate(f.Tenant)
	f.At = d.Now()
	same := old != nil && old.Kind == f.Kind && old.To == f.To && old.Until.Equal(f.Until) && old.Why == f.Why && old.Owned.IsZero()
	if same && old.Kind != FateMove {
		return
	}
	d.changeCase(id, func(c *Case) {
		i, found := slices.BinarySearchFunc(c.Fates, f, compareFates)
		switch {
		case found:
			f.LastDot = c.Fates[i].LastDot
			c.Fates[i] = f
		case len(c.Fates) < maxFates:
			c.Fates = slices.Insert(c.Fates, i, f)
		}
	})
	if old == nil || old.Kind != f.Kind || old.To != f.To {
		d.decided(Entry{Act: fateActs[f.Kind], Subject: d.tenantText(f.Tenant), Tenant: f.Tenant, Source: c.Source, Case: id, Why: d.fateSum(c, f)})
	}
	if d.mode(c, f.Tenant) != AutomationOn {
		return
	}
	if old != nil && old.Kind == FateMove && old.Owned.IsZero() && f.Kind != FateMove && !c.Drill {
		d.changePlight(f.Tenant, func(p *Plight) { p.Moved = time.Time{} }) // it never left
	}
	switch f.Kind {
	case FateMove:
		d.changeTenant(f.Tenant, func(t *Tenant) { t.To = f.To.Node })
		if !c.Drill {
			d.changePlight(f.Tenant, func(p *Plight) { p.Moved = d.Now() })
		}
		d.emit(TenantChanged{f.Tenant})
	case FateHold:
		if d.tenants.get(f.Tenant).Held == "" || d.suspensions.has(closureKey(f.Tenant, 0)) {
			_ = d.hold(Hold{Tenant: f.Tenant, Reason: heldText(c)}) // it exists
		}
	}
}

// settlePlights makes mail wait where nothing may leave, or a suspect waits, and
// go on where that is over.
func (d *draft) settlePlights() {
	for _, t := range slices.Clone(d.tenants.vals) {
		why := ""
		for _, c := range d.cases.vals {
			if f := c.fate(t.ID); f != nil && f.Kind == FateWait && !f.Until.IsZero() && c.Ended.IsZero() && d.mode(c, t.ID) == AutomationOn {
				why = f.Why
			}
		}
		stuck := t.Place() != (Place{}) && !d.sends(t, t.Place())
		if p := d.plights.get(t.ID); p != nil || stuck || why != "" {
			d.waits(t.ID, stuck || why != "", why)
		}
	}
}

// arrived notes that a tenant's new owner has taken over.
func (d *draft) arrived(t *Tenant) {
	for _, c := range d.cases.vals {
		f := c.fate(t.ID)
		if f == nil || f.Kind != FateMove || !f.Owned.IsZero() || t.Owner != f.To.Node {
			continue
		}
		d.changeCase(c.ID, func(c *Case) { c.fate(t.ID).Owned = d.Now() })
	}
}
