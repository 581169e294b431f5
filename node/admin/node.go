package admin

import (
	"context"
	"net/http"
	"time"

	"postern/tenant"
)

func (s *Server) nodeRoutes() {
	type list struct{ Paged }
	register(s, in{verb: http.MethodGet, path: "/v1/nodes", id: "list-nodes", tag: "node", does: "List the nodes, as the leader sees them"},
		func(ctx context.Context, who caller, i *list) (*out[Page[Node]], error) {
			return reply(cut(s.viewNodes(ctx, who), i.Paged, func(n Node) string { return n.Name }, byText)), nil
		})
	type one struct {
		Node string `path:"node" minLength:"1" maxLength:"63"`
	}
	register(s, in{verb: http.MethodGet, path: "/v1/nodes/{node}", id: "get-node", tag: "node", does: "Show one node"},
		func(ctx context.Context, who caller, i *one) (*out[Node], error) {
			for _, n := range s.viewNodes(ctx, who) {
				if n.Name == i.Node {
					return reply(n), nil
				}
			}
			return nil, absent("node", i.Node)
		})
	type add struct {
		Keyed
		Body NewNode
	}
	register(s, in{verb: http.MethodPost, path: "/v1/nodes", id: "add-node", tag: "node", status: http.StatusCreated,
		does: "Register a node"},
		func(ctx context.Context, _ caller, i *add) (*out[Node], error) {
			_, st, err := s.propose(ctx, i.Keyed, tenant.AddNode{Name: i.Body.Name})
			if err != nil {
				return nil, err
			}
			return s.shownNode(st, i.Body.Name)
		})
}

func (s *Server) shownNode(st *tenant.State, name string) (*out[Node], error) {
	n, err := findNode(st, name)
	if err != nil {
		return nil, err
	}
	return reply(s.viewNode(st, n, s.condition())), nil
}

func findNode(st *tenant.State, name string) (*tenant.Node, error) {
	n := st.NodeByName(name)
	if n == nil {
		return nil, absent("node", name)
	}
	return n, nil
}

// viewNodes asks the leader, who knows of leases and how far each node is; where
// it gives no answer, it is this node's own view.
func (s *Server) viewNodes(ctx context.Context, who caller) []Node {
	st, c := s.cfg.State(), s.condition()
	if c != nil && s.peers != nil && !who.passedOn && c.Leader != "" && c.Leader != s.cfg.Node {
		ctx, cancel := context.WithTimeout(ctx, countWait)
		defer cancel()
		if p, err := s.peers.node(c.Leader, who).Nodes(ctx, List{Limit: 1000}); err == nil {
			for i := range p.Items {
				p.Items[i].Self = p.Items[i].Name == s.cfg.Node
			}
			return p.Items
		}
	}
	var all []Node
	for n := range st.Nodes() {
		all = append(all, s.viewNode(st, n, c))
	}
	return all
}

// condition is what is known of the cluster; nil in a cluster of one.
func (s *Server) condition() *ClusterStatus {
	if s.cfg.Cluster == nil {
		return nil
	}
	c := s.cfg.Cluster()
	return &c
}

func (s *Server) viewNode(st *tenant.State, n *tenant.Node, c *ClusterStatus) Node {
	v := Node{ID: uint64(n.ID), Name: n.Name, Self: n.Name == s.cfg.Node, Peer: n.Peer, Witness: n.Witness, Version: n.Version, Away: away(n),
		Role: "unknown", State: "up", Lease: "unknown"}
	for x := range st.Sources() {
		if x.Node == n.ID {
			v.Sources++
		}
	}
	for t := range st.Tenants() {
		if t.Owner == n.ID {
			v.Tenants++
		}
	}
	if c == nil {
		if v.Self {
			v.Role, v.Lease = "leader", "held"
		}
		if v.Away != nil {
			v.State = "maintenance"
		}
		return v
	}
	alive := v.Self
	for _, x := range c.Nodes {
		if x.Name == n.Name {
			s.addCondition(&v, x, c)
			alive = alive || x.Alive
		}
	}
	if n.Name == c.Leader {
		v.Role = "leader"
	}
	if v.Self {
		v.Lease = "none"
		if c.Lease.After(time.Now()) {
			v.Lease = "held"
		}
	}
	switch {
	case n.Peer != "" && n.Key == [32]byte{}:
		v.State = "to join"
	case !n.Down.IsZero():
		at := n.Down.UTC()
		v.State, v.Down, v.Lease = "down", &at, "none"
	case v.Away != nil:
		v.State = "maintenance"
	case n.Draining:
		v.State = "draining"
	case !alive:
		v.State = "silent"
	}
	return v
}

func (s *Server) addCondition(v *Node, x NodeCondition, c *ClusterStatus) {
	v.Role = "joining"
	if x.Voter {
		v.Role = "voter"
	}
	if x.RTT > 0 {
		rtt := millis(x.RTT)
		v.RTTMS = &rtt
	}
	if c.Leader != s.cfg.Node {
		return // only the leader counts the rest
	}
	v.Lease = "held"
	if x.Lapsed {
		v.Lease = "none"
	}
	if x.Applied > 0 {
		var lag uint64
		if mine := s.cfg.State().Index(); mine > x.Applied {
			lag = mine - x.Applied
		}
		v.Lag = &lag
	}
}

func nodeName(st *tenant.State, id tenant.NodeID) string {
	if n := st.Node(id); n != nil {
		return n.Name
	}
	return ""
}
