package node

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"postern/cluster"
	"postern/node/trouble"
	"postern/tenant"
)

const (
	controlEvery = 500 * time.Millisecond
	// standByEvery is how often a node looks whether it has come to lead.
	standByEvery = time.Second
	// homeAfter is how long a home must have been up before its tenants go back.
	homeAfter = 10 * time.Minute
	// handovers is how many tenants are handed over at a time.
	handovers = 4
)

// controller runs on every node and acts on the one that leads: it records
// which nodes have lost their lease, and asks for the handovers that drains
// and returned homes need. What follows from that, the state decides.
type controller struct {
	name    string
	cluster *cluster.Cluster
	log     *slog.Logger
	failed  *trouble.Log[string] // by node: this one
	home    time.Duration
}

func newController(name string, c *cluster.Cluster, log *slog.Logger, home time.Duration) *controller {
	return &controller{name: name, cluster: c, log: log, home: home,
		failed: trouble.New[string](log, slog.LevelError, "control step failed, trying again", "node")}
}

// Run watches until ctx ends.
func (c *controller) Run(ctx context.Context) error {
	pause := time.NewTimer(controlEvery)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
		if !c.cluster.Leads() {
			pause.Reset(untilBeat(standByEvery))
			continue
		}
		pause.Reset(min(untilBeat(controlEvery), c.cluster.LapseIn()))
		if err := c.step(ctx); err == nil {
			c.failed.Well(c.name)
		} else if ctx.Err() == nil {
			c.failed.Bad(c.name, "err", err)
		}
	}
}

func (c *controller) step(ctx context.Context) error {
	st := c.cluster.State()
	down, up := c.changes(st)
	if len(down) > 0 {
		for _, id := range down {
			c.log.Warn("node has no lease: its tenants move", "node", nodeName(st, id))
		}
		if _, _, err := c.cluster.Propose(ctx, tenant.RequestID{}, tenant.NodesDown{Nodes: down}); err != nil {
			return fmt.Errorf("record nodes without lease: %w", err)
		}
	}
	if len(up) > 0 {
		if _, _, err := c.cluster.Propose(ctx, tenant.RequestID{}, tenant.NodesUp{Nodes: up}); err != nil {
			return fmt.Errorf("record nodes with lease: %w", err)
		}
	}
	if tenant.JournalDue(c.cluster.State()) {
		if _, _, err := c.cluster.Propose(ctx, tenant.RequestID{}, tenant.OpenJournal{}); err != nil {
			return fmt.Errorf("open the journal: %w", err)
		}
	}
	if st = c.cluster.State(); tenant.ReviewDue(st, time.Now()) {
		if _, _, err := c.cluster.Propose(ctx, tenant.RequestID{}, tenant.Review{}); err != nil {
			return fmt.Errorf("ask for a review of listings: %w", err)
		}
	}
	return c.handOver(ctx, c.cluster.State())
}

// changes compares the state with the leader's count of leases.
func (c *controller) changes(st *tenant.State) (down, up []tenant.NodeID) {
	now, lapsed := time.Now(), map[string]bool{}
	for _, name := range c.cluster.Lapsed() {
		lapsed[name] = true
	}
	leased := map[string]bool{}
	for _, n := range c.cluster.Status().Nodes {
		leased[n.Name] = n.Leased
	}
	for n := range st.Nodes() {
		switch {
		case n.Down.IsZero() && lapsed[n.Name] && !now.Before(n.Away):
			down = append(down, n.ID)
		case !n.Down.IsZero() && leased[n.Name]:
			up = append(up, n.ID)
		}
	}
	return down, up
}

// handOver asks for what drains and returned homes need, a few at a time.
func (c *controller) handOver(ctx context.Context, st *tenant.State) error {
	open := 0
	for t := range st.Tenants() {
		if t.To == 0 {
			continue
		}
		open++
		// A target that fell away must not keep its tenant half handed over.
		if n := st.Node(t.To); n == nil || !n.Down.IsZero() {
			if err := c.ask(ctx, tenant.Handover{Tenant: t.ID, Expect: t.Epoch}); err != nil {
				return err
			}
		}
	}
	for _, h := range append(tenant.Drains(st), tenant.Homing(st, time.Now(), c.home)...) {
		if open >= handovers {
			return nil
		}
		if t := st.Tenant(h.Tenant); t == nil || t.To != 0 {
			continue
		}
		if err := c.ask(ctx, h); err != nil {
			return err
		}
		open++
	}
	return nil
}

func (c *controller) ask(ctx context.Context, h tenant.Handover) error {
	if _, _, err := c.cluster.Propose(ctx, tenant.RequestID{}, h); err != nil {
		return fmt.Errorf("ask for a handover: %w", err)
	}
	return nil
}
