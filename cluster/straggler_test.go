package cluster

import (
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// TestStraggler: a node that came back by a snapshot, led for a moment and wrote
// an entry that nobody else has, still catches up. raft itself compares the
// entry before that one with the node's log, which begins after the snapshot;
// goes back to its own snapshot, which may be older; and so on without a pause.
func TestStraggler(t *testing.T) {
	for _, entries := range []uint64{1, 8} {
		t.Run(numbered("", int(entries)), func(t *testing.T) {
			bubble(t, func(t *testing.T) { testStraggler(t, entries) })
		})
	}
}

func testStraggler(t *testing.T, entries uint64) {
	x := emptyTrio(t)
	x.tune = tuning{snapshotInterval: time.Hour, snapshotThreshold: 1 << 30, trailingLogs: 10}
	x.grow(3)
	x.leadBy(t, "n1")
	x.halt("n3")
	for i := range 40 {
		x.mustAdd(numbered("long", i))
	}
	for _, name := range []string{"n1", "n2"} {
		if err := x.node(name).raft.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
	}
	x.start("n3")
	x.converge()
	x.halt("n3")
	x.halt("n2")
	x.forge(t, "n2", 0) // it voted for n3
	x.forge(t, "n3", entries)
	x.start("n2")
	x.leadBy(t, "n1")
	x.mustAdd("later")
	x.start("n3")
	x.converge()
	if s := x.node("n3").State(); s.RouteFor("later.example") == nil {
		t.Error("it has not caught up")
	}
}

// TestSnapshotLost: a snapshot that got lost on its way is sent again, also when
// the cluster has nothing newer to say.
func TestSnapshotLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := emptyTrio(t)
		x.tune = tuning{snapshotInterval: time.Hour, snapshotThreshold: 1 << 30, trailingLogs: 10}
		x.grow(3)
		x.leadBy(t, "n1")
		x.halt("n3")
		for i := range 40 {
			x.mustAdd(numbered("long", i))
		}
		leader := x.node("n1")
		if err := leader.raft.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
		x.lan.sever("n1", "n3")
		x.start("n3")
		sender := leader.transport.(*transport)
		eventually(t, time.Minute, "a snapshot is sent", func() bool {
			sender.mu.Lock()
			defer sender.mu.Unlock()
			return sender.sent["n3"] > 0
		})
		x.lan.mend("n1", "n3")
		x.converge()
	})
}

// forge gives a stopped node the next term. One that led it has a log that ends
// with its snapshot and the entries of that leadership.
func (x *trio) forge(t *testing.T, name string, entries uint64) {
	t.Helper()
	s, err := openApart(x.fs[name], x.config(name).Dir)
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.snaps.List()
	if err != nil || len(list) == 0 {
		t.Fatalf("snapshots: %v, %v", list, err)
	}
	term, err := s.log.GetUint64([]byte("CurrentTerm"))
	err = errors.Join(err, s.log.SetUint64([]byte("CurrentTerm"), term+1))
	if at := list[0].Index; entries > 0 {
		last, lastErr := s.log.LastIndex()
		err = errors.Join(err, lastErr, s.log.DeleteRange(at+1, last))
		for i := range entries {
			err = errors.Join(err, s.log.StoreLog(&raft.Log{Index: at + 1 + i, Term: term + 1, Type: raft.LogNoop}))
		}
	}
	if err = errors.Join(err, s.log.Close()); err != nil {
		t.Fatal(err)
	}
}
