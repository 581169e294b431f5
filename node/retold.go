package node

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"postern/cluster"
	"postern/tenant"
)

// retold is what was proposed and perhaps not applied. It is proposed again under
// the same id until its outcome is known, so that nothing counts twice.
type retold[O tenant.Op] struct {
	op   *O // nil when nothing is open
	id   tenant.RequestID
	last time.Time // when something was proposed for the first time
}

func (r *retold[O]) begin(op *O, now time.Time) {
	r.op, r.last = op, now
	_, _ = rand.Read(r.id[:]) // it cannot fail
}

// tell proposes what was begun and ends it, under the lock that guards r; after an
// error it is open, and proposed again.
func (r *retold[O]) tell(ctx context.Context, to *cluster.Cluster, mu *sync.Mutex, op *O, id tenant.RequestID) error {
	ctx, cancel := context.WithTimeout(ctx, tellWait)
	defer cancel()
	if _, _, err := to.Propose(ctx, id, *op); err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	r.done()
	return nil
}

func (r *retold[O]) done() { r.op = nil }
