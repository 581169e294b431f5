package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"postern/cluster"
	"postern/node/queue"
	"postern/tenant"
)

// reconcileRetry is how long a failed step waits for the next try.
const reconcileRetry = time.Second

// owned makes what runs here equal to what the state says this node owns.
//
// An epoch belongs to one process: every tenant found owned by this node that
// this process has not adopted gets a new epoch, and what the logs of older
// epochs spent is committed in the same entry. So log sequences can live in
// memory, and no spending is counted twice or lost by a crash.
type owned struct {
	name    string
	cluster *cluster.Cluster
	queue   *queue.Store
	grants  *grants
	log     *slog.Logger

	mu      sync.Mutex // guards what follows
	epochs  map[tenant.ID]uint64
	changed chan struct{} // closed when epochs changes
}

func newOwned(name string, c *cluster.Cluster, q *queue.Store, g *grants, log *slog.Logger) *owned {
	return &owned{
		name: name, cluster: c, queue: q, grants: g, log: log,
		epochs: map[tenant.ID]uint64{}, changed: make(chan struct{}),
	}
}

// Run follows the state until ctx ends.
func (o *owned) Run(ctx context.Context) error {
	select {
	case <-o.cluster.Ready():
	case <-ctx.Done():
		return nil
	}
	for ctx.Err() == nil {
		st := o.cluster.State()
		watch := o.cluster.Watch(st.Index())
		err := o.step(ctx, st)
		var retry <-chan time.Time
		if err != nil && ctx.Err() == nil {
			o.log.Error("reconcile failed, trying again", "err", err)
			retry = time.After(reconcileRetry)
		}
		select {
		case <-ctx.Done():
		case <-watch:
		case <-retry:
		}
	}
	return nil
}

func (o *owned) step(ctx context.Context, st *tenant.State) error {
	me := st.NodeByName(o.name)
	if me == nil {
		_, _, err := o.cluster.Propose(ctx, tenant.RequestID{}, tenant.AddNode{Name: o.name})
		if err != nil {
			return fmt.Errorf("register node: %w", err)
		}
		return nil // the new state wakes us
	}
	for id, epoch := range o.snapshot() {
		if t := st.Tenant(id); t == nil || t.Owner != me.ID || t.Epoch != epoch {
			if err := o.release(id, epoch); err != nil {
				return err
			}
		}
	}
	var errs []error
	for t := range st.Tenants() {
		if t.Owner == me.ID && o.epoch(t.ID) == 0 {
			if err := o.adopt(ctx, t, me.ID); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// adopt takes a tenant over under its next epoch. A crash between its steps is
// harmless: the epoch is not used before the commit, and the state folds in
// the spending of one epoch only once.
func (o *owned) adopt(ctx context.Context, t *tenant.Tenant, me tenant.NodeID) error {
	epoch := t.Epoch + 1
	spent, err := o.queue.Adopt(t.ID, epoch)
	if err != nil {
		return fmt.Errorf("adopt tenant %s: %w", t.Name, err)
	}
	_, _, err = o.cluster.Propose(ctx, tenant.RequestID{}, tenant.Own{
		Tenant: t.ID, Node: me, Expect: t.Epoch, Spent: spent,
	})
	if err != nil {
		return errors.Join(fmt.Errorf("own tenant %s: %w", t.Name, err), o.queue.Release(t.ID))
	}
	if err := o.queue.Forget(t.ID, epoch); err != nil {
		return fmt.Errorf("forget committed spending of tenant %s: %w", t.Name, err)
	}
	o.grants.drop(t.ID, epoch)
	o.set(t.ID, epoch)
	o.log.Info("tenant owned", "tenant", t.Name, "epoch", epoch)
	return nil
}

func (o *owned) release(id tenant.ID, epoch uint64) error {
	o.set(id, 0)
	o.grants.drop(id, epoch+1)
	if err := o.queue.Release(id); err != nil {
		return fmt.Errorf("release tenant %d: %w", id, err)
	}
	o.log.Info("tenant released", "tenant", id, "epoch", epoch)
	return nil
}

// MayAct is the node's answer to "may I say 250, may I send the dot": the
// cluster lets it, and this process has adopted the tenant under that epoch.
func (o *owned) MayAct(ctx context.Context, t tenant.ID, epoch uint64) error {
	for {
		o.mu.Lock()
		have, changed := o.epochs[t], o.changed
		o.mu.Unlock()
		if have == epoch {
			return o.cluster.MayAct(ctx, t, epoch)
		}
		if have > epoch {
			return errNotOwned
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errNotOwned
		}
	}
}

// Settled says whether every tenant the state gives to this node is adopted.
func (o *owned) Settled() bool {
	st := o.cluster.State()
	me := st.NodeByName(o.name)
	if me == nil {
		return false
	}
	for t := range st.Tenants() {
		if t.Owner == me.ID && o.epoch(t.ID) == 0 {
			return false
		}
	}
	return true
}

func (o *owned) epoch(id tenant.ID) uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.epochs[id]
}

func (o *owned) snapshot() map[tenant.ID]uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	m := make(map[tenant.ID]uint64, len(o.epochs))
	for id, e := range o.epochs {
		m[id] = e
	}
	return m
}

func (o *owned) set(id tenant.ID, epoch uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if epoch == 0 {
		delete(o.epochs, id)
	} else {
		o.epochs[id] = epoch
	}
	close(o.changed)
	o.changed = make(chan struct{})
}
