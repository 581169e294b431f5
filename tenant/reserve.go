package tenant

import (
	"fmt"
	"net/netip"
	"strings"
)

// Armed says why the tenant's other place would not work right now: the backup
// while home owns, home while the backup does. Nothing means it would.
func Armed(s *State, t *Tenant) []string {
	var why []string
	if r := s.unready(t); r != "" {
		why = append(why, r)
	} else if r := s.hinders(t); r != "" {
		why = append(why, r)
	} else if r := s.cold(t); r != "" {
		why = append(why, r)
	}
	other := t.Backup.Node
	if t.Owner == other {
		other = t.Home.Node
	}
	switch mirror := t.Mirror(); {
	case other == 0:
	case mirror == 0:
		why = append(why, "there is one copy of its log only")
	case mirror != other:
		why = append(why, fmt.Sprintf("the second copy is on node %q", s.nodes.get(mirror).Name))
	case len(t.Copies) > 1:
		why = append(why, "the second copy is not complete yet")
	}
	return why
}

// Reserve says which loss of one node or source would leave which tenants no
// place to send from; one text a loss. Nothing means that every loss is carried.
func Reserve(s *State) []string {
	var out []string
	say := func(what string, p Forecast) {
		var names []string
		for _, x := range p.Stuck {
			names = append(names, s.tenants.get(x.Tenant).Name)
		}
		for _, m := range p.Moves {
			if m.Place == (Place{}) {
				names = append(names, s.tenants.get(m.Tenant).Name)
			}
		}
		if n := len(names); n > 5 {
			names = append(names[:5], fmt.Sprintf("%d more", n-5))
		}
		if len(names) > 0 {
			out = append(out, fmt.Sprintf("the loss of %s leaves no place to %s", what, strings.Join(names, ", ")))
		}
	}
	for n := range s.nodes.all() {
		if n.Down.IsZero() && !n.Witness {
			say("node "+n.Name, PlanLoss(s, n.ID))
		}
	}
	for src := range s.sources.all() {
		say("source "+src.Addr.String(), PlanListing(s, src.ID))
	}
	return out
}

// Capacity is what the cluster carries.
type Capacity struct {
	Nodes      int // that carry tenants; witnesses and draining ones do not
	Witnesses  int
	Tenants    int
	TenantsMax int // with the loss of any one node carried; a single node has no reserve
	Addresses  int // IPv4 sources
	Addresses6 int // IPv6 sources
	Ranges     int // distinct IPv4 /24s
	Dedicated  int // dedicated sources that carry nobody
}

// CapacityOf counts what the cluster carries.
func CapacityOf(s *State) Capacity {
	c := Capacity{Tenants: s.tenants.len()}
	has := make(map[NodeID]bool)
	ranges := make(map[netip.Prefix]bool)
	taken := make(map[SourceID]bool)
	for t := range s.tenants.all() {
		taken[t.Home.Source], taken[t.Backup.Source] = true, true
	}
	for src := range s.sources.all() {
		has[src.Node] = true
		if !src.Shared && !taken[src.ID] {
			c.Dedicated++
		}
		if src.Addr.Is4() {
			c.Addresses++
			ranges[rangeOf(src.Addr)] = true
		} else {
			c.Addresses6++
		}
	}
	c.Ranges = len(ranges)
	for n := range s.nodes.all() {
		switch {
		case n.Witness:
			c.Witnesses++
		case !n.Draining && has[n.ID]:
			c.Nodes++
		}
	}
	c.TenantsMax = NodeTenants * c.Nodes
	if c.Nodes > 1 {
		c.TenantsMax -= NodeTenants
	}
	return c
}
