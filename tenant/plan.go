package tenant

import (
	"fmt"
	"time"
)

// Forecast is what a change, a loss or a listing would move; nothing is moved by it.
type Forecast struct {
	Moves []PlannedMove
	Stuck []StuckTenant
}

// PlannedMove is one tenant that would get another owner.
type PlannedMove struct {
	Tenant   ID
	From, To NodeID
	// Place is what it would leave the new node by; zero when it is prepared
	// for none there: it would accept mail and send nothing.
	Place Place
	Why   string
}

// StuckTenant is one that would have to move and cannot.
type StuckTenant struct {
	Tenant ID
	Node   NodeID // the owner
	Why    string
}

// PlanLoss is what NodesDown would do to the tenants of a node.
func PlanLoss(s *State, node NodeID) Forecast {
	n := s.nodes.get(node)
	if n == nil {
		return Forecast{}
	}
	d := s.draft()
	if n.Down.IsZero() {
		down := *n
		down.Down = d.Now()
		put(d, &d.nodes, node, &down)
		d.forgetHandovers(node)
	}
	d.rescue()
	return compare(s, d, func(t *Tenant) bool { return t.Owner == node })
}

// compare tells what became of the tenants that had to move.
func compare(s *State, d *draft, affected func(*Tenant) bool) Forecast {
	var p Forecast
	for t := range s.tenants.all() {
		if !affected(t) {
			continue
		}
		x := d.tenants.get(t.ID)
		if x.Owner == t.Owner {
			p.Stuck = append(p.Stuck, StuckTenant{Tenant: t.ID, Node: t.Owner, Why: d.unready(t)})
			continue
		}
		m := PlannedMove{Tenant: t.ID, From: t.Owner, To: x.Owner, Place: x.Place()}
		switch m.Place {
		case Place{}:
			m.Why = d.unready(t) + ": it would accept mail and send nothing"
		case x.Home:
			m.Why = "its home takes it"
		default:
			m.Why = "its backup takes it"
		}
		p.Moves = append(p.Moves, m)
	}
	return p
}

// unready says why no other place of a tenant can take it, or "".
func (s *State) unready(t *Tenant) string {
	why := ""
	for _, p := range [2]Place{t.Backup, t.Home} {
		if p.Node == 0 || p.Node == t.Owner {
			continue
		}
		r := s.unusable(p.Node)
		if r == "" && !s.sends(t, p) {
			r = fmt.Sprintf("what it leaves node %q by is listed", s.nodes.get(p.Node).Name)
		}
		switch {
		case r == "":
			return ""
		case why == "":
			why = r
		default:
			why += ", and " + r
		}
	}
	if why == "" {
		return "it has no backup"
	}
	return why
}

// unusable says why a node cannot take a tenant, or "".
func (s *State) unusable(id NodeID) string {
	n := s.nodes.get(id)
	switch {
	case n == nil:
		return fmt.Sprintf("node %d is not known", id)
	case n.Witness:
		return fmt.Sprintf("node %q is a witness", n.Name)
	case !n.Down.IsZero():
		return fmt.Sprintf("node %q is down", n.Name)
	case n.Draining:
		return fmt.Sprintf("node %q is draining", n.Name)
	case s.owned(id) >= NodeTenants:
		return fmt.Sprintf("node %q owns %d tenants already", n.Name, NodeTenants)
	}
	return ""
}

// PlanDrain is where the tenants of a node would be handed over to.
func PlanDrain(s *State, node NodeID) Forecast {
	n := s.nodes.get(node)
	if n == nil {
		return Forecast{}
	}
	d := s.draft()
	draining := *n
	draining.Draining = true
	put(d, &d.nodes, node, &draining)
	d.forgetHandovers(node)
	for _, t := range d.tenants.vals {
		if t.Owner != node {
			continue
		}
		if to := d.prepared(t); to != 0 {
			d.give(t.ID, to)
		}
	}
	return compare(s, d, func(t *Tenant) bool { return t.Owner == node })
}

// PlanListing is what a listing of a source would move.
func PlanListing(s *State, source SourceID) Forecast {
	c := PlanCase(s, source)
	if c == nil {
		return Forecast{}
	}
	var p Forecast
	for _, f := range c.Fates {
		t := s.tenants.get(f.Tenant)
		switch f.Kind {
		case FateMove:
			p.Moves = append(p.Moves, PlannedMove{Tenant: t.ID, From: t.Owner, To: f.To.Node, Place: f.To, Why: f.Why})
		case FateWait, FateHold:
			p.Stuck = append(p.Stuck, StuckTenant{Tenant: t.ID, Node: t.Owner, Why: f.Why})
		}
	}
	return p
}

// PlanCase is the case that a listing of a source would make now, with its
// suspects and fates; nil for a source that is not known. A case that is open
// is given as it stands.
func PlanCase(s *State, source SourceID) *Case {
	src := s.sources.get(source)
	if src == nil {
		return nil
	}
	if c := s.OpenCase(source); c != nil && !c.Drill {
		return c
	}
	d := s.draft()
	if c := s.OpenCase(source); c != nil {
		d.end(c.ID, "it is asked what a listing would do", time.Time{}, false)
	}
	put(d, &d.listings, source, &Listing{Source: source, Level: LevelMove, Since: d.Now(), Raised: d.Now()})
	d.ranged()
	id := d.openCase(src, nil, Case{Mode: AutomationOn, Seen: d.Now()})
	d.review()
	return d.cases.get(id)
}

// Drains lists the handovers that empty draining nodes; those under way are not
// in it. What has no other place that could take it stays.
func Drains(s *State) []Handover {
	return s.handovers(func(t *Tenant) []NodeID {
		if !s.nodes.get(t.Owner).Draining {
			return nil
		}
		return []NodeID{t.Home.Node, t.Backup.Node}
	})
}

// Homing lists the handovers of tenants that are owned elsewhere although their
// home has been up for a while; now is the caller's clock. Strays, which send
// nothing, go to whichever of their places is up, at once.
func Homing(s *State, now time.Time, after time.Duration) []Handover {
	return s.handovers(func(t *Tenant) []NodeID {
		home, stray := s.nodes.get(t.Home.Node), t.Place() == Place{}
		p := s.plights.get(t.ID)
		switch early := p != nil && p.Home.After(now); { // its source is clean again, but not for long
		case s.nodes.get(t.Owner).Draining:
			return nil
		case stray && early:
			return []NodeID{t.Backup.Node, home.ID}
		case stray:
			return []NodeID{home.ID, t.Backup.Node}
		case early || !home.Down.IsZero() || home.Up.Add(after).After(now):
			return nil
		}
		return []NodeID{home.ID}
	})
}

// handovers gives tenants to the first of the wanted nodes that takes them, each
// with room for all that come.
func (s *State) handovers(want func(*Tenant) []NodeID) []Handover {
	coming := make(map[NodeID]int, s.nodes.len())
	for t := range s.tenants.all() {
		coming[t.Owner]++
		if t.To != 0 {
			coming[t.To]++
		}
	}
	var out []Handover
	for t := range s.tenants.all() {
		if t.To != 0 || len(t.Awaited) > 0 || !s.alive(t.Owner) {
			continue
		}
		for _, to := range want(t) {
			n := s.nodes.get(to)
			if n != nil && to != t.Owner && n.Usable() && coming[to] < NodeTenants && s.sends(t, t.at(to)) {
				coming[to]++
				out = append(out, Handover{Tenant: t.ID, Expect: t.Epoch, To: to})
				break
			}
		}
	}
	return out
}

// Replacements lists new places for tenants that have one on a draining node and
// are not owned there, and backups for those that cannot leave it without one.
func Replacements(s *State) []SetPlace {
	d := s.draft()
	var out []SetPlace
	for _, t := range d.tenants.vals {
		op, ok := d.replace(t)
		if ok && d.setPlace(op) == nil {
			out = append(out, op)
		}
	}
	return out
}

func (d *draft) replace(t *Tenant) (SetPlace, bool) {
	leaves := func(p Place) bool { n := d.nodes.get(p.Node); return n != nil && n.Draining }
	op := SetPlace{Tenant: t.ID, Home: t.Home, Backup: t.Backup}
	switch {
	case leaves(t.Home) && t.Backup != (Place{}) && !leaves(t.Backup) && t.Owner != t.Home.Node:
		op.Home = t.Backup // where its mail is
	case leaves(t.Home) && (t.Backup == Place{} || leaves(t.Backup)) && t.Owner == t.Home.Node:
		// A backup first: then it can be handed over.
	case leaves(t.Backup) && t.Owner != t.Backup.Node:
	default:
		return op, false
	}
	l := d.loads(t.ID)
	op.Backup = d.chooseBackup(&l, op.Home)
	return op, op.Backup != Place{} || op.Home != t.Home
}
