package cluster

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// TestRaftConfig holds the settings whose defaults bite.
func TestRaftConfig(t *testing.T) {
	c := raftConfig("n1", standard(), raftLog{log: quiet()})
	if err := raft.ValidateConfig(c); err != nil {
		t.Fatal(err)
	}
	if !c.BatchApplyCh || !c.NoLegacyTelemetry || c.ShutdownOnRemove || c.PreVoteDisabled || c.Logger == nil || c.LocalID != "n1" {
		t.Errorf("%+v", c)
	}
	if maxPending >= c.MaxAppendEntries {
		t.Error("a proposal may block in raft's queue")
	}
	if c.TrailingLogs < c.SnapshotThreshold {
		t.Error("the log does not reach back to the older snapshot")
	}
	if c.HeartbeatTimeout < 2*time.Second || c.LeaderLeaseTimeout > c.HeartbeatTimeout/2 {
		t.Errorf("a busy node would look dead: %+v", c)
	}
}

// TestAlone: who needs nobody's vote.
func TestAlone(t *testing.T) {
	voter := func(id raft.ServerID) raft.Server { return raft.Server{Suffrage: raft.Voter, ID: id} }
	guest := raft.Server{Suffrage: raft.Nonvoter, ID: "n2"}
	for _, c := range []struct {
		servers []raft.Server
		want    bool
	}{
		{[]raft.Server{voter("n1")}, true},
		{[]raft.Server{voter("n1"), guest}, true},
		{[]raft.Server{voter("n1"), voter("n2")}, false},
		{[]raft.Server{voter("n2")}, false},
		{[]raft.Server{guest}, false},
		{nil, false},
	} {
		if got := alone(raft.Configuration{Servers: c.servers}, "n1"); got != c.want {
			t.Errorf("%v: %t", c.servers, got)
		}
	}
}

// TestMembers: a configuration in the log outdoes the snapshot's.
func TestMembers(t *testing.T) {
	fs := vfs.NewMem()
	c, err := New(config(t, fs))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	two := raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: "n1"}, {ID: "n2", Address: "n2"}}}
	if got, err := members(c.store, c.snaps); err != nil || !alone(got, "n1") {
		t.Fatalf("founded: %v, %v", got, err)
	}
	if err := c.store.StoreLog(&raft.Log{Index: 2, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(two)}); err != nil {
		t.Fatal(err)
	}
	if got, err := members(c.store, c.snaps); err != nil || len(got.Servers) != 2 || alone(got, "n1") {
		t.Fatalf("grown: %v, %v", got, err)
	}
}

// layer is a raft.StreamLayer nobody dials.
type layer struct{ net.Listener }

func (layer) Dial(raft.ServerAddress, time.Duration) (net.Conn, error) {
	return nil, errors.New("nobody there")
}

// TestTransport: with more than one request in flight a follower can wedge for
// ever; raft offers no pipeline then.
func TestTransport(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if got := networkConfig(layer{l}, raftLog{log: quiet()}); got.MaxRPCsInFlight != 1 || got.Timeout <= 0 || got.Logger == nil {
		t.Errorf("%+v", got)
	}
	network := newTransport("n1", layer{l}, newContacts(), raftLog{log: quiet()})
	if _, err := network.AppendEntriesPipeline("n2", "n2"); !errors.Is(err, raft.ErrPipelineReplicationNotSupported) {
		t.Errorf("pipeline: %v", err)
	}
	if err := network.(raft.WithClose).Close(); err != nil {
		t.Fatal(err)
	}
	lone := newTransport("n1", nil, newContacts(), raftLog{log: quiet()})
	if lone.LocalAddr() != "n1" {
		t.Errorf("address %s", lone.LocalAddr())
	}
	for _, transport := range []raft.Transport{network, lone} {
		if _, ok := transport.(raft.WithPreVote); !ok {
			t.Errorf("%T knows no pre-vote", transport)
		}
	}
}

// TestStoreFormat: the newest format from the first day; it never goes back.
func TestStoreFormat(t *testing.T) {
	s := openLog(t, vfs.NewMem(), "log", mustNot(t))
	defer s.Close()
	if got := s.db.FormatMajorVersion(); got != pebble.FormatNewest {
		t.Errorf("format %d", got)
	}
}

func TestRaftLog(t *testing.T) {
	var out bytes.Buffer
	base := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var l hclog.Logger = raftLog{log: base, name: "raft"}
	l.Trace("one")
	l.Debug("two")
	l.Info("three", "servers", hclog.Fmt("%+v", []int{1, 2}))
	l.With("id", 7).Warn("four")
	l.Error("five", "error", errors.New("bad"))
	l.StandardLogger(nil).Print("six")
	got := out.String()
	for _, want := range []string{
		"level=DEBUG msg=\"raft: three\"", "[1 2]", "level=INFO msg=\"raft: four\" id=7", "level=ERROR msg=\"raft: five\" error=bad", "raft: six",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in:\n%s", want, got)
		}
	}
	for _, not := range []string{"one", "two"} {
		if strings.Contains(got, not) {
			t.Errorf("%q is in:\n%s", not, got)
		}
	}
	if l.IsTrace() || l.IsDebug() || !l.IsInfo() || !l.IsError() || l.Named("x").Name() != "raft.x" || len(l.With("a", 1).ImpliedArgs()) != 2 {
		t.Error("levels or names")
	}
}
