package cluster

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"postern/tenant"
)

func encode(t testing.TB, id byte, op tenant.Op) []byte {
	t.Helper()
	b, err := tenant.EncodeCommand(tenant.Command{Request: tenant.RequestID{id}, At: time.Unix(1_800_000_000, 0), Op: op})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func testFSM() *fsm { return newFSM(quiet(), newStopwatch("applying")) }

// TestApplyBatch: as many answers as entries, configurations among them.
func TestApplyBatch(t *testing.T) {
	f := testFSM()
	results := f.ApplyBatch([]*raft.Log{
		{Index: 2, Type: raft.LogConfiguration, Data: []byte("not a command")},
		{Index: 3, Type: raft.LogCommand, Data: encode(t, 1, tenant.AddNode{Name: "n1"})},
		{Index: 4, Type: raft.LogCommand, Data: []byte("garbage")},
		{Index: 5, Type: raft.LogConfiguration},
		{Index: 6, Type: raft.LogCommand, Data: encode(t, 2, tenant.AddNode{Name: "n1"})},
		{Index: 7, Type: raft.LogCommand, Data: encode(t, 1, tenant.AddNode{Name: "n1"})},
	})
	if len(results) != 6 || results[0] != nil || results[3] != nil {
		t.Fatalf("answers: %v", results)
	}
	var refused *tenant.Refused
	first, again := results[1].(*applied), results[5].(*applied)
	if first.err != nil || first.state.Index() != 3 {
		t.Errorf("first: %+v", first)
	}
	if r := results[2].(*applied); !errors.As(r.err, &refused) || r.state != first.state {
		t.Errorf("garbage: %+v", r)
	}
	if r := results[4].(*applied); !errors.As(r.err, &refused) || r.state.Index() != 6 {
		t.Errorf("taken name: %+v", r)
	}
	if again.err != nil || len(again.events) != 1 || again.events[0] != first.events[0] {
		t.Errorf("repeated: %+v", again)
	}
	if f.state.Load() != again.state || f.index.Load() != 7 {
		t.Error("the last state does not show")
	}
	waits := f.after(7)
	f.Apply(&raft.Log{Index: 8, Data: []byte("garbage")})
	f.ApplyBatch([]*raft.Log{{Index: 9, Type: raft.LogConfiguration}})
	select {
	case <-waits:
		t.Error("woken without a newer state")
	default:
	}
	if got := f.ApplyBatch(nil); len(got) != 0 {
		t.Errorf("nothing: %v", got)
	}
}

// TestApplyOneByOne: a batch and single entries lead to the same state.
func TestApplyOneByOne(t *testing.T) {
	batched, single := testFSM(), testFSM()
	var logs []*raft.Log
	for i := range 30 {
		data := encode(t, byte(i%20), tenant.SetRoute{Route: tenant.Route{Domain: numbered("d", i) + ".example", Host: "127.0.0.1", Port: 25}})
		if i%7 == 0 {
			data = data[:len(data)/2]
		}
		logs = append(logs, &raft.Log{Index: uint64(i + 1), Data: data})
	}
	batched.ApplyBatch(logs)
	for _, l := range logs {
		single.Apply(l)
	}
	if batched.state.Load().Digest() != single.state.Load().Digest() {
		t.Fatal("the states differ")
	}
}

// TestApplyFault: a fault while applying is a refusal, not the end of every node.
func TestApplyFault(t *testing.T) {
	f := testFSM()
	r := f.apply(nil, &raft.Log{Index: 1, Data: encode(t, 1, tenant.AddNode{Name: "n1"})})
	var refused *tenant.Refused
	if !errors.As(r.err, &refused) {
		t.Fatalf("fault: %v", r.err)
	}
}

func TestApplyTooLarge(t *testing.T) {
	r := testFSM().Apply(&raft.Log{Index: 1, Data: make([]byte, MaxCommand+1)}).(*applied)
	if r.err == nil || !strings.Contains(r.err.Error(), "too large") {
		t.Fatalf("large: %v", r.err)
	}
}

// sink is a raft.SnapshotSink in memory.
type sink struct {
	bytes.Buffer
	cancelled bool
}

func (*sink) ID() string      { return "1" }
func (*sink) Close() error    { return nil }
func (s *sink) Cancel() error { s.cancelled = true; return nil }

// TestRestore: a restored state swaps in whole, or not at all; nor does the
// state go back.
func TestRestore(t *testing.T) {
	f := testFSM()
	f.Apply(&raft.Log{Index: 9, Data: encode(t, 1, tenant.AddNode{Name: "n1"})})
	snap, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	f.Apply(&raft.Log{Index: 10, Data: encode(t, 2, tenant.AddNode{Name: "n2"})})
	var k sink
	if err := snap.Persist(&k); err != nil {
		t.Fatal(err)
	}
	snap.Release()
	if err := f.Restore(io.NopCloser(bytes.NewReader(k.Bytes()))); err == nil || f.state.Load().Index() != 10 {
		t.Errorf("an older state: %v", err)
	}
	other := testFSM()
	woken := other.after(5)
	if err := other.Restore(io.NopCloser(bytes.NewReader(k.Bytes()))); err != nil {
		t.Fatal(err)
	}
	s := other.state.Load()
	if s.NodeByName("n1") == nil || s.NodeByName("n2") != nil {
		t.Fatal("not the state of the snapshot")
	}
	select {
	case <-woken:
	default:
		t.Error("nobody was woken")
	}
	for cut := range k.Len() {
		if err := other.Restore(io.NopCloser(bytes.NewReader(k.Bytes()[:cut]))); err == nil {
			t.Fatalf("restored from %d of %d octets", cut, k.Len())
		}
	}
	if other.state.Load() != s {
		t.Error("a failed restore changed the state")
	}
}

func FuzzApply(f *testing.F) {
	f.Add(encode(f, 1, tenant.AddNode{Name: "n1"}), uint64(1))
	f.Add(encode(f, 1, tenant.AddTenant{Name: "t", Hostname: "t.example"}), uint64(2))
	f.Add([]byte{}, uint64(0))
	f.Fuzz(func(t *testing.T, data []byte, index uint64) {
		a, b := testFSM(), testFSM()
		ra, rb := a.Apply(&raft.Log{Index: index, Data: data}).(*applied), b.Apply(&raft.Log{Index: index, Data: data}).(*applied)
		if (ra.err == nil) != (rb.err == nil) || ra.err != nil && ra.err.Error() != rb.err.Error() {
			t.Fatalf("%v and %v", ra.err, rb.err)
		}
		var refused *tenant.Refused
		if ra.err != nil && !errors.As(ra.err, &refused) {
			t.Fatalf("not a refusal: %v", ra.err)
		}
		if a.state.Load().Digest() != b.state.Load().Digest() {
			t.Fatal("the states differ")
		}
	})
}

func FuzzRestore(f *testing.F) {
	f.Add(tenant.New().Encode(), true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, data []byte, seal bool) {
		if seal {
			data = sealed(data)
		}
		m := testFSM()
		before := m.state.Load()
		if err := m.Restore(io.NopCloser(bytes.NewReader(data))); err != nil && m.state.Load() != before {
			t.Fatal("a failed restore changed the state")
		}
	})
}
