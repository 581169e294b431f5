package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"postern/tenant"
)

// maxAwaySeconds is tenant.MaxAway, for the document.
const maxAwaySeconds = int(tenant.MaxAway / time.Second)

func (s *Server) maintenanceRoutes() {
	type begin struct {
		ToNode
		Body Maintenance
	}
	register(s, in{verb: http.MethodPut, path: "/v1/nodes/{node}/maintenance", id: "maintain-node", tag: "node",
		does: "Let a node be away for a moment, such as a restart, without its tenants moving"},
		func(ctx context.Context, who caller, i *begin) (*out[Node], error) {
			if i.Body.Seconds == 0 {
				i.Body.Seconds = maxAwaySeconds
			}
			return s.maintain(ctx, who, i.ToNode, time.Duration(i.Body.Seconds)*time.Second)
		})
	register(s, in{verb: http.MethodDelete, path: "/v1/nodes/{node}/maintenance", id: "unmaintain-node", tag: "node",
		does: "End a node's maintenance before its time"},
		func(ctx context.Context, who caller, i *ToNode) (*out[Node], error) {
			return s.maintain(ctx, who, *i, 0)
		})
}

// maintain begins a window of length d, or ends it when d is 0.
func (s *Server) maintain(ctx context.Context, who caller, i ToNode, d time.Duration) (*out[Node], error) {
	n, err := findNode(s.cfg.State(), i.Node)
	if err != nil {
		return nil, err
	}
	var until time.Time // the past ends a window
	if d > 0 {
		if !n.Down.IsZero() {
			return nil, problem(http.StatusConflict, "start it", "node %q is down: what it owned has moved", n.Name)
		}
		if v, done, err := s.maintainAtLeader(ctx, who, n.Name, d); done {
			return answered(v, err)
		}
		until = time.Now().Add(d).UTC()
	}
	_, st, err := s.propose(ctx, i.Keyed, tenant.SetNode{Node: n.ID, Away: &until})
	if err != nil {
		return nil, err
	}
	return s.shownNode(st, i.Node)
}

// maintainAtLeader lets the leader reckon the end: it compares it with its own
// clock, and refuses what seems too long by a clock that is a little ahead. A
// leader that cannot be asked, or whose older program has no such route, is no
// reason to give up.
func (s *Server) maintainAtLeader(ctx context.Context, who caller, node string, d time.Duration) (v Node, done bool, err error) {
	c := s.condition()
	if c == nil || s.peers == nil || who.passedOn || c.Leader == "" || c.Leader == s.cfg.Node {
		return v, false, nil
	}
	bound, cancel := context.WithTimeout(ctx, countWait)
	defer cancel()
	v, err = s.peers.node(c.Leader, who).MaintainNode(bound, node, d)
	v.Self = v.Name == s.cfg.Node
	var p *Problem
	return v, err == nil || errors.As(err, &p) && p.Status == http.StatusConflict, err
}

// away tells until when a node's maintenance runs; nil when there is none.
func away(n *tenant.Node) *time.Time {
	if !n.Away.After(time.Now()) {
		return nil
	}
	until := n.Away.UTC()
	return &until
}
