package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// noticePause is the first pause before a follower that did not have an
	// entry yet is told again; noticePatience ends that.
	noticePause    = time.Millisecond
	noticePatience = 16 * time.Millisecond
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

// notices keeps to one notice on its way to each node.
type notices struct {
	mu   sync.Mutex        // guards next
	next map[string]uint64 // nodes with one on its way, and the newest index after it; 0: none
}

// add says whether the caller has to begin telling a node.
func (n *notices) add(node string, index uint64) (begin bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	next, busy := n.next[node]
	if n.next == nil {
		n.next = map[string]uint64{}
	}
	n.next[node] = max(next, index)
	return !busy
}

// take gives the newest index to tell a node; 0 when that is all.
func (n *notices) take(node string) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	index := n.next[node]
	if n.next[node] = 0; index == 0 {
		delete(n.next, node)
	}
	return index
}

// notice tells a follower that an entry is committed, now. raft itself tells it
// with the next entries, or after a pause; a follower that waits for its own
// proposal or read would wait for that. What comes while one is on its way waits
// for its answer: a follower that says nothing does not collect connections.
func (c *Cluster) notice(node string, index uint64) {
	if index == 0 || node == c.cfg.Name || !c.started() { // calls come in before raft runs, and c.transport is set with it
		return
	}
	if _, ok := c.transport.(*transport); !ok || !c.notices.add(node, index) {
		return
	}
	if !c.calls.begin(func() {
		for index := c.notices.take(node); index != 0; index = c.notices.take(node) {
			// A notice may overtake the entry itself.
			for pause := noticePause; !c.tell(node, index) && pause < noticePatience; pause *= 2 {
				time.Sleep(pause)
			}
		}
	}) {
		c.notices.take(node) // the end has come
	}
}

// tell sends raft's own message, with nothing but the position: the follower
// looks whether it has that entry, and believes only a leader of its term. False
// says that it does not have it yet.
func (c *Cluster) tell(node string, index uint64) bool {
	term := c.leadTerm.Load()
	var entry raft.Log
	if err := c.timed.GetLog(index, &entry); err != nil || !c.Leads() || c.leadTerm.Load() != term {
		return true // it is in a snapshot, or another node leads: raft's own way does
	}
	for _, s := range c.raft.GetConfiguration().Configuration().Servers {
		if string(s.ID) != node {
			continue
		}
		req := &raft.AppendEntriesRequest{
			RPCHeader:    raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(c.cfg.Name), Addr: []byte(c.cfg.Name)},
			Term:         term,
			PrevLogEntry: index, PrevLogTerm: entry.Term, LeaderCommitIndex: index,
		}
		var resp raft.AppendEntriesResponse
		err := c.transport.AppendEntries(s.ID, s.Address, req, &resp)
		return err != nil || resp.Success || resp.Term > term
	}
	return true
}
