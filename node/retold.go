package node

import (
	"crypto/rand"
	"time"

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

func (r *retold[O]) done() { r.op = nil }
