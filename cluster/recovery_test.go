package cluster

import (
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"postern/tenant"
)

// TestRecovery: of a lost majority, the state of the one directory that is left
// goes on as a cluster of one, and grows again.
func TestRecovery(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := emptyTrio(t)
		x.tune = tuning{snapshotInterval: 1e9, snapshotThreshold: 10, trailingLogs: 5}
		x.grow(3)
		for i := range 40 {
			x.mustAdd(numbered("r", i))
		}
		x.converge()
		want := x.leader().State()
		for _, name := range []string{"n1", "n2", "n3"} {
			x.halt(name)
		}
		left := x.fs["n3"]
		got, err := Latest(left, "raft")
		if err != nil {
			t.Fatal(err)
		}
		if got.Digest() != want.Digest() {
			t.Fatalf("read the state of %d, not %d", got.Index(), want.Index())
		}
		if err := Refound(left, "raft", "n3", got); !errors.Is(err, ErrForeign) {
			t.Errorf("over a cluster: %v", err)
		}
		fresh := vfs.NewMem()
		if err := Refound(fresh, "raft", "n3", got); err != nil {
			t.Fatal(err)
		}
		if err := Refound(fresh, "raft", "n3", got); !errors.Is(err, ErrForeign) {
			t.Errorf("a second time: %v", err)
		}
		if again, err := Latest(fresh, "raft"); err != nil || again.Digest() != want.Digest() {
			t.Errorf("refounded: %v", err)
		}
		x.fs["n3"] = fresh
		delete(x.fs, "n1")
		delete(x.fs, "n2")
		r := x.start("n3")
		r.awaitReady()
		if r.State().RouteFor("r39.example") == nil {
			t.Fatal("the state is gone")
		}
		if s := r.mustAdd("later"); s.Index() <= want.Index() {
			t.Errorf("entry %d after %d", s.Index(), want.Index())
		}
		bootstrap := x.set
		x.set = func(cfg *Config) { bootstrap(cfg); cfg.Bootstrap = false }
		x.start("n1")
		x.start("n2")
		eventually(t, time.Minute, "three vote", func() bool { l := x.leader(); return l != nil && len(l.Status().Voters) == 3 })
		x.converge()
		if x.node("n1").State().RouteFor("later.example") == nil {
			t.Error("a new node has not all")
		}
	})
}

// TestLatestEmpty: there is nothing to recover where no cluster was.
func TestLatestEmpty(t *testing.T) {
	if _, err := Latest(vfs.NewMem(), "raft"); !errors.Is(err, ErrEmpty) {
		t.Error(err)
	}
	if err := Refound(vfs.NewMem(), "raft", "", tenant.New()); err == nil {
		t.Error("without a name")
	}
}

// TestRefoundPowerCut cuts the power before each change: what is left either
// goes on with the state or refuses to start.
func TestRefoundPowerCut(t *testing.T) {
	t.Parallel()
	f := testFSM()
	for i := range 20 {
		f.Apply(&raft.Log{Index: uint64(i + 1), Data: encode(t, byte(i), tenant.AddNode{Name: numbered("r", i)})})
	}
	want := f.state.Load()
	total := 1
	for at := 1; at <= total; at++ {
		cut := newPowerCut(vfs.NewCrashableMem(), at, seeded(at), nil)
		if err := Refound(cut, "raft", "n1", want); err != nil {
			t.Fatal(err)
		}
		total = max(total, cut.steps())
		cfg := config(t, cut.left())
		cfg.Bootstrap = false
		c, err := New(cfg)
		if err != nil {
			if !errors.Is(err, ErrEmpty) && !errors.Is(err, ErrForeign) {
				t.Fatalf("cut %d: %v", at, err)
			}
			continue
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := Latest(cut.left(), "raft"); err != nil || got.Digest() != want.Digest() {
			t.Fatalf("cut %d: %v", at, err)
		}
	}
	if total < 15 {
		t.Fatalf("only %d cuts", total)
	}
}
