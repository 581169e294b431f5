package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postern/cluster"
	"postern/node/queue"
	"postern/tenant"
)

// reachWait is how long an adopter reads copies before it goes on without those
// that it has not got whole. What it has read it need not read again.
const reachWait = 8 * time.Second

// adopt takes a tenant over under its next epoch: it fences the holders of
// copies, takes in what they have, adopts the log, and commits all that in one
// Own. A crash between the steps is harmless: an epoch is not used before the
// commit, and the state folds in the spending of one epoch only once.
func (o *owned) adopt(ctx context.Context, st *tenant.State, t *tenant.Tenant, me tenant.NodeID) error {
	began := time.Now()
	epoch := t.Epoch + 1
	own := tenant.Own{Tenant: t.ID, Node: me, Expect: t.Epoch, Read: true}
	complete := true
	if o.peered {
		var err error
		if own.Ends, complete, err = o.gather(ctx, st, t, me, epoch); err != nil {
			return fmt.Errorf("adopt tenant %s: %w", t.Name, err)
		}
		own.Mirror = tenant.MirrorFor(st, t, o.usable(st))
		// Until the new copy is complete the older ones stay open, also those
		// that were taken in: this node may be the next to go.
		own.Read = complete && own.Mirror == 0
	}
	if !complete { // first: nothing may leave before it is known
		if err := o.showUnread(ctx, t, true); err != nil {
			return err
		}
	}
	var err error
	if !complete { // the copies that are missing are taken in later
		own.Spent, err = o.queue.AdoptPart(t.ID, epoch, waiting(t)...)
	} else {
		own.Spent, err = o.queue.AdoptReleased(t.ID, epoch, released(t), waiting(t)...)
	}
	if err != nil {
		return fmt.Errorf("adopt tenant %s: %w", t.Name, err)
	}
	_, next, err := o.cluster.Propose(ctx, tenant.RequestID{}, own)
	if err != nil {
		return errors.Join(fmt.Errorf("own tenant %s: %w", t.Name, err), o.queue.Release(t.ID))
	}
	if err := o.queue.Forget(t.ID, epoch); err != nil {
		return fmt.Errorf("forget committed spending of tenant %s: %w", t.Name, err)
	}
	o.grants.drop(t.ID, epoch)
	if o.peered {
		if err := o.follow(next, t.ID); err != nil {
			return err
		}
	}
	// Before the epoch is used: no dot is older than this line.
	o.log.Info("tenant owned", "tenant", t.Name, "epoch", epoch, "took", time.Since(began), "complete", complete)
	o.set(t.ID, epoch, complete)
	return nil
}

// released is where the log of a tenant ended that was handed over and not owned
// since; zero when it was not.
func released(t *tenant.Tenant) queue.ID {
	n := len(t.Ends)
	if n == 0 || t.Ends[n-1].Epoch+1 != t.Epoch || t.Ends[n-1].Last == 0 {
		return queue.ID{}
	}
	return queue.ID{Tenant: t.ID, Epoch: t.Ends[n-1].Epoch, Seq: t.Ends[n-1].Last}
}

// waiting names the messages whose dot had no reply when the tenant was handed
// over.
func waiting(t *tenant.Tenant) (ids []queue.ID) {
	n := len(t.Ends)
	if n == 0 || t.Ends[n-1].Epoch+1 != t.Epoch { // not since
		return nil
	}
	for _, seq := range t.Waiting {
		ids = append(ids, queue.ID{Tenant: t.ID, Epoch: t.Ends[n-1].Epoch, Seq: seq})
	}
	return ids
}

// gather makes this store's copy of the tenant complete, if it can, and tells
// how far older logs were read. The fence comes first: a holder that has seen it
// takes nothing more from an older owner.
func (o *owned) gather(ctx context.Context, st *tenant.State, t *tenant.Tenant, me tenant.NodeID, epoch uint64) (ends []tenant.End, complete bool, err error) {
	last, err := o.queue.Fence(ctx, "", t.ID, epoch)
	if err != nil {
		return nil, false, err
	}
	holders, here := t.Holders(me)
	ctx, cancel := context.WithTimeout(ctx, reachWait<<o.doublings(t.ID, 0))
	defer cancel()
	complete = true
	// The oldest first: where two know of a message, the later word counts. What
	// lies here and is in no copy of the list is older than all of them, and one
	// complete copy elsewhere replaces what lies here.
	merge := here && len(t.Copies) > 1
	for _, h := range holders {
		name := nodeName(st, h)
		if name == "" {
			continue // removed as lost: an operator gave its copy up
		}
		got, err := o.queue.Fence(ctx, name, t.ID, epoch)
		if err == nil {
			err = o.queue.Fetch(ctx, name, t.ID, merge)
		}
		if err != nil {
			o.log.Error("copy not read", "tenant", t.Name, "node", name, "err", err)
			complete = false
			continue
		}
		merge = true
		if got.Epoch > last.Epoch || got.Epoch == last.Epoch && got.Last > last.Last {
			last = got
		}
	}
	return t.EndsAt(me, tenant.End{Epoch: last.Epoch, Last: last.Last}, complete), complete, nil
}

func (o *owned) pause(ctx context.Context, t *tenant.Tenant, reason string) error {
	_, _, err := o.cluster.Propose(ctx, tenant.RequestID{}, tenant.Pause{Tenant: t.ID, Reason: reason})
	if err != nil {
		return fmt.Errorf("pause tenant %s (%q): %w", t.Name, reason, err)
	}
	return nil
}

func nodeName(st *tenant.State, id tenant.NodeID) string {
	if n := st.Node(id); n != nil {
		return n.Name
	}
	return ""
}

// usable says which nodes can hold a copy now: up in the state, and alive as
// far as this node can tell.
func (o *owned) usable(st *tenant.State) func(tenant.NodeID) bool {
	return o.upAnd(st, func(n cluster.NodeStatus) bool { return n.Alive && !n.Lapsed })
}

// reachable says which nodes are up in the state and worth a try: without gossip
// this node knows nothing of one that it has nothing to say to.
func (o *owned) reachable(st *tenant.State) func(tenant.NodeID) bool {
	return o.upAnd(st, func(n cluster.NodeStatus) bool { return (n.Alive || !n.Silent) && !n.Lapsed })
}

func (o *owned) upAnd(st *tenant.State, ok func(cluster.NodeStatus) bool) func(tenant.NodeID) bool {
	alive := map[string]bool{}
	for _, n := range o.cluster.Status().Nodes {
		alive[n.Name] = ok(n)
	}
	return func(id tenant.NodeID) bool {
		n := st.Node(id)
		return n != nil && n.Down.IsZero() && alive[n.Name]
	}
}
