package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"postern/tenant"
)

// quiesceWait is how long attempts under way get to end before a tenant is
// handed over all the same; what is without a reply then is named.
const quiesceWait = 20 * time.Second

// fleeWait is the same for a tenant whose source is listed: there nothing new
// is begun, and what is under way is at its end or stuck.
const fleeWait = time.Second

// handoverEvery is how often a target's copy is looked at while one is asked for.
const handoverEvery = 250 * time.Millisecond

// handover gives tenants to the nodes the state asks for, once those have the
// whole log: attempts end, the log's end is committed, and nothing is sent
// here after that.
type handover struct {
	owned *owned
	wait  time.Duration // quiesceWait

	releases sync.WaitGroup
	mu       sync.Mutex // guards under
	under    map[tenant.ID]bool
}

// Run watches until ctx ends.
func (h *handover) Run(ctx context.Context) error {
	defer h.releases.Wait()
	for {
		st := h.owned.cluster.State()
		var again <-chan time.Time
		for t := range st.Tenants() {
			if t.To != 0 {
				again = time.After(handoverEvery)
			}
			if h.ready(st, t) && h.begin(t.ID) {
				h.releases.Go(func() { h.handOver(ctx, t, st.Fleeing(t)) })
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-h.owned.cluster.Watch(st.Index()):
		case <-again:
		}
	}
}

// begin says whether nobody releases the tenant yet; handOver ends that.
func (h *handover) begin(t tenant.ID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.under[t] {
		return false
	}
	if h.under == nil {
		h.under = map[tenant.ID]bool{}
	}
	h.under[t] = true
	return true
}

// handOver releases one tenant. Each goes by itself: one that waits for a slow
// host must not keep those whose source is listed.
func (h *handover) handOver(ctx context.Context, t *tenant.Tenant, flees bool) {
	wait := h.wait
	if flees {
		wait = fleeWait
	}
	if err := h.release(ctx, t, wait); err != nil && ctx.Err() == nil {
		h.owned.log.Error("handover failed, going on as owner", "tenant", t.Name, "err", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.under, t.ID)
}

// ready says whether the target holds the only copy, complete, and has room.
func (h *handover) ready(st *tenant.State, t *tenant.Tenant) bool {
	me := st.NodeByName(h.owned.name)
	if !st.Releasable(t) || me == nil || t.Owner != me.ID || h.owned.epoch(t.ID) != t.Epoch || t.Mirror() != t.To || len(t.Copies) != 1 {
		return false
	}
	stand, ok := h.owned.queue.Mirrors()[t.ID]
	return ok && stand.Synced && stand.Generation == t.Generation && stand.Broken == 0
}

func (h *handover) release(ctx context.Context, t *tenant.Tenant, wait time.Duration) error {
	o := h.owned
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, wait+leaseWait)
	defer cancel()
	quiet, stop := context.WithTimeout(ctx, wait)
	last, waiting, err := o.queue.Quiesce(quiet, t.ID)
	stop()
	if err == nil {
		_, _, err = o.cluster.Propose(ctx, tenant.RequestID{}, tenant.Release{Tenant: t.ID, Expect: t.Epoch, Last: last, Waiting: waiting})
	}
	if err != nil {
		if e := o.queue.Resume(t.ID); e != nil {
			o.log.Error("resume after a failed handover", "tenant", t.Name, "err", e)
		}
		return fmt.Errorf("hand over tenant %s: %w", t.Name, err)
	}
	o.log.Info("tenant handed over", "tenant", t.Name, "epoch", t.Epoch, "last", last, "waiting", len(waiting), "took", time.Since(began))
	return nil
}
