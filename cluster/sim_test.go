package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

// TestSimulation runs three nodes on a lan and disks in memory, in a bubble
// whose clock jumps from event to event, under crashes, power cuts, partitions
// of both kinds, wrong clocks and repeated requests. It checks that at no
// instant two nodes may act for a tenant, that nothing acknowledged is lost or
// done twice, and that all states end equal.
func TestSimulation(t *testing.T) {
	t.Parallel()
	seeds, first := 4, 0
	if os.Getenv("POSTERN_SOAK") != "" {
		seeds = 2000
	}
	if s := os.Getenv("POSTERN_SEED"); s != "" {
		first, _ = strconv.Atoi(s)
		seeds = 1
	}
	var done atomic.Int64
	for seed := first; seed < first+seeds; seed++ {
		t.Run(numbered("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newSim(t, seed).run(time.Minute) })
			done.Add(1)
		})
	}
	if done.Load() != int64(seeds) {
		t.Errorf("%d of %d seeds", done.Load(), seeds)
	}
}

const simTenants = 4

type sim struct {
	*trio
	rng   *rand.Rand
	base  time.Time
	names []string

	mu     sync.Mutex // guards what follows
	wall   map[string]time.Duration
	acked  map[tenant.RequestID]tenant.Event
	trace  []string
	moves  int
	acting int
}

func newSim(t *testing.T, seed int) *sim {
	s := &sim{
		trio: emptyTrio(t), rng: seeded(seed), base: time.Now(), names: []string{"n1", "n2", "n3"},
		wall: map[string]time.Duration{}, acked: map[tenant.RequestID]tenant.Event{},
	}
	s.tune = tuning{snapshotInterval: 10 * time.Second, snapshotThreshold: 40, trailingLogs: 20}
	s.set = func(cfg *Config) {
		cfg.boot = func() time.Duration { return time.Since(s.base) + time.Hour }
		cfg.Now = func() time.Time { return time.Now().Add(s.offset(cfg.Name)) }
	}
	for _, name := range s.names {
		s.fs[name] = vfs.NewCrashableMem()
	}
	return s
}

func (s *sim) offset(name string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wall[name]
}

func (s *sim) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trace = append(s.trace, fmt.Sprintf("%8.3f ", time.Since(s.base).Seconds())+fmt.Sprintf(format, args...))
}

func (s *sim) fail(format string, args ...any) {
	s.t.Errorf(format, args...)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.trace {
		s.t.Log(line)
	}
	s.trace = nil
}

func (s *sim) run(span time.Duration) {
	s.grow(3)
	s.populate()
	ctx, cancel := context.WithTimeout(context.Background(), span)
	defer cancel()
	var parts sync.WaitGroup
	parts.Go(func() { s.check(ctx) })
	for i := range 3 {
		parts.Go(func() { s.propose(ctx, i) })
	}
	parts.Go(func() { s.control(ctx) })
	s.disturb(ctx)
	parts.Wait()
	s.settle()
}

// populate gives each node a source and makes some tenants.
func (s *sim) populate() {
	var places []tenant.Place
	for i, name := range s.names {
		id := s.awaitLeader().State().NodeByName(name).ID
		s.mustPropose(tenant.AddSource{Node: id, Addr: netip.AddrFrom4([4]byte{127, 77, 1, byte(i + 1)}), EHLO: name + ".relay.example", Shared: true})
		places = append(places, tenant.Place{Node: id})
	}
	for i := range simTenants {
		s.mustPropose(tenant.AddTenant{
			Name: numbered("t", i), Hostname: numbered("t", i) + ".relay.example",
			Home: places[i%3], Backup: places[(i+1)%3],
		})
	}
}

// check looks all the time who may act.
func (s *sim) check(ctx context.Context) {
	for ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
		for id := tenant.ID(1); id <= simTenants; id++ {
			var actors []string
			for _, r := range s.all() {
				owned := r.State().Tenant(id)
				if owned == nil || !isReady(r) {
					continue
				}
				if ok, _ := r.mayAct(id, owned.Epoch); ok {
					actors = append(actors, fmt.Sprintf("%s (epoch %d)", r.cfg.Name, owned.Epoch))
				}
			}
			if len(actors) > 1 {
				s.fail("tenant %d: %v may act at once", id, actors)
				return
			}
			s.mu.Lock()
			s.acting += len(actors)
			s.mu.Unlock()
		}
	}
}

func isReady(r *running) bool {
	select {
	case <-r.Ready():
		return true
	default:
		return false
	}
}

// control is what the leader does about nodes without a lease.
func (s *sim) control(ctx context.Context) {
	var calls sync.WaitGroup
	defer calls.Wait()
	for ctx.Err() == nil {
		time.Sleep(100 * time.Millisecond)
		for _, r := range s.all() {
			if !isReady(r) || !r.Leads() {
				continue
			}
			st := r.State()
			var down tenant.NodesDown
			for _, name := range r.Lapsed() {
				if n := st.NodeByName(name); n != nil && n.Down.IsZero() {
					down.Nodes = append(down.Nodes, n.ID)
				}
			}
			var up tenant.NodesUp
			for _, ns := range r.Status().Nodes {
				if n := st.NodeByName(ns.Name); n != nil && !n.Down.IsZero() && ns.Leased {
					up.Nodes = append(up.Nodes, n.ID)
				}
			}
			calls.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
				defer cancel()
				if len(down.Nodes) > 0 {
					if _, _, err := r.Propose(ctx, tenant.RequestID{}, down); err == nil {
						s.note("%s: %v are down", r.cfg.Name, down.Nodes)
						s.mu.Lock()
						s.moves++
						s.mu.Unlock()
					}
				}
				if len(up.Nodes) > 0 {
					_, _, err := r.Propose(ctx, tenant.RequestID{}, up)
					s.note("%s: %v are up: %v", r.cfg.Name, up.Nodes, err)
				}
			})
		}
	}
}

// requestAddr is the address a request adds.
func requestAddr(req tenant.RequestID) netip.Addr {
	return netip.AddrFrom4([4]byte{127, 80 + req[1], req[2], req[3]})
}

// propose adds sources through any node, each request up to three times.
func (s *sim) propose(ctx context.Context, who int) {
	for i := 0; ctx.Err() == nil; i++ {
		s.mu.Lock()
		pause, repeats := time.Duration(s.rng.IntN(400))*time.Millisecond, 1+s.rng.IntN(3)
		name := s.names[s.rng.IntN(3)]
		s.mu.Unlock()
		time.Sleep(pause)
		req := tenant.RequestID{1, byte(who), byte(i >> 8), byte(i)}
		for range repeats {
			r := s.node(name)
			if r == nil {
				break
			}
			call, cancel := context.WithTimeout(ctx, 3*time.Second)
			events, _, err := r.Propose(call, req, tenant.AddSource{Node: 1, Addr: requestAddr(req), EHLO: "x.relay.example"})
			cancel()
			switch {
			case err == nil && len(events) == 1:
				s.mu.Lock()
				was, again := s.acked[req]
				s.acked[req] = events[0]
				s.mu.Unlock()
				if again && was != events[0] {
					s.fail("request %x: %v, first %v", req[:4], events[0], was)
				}
			case errors.Is(err, ErrUnknown), errors.Is(err, ErrNoLeader), errors.Is(err, ErrClosed):
			default:
				s.fail("request %x: %v, %v", req[:4], events, err)
			}
		}
	}
}

// disturb does one bad thing after the other, and often makes it good again.
func (s *sim) disturb(ctx context.Context) {
	for ctx.Err() == nil {
		s.mu.Lock()
		pause := time.Duration(500+s.rng.IntN(6000)) * time.Millisecond
		what, name, other := s.rng.IntN(12), s.names[s.rng.IntN(3)], s.names[s.rng.IntN(3)]
		step := time.Duration(s.rng.IntN(20_000)-10_000) * time.Millisecond
		heal := s.rng.IntN(3) > 0
		s.mu.Unlock()
		if l := s.leader(); l != nil && what%2 == 0 {
			name = l.cfg.Name // the more interesting one
		}
		switch what {
		case 0, 1, 2:
			s.crash(name)
			time.Sleep(pause / 2)
			s.start(name)
			s.note("start %s", name)
		case 3, 4, 5, 6:
			s.note("isolate %s", name)
			s.lan.isolate(name)
		case 7, 8:
			s.note("cut %s -> %s", name, other)
			s.lan.sever(name, other)
		case 9:
			s.note("clock of %s is off by %s", name, step)
			s.mu.Lock()
			s.wall[name] = step
			s.mu.Unlock()
		default:
			heal = true
		}
		time.Sleep(pause)
		if heal {
			s.note("mend")
			s.mend()
			time.Sleep(pause / 2)
		}
	}
}

func (s *sim) mend() {
	for _, name := range s.names {
		s.lan.rejoin(name)
	}
}

// crash takes the power from a node: what was not synced may be gone.
func (s *sim) crash(name string) {
	s.note("crash %s", name)
	s.mu.Lock()
	percent := s.rng.IntN(101)
	rng := rand.New(rand.NewPCG(s.rng.Uint64(), 1))
	s.mu.Unlock()
	s.lan.station(name).close()
	left := s.fs[name].(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
	s.halt(name)
	s.fs[name] = left
}

// settle heals everything and looks at the outcome.
func (s *sim) settle() {
	s.mend()
	s.mu.Lock()
	clear(s.wall)
	s.mu.Unlock()
	for _, name := range s.names {
		if s.node(name) == nil {
			s.start(name)
		}
	}
	deadline := time.Now().Add(3 * time.Minute)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		_, _, err := s.node("n2").Propose(ctx, tenant.RequestID{7}, tenant.SetRoute{Route: tenant.Route{Domain: "end.example", Host: "127.0.0.1", Port: 25}})
		cancel()
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			s.fail("does not recover: %v", err)
			return
		}
	}
	for !s.same() {
		if time.Now().After(deadline) {
			s.fail("states stay apart")
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	state := s.node("n1").State()
	for req, event := range s.acked {
		if x := state.SourceByAddr(requestAddr(req)); x == nil || (tenant.SourceAdded{Source: x.ID}) != event {
			s.fail("request %x was acknowledged as %v and is %v", req[:4], event, x)
		}
	}
	mismatches := uint64(0)
	for _, r := range s.all() {
		mismatches += r.mismatches.Load()
	}
	if mismatches > 0 {
		s.fail("%d mismatches were reported", mismatches)
	}
	if os.Getenv("POSTERN_SEED") != "" {
		for _, line := range s.trace {
			s.t.Log(line)
		}
	}
	s.t.Logf("%d acknowledged, %d nodes declared down, %d times acting, %d goroutines", len(s.acked), s.moves, s.acting, runtime.NumGoroutine())
}

func (s *sim) same() bool {
	var want [32]byte
	for i, name := range s.names {
		d := s.node(name).State().Digest()
		if i == 0 {
			want = d
		} else if d != want {
			return false
		}
	}
	return true
}
