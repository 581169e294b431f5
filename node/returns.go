package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"postern/node/queue"
	"postern/node/trouble"
	"postern/tenant"
)

const (
	returnsEvery   = time.Second
	returnsTimeout = 5 * time.Minute
	everybody      = "*" // no tenant's name
)

// returns looks after logs of older times: what this node wrote as an owner and
// nobody read is handed over to today's, a copy nobody needs goes, and what was
// spent and not known is reported, late or after a restore.
type returns struct {
	owned  *owned
	done   map[tenant.ID]uint64 // the epoch under which everything was handed over
	failed *trouble.Log[string] // by tenant, or everybody
}

func newReturns(o *owned) *returns {
	return &returns{owned: o, done: map[tenant.ID]uint64{},
		failed: trouble.New[string](o.log, slog.LevelError, "return of a log failed, trying again", "tenant")}
}

// Run watches until ctx ends.
func (r *returns) Run(ctx context.Context) error {
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		tick.Reset(untilBeat(returnsEvery))
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := r.step(ctx); err != nil && ctx.Err() == nil {
			r.failed.Bad(everybody, "err", err)
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
	if err := r.report(ctx, st, me.ID, held); err != nil {
		return err
	}
	r.failed.Well(everybody)
	for _, h := range held {
		name := "#" + strconv.FormatUint(uint64(h.Tenant), 10)
		if t := st.Tenant(h.Tenant); t != nil {
			name = t.Name
		}
		if err := r.lookAfter(ctx, st, me.ID, h); err == nil {
			r.failed.Well(name)
		} else if ctx.Err() == nil {
			r.failed.Bad(name, "err", err)
		}
	}
	return nil
}

// lookAfter judges one log by a state that may be behind: what came since then
// Erase does not touch.
func (r *returns) lookAfter(ctx context.Context, st *tenant.State, me tenant.NodeID, h queue.Held) error {
	t := st.Tenant(h.Tenant)
	var err error
	switch {
	case h.Adopted, t != nil && t.Owner == me:
	case t == nil && st.Removed(h.Tenant):
		err = r.owned.queue.Erase(h.Tenant, math.MaxUint64, math.MaxUint64)
	case t == nil: // of a tenant this state does not know yet
	case r.done[t.ID] != t.Epoch:
		err = r.giveBack(ctx, st, t)
	case !holds(t, me) && len(t.Copies) == 1:
		err = r.owned.queue.Erase(h.Tenant, t.Epoch, t.Generation)
	}
	if errors.Is(err, queue.ErrNewer) || errors.Is(err, queue.ErrBusy) { // in a moment
		return nil
	}
	return err
}

// report tells the state what logs here spent that it does not know: of
// tenants owned here what came back late, and after a restore of everything
// held.
func (r *returns) report(ctx context.Context, st *tenant.State, me tenant.NodeID, held []queue.Held) error {
	o := r.owned
	var late []*tenant.Tenant
	reports := map[tenant.ID]tenant.Report{}
	for _, h := range held {
		t := st.Tenant(h.Tenant)
		if t == nil {
			continue
		}
		if slices.Contains(t.Awaited, me) {
			spent, err := o.queue.Spending(t.ID)
			if err != nil {
				return fmt.Errorf("read spending of tenant %s: %w", t.Name, err)
			}
			reports[t.ID] = tenant.Report{Tenant: t.ID, Epoch: h.Epoch, Spent: spent}
		} else if h.Adopted && o.epoch(t.ID) == t.Epoch {
			spent, err := o.queue.Late(t.ID)
			if err != nil {
				return fmt.Errorf("read late spending of tenant %s: %w", t.Name, err)
			}
			if len(spent) > 0 {
				reports[t.ID] = tenant.Report{Tenant: t.ID, Spent: spent}
				late = append(late, t)
			}
		}
	}
	for t := range st.Tenants() { // holders by the state that hold nothing say so, too
		if _, ok := reports[t.ID]; !ok && slices.Contains(t.Awaited, me) {
			reports[t.ID] = tenant.Report{Tenant: t.ID}
		}
	}
	if len(reports) == 0 {
		return nil
	}
	op := tenant.Reported{Node: me}
	for _, id := range slices.Sorted(maps.Keys(reports)) {
		op.Tenants = append(op.Tenants, reports[id])
	}
	if _, _, err := o.cluster.Propose(ctx, tenant.RequestID{}, op); err != nil {
		return fmt.Errorf("report spending: %w", err)
	}
	for _, t := range late {
		if err := o.queue.Forget(t.ID, t.Epoch); err != nil {
			return fmt.Errorf("forget reported spending: %w", err)
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
