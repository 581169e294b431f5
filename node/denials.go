package node

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"postern/cluster"
	"postern/node/bounce"
	"postern/node/delivery"
	"postern/node/trouble"
	"postern/tenant"
)

// denials tells the state what this node's sources were refused while
// delivering. Like the watcher it compares with the state and remembers nothing.
type denials struct {
	name     string
	cluster  *cluster.Cluster
	evidence func(window time.Duration) []delivery.Evidence
	failed   *trouble.Log[string] // by node: this one
}

func newDenials(name string, c *cluster.Cluster, evidence func(time.Duration) []delivery.Evidence, log *slog.Logger) *denials {
	return &denials{name: name, cluster: c, evidence: evidence, failed: trouble.New[string](log, slog.LevelError, "refusals not told, trying again", "node")}
}

// Run tells until ctx ends, once a second at most.
func (d *denials) Run(ctx context.Context) error {
	onBeat(ctx, time.Second, d.failed, d.name, func(ctx context.Context) error { return d.tell(ctx, d.cluster.State()) })
	return nil
}

func (d *denials) tell(ctx context.Context, st *tenant.State) error {
	me, l := st.NodeByName(d.name), st.Lists()
	if me == nil || l == nil || !st.Knows(tenant.Denied{}) {
		return nil
	}
	op := newsOfDenials(st, me.ID, d.evidence(l.Rule.Fresh), time.Now())
	if len(op.Denials) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, tellWait)
	defer cancel()
	if _, _, err := d.cluster.Propose(ctx, tenant.RequestID{}, op); err != nil {
		return fmt.Errorf("tell what was refused: %w", err)
	}
	return nil
}

// newsOfDenials is what a node measured and the state should know.
func newsOfDenials(st *tenant.State, me tenant.NodeID, measured []delivery.Evidence, now time.Time) tenant.Denied {
	op, l := tenant.Denied{Node: me}, st.Lists()
	for src := range st.Sources() {
		if src.Node != me || len(op.Denials) == tenant.MaxDenials {
			continue
		}
		x := tenant.Denial{Source: src.ID, At: now}
		if i := slices.IndexFunc(measured, func(e delivery.Evidence) bool { return e.Source == src.ID }); i >= 0 {
			x = measured[i].Denial(now)
			x.Named = named(l, src, measured[i].Zones)
		}
		x.Sort()
		if x.Tells(st.Denial(src.ID), l.Rule) {
			op.Denials = append(op.Denials, x)
		}
	}
	return op
}

// named are those of the cluster's lists that refusals mean, also by the name of
// one that knows the same.
func named(l *tenant.Lists, src *tenant.Source, zones []delivery.ZoneEvidence) (all []tenant.Naming) {
	for i := range l.Zones {
		z := &l.Zones[i]
		space := tenant.SpaceIPv4
		if src.Addr.Is6() {
			space = tenant.SpaceIPv6
		}
		if !z.Asks(space) || len(all) == tenant.MaxNamed {
			continue
		}
		for _, e := range zones {
			if e.Zone == z.Name || e.Zone == bounce.CanonicalZone(z.Name) {
				all = append(all, tenant.Naming{Zone: z.Name, At: e.Last})
				break
			}
		}
	}
	return all
}
