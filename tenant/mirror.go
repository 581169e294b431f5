package tenant

// MirrorFor is the node that should hold the second copy of a tenant's log: its
// other place, else the stand-in it has, else the usable node that holds the
// fewest copies. It is never the owner, and 0 when nobody is usable.
//
// Every owner asks for itself and for many tenants at once, before any answer
// is in the state; so it is computed as if all that need a stand-in chose in
// turn, and they spread over the nodes.
func MirrorFor(s *State, t *Tenant, usable func(NodeID) bool) NodeID {
	if n := holder(s, t, usable); n != 0 {
		return n
	}
	held := make(map[NodeID]int, s.nodes.len())
	var turn []*Tenant
	for x := range s.tenants.all() {
		if n := holder(s, x, usable); n != 0 {
			held[n]++
		} else if x.ID <= t.ID {
			turn = append(turn, x)
		}
	}
	var best NodeID
	for _, x := range turn {
		best = 0
		for n := range s.nodes.all() {
			if n.ID != x.Owner && usable(n.ID) && (best == 0 || held[n.ID] < held[best]) {
				best = n.ID
			}
		}
		held[best]++
	}
	return best
}

// holder is the other place of a tenant or its present stand-in, if one of them
// is usable; else 0. A stand-in stays, or owners that look at the same state
// would send their copies to and fro.
func holder(s *State, t *Tenant, usable func(NodeID) bool) NodeID {
	for _, n := range [3]NodeID{t.Backup.Node, t.Home.Node, t.Mirror()} {
		if n != 0 && n != t.Owner && s.nodes.has(n) && usable(n) {
			return n
		}
	}
	return 0
}
