package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postern/node/queue"
	"postern/tenant"
)

// reachWait is how long an adopter tries to reach a holder before it goes on
// without that copy.
const reachWait = 8 * time.Second

// reasonUnread pauses a tenant whose older mail another node may have settled.
const reasonUnread = "a copy of its log cannot be read now; its mail waits for that node"

// adopt takes a tenant over under its next epoch: it fences the holders of
// copies, takes in what they have, adopts the log, and commits all that in one
// Own. A crash between the steps is harmless: an epoch is not used before the
// commit, and the state folds in the spending of one epoch only once.
func (o *owned) adopt(ctx context.Context, st *tenant.State, t *tenant.Tenant, me tenant.NodeID) error {
	began := time.Now()
	epoch := t.Epoch + 1
	own := tenant.Own{Tenant: t.ID, Node: me, Expect: t.Epoch, Read: true}
	if o.peered {
		var err error
		if own.Ends, own.Read, err = o.gather(ctx, st, t, me, epoch); err != nil {
			return fmt.Errorf("adopt tenant %s: %w", t.Name, err)
		}
		own.Mirror = tenant.MirrorFor(st, t, o.usable(st))
	}
	var err error
	if own.Spent, err = o.queue.Adopt(t.ID, epoch); err != nil {
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
	if !own.Read && t.Paused == "" {
		o.pause(ctx, t, reasonUnread)
	}
	// Before the epoch is used: no dot is older than this line.
	o.log.Info("tenant owned", "tenant", t.Name, "epoch", epoch, "took", time.Since(began), "read", own.Read)
	o.set(t.ID, epoch)
	return nil
}

// gather makes this store's copy of the tenant complete and tells how far the
// last owner's log was read. The fence comes first: a holder that has seen it
// takes nothing more from an older owner.
func (o *owned) gather(ctx context.Context, st *tenant.State, t *tenant.Tenant, me tenant.NodeID, epoch uint64) (ends []tenant.End, read bool, err error) {
	here, err := o.queue.Fence(ctx, "", t.ID, epoch)
	if err != nil {
		return nil, false, err
	}
	n := len(t.Copies)
	if n == 0 {
		return nil, true, nil // one copy, and it is here
	}
	newest := t.Copies[n-1]
	ctx, cancel := context.WithTimeout(ctx, reachWait)
	defer cancel()
	last := here
	mine := o.wrote(t, newest.Epoch, me)
	if !mine && newest.Node != me {
		if last, err = o.take(ctx, st, t, newest, epoch, false); err != nil {
			return nil, false, nil
		}
	}
	read = true
	for i := n - 2; i >= 0; i-- {
		// What this node wrote, or holds, is here.
		if c := t.Copies[i]; c.Node != me && c.Node != 0 && !o.wrote(t, c.Epoch, me) {
			if _, err := o.take(ctx, st, t, c, epoch, true); err != nil {
				read = false
			}
		}
	}
	if w := writer(t, newest.Epoch); w != 0 && !mine && last.Epoch == newest.Epoch {
		ends = []tenant.End{{Epoch: newest.Epoch, Node: w, Last: last.Last}}
	}
	return ends, read, nil
}

// take fences one copy's holder and brings its content here.
func (o *owned) take(ctx context.Context, st *tenant.State, t *tenant.Tenant, c tenant.Copy, epoch uint64, merge bool) (queue.LogState, error) {
	name := nodeName(st, c.Node)
	last, err := o.queue.Fence(ctx, name, t.ID, epoch)
	if err == nil {
		err = o.queue.Fetch(ctx, name, t.ID, merge)
	}
	if err != nil {
		o.log.Error("copy not read", "tenant", t.Name, "node", name, "generation", c.Generation, "err", err)
	}
	return last, err
}

// wrote reports whether this node wrote the log of an epoch: then all of it
// that got a 250 is on its own disk, because a 250 waits for both.
func (o *owned) wrote(t *tenant.Tenant, epoch uint64, me tenant.NodeID) bool {
	w := writer(t, epoch)
	return w == me || w == 0 && epoch == t.Epoch
}

// writer is the node that wrote the tenant's log of an epoch, or 0: nobody else
// has owned the tenant since.
func writer(t *tenant.Tenant, epoch uint64) tenant.NodeID {
	for _, e := range t.Ends {
		if e.Epoch == epoch {
			return e.Node
		}
	}
	return 0
}

func (o *owned) pause(ctx context.Context, t *tenant.Tenant, reason string) {
	_, _, err := o.cluster.Propose(ctx, tenant.RequestID{}, tenant.Pause{Tenant: t.ID, Reason: reason})
	if err != nil {
		o.log.Error("pause not recorded", "tenant", t.Name, "reason", reason, "err", err)
	}
}

// readable says whether copies that could not be read when the tenant was taken
// over can be read now.
func readable(t *tenant.Tenant, usable func(tenant.NodeID) bool) bool {
	if t.Paused != reasonUnread || !unread(t) {
		return false
	}
	for _, c := range t.Copies {
		if c.Epoch < t.Epoch && c.Node != t.Owner && !usable(c.Node) {
			return false
		}
	}
	return true
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
	alive := map[string]bool{}
	for _, n := range o.cluster.Status().Nodes {
		alive[n.Name] = n.Alive && !n.Lapsed
	}
	return func(id tenant.NodeID) bool {
		n := st.Node(id)
		return n != nil && n.Down.IsZero() && alive[n.Name]
	}
}
