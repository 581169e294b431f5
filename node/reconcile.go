package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"postern/cluster"
	"postern/node/queue"
	"postern/node/trouble"
	"postern/tenant"
)

const (
	// reconcileRetry is how long a failed step waits for the next try.
	reconcileRetry = 500 * time.Millisecond
	// adoptAtOnce is how many tenants are taken over at a time.
	adoptAtOnce = 8
	// againEvery is how soon a tenant that was taken over without all copies is
	// taken over again. Each time in vain doubles it, and the time for reading,
	// maxDoublings times at most: meanwhile the tenant's mail is not served.
	againEvery   = 5 * time.Second
	maxDoublings = 4
)

// owned makes what runs here equal to what the state says this node owns.
//
// An epoch belongs to one process: every tenant found owned by this node that
// this process has not adopted gets a new epoch, and what the logs of older
// epochs spent is committed in the same entry. So log sequences can live in
// memory, and no spending is counted twice or lost by a crash.
type owned struct {
	name    string
	peered  bool // there is a peer port: others may hold copies
	cluster *cluster.Cluster
	queue   *queue.Store
	grants  *grants
	log     *slog.Logger
	failed  *trouble.Log[string] // by node: this one
	formed  func() error         // told once, when the cluster has formed
	atOnce  context.Context      // over: for questions that do not wait

	mu      sync.Mutex // guards what follows
	epochs  map[tenant.ID]uint64
	partial map[tenant.ID]time.Time // adopted without all copies, and when
	vain    map[tenant.ID]int       // how often in a row
	changed chan struct{}           // closed when epochs changes
}

func newOwned(name string, peered bool, c *cluster.Cluster, q *queue.Store, g *grants, log *slog.Logger) *owned {
	over, end := context.WithCancel(context.Background())
	end()
	return &owned{
		atOnce: over,
		name:   name, peered: peered, cluster: c, queue: q, grants: g, log: log,
		failed: trouble.New[string](log, slog.LevelError, "reconcile failed, trying again", "node"),
		epochs: map[tenant.ID]uint64{}, partial: map[tenant.ID]time.Time{}, vain: map[tenant.ID]int{}, changed: make(chan struct{}),
	}
}

// Run follows the state until ctx ends.
func (o *owned) Run(ctx context.Context) error {
	select {
	case <-o.cluster.Ready():
	case <-ctx.Done():
		return nil
	}
	if o.formed != nil {
		if err := o.formed(); err != nil {
			return fmt.Errorf("note that the cluster has formed: %w", err)
		}
	}
	again := time.NewTimer(0)
	defer again.Stop()
	for ctx.Err() == nil {
		st := o.cluster.State()
		watch := o.cluster.Watch(st.Index())
		err := o.step(ctx, st)
		var retry <-chan time.Time
		if err == nil {
			o.failed.Well(o.name)
		} else if ctx.Err() == nil {
			o.failed.Bad(o.name, "err", err)
			retry = time.After(reconcileRetry)
		}
		again.Reset(untilBeat(againEvery))
		select {
		case <-ctx.Done():
		case <-watch:
		case <-again.C:
		case <-retry:
		}
	}
	return nil
}

func (o *owned) step(ctx context.Context, st *tenant.State) error {
	me := st.NodeByName(o.name)
	if me == nil {
		if o.peered {
			return nil // joining registers it
		}
		_, _, err := o.cluster.Propose(ctx, tenant.RequestID{}, tenant.AddNode{Name: o.name})
		if err != nil {
			return fmt.Errorf("register node: %w", err)
		}
		return nil // the new state wakes us
	}
	for id, epoch := range o.snapshot() {
		t := st.Tenant(id)
		if t == nil || t.Owner != me.ID || t.Epoch != epoch || o.readable(st, t, me.ID) {
			if err := o.release(t, id, epoch); err != nil {
				return err
			}
			if t == nil || t.Owner != me.ID {
				o.forget(id)
			}
		} else if err := o.showUnread(ctx, t, !o.complete(id)); err != nil {
			return err
		}
	}
	var (
		g    errgroup.Group
		mu   sync.Mutex // guards errs
		errs []error
	)
	g.SetLimit(adoptAtOnce)
	for t := range st.Tenants() {
		if t.Owner != me.ID || o.epoch(t.ID) != 0 {
			continue
		}
		g.Go(func() error {
			if err := o.adopt(ctx, st, t, me.ID); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
			return nil
		})
	}
	_ = g.Wait()
	return errors.Join(errs...)
}

func (o *owned) release(t *tenant.Tenant, id tenant.ID, epoch uint64) error {
	name := "removed"
	if t != nil {
		name = t.Name
	}
	o.set(id, 0, true)
	o.grants.drop(id, epoch+1)
	if err := o.queue.Release(id); err != nil {
		return fmt.Errorf("release tenant %s: %w", name, err)
	}
	o.log.Info("tenant released", "tenant", name, "id", id, "epoch", epoch)
	return nil
}

// MayAct is the node's answer to "may I say 250, may I send the dot": the
// cluster lets it, and this process has adopted the tenant under that epoch.
// It waits for adoption and lease up to leaseWait.
func (o *owned) MayAct(ctx context.Context, t tenant.ID, epoch uint64) error {
	// The usual case needs no timer: a yes does not look at the context.
	if o.epoch(t) == epoch && o.cluster.MayAct(o.atOnce, t, epoch) == nil {
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, leaseWait)
	defer cancel()
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

// set notes under which epoch a tenant is adopted, 0 for not, and whether all
// copies of its log were taken in.
func (o *owned) set(id tenant.ID, epoch uint64, complete bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.partial, id)
	switch {
	case !complete:
		o.vain[id]++
	case epoch != 0:
		delete(o.vain, id)
	}
	if epoch == 0 {
		delete(o.epochs, id)
	} else {
		o.epochs[id] = epoch
		if !complete {
			o.partial[id] = time.Now()
		}
	}
	close(o.changed)
	o.changed = make(chan struct{})
}

// forget drops what was counted of a tenant that is another's now.
func (o *owned) forget(id tenant.ID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.vain, id)
}

// complete says whether all copies of a tenant's log were taken in.
func (o *owned) complete(id tenant.ID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, partial := o.partial[id]
	return !partial
}

// doublings is how often a time doubles after so many take-overs without all
// copies, of which the first some do not count.
func (o *owned) doublings(id tenant.ID, free int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return min(max(o.vain[id]-free, 0), maxDoublings)
}

// readable says whether copies that could not be read when the tenant was taken
// over can be read now: then it is taken over again.
func (o *owned) readable(st *tenant.State, t *tenant.Tenant, me tenant.NodeID) bool {
	o.mu.Lock()
	since, partial := o.partial[t.ID]
	o.mu.Unlock()
	if !partial || time.Since(since) < againEvery<<o.doublings(t.ID, 1) {
		return false
	}
	others, _ := t.Holders(me)
	usable := o.usable(st)
	return !slices.ContainsFunc(others, func(n tenant.NodeID) bool {
		return st.Node(n) != nil && n != t.Mirror() && !usable(n) // one that was removed is given up
	})
}
