package admin

import (
	"context"
	"fmt"
	"net/http"

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
			return reply(viewCapacity(st)), nil
		})
}

func planLoss(st *tenant.State, node string) (Forecast, error) {
	n, err := findNode(st, node)
	if err != nil {
		return Forecast{}, err
	}
	v := viewForecast(st, tenant.PlanLoss(st, n.ID), "loss of node "+n.Name)
	v.Quorum = quorum(st, n.ID)
	v.Reserve = reserveAfter(st, tenant.NodesDown{Nodes: []tenant.NodeID{n.ID}})
	return v, nil
}

func planDrain(st *tenant.State, node string) (Forecast, error) {
	n, err := findNode(st, node)
	if err != nil {
		return Forecast{}, err
	}
	v := viewForecast(st, tenant.PlanDrain(st, n.ID), "drain of node "+n.Name)
	v.Quorum = true // it goes on deciding until it is removed
	on := true
	v.Reserve = reserveAfter(st, tenant.SetNode{Node: n.ID, Draining: &on}, tenant.NodesDown{Nodes: []tenant.NodeID{n.ID}})
	return v, nil
}

func planListing(st *tenant.State, addr string) (Forecast, error) {
	x := sourceByText(st, addr)
	if x == nil {
		return Forecast{}, absent("source", addr)
	}
	v := viewForecast(st, tenant.PlanListing(st, x.ID), "listing of "+x.Addr.String())
	for i, c := 0, tenant.PlanCase(st, x.ID); i < len(c.Suspects); i++ {
		v.Suspects = append(v.Suspects, viewSuspect(st, &c.Suspects[i]))
	}
	v.Quorum, v.Reserve = true, len(v.Nowhere) == 0
	return v, nil
}

// viewForecast tells a plan in names, with what each node would own.
func viewForecast(st *tenant.State, p tenant.Forecast, what string) Forecast {
	v := Forecast{What: what, Moves: []ForecastMove{}, Nowhere: []ForecastStuck{}, Nodes: []ForecastNode{}}
	name := func(id tenant.ID) string {
		if t := st.Tenant(id); t != nil {
			return t.Name
		}
		return ""
	}
	now := map[tenant.NodeID]int{}
	for t := range st.Tenants() {
		now[t.Owner]++
		v.Stays++
	}
	then := map[tenant.NodeID]int{}
	for _, m := range p.Moves {
		then[m.From]--
		then[m.To]++
		to := viewPlace(st, m.Place)
		to.Node = nodeName(st, m.To)
		from := Place{Node: nodeName(st, m.From)}
		if t := st.Tenant(m.Tenant); t != nil && t.Place() != (tenant.Place{}) {
			from = viewPlace(st, t.Place())
		}
		v.Moves = append(v.Moves, ForecastMove{Tenant: name(m.Tenant), From: from, To: to, Why: m.Why, Sends: m.Place != (tenant.Place{})})
	}
	for _, x := range p.Stuck {
		v.Nowhere = append(v.Nowhere, ForecastStuck{Tenant: name(x.Tenant), Why: x.Why})
	}
	v.Stays -= len(v.Moves) + len(v.Nowhere)
	for n := range st.Nodes() {
		if !n.Witness {
			v.Nodes = append(v.Nodes, ForecastNode{Node: n.Name, Now: now[n.ID], Then: now[n.ID] + then[n.ID]})
		}
	}
	return v
}

// reserveAfter says whether the state that follows carries any one more loss of
// a node. It is the state machine itself that tells what follows.
func reserveAfter(st *tenant.State, ops ...tenant.Op) bool {
	for _, op := range ops {
		next, _, err := tenant.Apply(st, st.Index()+1, tenant.Command{At: st.Now(), Op: op})
		if err != nil {
			return false
		}
		st = next
	}
	for n := range st.Nodes() {
		if n.Down.IsZero() && !n.Witness && len(tenant.PlanLoss(st, n.ID).Stuck) > 0 {
			return false
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

func viewCapacity(st *tenant.State) Capacity {
	c := tenant.CapacityOf(st)
	v := Capacity{Nodes: c.Nodes, Witnesses: c.Witnesses, Tenants: c.Tenants, Most: c.TenantsMax, MostBare: c.Nodes * tenant.NodeTenants,
		IPv4: c.Addresses, IPv6: c.Addresses6, Networks: c.Ranges, Free: c.Dedicated, Short: tenant.Reserve(st)}
	for x := range st.Sources() {
		if x.Shared {
			v.Shared++
		} else {
			v.Dedicated++
		}
	}
	v.Reserve = len(v.Short) == 0
	if v.Short == nil {
		v.Short = []string{}
	}
	if c.Nodes+c.Witnesses < 3 {
		v.Short = append(v.Short, "fewer than three nodes decide: the loss of one stops all (a witness is enough)")
	}
	if c.Tenants > c.TenantsMax {
		v.Short = append(v.Short, fmt.Sprintf("%d tenants, but only %d have a place when a node is lost: add a node", c.Tenants, c.TenantsMax))
	}
	if c.Ranges == 1 && c.Addresses > 1 {
		v.Short = append(v.Short, "all sources are in one /24: one listing of the range stops all of them")
	}
	return v
}
