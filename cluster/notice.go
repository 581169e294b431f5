package cluster

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
)

// spread tells all followers of what was applied here, as soon as it was, while
// this node leads: they take over tenants by it.
func (c *Cluster) spread(ctx context.Context) {
	for {
		index := c.State().Index()
		select {
		case <-ctx.Done():
			return
		case <-c.Watch(index):
		}
		if !c.Leads() {
			continue
		}
		index = c.State().Index()
		for _, s := range c.raft.GetConfiguration().Configuration().Servers {
			c.notice(string(s.ID), index)
		}
		pause := time.NewTimer(spreadPause)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
}

// notice tells a follower that an entry is committed, now. raft itself tells it
// with the next entries, or after a pause of 50 to 100 ms; a follower that
// waits for its own proposal or read would wait for that. It is raft's own
// message, with nothing but the position: the follower looks whether it has
// that entry, and believes only a leader of its term.
func (c *Cluster) notice(node string, index uint64) {
	t, ok := c.transport.(*transport)
	if !ok || index == 0 {
		return
	}
	term := c.leadTerm.Load()
	var entry raft.Log
	if err := c.timed.GetLog(index, &entry); err != nil || !c.Leads() || c.leadTerm.Load() != term {
		return // it is in a snapshot, or another node leads: raft's own way does
	}
	for _, s := range c.raft.GetConfiguration().Configuration().Servers {
		if string(s.ID) != node || node == c.cfg.Name {
			continue
		}
		req := &raft.AppendEntriesRequest{
			RPCHeader:    raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(c.cfg.Name), Addr: []byte(t.LocalAddr())},
			Term:         term,
			PrevLogEntry: index, PrevLogTerm: entry.Term, LeaderCommitIndex: index,
		}
		c.calls.begin(func() {
			var resp raft.AppendEntriesResponse
			_ = t.AppendEntries(s.ID, s.Address, req, &resp) // raft's own way does
		})
		return
	}
}
