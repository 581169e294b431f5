package tenant

import "slices"

// comes is what a node will own once everything under way has arrived: who
// leaves makes room for who comes.
func (s *State) comes(to NodeID, but ID) (n int) {
	staying := !s.does(roomVersion) // once, who leaves counted until gone
	for x := range s.tenants.all() {
		if x.ID != but && (x.To == to || x.Owner == to && (x.To == 0 || staying)) {
			n++
		}
	}
	return n
}

// chain finds the fewest others that must go along with a tenant, so that the
// node it goes to owns no more than it may: each takes the room the next one
// leaves, and the last finds some, or the tenant's own. from are those who may
// go along, and where to. No chain is nil, and nobody needed is empty.
func chain(t *Tenant, to NodeID, room func(NodeID) bool, from map[*Tenant]NodeID) []*Tenant {
	type step struct {
		at  NodeID
		via *Tenant
		by  int // the step before
	}
	order := make([]*Tenant, 0, len(from))
	for x := range from {
		order = append(order, x)
	}
	slices.SortFunc(order, func(a, b *Tenant) int { return int(int64(a.ID) - int64(b.ID)) })
	steps, seen := []step{{at: to, by: -1}}, map[NodeID]bool{to: true}
	for i := 0; i < len(steps); i++ {
		at := steps[i].at
		if at == t.Owner || room(at) {
			out := []*Tenant{}
			for k := i; steps[k].by >= 0; k = steps[k].by {
				out = append(out, steps[k].via)
			}
			return out
		}
		for _, x := range order {
			if next := from[x]; x.ID != t.ID && x.Owner == at && !seen[next] {
				seen[next] = true
				steps = append(steps, step{next, x, i})
			}
		}
	}
	return nil
}

// swap lets those go who wait for nothing but room that others who wait, too,
// would leave: two full nodes whose sources are both listed.
func (d *draft) swap() {
	if !d.from(roomVersion) {
		return
	}
	r := d.containRule()
	for {
		waits, cases := d.roomless()
		moved := false
		for _, t := range d.tenants.vals {
			to, ok := waits[t]
			if !ok {
				continue
			}
			along := chain(t, to, func(n NodeID) bool { return d.comes(n, 0) < NodeTenants }, waits)
			if along == nil || len(d.movedLately(r))+len(along) >= r.Hourly {
				continue
			}
			for _, x := range append(along, t) {
				d.setFate(cases[x], Fate{Tenant: x.ID, Kind: FateMove, To: x.at(waits[x]), Why: "who leaves there makes room"})
			}
			moved = true
			break // tenants are other values now
		}
		if !moved {
			return
		}
	}
}

// roomless are the tenants that wait for room and nothing else, where they
// would go, and by which case.
func (d *draft) roomless() (waits map[*Tenant]NodeID, cases map[*Tenant]uint64) {
	waits, cases = make(map[*Tenant]NodeID), make(map[*Tenant]uint64)
	for _, c := range d.cases.vals {
		if !c.Ended.IsZero() || c.Drill || c.Mode != AutomationOn {
			continue
		}
		for _, f := range c.Fates {
			t := d.tenants.get(f.Tenant)
			if t == nil || f.Kind != FateWait || !f.Until.IsZero() || d.mode(c, t.ID) != AutomationOn || d.onListing(t.ID) != OnListingMove || t.To != 0 || t.Place() == (Place{}) || d.suspectElsewhere(t.ID) {
				continue
			}
			if to := t.other(); to != (Place{}) && d.comes(to.Node, t.ID) >= NodeTenants {
				if why, _ := d.bars(c, t, d.containRule()); why == "" {
					waits[t], cases[t] = to.Node, c.ID
				}
			}
		}
	}
	return waits, cases
}

// suspectElsewhere says whether some case wants the tenant to wait for a time.
func (s *State) suspectElsewhere(t ID) bool {
	for c := range s.cases.all() {
		if f := c.fate(t); f != nil && c.Ended.IsZero() && f.Kind == FateWait && !f.Until.IsZero() {
			return true
		}
	}
	return false
}

// along are those that are to be released with a tenant because the node it goes
// to is full of others which leave their listed sources, too. They must be able
// to go at once: whole with the node that takes them. nil: not now.
func (s *State) along(t *Tenant) []*Tenant {
	room := func(n NodeID) bool { return s.owned(n) < NodeTenants }
	if !s.does(roomVersion) {
		return []*Tenant{} // there was room when it was decided
	}
	able := make(map[*Tenant]NodeID)
	for x := range s.tenants.all() {
		if x.ID != t.ID && s.Fleeing(x) && len(x.Copies) == 1 && x.Mirror() == x.To && s.alive(x.Owner) && !x.restoring() && len(x.Awaited) == 0 {
			able[x] = x.To
		}
	}
	return chain(t, t.To, room, able)
}

// Releasable says whether the node a tenant is handed over to has room for it
// now, or as soon as it goes.
func (s *State) Releasable(t *Tenant) bool { return t.To != 0 && s.along(t) != nil }
