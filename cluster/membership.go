package cluster

import (
	"context"
	"time"

	"github.com/hashicorp/raft"

	"postern/tenant"
)

const (
	// memberPause is how often the leader looks at its members without a cause.
	memberPause = time.Second
	// caughtUp is how many entries a non-voter may lack and still be promoted.
	caughtUp = 64
	// partingTime is how long a removed node stays, so that it hears of it.
	partingTime = 500 * time.Millisecond
	// changeTime bounds one change of raft's configuration.
	changeTime = 10 * time.Second
)

// change is one step towards the members the state asks for.
type change struct {
	what   string
	server raft.Server
	apply  func(c *Cluster, s raft.Server, prev uint64) error
}

func addNonvoter(c *Cluster, s raft.Server, prev uint64) error {
	return c.raft.AddNonvoter(s.ID, s.Address, prev, changeTime).Error()
}

func addVoter(c *Cluster, s raft.Server, prev uint64) error {
	return c.raft.AddVoter(s.ID, s.Address, prev, changeTime).Error()
}

func removeServer(c *Cluster, s raft.Server, prev uint64) error {
	return c.raft.RemoveServer(s.ID, prev, changeTime).Error()
}

func handOver(c *Cluster, _ raft.Server, _ uint64) error { return c.cede(c.heirs()) }

// nextChange compares raft's servers with the state. ready says whether a
// non-voter has caught up and is there, parted whether a node that was removed
// had the time to hear of it.
//
// One voter grows to three at once: two voters are worse than one, since both
// must be there. So a second voter waits for a third.
func nextChange(s *tenant.State, servers []raft.Server, self string, ready, parted func(name string) bool) *change {
	if founding(s) {
		return nil
	}
	var waiting []raft.Server
	voters := 0
	known := map[string]bool{}
	for _, m := range servers {
		known[string(m.ID)] = true
		n := s.NodeByName(string(m.ID))
		own := string(m.ID) == self
		switch {
		case n == nil && own && len(servers) > 1:
			return &change{"hand leadership over: this node was removed", m, handOver}
		case n == nil && !own:
			if parted(string(m.ID)) {
				return &change{"remove a node", m, removeServer}
			}
			continue
		case n != nil && n.Key != ([32]byte{}) && m.Address != serverAddress(n):
			if c := replaced(m, n, own, len(servers)); c != nil {
				return c
			}
		}
		if m.Suffrage == raft.Voter {
			voters++
		} else if ready(string(m.ID)) {
			waiting = append(waiting, m)
		}
	}
	for n := range s.Nodes() {
		if !known[n.Name] && n.Key != ([32]byte{}) { // without a key it has to join again
			return &change{"add a node", raft.Server{ID: raft.ServerID(n.Name), Address: serverAddress(n)}, addNonvoter}
		}
	}
	if len(waiting) == 0 || voters == 1 && len(waiting) < 2 {
		return nil
	}
	return &change{"let a node vote", waiting[0], addVoter}
}

// replaced is what to do about a server whose node has another key now. A
// server without one was here before the cluster knew keys; it gets its. One
// with another key may have come back with an empty log, so it goes and comes
// in anew. Leadership goes first when it is this node's own.
func replaced(m raft.Server, n *tenant.Node, own bool, servers int) *change {
	now := raft.Server{Suffrage: m.Suffrage, ID: m.ID, Address: serverAddress(n)}
	switch {
	case m.Address == raft.ServerAddress(n.Name) || own && servers == 1:
		if m.Suffrage == raft.Voter {
			return &change{"name a node's key", now, addVoter}
		}
		return &change{"name a node's key", now, addNonvoter}
	case own:
		return &change{"hand leadership over: this node has a new key", m, handOver}
	default:
		return &change{"remove a node that was replaced", m, removeServer}
	}
}

// keepMembers brings raft's servers in line with the state while this node
// leads, until ctx ends.
func (c *Cluster) keepMembers(ctx context.Context) {
	partings := map[string]time.Duration{} // when this leader first missed a node
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		progress := false
		if c.Leads() && !c.silent() {
			progress = c.changeMember(partings)
		} else {
			clear(partings)
		}
		if progress && ctx.Err() == nil {
			continue
		}
		tick.Reset(untilBeat(memberPause))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-c.Watch(c.State().Index()):
		}
	}
}

// changeMember takes one step; false when there is none or it failed.
func (c *Cluster) changeMember(partings map[string]time.Duration) bool {
	future := c.raft.GetConfiguration()
	servers := future.Configuration().Servers
	s := c.State()
	ready := func(name string) bool { return c.caughtUp(s, name) }
	parted := func(name string) bool {
		now := c.clocks.boot()
		if _, ok := partings[name]; !ok {
			partings[name] = now
		}
		return now-partings[name] >= partingTime
	}
	step := nextChange(s, servers, c.cfg.Name, ready, parted)
	if step == nil {
		return false
	}
	err := step.apply(c, step.server, future.Index())
	if err != nil {
		if c.seldom.now(step.what + " " + string(step.server.ID)) {
			c.log.Warn("members stay as they are", "step", step.what, "node", string(step.server.ID), "err", err)
		}
		return false
	}
	delete(partings, string(step.server.ID))
	c.lessor.restart(string(step.server.ID))
	c.log.Info("members changed", "step", step.what, "node", string(step.server.ID))
	return true
}

// restart forgets what a node said it has: who comes next under its name may
// have nothing. When it was answered stays known.
func (l *lessor) restart(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.nodes[name]; r != nil {
		r.applied = 0
	}
}

// caughtUp says whether a node reported lately that it has nearly everything.
func (c *Cluster) caughtUp(s *tenant.State, name string) bool {
	l := c.lessor
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.nodes[name]
	return r != nil && c.clocks.boot()-r.heard < leaseTime && r.applied > 0 && r.applied+caughtUp >= s.Index()
}

// voters and guests of the newest configuration this node knows.
func (c *Cluster) members() (voters, joining []string) {
	for _, m := range c.raft.GetConfiguration().Configuration().Servers {
		if m.Suffrage == raft.Voter {
			voters = append(voters, string(m.ID))
		} else {
			joining = append(joining, string(m.ID))
		}
	}
	return voters, joining
}
