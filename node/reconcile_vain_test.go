package node

import (
	"log/slog"
	"testing"
	"time"

	"postern/tenant"
)

// TestTakeOversInVainGrowRarer: a copy that cannot be read is tried again, ever
// more rarely and longer, until it was read or the tenant is another's.
func TestTakeOversInVainGrowRarer(t *testing.T) {
	o := newOwned("n1", true, nil, nil, nil, slog.New(slog.DiscardHandler))
	const id = tenant.ID(7)
	want := func(read, again time.Duration) {
		t.Helper()
		if r, a := reachWait<<o.doublings(id, 0), againEvery<<o.doublings(id, 1); r != read || a != again {
			t.Errorf("reads for %v, again after %v, want %v and %v", r, a, read, again)
		}
	}
	want(8*time.Second, 5*time.Second)
	o.set(id, 2, false)
	want(16*time.Second, 5*time.Second)
	for epoch := range uint64(5) {
		o.set(id, 0, true) // released, to be taken over again
		o.set(id, 3+epoch, false)
	}
	want(128*time.Second, 80*time.Second)
	o.set(id, 0, true)
	o.set(id, 9, true)
	want(8*time.Second, 5*time.Second)
	o.set(id, 10, false)
	o.forget(id)
	want(8*time.Second, 5*time.Second)
}
