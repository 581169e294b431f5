package cluster

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/raft"

	"postern/tenant"
)

// moody is a log store that sometimes fails and then works again. The node's
// own never does that, see logStore; a follower of another make might.
type moody struct {
	*raft.InmemStore
	fail atomic.Int32
}

func (m *moody) StoreLogs(logs []*raft.Log) error {
	time.Sleep(time.Millisecond) // a disk's time, so that requests pile up
	if m.fail.Add(-1) >= 0 {
		return errors.New("disk says no")
	}
	return m.InmemStore.StoreLogs(logs)
}

func (m *moody) StoreLog(l *raft.Log) error { return m.StoreLogs([]*raft.Log{l}) }

// counter is a state machine that counts.
type counter struct{ n atomic.Int64 }

func (c *counter) Apply(*raft.Log) any                 { return c.n.Add(1) }
func (c *counter) Snapshot() (raft.FSMSnapshot, error) { return nil, errors.New("none") }
func (c *counter) Restore(r io.ReadCloser) error       { return r.Close() }

// TestTransientStoreErrors: with raft's default of two requests in flight, a
// follower whose log store failed a few times gets no more entries, for ever,
// while heartbeats call it healthy. With this package's transport it catches up.
func TestTransientStoreErrors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net := newLAN()
		var members raft.Configuration
		names := []string{"n1", "n2", "n3"}
		for _, name := range names {
			members.Servers = append(members.Servers, raft.Server{ID: raft.ServerID(name), Address: raft.ServerAddress(name)})
		}
		rafts, logs, counters := map[string]*raft.Raft{}, map[string]*moody{}, map[string]*counter{}
		for _, name := range names {
			place := net.attach(name)
			t.Cleanup(place.close)
			rc := raftConfig(name, standard(), raftLog{log: quiet()})
			transport := newTransport(name, newLayer(name, place, tenant.New), newContacts(), rc.Logger)
			logs[name], counters[name] = &moody{InmemStore: raft.NewInmemStore()}, &counter{}
			snaps := raft.NewDiscardSnapshotStore()
			if err := raft.BootstrapCluster(rc, logs[name], logs[name], snaps, transport, members); err != nil {
				t.Fatal(err)
			}
			r, err := raft.NewRaft(rc, counters[name], logs[name], logs[name], snaps, transport)
			if err != nil {
				t.Fatal(err)
			}
			rafts[name] = r
			t.Cleanup(func() { _ = r.Shutdown().Error() })
		}
		var leader, victim string
		eventually(t, time.Minute, "a leader", func() bool {
			for name, r := range rafts {
				if r.State() == raft.Leader {
					leader = name
				}
			}
			return leader != ""
		})
		for _, name := range names {
			if name != leader {
				victim = name
			}
		}
		const callers, each = 64, 100
		var all sync.WaitGroup
		for i := range callers {
			all.Go(func() {
				for j := range each {
					if i == 0 && j%10 == 5 {
						logs[victim].fail.Store(1 + int32(j/10)%3)
					}
					if err := rafts[leader].Apply([]byte{1}, 0).Error(); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		eventually(t, time.Minute, "the follower has caught up", func() bool { return counters[victim].n.Load() == callers*each })
	})
}

// TestLeaderDiskHangs: raft lets a leader lead on when a write to its log
// hangs, because its heartbeats do not. The watchdog ends that node, and
// another one leads.
func TestLeaderDiskHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := emptyTrio(t)
		hung := map[string]chan struct{}{}
		fatal := make(chan string, 3)
		var hang sync.Map // names of nodes whose disk hangs
		clocks := x.set
		x.set = func(cfg *Config) {
			clocks(cfg)
			free := make(chan struct{})
			hung[cfg.Name] = free
			cfg.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
				if _, ok := hang.Load(cfg.Name); ok && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) {
					<-free
				}
				return nil
			}))
			place := cfg.peers.(*station)
			cfg.Fatal = func(error) {
				fatal <- cfg.Name
				place.close() // as the end of the process does
			}
		}
		x.grow(3)
		x.mustAdd("before")
		x.converge()
		old := x.leader()
		hang.Store(old.cfg.Name, true)
		began := time.Now()
		f := x.follower()
		if s := f.mustAdd("after"); s.RouteFor("before.example") == nil {
			t.Error("something acknowledged is gone")
		}
		if took := time.Since(began); took < hungWrite {
			t.Errorf("another node led after %s: before the watchdog could know", took)
		}
		if who := <-fatal; who != old.cfg.Name {
			t.Errorf("%s was ended", who)
		}
		if l := x.awaitLeader(); l.Cluster == old.Cluster && f.leader() == old.cfg.Name {
			t.Error("the others still follow it")
		}
		hang.Delete(old.cfg.Name)
		close(hung[old.cfg.Name]) // so that its goroutines end
		// What it wrote late comes after its end, and it says so.
		old.end()
		<-old.done
		old.once.Do(func() {})
	})
}
