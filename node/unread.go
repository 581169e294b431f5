package node

import (
	"context"
	"errors"

	"postern/tenant"
)

var errUnread = errors.New("a copy of the tenant's log is not read yet")

// showUnread makes the tenant's pause say whether a copy is unread, and leaves
// what an operator said of it. A restore's reason goes first: while it stands
// nothing leaves either, and the state lifts it by its words.
func (o *owned) showUnread(ctx context.Context, t *tenant.Tenant, unread bool) error {
	shown := tenant.Unread(t.Paused)
	switch {
	case unread == shown, t.Paused == tenant.ReasonRestored:
		return nil
	case unread:
		return o.pause(ctx, t, tenant.WithUnread(t.Paused))
	default:
		return o.pause(ctx, t, tenant.WithoutUnread(t.Paused))
	}
}

// MayDot is MayAct for the final dot. The pause is what everybody sees; but it
// is replicated, and who resumes the tenant lifts it for a moment, in which
// nothing may leave either.
func (o *owned) MayDot(ctx context.Context, t tenant.ID, epoch uint64) error {
	if err := o.MayAct(ctx, t, epoch); err != nil {
		return err
	}
	if !o.complete(t) {
		return errUnread
	}
	return nil
}
