package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	"postern/tenant"
)

func (s *Server) planRoutes() {
	type query struct {
		Loss    string `query:"loss" maxLength:"63" doc:"Node that would be lost"`
		Drain   string `query:"drain" maxLength:"63" doc:"Node that would be drained"`
		Listing string `query:"listing" maxLength:"45" doc:"Source address that would be listed"`
	}
	register(s, in{verb: http.MethodGet, path: "/v1/plan", id: "get-plan", tag: "plan",
		does: "Say what a loss, a drain or a listing would move; nothing moves"},
		func(ctx context.Context, _ caller, i *query) (*out[Forecast], error) {
			st, err := s.read(ctx)
			if err != nil {
				return nil, err
			}
			asked := 0
			for _, x := range []string{i.Loss, i.Drain, i.Listing} {
				if x != "" {
					asked++
				}
			}
			switch {
			case asked != 1:
				return nil, badField("query", "", "give one of loss, drain and listing")
			case i.Loss != "":
				return answered(planLoss(st, i.Loss))
			case i.Drain != "":
				return answered(planDrain(st, i.Drain))
			}
			return answered(planListing(st, i.Listing))
		})
	register(s, in{verb: http.MethodGet, path: "/v1/capacity", id: "get-capacity", tag: "plan",
		does: "Say how many tenants the cluster carries, with reserve"},
		func(ctx context.Context, _ caller, _ *struct{}) (*out[Capacity], error) {
			st, err := s.read(ctx)
			if err != nil {
				return nil, err
			}
			return reply(capacity(st)), nil
		})
}

// pretend applies operations to a state that nobody else has: what would follow
// is what the state machine itself makes of them.
func pretend(st *tenant.State, ops ...tenant.Op) (*tenant.State, error) {
	for _, op := range ops {
		next, _, err := tenant.Apply(st, st.Index()+1, tenant.Command{At: st.Now(), Op: op})
		if err != nil {
			return nil, err
		}
		st = next
	}
	return st, nil
}

func planLoss(st *tenant.State, node string) (Forecast, error) {
	n, err := findNode(st, node)
	if err != nil {
		return Forecast{}, err
	}
	then, err := pretend(st, tenant.NodesDown{Nodes: []tenant.NodeID{n.ID}})
	if err != nil {
		return Forecast{}, problem(http.StatusConflict, "", "%s", err)
	}
	p := compare(st, then, n.ID)
	p.What = "loss of node " + n.Name
	p.Reserve = reserve(then)
	p.Quorum = quorum(st, n.ID)
	return p, nil
}

// planDrain is a loss in good order: the same places take the tenants.
func planDrain(st *tenant.State, node string) (Forecast, error) {
	n, err := findNode(st, node)
	if err != nil {
		return Forecast{}, err
	}
	on := true
	then, err := pretend(st, tenant.SetNode{Node: n.ID, Draining: &on}, tenant.NodesDown{Nodes: []tenant.NodeID{n.ID}})
	if err != nil {
		return Forecast{}, problem(http.StatusConflict, "", "%s", err)
	}
	p := compare(st, then, n.ID)
	p.What = "drain of node " + n.Name
	p.Reserve = reserve(then)
	p.Quorum = true // it goes on deciding until it is removed
	return p, nil
}

// compare says which tenants changed their owner, and who was left on the node.
func compare(st, then *tenant.State, from tenant.NodeID) Forecast {
	p := Forecast{Moves: []ForecastMove{}, Nodes: []ForecastNode{}, Nowhere: []string{}}
	for t := range st.Tenants() {
		now := then.Tenant(t.ID)
		switch {
		case now.Owner != t.Owner && now.Owner != 0:
			p.Moves = append(p.Moves, ForecastMove{Tenant: t.Name, From: viewPlace(st, ownPlace(t)), To: viewPlace(then, ownPlace(now))})
		case t.Owner == from || now.Owner == 0:
			p.Nowhere = append(p.Nowhere, t.Name)
		default:
			p.Stays++
		}
	}
	p.Nodes = loads(st, then)
	return p
}

// ownPlace is where a tenant leaves from; a stand-in's is the node's pool.
func ownPlace(t *tenant.Tenant) tenant.Place {
	if p := t.Place(); p != (tenant.Place{}) {
		return p
	}
	return tenant.Place{Node: t.Owner}
}

func loads(st, then *tenant.State) []ForecastNode {
	all := []ForecastNode{}
	for n := range st.Nodes() {
		if !n.Witness {
			all = append(all, ForecastNode{Node: n.Name, Now: owned(st, n.ID), Then: owned(then, n.ID)})
		}
	}
	return all
}

func owned(st *tenant.State, n tenant.NodeID) int {
	k := 0
	for t := range st.Tenants() {
		if t.Owner == n {
			k++
		}
	}
	return k
}

// reserve says whether the loss of any one node leaves every tenant an owner
// that is not down.
func reserve(st *tenant.State) bool {
	for n := range st.Nodes() {
		if !n.Down.IsZero() || n.Witness {
			continue
		}
		then, err := pretend(st, tenant.NodesDown{Nodes: []tenant.NodeID{n.ID}})
		if err != nil {
			return false
		}
		for t := range then.Tenants() {
			if o := then.Node(t.Owner); o == nil || !o.Down.IsZero() {
				return false
			}
		}
	}
	return true
}

// quorum says whether those that are up decide without one more.
func quorum(st *tenant.State, without tenant.NodeID) bool {
	up, all := 0, 0
	for n := range st.Nodes() {
		all++
		if n.Down.IsZero() && n.ID != without {
			up++
		}
	}
	return 2*up > all
}

// planListing follows the house's rule: a pool with two clean members left
// drops the listed one, and its tenants stay; else they go to their backup, as
// the tenant of a dedicated source does.
func planListing(st *tenant.State, addr string) (Forecast, error) {
	x := sourceByText(st, addr)
	if x == nil {
		return Forecast{}, absent("source", addr)
	}
	p := Forecast{What: "listing of " + x.Addr.String(), Moves: []ForecastMove{}, Nowhere: []string{}, Quorum: true}
	left := len(st.SourcesAt(tenant.Place{Node: x.Node})) - 1
	then := map[tenant.NodeID]int{}
	for t := range st.Tenants() {
		then[t.Owner]++
	}
	for t := range st.Tenants() {
		place := ownPlace(t)
		if !slices.Contains(st.SourcesAt(place), x) || (x.Shared && left >= 2) {
			p.Stays++
			continue
		}
		to := other(t)
		n := st.Node(to.Node)
		if n == nil || !n.Down.IsZero() || n.Draining || slices.Contains(st.SourcesAt(to), x) || then[to.Node] >= tenant.NodeTenants {
			p.Nowhere = append(p.Nowhere, t.Name)
			continue
		}
		then[t.Owner]--
		then[to.Node]++
		p.Moves = append(p.Moves, ForecastMove{Tenant: t.Name, From: viewPlace(st, place), To: viewPlace(st, to)})
	}
	p.Reserve = len(p.Nowhere) == 0
	p.Nodes = []ForecastNode{}
	for n := range st.Nodes() {
		if !n.Witness {
			p.Nodes = append(p.Nodes, ForecastNode{Node: n.Name, Now: owned(st, n.ID), Then: then[n.ID]})
		}
	}
	return p, nil
}

// other is the place a tenant is not at.
func other(t *tenant.Tenant) tenant.Place {
	if t.Owner == t.Home.Node {
		return t.Backup
	}
	return t.Home
}

func capacity(st *tenant.State) Capacity {
	c := Capacity{Short: []string{}, Reserve: true}
	named, networks, pools := map[tenant.SourceID]bool{}, map[netip.Prefix]bool{}, map[tenant.NodeID]int{}
	for t := range st.Tenants() {
		c.Tenants++
		named[t.Home.Source], named[t.Backup.Source] = true, true
	}
	for x := range st.Sources() {
		if x.Addr.Is4() {
			c.IPv4++
			net, _ := x.Addr.Prefix(24) // an IPv4 address has one
			networks[net] = true
		} else {
			c.IPv6++
		}
		switch {
		case x.Shared:
			c.Shared++
			pools[x.Node]++
		case named[x.ID]:
			c.Dedicated++
		default:
			c.Dedicated++
			c.Free++
		}
	}
	c.Networks = len(networks)
	for n := range st.Nodes() {
		if n.Witness {
			c.Witnesses++
			continue
		}
		c.Nodes++
		if pools[n.ID] == 0 {
			c.Short = append(c.Short, fmt.Sprintf("node %s has no shared source: it can be the backup of nobody's pool", n.Name))
		}
	}
	c.MostBare = c.Nodes * tenant.NodeTenants
	c.Most = max(c.Nodes-1, 0) * tenant.NodeTenants
	c.Reserve = reserve(st)
	if c.Nodes+c.Witnesses < 3 {
		c.Short = append(c.Short, "fewer than three nodes decide: the loss of one stops all (a witness is enough)")
	}
	if c.Tenants > c.Most && c.Nodes > 1 {
		c.Short = append(c.Short, fmt.Sprintf("%d tenants, but only %d have a place when a node is lost: add a node", c.Tenants, c.Most))
	}
	if c.Networks == 1 && c.IPv4 > 1 {
		c.Short = append(c.Short, "all sources are in one /24: one listing of the range stops all of them")
	}
	return c
}
