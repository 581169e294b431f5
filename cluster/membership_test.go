package cluster

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"postern/tenant"
)

// withNodes is a founded state of some nodes.
func withNodes(t testing.TB, names ...string) *tenant.State {
	t.Helper()
	s := tenant.New()
	apply := func(op tenant.Op) {
		t.Helper()
		next, _, err := tenant.Apply(s, s.Index()+1, tenant.Command{At: time.Unix(1_800_000_000, 0), Op: op})
		if err != nil {
			t.Fatal(err)
		}
		s = next
	}
	apply(tenant.AddToken{Token: tenant.JoinToken{Hash: [32]byte{1}, Expires: time.Unix(1_900_000_000, 0)}})
	for _, name := range names {
		apply(tenant.Join{Name: name, Peer: name + ":1", Key: keyOf(name), Token: [32]byte{1}, Version: tenant.NewestVersion})
	}
	apply(tenant.SetAuthority{Authority: tenant.Authority{Cluster: [16]byte{1}, Cert: []byte{1}, SealedKey: []byte{1}, SealedGossip: []byte{1}}})
	return s
}

func TestNextChange(t *testing.T) {
	addr := func(name string) raft.ServerAddress { return serverAddress(&tenant.Node{Name: name, Key: keyOf(name)}) }
	voter := func(name string) raft.Server {
		return raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(name), Address: addr(name)}
	}
	guest := func(name string) raft.Server {
		return raft.Server{Suffrage: raft.Nonvoter, ID: raft.ServerID(name), Address: addr(name)}
	}
	bare, other := voter("n1"), voter("n2")
	bare.Address, other.Address = "n1", "n2/0123456789abcdef"
	otherSelf := voter("n1")
	otherSelf.Address = "n1/0123456789abcdef"
	for _, c := range []struct {
		what    string
		nodes   []string
		servers []raft.Server
		behind  string // a node that has not caught up
		early   bool   // who was removed has not heard of it
		want    string
		who     string
	}{
		{"nothing to do", []string{"n1"}, []raft.Server{voter("n1")}, "", false, "", ""},
		{"the founder's key", []string{"n1"}, []raft.Server{bare}, "", false, "name a node's key", "n1"},
		{"a joiner", []string{"n1", "n2"}, []raft.Server{voter("n1")}, "", false, "add a node", "n2"},
		{"a second waits for a third", []string{"n1", "n2"}, []raft.Server{voter("n1"), guest("n2")}, "", false, "", ""},
		{"the third comes", []string{"n1", "n2", "n3"}, []raft.Server{voter("n1"), guest("n2")}, "", false, "add a node", "n3"},
		{"one is behind", []string{"n1", "n2", "n3"}, []raft.Server{voter("n1"), guest("n2"), guest("n3")}, "n3", false, "", ""},
		{"both are there", []string{"n1", "n2", "n3"}, []raft.Server{voter("n1"), guest("n2"), guest("n3")}, "", false, "let a node vote", "n2"},
		{"then the other", []string{"n1", "n2", "n3"}, []raft.Server{voter("n1"), voter("n2"), guest("n3")}, "", false, "let a node vote", "n3"},
		{"a fourth just votes", []string{"n1", "n2", "n3", "n4"}, []raft.Server{voter("n1"), voter("n2"), voter("n3"), guest("n4")}, "", false, "let a node vote", "n4"},
		{"a fourth is behind", []string{"n1", "n2", "n3", "n4"}, []raft.Server{voter("n1"), voter("n2"), voter("n3"), guest("n4")}, "n4", false, "", ""},
		{"one was removed", []string{"n1", "n2"}, []raft.Server{voter("n1"), voter("n2"), voter("n3")}, "", false, "remove a node", "n3"},
		{"it has to hear of it", []string{"n1", "n2"}, []raft.Server{voter("n1"), voter("n2"), voter("n3")}, "", true, "", ""},
		{"the leader was removed", []string{"n2", "n3"}, []raft.Server{voter("n1"), voter("n2"), voter("n3")}, "", false, "hand leadership over: this node was removed", "n1"},
		{"nobody takes over", []string{"n2"}, []raft.Server{voter("n1")}, "", false, "add a node", "n2"},
		{"one was replaced", []string{"n1", "n2", "n3"}, []raft.Server{voter("n1"), other, voter("n3")}, "", false, "remove a node that was replaced", "n2"},
		{"the leader has a new key", []string{"n1", "n2"}, []raft.Server{otherSelf, voter("n2")}, "", false, "hand leadership over: this node has a new key", "n1"},
		{"a lone leader has a new key", []string{"n1"}, []raft.Server{otherSelf}, "", false, "name a node's key", "n1"},
	} {
		step := nextChange(withNodes(t, c.nodes...), c.servers, "n1", func(name string) bool { return name != c.behind }, func(name string) bool { return !c.early })
		got, who := "", ""
		if step != nil {
			got, who = step.what, string(step.server.ID)
		}
		if got != c.want || who != c.who {
			t.Errorf("%s: %q of %q, not %q of %q", c.what, got, who, c.want, c.who)
		}
	}
	if step := nextChange(tenant.New(), []raft.Server{voter("n1"), voter("n2")}, "n1", nil, nil); step != nil {
		t.Errorf("before the founding: %q", step.what)
	}
}

// TestGrowAndShrink: a cluster grows to five, loses a node and its leader by removal,
// and takes one back that lost its disk.
func TestGrowAndShrink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := newTrio(t, 5)
		x.mustAdd("one")
		voters := func(want int) func() bool {
			return func() bool { l := x.leader(); return l != nil && len(l.Status().Voters) == want }
		}
		gone := x.follower()
		x.mustPropose(tenant.RemoveNode{Node: x.leader().State().NodeByName(gone.cfg.Name).ID})
		eventually(t, time.Minute, "four vote", voters(4))
		eventually(t, time.Minute, "the removed one knows", func() bool { return gone.Status().Removed && gone.Status().Lease.IsZero() })
		x.halt(gone.cfg.Name)

		old := x.leader()
		x.mustPropose(tenant.RemoveNode{Node: old.State().NodeByName(old.cfg.Name).ID})
		eventually(t, time.Minute, "three vote", voters(3))
		if l := x.awaitLeader(); l.Cluster == old.Cluster {
			t.Error("the removed node leads on")
		}
		eventually(t, time.Minute, "the removed one knows", func() bool { return old.Status().Removed && old.Status().Lease.IsZero() })
		x.halt(old.cfg.Name)

		// A node that lost its disk joins again, with a new key.
		lost := x.follower().cfg.Name
		x.halt(lost)
		delete(x.fs, lost)
		x.mustPropose(tenant.AddToken{Token: tenant.JoinToken{Hash: [32]byte{2}, Node: lost, Expires: time.Now().Add(time.Hour)}})
		x.mustPropose(tenant.Join{Name: lost, Peer: lost + ":1", Key: keyOf("another"), Token: [32]byte{2}, Version: tenant.NewestVersion})
		eventually(t, time.Minute, "the old one votes no more", func() bool {
			l := x.leader()
			return l != nil && len(l.Status().Voters) == 2 && len(l.Status().Joining) == 1
		})
		set := x.set
		x.set = func(cfg *Config) { set(cfg); cfg.Bootstrap = false }
		r := x.start(lost)
		eventually(t, time.Minute, "three vote again", voters(3))
		r.awaitReady()
		x.mustAdd("two")
		x.converge()
		if r.State().RouteFor("one.example") == nil {
			t.Error("the new one has not all")
		}
	})
}
