package tenant

import (
	"cmp"
	"net/netip"
)

// load is how many tenants are at home on each node, and how many of those of a
// node have their backup on another: what the loss of the one brings to the
// other.
type load struct {
	homes   map[NodeID]int
	pairs   map[[2]NodeID]int // home, backup
	backups map[NodeID]int
	nodes   int // that can be a place
}

// loads counts all tenants but one (0: all).
func (s *State) loads(except ID) load {
	l := load{homes: make(map[NodeID]int), pairs: make(map[[2]NodeID]int), backups: make(map[NodeID]int)}
	for t := range s.tenants.all() {
		if t.ID == except {
			continue
		}
		l.homes[t.Home.Node]++
		if t.Backup.Node != 0 {
			l.pairs[[2]NodeID{t.Home.Node, t.Backup.Node}]++
			l.backups[t.Backup.Node]++
		}
	}
	for n := range s.nodes.all() {
		if !n.Witness && !n.Draining {
			l.nodes++
		}
	}
	return l
}

// after is how many tenants a node would own after the loss of another.
func (l *load) after(lost, n NodeID) int { return l.homes[n] + l.pairs[[2]NodeID{lost, n}] }

// worst is how many tenants a node would own after the worst loss for it.
func (l *load) worst(s *State, n NodeID) int {
	most := l.homes[n]
	for x := range s.nodes.all() {
		if x.ID != n {
			most = max(most, l.after(x.ID, n))
		}
	}
	return most
}

// Placement chooses the places that are zero: the home on the node that is home
// of the fewest, the backup so that the loss of any one node still leaves every
// node its twenty, on another /24 where there is one. A cluster of one node has
// no backups. The error is a *Refused.
func Placement(s *State, home, backup Place) (Place, Place, error) {
	l := s.loads(0)
	if home != (Place{}) {
		if backup == (Place{}) {
			backup = s.chooseBackup(&l, home)
		}
		if backup == (Place{}) && s.members() > 1 {
			return Place{}, Place{}, refuse("no node has room for a backup of a tenant at home on node %d", home.Node)
		}
		return home, backup, nil
	}
	best, least := Place{}, NodeTenants
	other := backup
	for n := range s.nodes.all() {
		p := s.offers(n)
		if p == (Place{}) || !n.Usable() || n.ID == backup.Node || l.homes[n.ID] >= least ||
			s.owned(n.ID) >= NodeTenants || l.worst(s, n.ID) >= NodeTenants {
			continue
		}
		b := backup
		if b == (Place{}) {
			b = s.chooseBackup(&l, p)
		}
		if b == (Place{}) && s.members() > 1 {
			continue
		}
		best, other, least = p, b, l.homes[n.ID]
	}
	if best == (Place{}) {
		return Place{}, Place{}, refuse("no node has room for one tenant more and its backup")
	}
	return best, other, nil
}

// members counts the nodes that can be places.
func (s *State) members() int {
	count := 0
	for n := range s.nodes.all() {
		if !n.Witness {
			count++
		}
	}
	return count
}

// offers is what a tenant could leave a node by: its pool, else a dedicated
// source that carries nobody; zero when there is neither.
func (s *State) offers(n *Node) Place {
	if len(s.lookup.pools[n.ID]) > 0 {
		return Place{Node: n.ID}
	}
	taken := make(map[SourceID]bool)
	for t := range s.tenants.all() {
		taken[t.Home.Source], taken[t.Backup.Source] = true, true
	}
	for src := range s.sources.all() {
		if src.Node == n.ID && !src.Shared && !taken[src.ID] {
			return Place{Node: n.ID, Source: src.ID}
		}
	}
	return Place{}
}

// chooseBackup finds the best backup of a home, or the zero place.
func (s *State) chooseBackup(l *load, home Place) Place {
	type merit struct{ near, over, first, second int }
	var (
		best  Place
		least merit
	)
	for n := range s.nodes.all() {
		p := s.offers(n)
		if p == (Place{}) || n.ID == home.Node || !n.Usable() || l.after(home.Node, n.ID) >= NodeTenants {
			continue
		}
		after, backups := l.after(home.Node, n.ID), l.backups[n.ID]
		m := merit{near: 1, first: backups, second: after}
		// Up to its fair share of the home's tenants a node on other /24s comes
		// first, then who is backup of few; beyond it, room counts.
		if pair := after - l.homes[n.ID]; pair >= NodeTenants/max(l.nodes, 1) {
			m.over, m.first, m.second = 1, after, pair
		} else if !s.near(home, p) {
			m.near = 0
		}
		// The last of equals: homes go to the first, so the last ones keep room.
		if best == (Place{}) || cmp.Or(cmp.Compare(m.near, least.near), cmp.Compare(m.over, least.over),
			cmp.Compare(m.first, least.first), cmp.Compare(m.second, least.second)) <= 0 {
			best, least = p, m
		}
	}
	return best
}

// near reports whether two places share a range.
func (s *State) near(a, b Place) bool {
	for _, x := range s.SourcesAt(a) {
		for _, y := range s.SourcesAt(b) {
			if rangeOf(x.Addr) == rangeOf(y.Addr) {
				return true
			}
		}
	}
	return false
}

// rangeOf is what is listed together: a /24, or the /48 of an IPv6 address.
func rangeOf(a netip.Addr) netip.Prefix {
	bits := 24
	if a.Is6() {
		bits = 48
	}
	p, _ := a.Prefix(bits)
	return p
}

// reserved judges that the loss of any one node still leaves the nodes of a
// choice their twenty. What was so before is nobody's fault.
func (d *draft) reserved(id ID, home, backup Place) error {
	l := d.loads(id)
	var was Tenant
	if t := d.tenants.get(id); t != nil {
		was = *t
	}
	if home.Node != was.Home.Node && l.worst(&d.State, home.Node) >= NodeTenants {
		return refuse("node %q has no room for one tenant more after the loss of another", d.Node(home.Node).Name)
	}
	if backup.Node != 0 && (home.Node != was.Home.Node || backup.Node != was.Backup.Node) && l.after(home.Node, backup.Node) >= NodeTenants {
		return refuse("node %q has no room for the tenants of node %q after its loss", d.Node(backup.Node).Name, d.Node(home.Node).Name)
	}
	return nil
}
