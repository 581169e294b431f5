package admin

import (
	"context"
	"sync"
	"time"

	"postern/tenant"
)

// numbers are what only a tenant's owner knows of its queue.
type numbers struct {
	Counts
	mirror *Mirror
}

// counts are the numbers of the tenants this node owns.
func (s *Server) counts(st *tenant.State) map[tenant.ID]numbers {
	all := map[tenant.ID]numbers{}
	var mirrors map[tenant.ID]MirrorStatus
	if s.cfg.Mirrors != nil {
		mirrors = s.cfg.Mirrors()
	}
	for id, c := range s.cfg.Messages.Counts() {
		t := st.Tenant(id)
		if t == nil || !s.owns(st, t) {
			continue
		}
		n := numbers{Counts: c}
		if m, ok := mirrors[id]; ok {
			n.mirror = &Mirror{Node: m.Node, Generation: m.Generation, Synced: m.Synced, Left: m.Left,
				BehindMS: millis(m.Behind), BrokenMS: millis(m.Broken), Known: true}
		}
		all[id] = n
	}
	return all
}

func millis(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

// allCounts adds what the other owners say, and names those that say nothing.
func (s *Server) allCounts(ctx context.Context, st *tenant.State, who caller) (map[tenant.ID]numbers, []string) {
	return s.addCounts(ctx, st, who, s.ownerNames(st, who))
}

// countsOf is allCounts for one tenant.
func (s *Server) countsOf(ctx context.Context, st *tenant.State, who caller, t *tenant.Tenant) (map[tenant.ID]numbers, []string) {
	if s.owns(st, t) || who.passedOn {
		return s.counts(st), nil
	}
	return s.addCounts(ctx, st, who, []string{nodeName(st, t.Owner)})
}

func (s *Server) addCounts(ctx context.Context, st *tenant.State, who caller, nodes []string) (map[tenant.ID]numbers, []string) {
	all := s.counts(st)
	if len(nodes) == 0 {
		return all, nil
	}
	var mu sync.Mutex // guards all
	missing := s.gather(ctx, who, nodes, func(ctx context.Context, c *Client) error {
		p, err := c.Tenants(ctx, List{Limit: 1000})
		mu.Lock()
		defer mu.Unlock()
		for _, t := range p.Items {
			if t.Queued != nil && t.Messages != nil && t.InDoubt != nil {
				all[tenant.ID(t.ID)] = numbers{Counts: Counts{Queued: *t.Queued, Messages: *t.Messages, InDoubt: *t.InDoubt}, mirror: t.Mirror}
			}
		}
		return err
	})
	return all, missing
}
