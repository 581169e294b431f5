package submission

import (
	"context"
	"errors"
	"time"

	"postern/node/queue"
	"postern/tenant"
)

// Quota reserves what a message will spend. Implemented by node over grants.
type Quota interface {
	// Reserve takes mails e-mails and their bytes (size x recipients) of the
	// account's windows. Errors: *OverLimit, or anything else for 451 4.3.0.
	Reserve(ctx context.Context, a tenant.AccountID, need tenant.Amount) (Reservation, error)
}

// Reservation is one transaction's share of the grants. It grows as recipients
// and bytes come in; exactly one of Kept and Release ends it.
type Reservation interface {
	Grow(ctx context.Context, need tenant.Amount) error
	// Spend settles it at what was really used and says what to store with the
	// message. Call it right before Put. Until the end of Put is told the amount
	// is neither spent nor free: a crash leaves it in the log or nowhere.
	Spend(used tenant.Amount) []queue.Spend
	// Kept says after Spend that Put was successful: the log has the spending,
	// and nothing takes it back.
	Kept()
	// Release says that the message is not kept, before Spend or after.
	Release()
}

// OverLimit is a quota or rate limit that is reached.
type OverLimit struct {
	Window tenant.WindowKind
	Limit  uint64
	Bytes  bool      // the limit is in octets, else in e-mails
	Resets time.Time // when the next window starts
}

func (e *OverLimit) Error() string { return "limit reached" }

// stride is how far a reservation runs ahead of the bytes of a message whose
// size was not declared, so that not every read asks again.
const stride = 64 << 10

// share is what one transaction has reserved.
type share struct {
	res   Reservation
	mails uint64
	each  uint64 // octets reserved for each recipient
}

// open reserves the first recipient's part.
func (h *share) open(ctx context.Context, q Quota, a tenant.AccountID, size int64) error {
	res, err := q.Reserve(ctx, a, tenant.Amount{Mails: 1, Bytes: uint64(size)})
	if err != nil {
		return err
	}
	*h = share{res: res, mails: 1, each: uint64(size)}
	return nil
}

// recipients makes the share cover n recipients.
func (h *share) recipients(ctx context.Context, n int) error {
	more := uint64(n)
	if more <= h.mails {
		return nil
	}
	more -= h.mails
	if err := h.res.Grow(ctx, tenant.Amount{Mails: more, Bytes: more * h.each}); err != nil {
		return err
	}
	h.mails += more
	return nil
}

// bytes makes the share cover a message of size octets for all recipients.
func (h *share) bytes(ctx context.Context, size int64) error {
	if uint64(size) <= h.each {
		return nil
	}
	exact := uint64(size) - h.each
	ahead := max(exact, stride)
	err := h.res.Grow(ctx, tenant.Amount{Bytes: ahead * h.mails})
	if over := (*OverLimit)(nil); err != nil && ahead != exact && errors.As(err, &over) {
		// What is left may still be enough for what has really come.
		ahead = exact
		err = h.res.Grow(ctx, tenant.Amount{Bytes: ahead * h.mails})
	}
	if err != nil {
		return err
	}
	h.each += ahead
	return nil
}

// release gives everything back; harmless when nothing is reserved.
func (h *share) release() {
	if h.res != nil {
		h.res.Release()
	}
	*h = share{}
}
