package node

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"postern/tenant"
)

// reasonUnread pauses a tenant whose older mail another node may have settled.
// It stands behind an operator's reason, if there is one.
const reasonUnread = "a copy of its log cannot be read now; its mail waits for that node"

// maxOwnReason is what is kept of an operator's reason beside it: a reason has
// its bound in the state.
const maxOwnReason = 400

var errUnread = errors.New("a copy of the tenant's log is not read yet")

func withUnread(reason string) string {
	if reason == "" {
		return reasonUnread
	}
	for len(reason) > maxOwnReason {
		_, n := utf8.DecodeLastRuneInString(reason)
		reason = reason[:len(reason)-n]
	}
	return reason + "; " + reasonUnread
}

func withoutUnread(reason string) string {
	return strings.TrimSuffix(strings.TrimSuffix(reason, reasonUnread), "; ")
}

// showUnread makes the tenant's pause say whether a copy is unread, and leaves
// what an operator said of it. A restore's reason goes first: while it stands
// nothing leaves either, and the state lifts it by its words.
func (o *owned) showUnread(ctx context.Context, t *tenant.Tenant, unread bool) error {
	shown := strings.HasSuffix(t.Paused, reasonUnread)
	switch {
	case unread == shown, t.Paused == tenant.ReasonRestored:
		return nil
	case unread:
		return o.pause(ctx, t, withUnread(t.Paused))
	default:
		return o.pause(ctx, t, withoutUnread(t.Paused))
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
