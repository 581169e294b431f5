package node

import (
	"context"
	"fmt"
	"time"

	"postern/tenant"
)

const (
	returnsEvery   = time.Second
	returnsTimeout = 5 * time.Minute
)

// returns looks after logs of tenants that others own: what this node wrote
// as an owner and nobody read is handed over, and a copy nobody needs goes.
type returns struct {
	owned *owned
	done  map[tenant.ID]uint64 // the epoch under which everything was handed over
}

// Run watches until ctx ends.
func (r *returns) Run(ctx context.Context) error {
	tick := time.NewTicker(returnsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := r.step(ctx); err != nil && ctx.Err() == nil {
			r.owned.log.Error("return of a log failed, trying again", "err", err)
		}
	}
}

func (r *returns) step(ctx context.Context) error {
	o := r.owned
	select {
	case <-o.cluster.Ready():
	default:
		return nil
	}
	// A state that is behind must not make a copy look needless.
	if time.Now().After(o.cluster.Status().Lease) {
		return nil
	}
	held, err := o.queue.Held()
	if err != nil {
		return fmt.Errorf("list logs held: %w", err)
	}
	st := o.cluster.State()
	me := st.NodeByName(o.name)
	if me == nil {
		return nil
	}
	for _, h := range held {
		t := st.Tenant(h.Tenant)
		switch {
		case h.Adopted, t != nil && t.Owner == me.ID:
		case t == nil:
			err = o.queue.Erase(h.Tenant)
		case r.done[t.ID] != t.Epoch:
			err = r.giveBack(ctx, st, t)
		case !holds(t, me.ID) && len(t.Copies) == 1:
			err = o.queue.Erase(h.Tenant)
		}
		if err != nil {
			return fmt.Errorf("look after the log of tenant %d: %w", h.Tenant, err)
		}
	}
	return nil
}

func (r *returns) giveBack(ctx context.Context, st *tenant.State, t *tenant.Tenant) error {
	ctx, cancel := context.WithTimeout(ctx, returnsTimeout)
	defer cancel()
	n, err := r.owned.queue.Return(ctx, nodeName(st, t.Owner), t.ID, t.Ends)
	if err != nil {
		return err
	}
	if n > 0 {
		r.owned.log.Info("log handed over to the owner", "tenant", t.Name, "epoch", t.Epoch, "records", n)
	}
	r.done[t.ID] = t.Epoch
	return nil
}

func holds(t *tenant.Tenant, id tenant.NodeID) bool {
	for _, c := range t.Copies {
		if c.Node == id {
			return true
		}
	}
	return false
}
