package admin

import (
	"context"
	"net/http"

	"postern/tenant"
)

func (s *Server) nodeRoutes() {
	type list struct{ Paged }
	register(s, in{verb: http.MethodGet, path: "/v1/nodes", id: "list-nodes", tag: "node", does: "List the nodes"},
		func(_ context.Context, _ caller, i *list) (*out[Page[Node]], error) {
			st := s.cfg.State()
			var all []Node
			for n := range st.Nodes() {
				all = append(all, s.viewNode(st, n))
			}
			return reply(cut(all, i.Paged, func(n Node) string { return n.Name }, byText)), nil
		})
	type add struct {
		Keyed
		Body NewNode
	}
	register(s, in{verb: http.MethodPost, path: "/v1/nodes", id: "add-node", tag: "node", status: http.StatusCreated,
		does: "Register a node"},
		func(ctx context.Context, _ caller, i *add) (*out[Node], error) {
			events, st, err := s.propose(ctx, i.Keyed, tenant.AddNode{Name: i.Body.Name})
			if err != nil {
				return nil, err
			}
			if e, ok := created[tenant.NodeAdded](events); ok {
				if n := st.Node(e.Node); n != nil {
					return reply(s.viewNode(st, n)), nil
				}
			}
			return nil, absent("node", i.Body.Name)
		})
}

func (s *Server) viewNode(st *tenant.State, n *tenant.Node) Node {
	v := Node{ID: uint64(n.ID), Name: n.Name, Self: n.Name == s.cfg.Node}
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
	return v
}

func nodeName(st *tenant.State, id tenant.NodeID) string {
	if n := st.Node(id); n != nil {
		return n.Name
	}
	return ""
}
