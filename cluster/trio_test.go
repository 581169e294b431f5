package cluster

import (
	"context"
	"errors"
	"testing"
	"time"

	"postern/tenant"
)

// TestTrio: three nodes form, a follower's proposal is carried by the leader,
// its events come back, and all states are equal.
func TestTrio(t *testing.T) {
	bubble(t, testTrio)
}

func testTrio(t *testing.T) {
	x := newTrio(t, 3)
	f := x.follower()
	f.awaitReady()
	req := tenant.RequestID{5}
	for range 2 {
		events, s, err := f.add(req, "one")
		if err != nil {
			t.Fatal(err)
		}
		if len(events) != 1 || events[0] != (tenant.RouteChanged{Domain: "one.example"}) || s.RouteFor("one.example") == nil {
			t.Fatalf("events %v", events)
		}
	}
	if f.State().RouteFor("one.example") == nil {
		t.Error("the answer came before the follower's own state showed it")
	}
	var refused *tenant.Refused
	if _, s, err := f.Propose(t.Context(), tenant.RequestID{}, tenant.RemoveTenant{Tenant: 7}); !errors.As(err, &refused) || s == nil {
		t.Errorf("an unknown tenant: %v", err)
	}
	big := tenant.SetDomain{Tenant: 1, Name: "a.example", SealedKey: make([]byte, MaxCommand)}
	if _, _, err := f.Propose(t.Context(), tenant.RequestID{}, big); err == nil || errors.Is(err, ErrUnknown) {
		t.Errorf("a large command: %v", err)
	}
	x.converge()
	for _, r := range x.all() {
		s, err := r.Read(t.Context())
		if err != nil || s.RouteFor("one.example") == nil {
			t.Errorf("%s reads %v", r.cfg.Name, err)
		}
	}
}

// TestTrioLosesLeader: the others elect another, and go on.
func TestTrioLosesLeader(t *testing.T) {
	bubble(t, testTrioLosesLeader)
}

func testTrioLosesLeader(t *testing.T) {
	x := newTrio(t, 3)
	first := x.awaitLeader().cfg.Name
	x.kill(first)
	for i, r := range x.all() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for {
			_, _, err := r.add(tenant.RequestID{byte(i + 1)}, numbered("after", i))
			if err == nil {
				break
			}
			if ctx.Err() != nil || errors.Is(err, ErrClosed) {
				t.Fatal(err)
			}
		}
	}
	r := x.start(first)
	r.awaitReady()
	x.converge()
	if r.State().RouteFor("after0.example") == nil {
		t.Error("the one that was away does not know")
	}
}

// TestFollowerSoon: a follower's own proposals and reads do not wait for raft's
// pause of 50 ms. The network of the test takes no time.
func TestFollowerSoon(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := newTrio(t, 3)
		f := x.follower()
		f.awaitReady()
		began := time.Now()
		for i := range 20 {
			f.mustAdd(numbered("r", i))
			x.awaitLeader().mustAdd(numbered("s", i))
			s, err := f.Read(t.Context())
			if err != nil || s.RouteFor(numbered("s", i)+".example") == nil {
				t.Fatalf("read: %v", err)
			}
		}
		if took := time.Since(began); took > 200*time.Millisecond {
			t.Errorf("20 proposals and reads took %s", took)
		}
	})
}

// TestPlannedStop: a leader that stops hands over, so nobody waits for an
// election.
func TestPlannedStop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := newTrio(t, 3)
		x.mustAdd("before")
		f, began := x.follower(), time.Now()
		x.halt(x.leader().cfg.Name)
		f.mustAdd("after")
		if took := time.Since(began); took > heartbeat/2 {
			t.Errorf("the others had no leader for %s", took)
		}
	})
}
