package submission

import (
	"context"
	"sync"
	"testing"

	"postern/node/queue"
	"postern/tenant"
)

// testQuota counts what is reserved, spent and released. It panics where the
// rules of a Reservation are broken.
type testQuota struct {
	mu                     sync.Mutex
	limit                  *OverLimit
	mails, bytes           uint64 // most that may be spent; 0 no limit
	held, spent            tenant.Amount
	open, spends, releases int
}

type testReservation struct {
	q    *testQuota
	has  tenant.Amount
	put  bool // Spend was called
	done bool
}

func (q *testQuota) take(need tenant.Amount) error {
	if q.mails > 0 && q.held.Mails+q.spent.Mails+need.Mails > q.mails ||
		q.bytes > 0 && q.held.Bytes+q.spent.Bytes+need.Bytes > q.bytes {
		return q.limit
	}
	q.held.Mails += need.Mails
	q.held.Bytes += need.Bytes
	return nil
}

func (q *testQuota) Reserve(_ context.Context, _ tenant.AccountID, need tenant.Amount) (Reservation, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.take(need); err != nil {
		return nil, err
	}
	q.open++
	return &testReservation{q: q, has: need}, nil
}

func (r *testReservation) Grow(_ context.Context, need tenant.Amount) error {
	r.q.mu.Lock()
	defer r.q.mu.Unlock()
	if err := r.q.take(need); err != nil {
		return err
	}
	r.has.Mails += need.Mails
	r.has.Bytes += need.Bytes
	return nil
}

func (r *testReservation) end() {
	r.done = true
	r.q.open--
	r.q.held.Mails -= r.has.Mails
	r.q.held.Bytes -= r.has.Bytes
}

func (r *testReservation) Spend(used tenant.Amount) []queue.Spend {
	r.q.mu.Lock()
	defer r.q.mu.Unlock()
	if r.done || r.put || used.Mails > r.has.Mails || used.Bytes > r.has.Bytes {
		panic("spent twice or more than reserved")
	}
	r.put = true
	r.q.spends++
	r.q.held.Mails -= r.has.Mails - used.Mails
	r.q.held.Bytes -= r.has.Bytes - used.Bytes
	r.has = used
	return nil
}

func (r *testReservation) Kept() {
	r.q.mu.Lock()
	defer r.q.mu.Unlock()
	if r.done || !r.put {
		panic("kept without a Put")
	}
	r.end()
	r.q.spent.Mails += r.has.Mails
	r.q.spent.Bytes += r.has.Bytes
}

func (r *testReservation) Release() {
	r.q.mu.Lock()
	defer r.q.mu.Unlock()
	r.q.releases++
	if r.done {
		panic("released what had ended")
	}
	r.end()
}

// settled waits until nothing is reserved any more.
func (q *testQuota) settled(t testing.TB) {
	t.Helper()
	eventually(t, "reservations settled", func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.open == 0 && q.held == tenant.Amount{}
	})
}
