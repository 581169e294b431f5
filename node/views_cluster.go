package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"postern/node/admin"
	"postern/tenant"
)

// cluster shows what this node knows of the others.
func (v *views) cluster() admin.ClusterStatus {
	s := v.node.cluster.Status()
	out := admin.ClusterStatus{
		Leader: s.Leader, Term: s.Term, Lease: s.Lease, Current: s.Contact, Mismatches: s.Mismatches, Skew: s.Skew,
	}
	if s.Leader == v.node.cfg.Name && v.node.cluster.Leads() {
		out.Current = time.Now()
	}
	for _, n := range s.Nodes {
		out.Nodes = append(out.Nodes, admin.NodeCondition{
			Name: n.Name, Voter: slices.Contains(s.Voters, n.Name), Alive: n.Alive && !n.Silent, RTT: n.RTT, Applied: n.Applied, Lapsed: n.Lapsed,
		})
	}
	return out
}

// mirrors shows how the second copies of the tenants owned here stand.
func (v *views) mirrors() map[tenant.ID]admin.MirrorStatus {
	all := v.node.queue.Mirrors()
	out := make(map[tenant.ID]admin.MirrorStatus, len(all))
	for id, m := range all {
		out[id] = admin.MirrorStatus(m)
	}
	return out
}

func (v *views) read(ctx context.Context) (*tenant.State, error) {
	st, err := v.node.cluster.Read(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", admin.ErrUnavailable, err)
	}
	return st, nil
}
