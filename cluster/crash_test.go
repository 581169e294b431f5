package cluster

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"postern/tenant"
)

// TestPowerCut proposes from several callers at once, cuts the power at a
// random change of the file system and starts from what is left. Every command
// acknowledged before the cut is there; repeating all of them with their
// request ids changes each once; and the state is what the log says.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	tune := tuning{snapshotInterval: 5 * time.Millisecond, snapshotThreshold: 15, trailingLogs: 8}
	for round := range soak(12) {
		t.Run(numbered("round ", round), func(t *testing.T) {
			t.Parallel() // most of a round is waiting for elections
			rng := seeded(round)
			mem := vfs.NewCrashableMem()
			var mu sync.Mutex // guards acked, ackedAtCut
			acked, ackedAtCut := map[string]tenant.Event{}, map[string]tenant.Event{}
			cut := newPowerCut(mem, 1+rng.IntN(300), rng, func() {
				mu.Lock()
				defer mu.Unlock()
				for k, v := range acked {
					ackedAtCut[k] = v
				}
			})
			const callers, each = 5, 12
			propose := func(r *running, i, j int) (string, tenant.Event, error) {
				name := fmt.Sprintf("s%d-%d", i, j)
				events, _, err := r.Propose(t.Context(), tenant.RequestID{9, byte(i), byte(j)}, tenant.AddNode{Name: name})
				if err != nil {
					return name, nil, err
				}
				return name, events[0], nil
			}
			r := run(t, config(t, cut), tune)
			var all sync.WaitGroup
			for i := range callers {
				all.Go(func() {
					for j := range each {
						name, event, err := propose(r, i, j)
						if err != nil {
							t.Errorf("before the cut: %v", err)
							return
						}
						mu.Lock()
						acked[name] = event
						mu.Unlock()
					}
				})
			}
			all.Wait()
			left := cut.left()
			r.stop()

			r = run(t, config(t, left), tune)
			r.awaitReady()
			for name, event := range ackedAtCut {
				if n := r.State().NodeByName(name); n == nil || (tenant.NodeAdded{Node: n.ID}) != event {
					t.Fatalf("%s was acknowledged and is %v (of %d)", name, n, len(ackedAtCut))
				}
			}
			for i := range callers {
				for j := range each {
					name, event, err := propose(r, i, j)
					if err != nil {
						t.Fatalf("%s again: %v", name, err)
					}
					if was, ok := ackedAtCut[name]; ok && was != event {
						t.Fatalf("%s again: %v, first %v", name, event, was)
					}
				}
			}
			nodes := 0
			for range r.State().Nodes() {
				nodes++
			}
			if nodes != callers*each {
				t.Fatalf("%d nodes of %d", nodes, callers*each)
			}
			want := r.State().Digest()
			r.stop()
			if got := replay(t, left); got != want {
				t.Fatal("the log leads to another state")
			}
		})
	}
}

// replay applies the newest snapshot and the log behind it, one by one.
func replay(t *testing.T, fs vfs.FS) [32]byte {
	t.Helper()
	f := testFSM()
	snaps, err := openSnapshots(fs, "raft/snapshots", quiet(), func(bool) {})
	if err != nil {
		t.Fatal(err)
	}
	list, err := snaps.List()
	if err != nil {
		t.Fatal(err)
	}
	from := uint64(1)
	if len(list) > 0 {
		_, body, err := snaps.Open(list[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Restore(body); err != nil {
			t.Fatal(err)
		}
		_ = body.Close()
		from = list[0].Index + 1
	}
	s := openLog(t, fs, "raft/log", mustNot(t))
	defer s.Close()
	if err := s.each(from, func(l *raft.Log) {
		if l.Type == raft.LogCommand {
			f.Apply(l)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return f.state.Load().Digest()
}

// TestFoundingPowerCut cuts the power before each change while a node founds
// its cluster. Whatever is left founds or opens, under the same name, and leads.
func TestFoundingPowerCut(t *testing.T) {
	t.Parallel()
	total := 1
	for at := 1; at <= total; at++ {
		for variant := range soak(3) {
			cut := newPowerCut(vfs.NewCrashableMem(), at, seeded(at*100+variant), nil)
			c, err := New(config(t, cut))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			total = max(total, cut.steps())
			c, err = New(config(t, cut.left()))
			if err != nil {
				t.Fatalf("cut %d: %v", at, err)
			}
			found, err := members(c.store, c.snaps)
			if err != nil || !alone(found, "n1") {
				t.Fatalf("cut %d: %v, %v", at, found, err)
			}
			if term, err := c.store.GetUint64([]byte("CurrentTerm")); term != 1 || err != nil {
				t.Fatalf("cut %d: term %d, %v", at, term, err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if total < 20 {
		t.Fatalf("only %d cuts", total)
	}
}
