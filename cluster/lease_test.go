package cluster

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postern/tenant"
)

// bubble runs a test on a clock of its own.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// simClocks gives every node the bubble's boot-time clock.
func simClocks(x *trio) {
	base := time.Now()
	x.set = func(cfg *Config) {
		cfg.boot = func() time.Duration { return time.Since(base) + time.Hour }
	}
}

// newLeased is a cluster of three in which n2 owns tenant 1.
func newLeased(t *testing.T, set func(*Config)) (x *trio, id tenant.ID, epoch uint64) {
	t.Helper()
	x = emptyTrio(t)
	clocks := x.set
	x.set = func(cfg *Config) {
		clocks(cfg)
		if set != nil {
			set(cfg)
		}
	}
	x.grow(3)
	var places []tenant.Place
	for i, name := range []string{"n2", "n3"} {
		node := x.awaitLeader().State().NodeByName(name).ID
		x.mustPropose(tenant.AddSource{Node: node, Addr: netip.AddrFrom4([4]byte{127, 77, 1, byte(i + 1)}), EHLO: name + ".relay.example", Shared: true})
		places = append(places, tenant.Place{Node: node})
	}
	x.mustPropose(tenant.AddTenant{Name: "acme", Hostname: "acme.relay.example", Home: places[0], Backup: places[1]})
	s := x.awaitLeader().State()
	acme := s.TenantByName("acme")
	x.converge()
	return x, acme.ID, acme.Epoch
}

// within asks once whether a node may act, with some patience.
func (r *running) within(patience time.Duration, id tenant.ID, epoch uint64) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return r.MayAct(ctx, id, epoch)
}

// TestLease: an owner acts while it hears the leader, and no longer than a
// lease's time after it stopped; the leader lists it only after that.
func TestLease(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x, id, epoch := newLeased(t, nil)
		n1, n2 := x.node("n1"), x.node("n2")
		if err := n2.within(5*time.Second, id, epoch); err != nil {
			t.Fatal(err)
		}
		if n2.Status().Lease.IsZero() {
			t.Error("a lease runs and the status does not say so")
		}
		for _, wrong := range []error{n2.within(time.Second, id, epoch+1), n2.within(time.Second, id+1, 1), x.node("n3").within(time.Second, id, epoch)} {
			if !errors.Is(wrong, ErrNotOwner) {
				t.Errorf("not the owner, epoch or tenant: %v", wrong)
			}
		}
		if x.leader().Cluster != n1.Cluster {
			t.Fatal("the test expects n1 to lead")
		}
		time.Sleep(5 * time.Second)
		if lapsed := n1.Lapsed(); len(lapsed) != 0 {
			t.Errorf("%v have lapsed and are well", lapsed)
		}
		cut := time.Now()
		x.lan.isolate("n2")
		for n2.within(time.Millisecond, id, epoch) == nil {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(cut); took > leaseTime+5*time.Millisecond { // what a look takes
			t.Errorf("acted %s after the cut", took)
		}
		if lapsed := n1.Lapsed(); len(lapsed) != 0 {
			t.Error("listed when the lease had just run out")
		}
		for len(n1.Lapsed()) == 0 {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(cut); took > leaseTime+leaseMargin+askPause+5*time.Millisecond || !slices.Equal(n1.Lapsed(), []string{"n2"}) {
			t.Errorf("%v listed after %s", n1.Lapsed(), took)
		}
		if err := n2.within(time.Second, id, epoch); !errors.Is(err, ErrNoLease) || !n2.Status().Lease.IsZero() {
			t.Errorf("without a lease: %v", err)
		}
		waits := make(chan error, 1)
		go func() { waits <- n2.within(time.Minute, id, epoch) }()
		x.lan.rejoin("n2")
		if err := <-waits; err != nil {
			t.Errorf("with a lease again: %v", err)
		}
	})
}

// TestMayActAllocates: asking is free. Nothing else runs meanwhile, since the
// clock of the bubble stands still.
func TestMayActAllocates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, id, epoch := newLeased(t, nil)
		n2 := x.node("n2")
		if err := n2.within(5*time.Second, id, epoch); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if allocs := testing.AllocsPerRun(100, func() {
			if n2.MayAct(context.Background(), id, epoch) != nil {
				t.Error("may not act")
			}
		}); allocs != 0 {
			t.Errorf("%v allocations", allocs)
		}
	})
}

// TestDown: what a down node owned moves, and it does not act for it even when
// it gets leases again.
func TestDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x, id, epoch := newLeased(t, nil)
		n2, node := x.node("n2"), x.node("n2").State().NodeByName("n2").ID
		down := tenant.NodesDown{Nodes: []tenant.NodeID{node}}
		var refused *tenant.Refused
		if _, _, err := x.follower().Propose(t.Context(), tenant.RequestID{}, down); !errors.As(err, &refused) {
			t.Errorf("a node with a lease was declared down: %v", err)
		}
		x.lan.isolate("n2")
		eventually(t, time.Minute, "lapsed", func() bool { l := x.leader(); return l != nil && len(l.Lapsed()) > 0 })
		x.mustPropose(down)
		if owner := x.leader().State().Tenant(id); owner.Owner == node || owner.Epoch == epoch {
			t.Fatalf("tenant stays: %+v", owner)
		}
		if err := n2.within(time.Second, id, epoch); !errors.Is(err, ErrNoLease) {
			t.Errorf("cut off: %v", err)
		}
		x.lan.rejoin("n2")
		eventually(t, time.Minute, "a lease again", func() bool { return !n2.Status().Lease.IsZero() })
		if err := n2.within(time.Second, id, epoch); !errors.Is(err, ErrNotOwner) {
			t.Errorf("back: %v", err)
		}
	})
}

// TestDownOwner: a node that is down and still owns, because nobody else could
// take it, waits with a lease until it is up: the tenant may go any moment.
func TestDownOwner(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x, id, epoch := newLeased(t, nil)
		n2, s := x.node("n2"), x.node("n1").State()
		node, draining := s.NodeByName("n2").ID, true
		for _, full := range []string{"n1", "n3"} {
			x.mustPropose(tenant.SetNode{Node: s.NodeByName(full).ID, Draining: &draining})
		}
		x.lan.isolate("n2")
		eventually(t, time.Minute, "lapsed", func() bool { l := x.leader(); return l != nil && len(l.Lapsed()) > 0 })
		x.mustPropose(tenant.NodesDown{Nodes: []tenant.NodeID{node}})
		if owner := x.leader().State().Tenant(id); owner.Owner != node || owner.Epoch != epoch {
			t.Fatalf("the test expects the tenant to stay: %+v", owner)
		}
		x.lan.rejoin("n2")
		eventually(t, time.Minute, "a lease again", func() bool { return !n2.Status().Lease.IsZero() })
		if err := n2.within(5*time.Second, id, epoch); !errors.Is(err, ErrNoLease) {
			t.Errorf("down, owner and leased: %v", err)
		}
		x.mustPropose(tenant.NodesUp{Nodes: []tenant.NodeID{node}})
		if err := n2.within(time.Minute, id, epoch); err != nil {
			t.Errorf("up again: %v", err)
		}
	})
}

// TestTrial: while a decision that a node is down is under way, it gets no
// lease; whoever listed it before its last lease decides nothing.
func TestTrial(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x, _, _ := newLeased(t, nil)
		leader := x.leader()
		node := leader.State().NodeByName("n2").ID
		down := tenant.NodesDown{Nodes: []tenant.NodeID{node}}
		if _, err := leader.sentence(down); err == nil {
			t.Error("a decision against a node with a lease")
		}
		x.lan.isolate("n2")
		eventually(t, time.Minute, "lapsed", func() bool { return len(leader.Lapsed()) > 0 })
		release, err := leader.sentence(down)
		if err != nil {
			t.Fatal(err)
		}
		ask := leaseAsk{Want: true}
		if a, err := leader.answerLease(t.Context(), "n2", ask); err != nil || a.Granted {
			t.Errorf("granted while the decision is under way: %v", err)
		}
		release()
		if a, err := leader.answerLease(t.Context(), "n2", ask); err != nil || !a.Granted {
			t.Errorf("not granted after it: %v", err)
		}
		if _, err := leader.sentence(down); err == nil {
			t.Error("a decision against a node that got its lease since it was listed")
		}
		if len(leader.Lapsed()) != 0 {
			t.Error("listed with a new lease")
		}
	})
}

// TestNewLeader lists nobody before a whole lease has passed.
func TestNewLeader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x, _, _ := newLeased(t, func(cfg *Config) {
			if cfg.Name == "n2" {
				cfg.Peering.Durable = func() error { return errors.New("no sync") }
			}
		})
		old := x.leader().cfg.Name
		x.kill(old)
		next := x.awaitLeader()
		began := time.Now()
		for len(next.Lapsed()) == 0 {
			time.Sleep(time.Millisecond)
			if time.Since(began) > time.Minute {
				t.Fatal("never listed")
			}
		}
		if took := time.Since(began); took < leaseTime {
			t.Errorf("%v listed after %s", next.Lapsed(), took)
		}
	})
}

// TestFrozen: a process that did not run finds its lease gone, by either clock,
// before anybody told it anything; a leader lists nobody for its own absence.
func TestFrozen(t *testing.T) {
	for _, which := range []string{"boot", "wall"} {
		t.Run(which, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var jump atomic.Int64 // of every node: nobody's asks arrive meanwhile
				x, id, epoch := newLeased(t, func(cfg *Config) {
					boot := cfg.boot
					if which == "boot" {
						cfg.boot = func() time.Duration { return boot() + time.Duration(jump.Load()) }
					} else {
						cfg.Now = func() time.Time { return time.Now().Add(time.Duration(jump.Load())) }
					}
				})
				n2 := x.node("n2")
				if err := n2.within(5*time.Second, id, epoch); err != nil {
					t.Fatal(err)
				}
				jump.Store(int64(leaseTime))
				if ok, err := n2.mayAct(id, epoch); ok || err != nil {
					t.Errorf("acts after its absence: %t, %v", ok, err)
				}
				if lapsed := x.leader().Lapsed(); len(lapsed) > 0 {
					t.Errorf("the leader was away and lists %v", lapsed)
				}
				if err := n2.within(5*time.Second, id, epoch); err != nil {
					t.Errorf("later: %v", err)
				}
			})
		})
	}
}

// TestNotDurable: a node whose queue does not sync asks for no lease, and goes
// on telling what it has.
func TestNotDurable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var broken atomic.Bool
		x, id, epoch := newLeased(t, func(cfg *Config) {
			if cfg.Name == "n2" {
				cfg.Peering.Durable = func() error {
					if broken.Load() {
						return errors.New("no sync for 5 s")
					}
					return nil
				}
			}
		})
		broken.Store(true)
		eventually(t, time.Minute, "lapsed", func() bool { return slices.Equal(x.awaitLeader().Lapsed(), []string{"n2"}) })
		if err := x.node("n2").within(time.Second, id, epoch); !errors.Is(err, ErrNoLease) {
			t.Errorf("may act: %v", err)
		}
		s := x.mustAdd("more")
		eventually(t, time.Minute, "a report", func() bool {
			for _, n := range x.leader().Status().Nodes {
				if n.Name == "n2" && n.Applied >= s.Index() && n.Lapsed && !n.Leased {
					return true
				}
			}
			return false
		})
		broken.Store(false)
		if err := x.node("n2").within(time.Minute, id, epoch); err != nil {
			t.Errorf("durable again: %v", err)
		}
	})
}

func (x *trio) mustAdd(name string) *tenant.State { return x.awaitLeader().mustAdd(name) }

// TestUnheard: a node that can be heard and hears no answers loses its place.
func TestUnheard(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x, _, _ := newLeased(t, nil)
		leader := x.leader()
		x.lan.sever("n1", "n2")
		if leader.cfg.Name != "n1" {
			t.Fatal("the test expects n1 to lead")
		}
		eventually(t, time.Minute, "lapsed", func() bool { return slices.Equal(leader.Lapsed(), []string{"n2"}) })
	})
}

// TestClock: a leader whose clock is far from the others' hands over, stamps
// nothing meanwhile, and the state's clock stays sane.
func TestClock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var off atomic.Int64
		x, _, _ := newLeased(t, func(cfg *Config) {
			if cfg.Name == "n1" {
				cfg.Now = func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
			}
		})
		if x.leader().cfg.Name != "n1" {
			t.Fatal("the test expects n1 to lead")
		}
		time.Sleep(2 * time.Second) // the others' clocks are known
		off.Store(int64(time.Hour))
		s := x.node("n3").mustAdd("one")
		if s.Now().After(time.Now().Add(maxSkew)) {
			t.Errorf("the state's clock is at %s", s.Now())
		}
		eventually(t, time.Minute, "another leader", func() bool { l := x.leader(); return l != nil && l.cfg.Name != "n1" })
		if s := x.node("n1").mustAdd("two"); s.Now().After(time.Now().Add(maxSkew)) {
			t.Errorf("the state's clock is at %s", s.Now())
		}
	})
}

// TestMismatch: a report of another state at the same index is counted.
func TestMismatch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x, _, _ := newLeased(t, nil)
		leader := x.leader()
		s := leader.State()
		digest := s.Digest()
		ask := leaseAsk{Index: s.Index(), Digest: digest[:], Want: true}
		if _, err := leader.answerLease(t.Context(), "n2", ask); err != nil || leader.Status().Mismatches != 0 {
			t.Fatalf("equal states: %v", err)
		}
		ask.Digest = make([]byte, 32)
		if _, err := leader.answerLease(t.Context(), "n2", ask); err != nil || leader.Status().Mismatches != 1 {
			t.Errorf("states apart: %d counted, %v", leader.Status().Mismatches, err)
		}
		if _, err := leader.answerLease(t.Context(), "stranger", ask); !errors.Is(err, errUnknownNode) {
			t.Errorf("an unknown node: %v", err)
		}
	})
}

// TestNoLeaseAfterTrial: a leader that lost its leadership while it decided
// that a node is down grants that node nothing, also when it has not noticed
// yet: its successor may have that decision and act on it.
func TestNoLeaseAfterTrial(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := newTrio(t, 3)
		l := x.awaitLeader()
		term := l.leadTerm.Load()
		ask := leaseAsk{Want: true, Wall: time.Now().UnixNano()}
		asker := x.follower().cfg.Name
		if a, err := l.grant(asker, ask, l.clocks.now(), term); err != nil || !a.Granted {
			t.Fatalf("while it leads: %+v, %v", a, err)
		}
		x.lan.isolate(l.cfg.Name)
		eventually(t, time.Minute, "it leads no more", func() bool { return !l.Leads() })
		l.lessor.begin(term, l.clocks.boot()) // as if that were not known yet
		if a, err := l.grant(asker, ask, l.clocks.now(), term); err == nil {
			t.Errorf("after its leadership: %+v", a)
		}
	})
}

// TestNotAloneYet: a node that is the only one of the state is not alone while
// removed ones still vote: they could elect another.
func TestNotAloneYet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := newTrio(t, 3)
		l := x.awaitLeader()
		for _, name := range []string{"n1", "n2", "n3"} {
			if n := l.State().NodeByName(name); name != l.cfg.Name {
				l.do(tenant.RemoveNode{Node: n.ID})
			}
		}
		if voters := l.Status().Voters; len(voters) != 3 {
			t.Fatalf("%v vote", voters)
		}
		if l.mayBeAlone(l.State()) {
			t.Error("alone among three voters")
		}
		eventually(t, time.Minute, "the others are gone", func() bool { return len(l.Status().Voters) == 1 })
		if !l.mayBeAlone(l.State()) {
			t.Error("not alone when nobody else is there")
		}
	})
}

// TestLeaseAtRest: a lease that is only kept is asked for seldom, and never runs
// out; one that is used, twice a second.
func TestLeaseAtRest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x, id, epoch := newLeased(t, nil)
		n1, n2 := x.leader(), x.node("n2")
		time.Sleep(5 * time.Second)
		asks := func(span time.Duration, each func()) (n uint64) {
			sent := func() uint64 {
				n1.lessor.mu.Lock()
				defer n1.lessor.mu.Unlock()
				return n1.lessor.nodes["n2"].sent
			}
			from := sent()
			for end := time.Now().Add(span); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				if each(); n2.Status().Lease.IsZero() {
					t.Fatal("the lease ran out")
				}
			}
			return sent() - from
		}
		const span = 30 * time.Second
		rest, used := uint64(span/restAsk), uint64(span/askPause)
		if n := asks(span, func() {}); n < rest-1 || n > rest+1 {
			t.Errorf("%d asks at rest", n)
		}
		if n := asks(span, func() { _ = n2.within(time.Second, id, epoch) }); n < used-3 || n > used+1 {
			t.Errorf("%d asks in use", n)
		}
	})
}

// TestLapseIn: who waits as long as it says finds a lease that has run out at
// once, and does not wake often before.
func TestLapseIn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x, _, _ := newLeased(t, nil)
		n1 := x.leader()
		time.Sleep(5 * time.Second)
		x.lan.isolate("n2")
		cut, looks := time.Now(), 0
		for ; len(n1.Lapsed()) == 0; looks++ {
			if time.Since(cut) > time.Minute {
				t.Fatal("never listed")
			}
			time.Sleep(n1.LapseIn())
		}
		n1.lessor.mu.Lock()
		late := n1.clocks.boot() - n1.lessor.nodes["n2"].answered - leaseTime - leaseMargin
		n1.lessor.mu.Unlock()
		if late > time.Millisecond || looks > 5 {
			t.Errorf("seen %s late, at look %d", late, looks)
		}
		// n2 has lapsed; the others ask, so the next is never near.
		for range 100 {
			if in := n1.LapseIn(); in < leaseTime+leaseMargin-restAsk-retryAsk {
				t.Fatalf("the next lapses in %s", in)
			}
			time.Sleep(77 * time.Millisecond)
		}
	})
}
