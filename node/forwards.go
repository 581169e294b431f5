package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"postern/node/queue"
	"postern/node/trouble"
	"postern/tenant"
)

const (
	forwardEvery   = 200 * time.Millisecond // between attempts to reach an owner
	forwardTimeout = 5 * time.Second        // of one
)

// forwards tells the owners of logs that were released here how attempts ended
// which were under way then, until they have it or their grace is over. What
// nobody tells them is in doubt there.
type forwards struct {
	owned  *owned
	failed *trouble.Log[string] // by tenant
}

func newForwards(o *owned) *forwards {
	return &forwards{owned: o, failed: trouble.New[string](o.log, slog.LevelWarn, "outcomes not forwarded, trying again", "tenant")}
}

// Run forwards until ctx ends.
func (f *forwards) Run(ctx context.Context) error {
	for {
		tenants, more := f.owned.queue.ToForward()
		st := f.owned.cluster.State()
		var all errgroup.Group
		for _, id := range tenants {
			all.Go(func() error { f.tenant(ctx, st, id); return nil })
		}
		_ = all.Wait()
		var again <-chan time.Time
		if left, _ := f.owned.queue.ToForward(); len(left) > 0 {
			again = time.After(forwardEvery)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-more:
		case <-again:
		}
	}
}

// tenant forwards what there is of one tenant, to its owner of this moment.
func (f *forwards) tenant(parent context.Context, st *tenant.State, id tenant.ID) {
	t := st.Tenant(id)
	if t == nil {
		return // nobody to tell; the grace ends it
	}
	owner := nodeName(st, t.Owner)
	if owner == f.owned.name {
		owner = ""
	}
	ctx, cancel := context.WithTimeout(parent, forwardTimeout)
	defer cancel()
	n, err := f.owned.queue.Forward(ctx, owner, id, t.Epoch)
	if n > 0 {
		f.owned.log.Info("outcomes forwarded to the owner", "tenant", t.Name, "epoch", t.Epoch, "outcomes", n)
	}
	switch {
	case err == nil:
		f.failed.Well(t.Name)
	case parent.Err() == nil && !errors.Is(err, queue.ErrStale): // that is an owner which is taking over
		f.failed.Bad(t.Name, "err", fmt.Errorf("tell node %q: %w", nodeName(st, t.Owner), err))
	}
}
