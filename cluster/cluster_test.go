package cluster

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"postern/tenant"
)

// running is a Cluster with its Run.
type running struct {
	*Cluster
	t    testing.TB
	end  context.CancelFunc
	done chan error
	once sync.Once
}

func config(t testing.TB, fs vfs.FS) Config {
	return Config{
		Dir: "raft", FS: fs, Name: "n1", Bootstrap: true, Now: time.Now, Log: quiet(),
		Fatal: func(err error) { t.Errorf("fatal: %v", err) },
	}
}

// run opens and runs a cluster until the test ends or stop is called.
func run(t testing.TB, cfg Config, tune tuning) *running {
	t.Helper()
	c, err := open(cfg, tune)
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	r := &running{Cluster: c, t: t, end: end, done: make(chan error, 1)}
	go func() { r.done <- c.Run(ctx) }()
	t.Cleanup(r.stop)
	return r
}

func (r *running) stop() {
	r.t.Helper()
	r.once.Do(func() {
		r.end()
		select {
		case err := <-r.done:
			if err != nil {
				r.t.Errorf("run: %v", err)
			}
		case <-time.After(time.Minute):
			r.t.Error("run does not end")
		}
	})
}

func (r *running) awaitReady() {
	r.t.Helper()
	select {
	case <-r.Ready():
	case <-time.After(time.Minute):
		r.t.Fatal("not ready")
	}
}

// add proposes a route called name, the smallest of commands.
func (r *running) add(req tenant.RequestID, name string) ([]tenant.Event, *tenant.State, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return r.Propose(ctx, req, tenant.SetRoute{Route: tenant.Route{Domain: name + ".example", Host: "127.0.0.1", Port: 25}})
}

func (r *running) mustAdd(name string) *tenant.State {
	r.t.Helper()
	_, s, err := r.add(tenant.RequestID{}, name)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// TestLoneVoterLeads: a fresh node and a restarted one lead within a second.
func TestLoneVoterLeads(t *testing.T) {
	cfg := config(t, vfs.NewMem())
	for _, what := range []string{"first start", "second start"} {
		began := time.Now()
		r := run(t, cfg, standard())
		select {
		case <-r.Ready():
		case <-time.After(20 * time.Second): // a busy machine needs more than one
			t.Fatalf("%s: does not lead", what)
		}
		t.Logf("%s: leads after %s", what, time.Since(began))
		if r.metrics == nil || !r.leads.Load() {
			t.Errorf("%s: ready without leading", what)
		}
		r.stop()
	}
}

func TestPropose(t *testing.T) {
	t.Parallel()
	r := run(t, config(t, vfs.NewMem()), standard())
	events, s, err := r.add(tenant.RequestID{}, "n1") // also waits until ready
	if err != nil {
		t.Fatal(err)
	}
	if len(events) != 1 || s.RouteFor("n1.example") == nil || events[0] != (tenant.RouteChanged{Domain: "n1.example"}) {
		t.Fatalf("events %v", events)
	}
	if r.State().Index() < s.Index() {
		t.Error("the answer came before the state showed")
	}
	_, s, err = r.Propose(context.Background(), tenant.RequestID{}, tenant.RemoveTenant{Tenant: 7})
	var refused *tenant.Refused
	if !errors.As(err, &refused) || s == nil {
		t.Fatalf("an unknown tenant: %v", err)
	}
	if _, _, err := r.Propose(context.Background(), tenant.RequestID{}, nil); err == nil {
		t.Error("no operation was taken")
	}
	big := tenant.SetDomain{Tenant: 1, Name: "a.example", SealedKey: make([]byte, MaxCommand)}
	if _, _, err := r.Propose(context.Background(), tenant.RequestID{}, big); err == nil {
		t.Error("a large command was taken")
	}
}

// TestProposeRepeated: one request id, one change; also after a restart.
func TestProposeRepeated(t *testing.T) {
	t.Parallel()
	cfg := config(t, vfs.NewMem())
	req := tenant.RequestID{1, 2, 3}
	var first []tenant.Event
	for range 3 {
		r := run(t, cfg, standard())
		for range 2 {
			events, s, err := r.Propose(context.Background(), req, tenant.AddNode{Name: "n1"})
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = events
			}
			if len(events) != 1 || events[0] != first[0] {
				t.Fatalf("events %v, first %v", events, first)
			}
			if node := events[0].(tenant.NodeAdded).Node; s.Node(node) == nil || s.Node(node+1) != nil {
				t.Fatal("not one node")
			}
		}
		r.stop()
	}
}

func count(s *tenant.State) (n int) {
	for range s.Routes() {
		n++
	}
	return n
}

// TestProposeTogether: many callers share syncs, and none waits for a slot for
// ever.
func TestProposeTogether(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	cfg := config(t, vfs.NewMem())
	cfg.Registerer = registry
	r := run(t, cfg, standard())
	r.awaitReady()
	const callers, each = 2 * maxPending, 3
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for j := range each {
				r.mustAdd(numbered(numbered("n", i)+"-", j))
			}
		})
	}
	all.Wait()
	if n := count(r.State()); n != callers*each {
		t.Fatalf("%d routes of %d", n, callers*each)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	writes, commits := uint64(0), uint64(0)
	for _, f := range families {
		switch f.GetName() {
		case "postern_cluster_log_write_seconds":
			writes = f.GetMetric()[0].GetHistogram().GetSampleCount()
			if len(f.GetMetric()[0].GetHistogram().GetBucket()) == 0 || f.GetMetric()[0].GetHistogram().GetSchema() == 0 {
				t.Error("not both classic and native")
			}
		case "postern_cluster_leads":
			if f.GetMetric()[0].GetGauge().GetValue() != 1 {
				t.Error("leads and does not say so")
			}
		case "postern_cluster_commit_seconds":
			commits = f.GetMetric()[0].GetHistogram().GetSampleCount()
		}
	}
	if commits != callers*each || writes >= commits {
		t.Errorf("%d commits in %d writes", commits, writes)
	}
	r.stop()
	if families, _ := registry.Gather(); len(families) != 0 {
		t.Errorf("%d metrics stay after the end", len(families))
	}
}

// TestProposeClosed: no proposal hangs on a cluster that ended, and all that
// were under way at the end are answered. The disk is slow, so that raft's
// queue is full then.
func TestProposeClosed(t *testing.T) {
	t.Parallel()
	slow := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData {
			time.Sleep(10 * time.Millisecond)
		}
		return nil
	}))
	r := run(t, config(t, slow), standard())
	r.awaitReady()
	var all sync.WaitGroup
	for i := range 2 * maxPending {
		all.Go(func() {
			for j := 0; ; j++ {
				_, _, err := r.add(tenant.RequestID{}, numbered(numbered("n", i)+"-", j))
				if err == nil {
					continue
				}
				if !errors.Is(err, ErrClosed) || errors.Is(err, ErrUnknown) {
					t.Errorf("at the end: %v", err)
				}
				return
			}
		})
	}
	eventually(t, time.Minute, "a full queue", func() bool { return len(r.slots) == maxPending })
	r.stop()
	all.Wait()
	if err := r.MayAct(context.Background(), 1, 1); !errors.Is(err, ErrClosed) {
		t.Errorf("may act: %v", err)
	}
}

// TestProposeCancelled: a caller that goes away hears that it does not know.
func TestProposeCancelled(t *testing.T) {
	c, err := New(config(t, vfs.NewMem()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, _, err := c.Propose(ctx, tenant.RequestID{}, tenant.AddNode{Name: "n1"}); !errors.Is(err, ErrNoLeader) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("before a leader: %v", err)
	}
	if err := c.MayAct(ctx, 1, 1); !errors.Is(err, ErrNoLeader) {
		t.Errorf("may act before a leader: %v", err)
	}
}

func TestOutcome(t *testing.T) {
	for _, err := range []error{raft.ErrNotLeader, raft.ErrLeadershipTransferInProgress, raft.ErrEnqueueTimeout} {
		if got := outcome(err); !errors.Is(got, ErrNoLeader) || errors.Is(got, ErrUnknown) {
			t.Errorf("%v: %v", err, got)
		}
	}
	for _, err := range []error{raft.ErrLeadershipLost, raft.ErrRaftShutdown, raft.ErrAbortedByRestore, io.ErrUnexpectedEOF} {
		if got := outcome(err); !errors.Is(got, ErrUnknown) || errors.Is(got, ErrNoLeader) {
			t.Errorf("%v: %v", err, got)
		}
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	r := run(t, config(t, vfs.NewMem()), standard())
	r.awaitReady()
	now := r.State().Index()
	woken := func(ch <-chan struct{}) bool {
		select {
		case <-ch:
			return true
		default:
			return false
		}
	}
	next, far := r.Watch(now), r.Watch(now+100)
	if woken(next) || woken(far) {
		t.Fatal("woken before anything")
	}
	s := r.mustAdd("n1")
	if !woken(next) || woken(far) {
		t.Fatal("not woken by the next state, or woken too early")
	}
	if !woken(r.Watch(now)) || woken(r.Watch(s.Index())) {
		t.Fatal("watching the past, or the present")
	}
	for i := 0; !woken(far); i++ {
		if r.mustAdd(numbered("m", i)).Index() > now+101 {
			t.Fatal("never woken")
		}
	}
	r.fsm.mu.Lock()
	defer r.fsm.mu.Unlock()
	if n := len(r.fsm.waiting); n > 1 {
		t.Errorf("%d channels stay", n)
	}
}

// TestDirectory: whose directory it is decides.
func TestDirectory(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	cfg := config(t, fs)
	cfg.Bootstrap = false
	if _, err := New(cfg); !errors.Is(err, ErrEmpty) {
		t.Fatalf("an empty directory: %v", err)
	}
	cfg.Bootstrap = true
	r := run(t, cfg, standard())
	digest := r.mustAdd("n1").Digest()
	if _, err := New(cfg); err == nil {
		t.Fatal("opened twice")
	}
	r.stop()

	cfg.Name = "n2"
	_, err := New(cfg)
	if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), `node "n1"`) || !strings.Contains(err.Error(), "give the node its old name") {
		t.Fatalf("another's directory: %v", err)
	}
	cfg.Name, cfg.Bootstrap = "n1", false
	r = run(t, cfg, standard())
	r.awaitReady()
	if r.State().Digest() != digest {
		t.Error("another state")
	}
	r.stop()

	// Snapshots without their log are nobody's.
	lost := vfs.NewMem()
	if err := lost.MkdirAll("raft", dirMode); err != nil {
		t.Fatal(err)
	}
	snaps, err := openSnapshots(lost, "raft/snapshots", quiet(), func(bool) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := writeSnapshot(snaps, 5, "body"); err != nil {
		t.Fatal(err)
	}
	if _, err := New(config(t, lost)); !errors.Is(err, ErrForeign) {
		t.Fatalf("snapshots alone: %v", err)
	}
}

func TestConfigProblems(t *testing.T) {
	_, err := New(Config{HungWrite: -1})
	for _, want := range []string{"Dir", "Name", "Fatal", "HungWrite"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named: %v", want, err)
		}
	}
}

// TestRunOnce: a Run that ends at once closes the stores; a second is refused.
func TestRunOnce(t *testing.T) {
	cfg := config(t, vfs.NewMem())
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Run(ctx); !errors.Is(err, ErrClosed) {
		t.Fatalf("second run: %v", err)
	}
	if _, _, err := c.Propose(context.Background(), tenant.RequestID{}, tenant.AddNode{Name: "n"}); !errors.Is(err, ErrClosed) {
		t.Fatalf("propose: %v", err)
	}
	if c, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestSnapshotAndRestart: the log is cut behind a snapshot, and what starts
// from both is the same state.
func TestSnapshotAndRestart(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	tune := tuning{snapshotInterval: 10 * time.Millisecond, snapshotThreshold: 20, trailingLogs: 10}
	cfg := config(t, fs)
	registry := prometheus.NewPedanticRegistry()
	cfg.Registerer = registry
	r := run(t, cfg, tune)
	for i := range 300 {
		r.mustAdd(numbered("n", i))
	}
	eventually(t, time.Minute, "log cut behind a snapshot", func() bool {
		first, _ := r.store.FirstIndex()
		return first > 200
	})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := false
	for _, f := range families {
		if f.GetName() != "postern_cluster_snapshots_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			counted = counted || m.GetLabel()[0].GetValue() == "done" && m.GetCounter().GetValue() >= 1
		}
	}
	if !counted {
		t.Error("no snapshot counted")
	}
	want := r.mustAdd("last").Digest()
	r.stop()
	r = run(t, config(t, fs), tune)
	r.awaitReady()
	if r.State().Digest() != want || r.State().RouteFor("n7.example") == nil {
		t.Fatalf("another state after the restart: %d routes", count(r.State()))
	}
	if n := r.mustAdd("more"); count(n) != 302 {
		t.Fatalf("%d routes", count(n))
	}
}

// TestDamagedDirectory: a start says what is wrong, and the older snapshot
// with the log behind it makes up for a damaged one.
func TestDamagedDirectory(t *testing.T) {
	t.Parallel()
	fs := vfs.NewCrashableMem()
	r := run(t, config(t, fs), standard())
	for i := range 30 {
		r.mustAdd(numbered("n", i))
		if i%10 == 9 {
			if err := r.raft.Snapshot().Error(); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := r.State().Digest()
	newest, err := r.snaps.List()
	if err != nil || len(newest) != 2 {
		t.Fatalf("snapshots: %v, %v", newest, err)
	}
	r.stop()

	spoil := func(do func(fs vfs.FS, s *logStore)) vfs.FS {
		copied := fs.CrashClone(vfs.CrashCloneCfg{})
		s := openLog(t, copied, "raft/log", mustNot(t))
		do(copied, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return copied
	}
	damage := func(fs vfs.FS, s *logStore) {
		name := "raft/snapshots/" + newest[0].ID + snapSuffix
		b := readFile(t, fs, name)
		b[len(b)/2] ^= 1
		writeFile(t, fs, name, b)
	}
	again := run(t, config(t, spoil(damage)), standard())
	again.awaitReady()
	if again.State().Digest() != want {
		t.Error("another state from the older snapshot")
	}
	again.stop()

	for what, do := range map[string]func(vfs.FS, *logStore){
		"an entry is gone": func(fs vfs.FS, s *logStore) {
			damage(fs, s)
			if err := s.DeleteRange(newest[0].Index-3, newest[0].Index-3); err != nil {
				t.Fatal(err)
			}
		},
		"an entry is damaged": func(fs vfs.FS, s *logStore) {
			if err := s.db.Set(logKey(newest[0].Index+1), []byte("bad"), pebble.Sync); err != nil {
				t.Fatal(err)
			}
		},
	} {
		c, err := New(config(t, spoil(do)))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Run(context.Background()); !errors.Is(err, errStore) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// own makes node the owner of the tenant and returns the new epoch.
func (r *running) own(id tenant.ID, node tenant.NodeID) uint64 {
	r.t.Helper()
	r.mustPropose(tenant.Own{Tenant: id, Node: node, Expect: r.State().Tenant(id).Epoch})
	return r.State().Tenant(id).Epoch
}

func (r *running) mustPropose(op tenant.Op) []tenant.Event {
	r.t.Helper()
	events, _, err := r.Propose(context.Background(), tenant.RequestID{}, op)
	if err != nil {
		r.t.Fatal(err)
	}
	return events
}

// populate adds the nodes n1 and n2 and a tenant at home on n1.
func (r *running) populate() (n1, n2 tenant.NodeID, id tenant.ID) {
	r.t.Helper()
	var nodes []tenant.NodeID
	for i, name := range []string{"n1", "n2"} {
		node := r.mustPropose(tenant.AddNode{Name: name})[0].(tenant.NodeAdded).Node
		addr := netip.AddrFrom4([4]byte{127, 77, 1, byte(i + 1)})
		r.mustPropose(tenant.AddSource{Node: node, Addr: addr, EHLO: name + ".relay.example", Shared: true})
		nodes = append(nodes, node)
	}
	for _, e := range r.mustPropose(tenant.AddTenant{Name: "acme", Hostname: "acme.relay.example", Home: tenant.Place{Node: nodes[0]}}) {
		if added, ok := e.(tenant.TenantAdded); ok {
			id = added.Tenant
		}
	}
	return nodes[0], nodes[1], id
}

func TestMayAct(t *testing.T) {
	t.Parallel()
	r := run(t, config(t, vfs.NewMem()), standard())
	ctx := context.Background()
	n1, n2, id := r.populate()
	epoch := r.own(id, n1)
	if err := r.MayAct(ctx, id, epoch); err != nil {
		t.Errorf("owner: %v", err)
	}
	if err := r.MayAct(ctx, id, epoch-1); !errors.Is(err, ErrNotOwner) {
		t.Errorf("old epoch: %v", err)
	}
	if err := r.MayAct(ctx, id, epoch+1); !errors.Is(err, ErrNotOwner) {
		t.Errorf("future epoch: %v", err)
	}
	if err := r.MayAct(ctx, id+99, epoch); !errors.Is(err, ErrNotOwner) {
		t.Errorf("unknown tenant: %v", err)
	}
	if err := r.MayAct(ctx, id, r.own(id, n2)); !errors.Is(err, ErrNotOwner) {
		t.Errorf("another owner: %v", err)
	}
}
