package cluster

import (
	"time"

	"github.com/hashicorp/raft"
)

// Status is what this node knows of the cluster right now.
type Status struct {
	Leader  string // "" when none is known
	Term    uint64
	Applied uint64
	// Contact is when the leader was last heard; zero on the leader itself.
	Contact time.Time
	Lease   time.Time // until when this node may act; zero: it may not
	// Removed says that the state knows this node no more: it stays without a
	// lease until it joins again.
	Removed bool
	Voters  []string
	Joining []string // non-voters
	Nodes   []NodeStatus
	// Mismatches counts reports of a state that differs at the same index.
	Mismatches uint64
	// Skew is how far the leader's clock is from the median; the leader knows.
	Skew time.Duration
}

// NodeStatus is a node of the state, also this one: hints, but for Lapsed.
type NodeStatus struct {
	Name    string
	Alive   bool          // by gossip, or heard within seconds
	Silent  bool          // nothing answered there when this node dialed it last
	RTT     time.Duration // of the last call; 0 unknown
	Applied uint64        // the leader knows
	Lag     uint64        // entries it lacked when it last reported; the leader knows
	Lapsed  bool          // the leader's: its lease has run out for sure
	Leased  bool          // the leader's: it was answered within a lease's time
}

// CertificateEnds is when this node's certificate for the peer port ends, and
// the cluster's authority; zero in a cluster of one.
func (c *Cluster) CertificateEnds() (node, authority time.Time) {
	p, ok := c.peers.(*port)
	if !ok {
		return node, authority
	}
	id := p.id.Load()
	return id.leaf.NotAfter, id.authority.cert.NotAfter
}

// Status tells what is known now; free to call.
func (c *Cluster) Status() Status {
	s := c.State()
	st := Status{Applied: s.Index(), Mismatches: c.mismatches.Load(), Skew: c.skew()}
	if !c.started() {
		return st
	}
	st.Leader, st.Term = c.leader(), c.raft.CurrentTerm()
	st.Voters, st.Joining = c.members()
	if c.raft.State() != raft.Leader {
		st.Contact = c.raft.LastContact()
	}
	if c.peers == nil {
		return st
	}
	st.Removed = !founding(s) && s.NodeByName(c.cfg.Name) == nil
	now := c.clocks.now()
	if l := c.lease.Load(); l != nil && now.before(l.until) {
		left := min(l.until.boot-now.boot, time.Duration(l.until.wall-now.wall))
		st.Lease = c.cfg.Now().Add(left)
	}
	leads := c.Leads()
	l := c.lessor
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range s.Nodes() {
		ns := NodeStatus{Name: n.Name, Alive: n.Name == c.cfg.Name}
		if !ns.Alive {
			ns.Alive, ns.Silent, ns.RTT = c.peers.alive(n.Name), c.peers.silent(n.Name), c.peers.rtt(n.Name)
		}
		if leads {
			ns.Lapsed, ns.Leased = l.lapsed(n.Name, now.boot), l.leased(n.Name, now.boot)
			if r := l.nodes[n.Name]; r != nil {
				ns.Applied, ns.Lag = r.applied, r.lag
			}
		}
		st.Nodes = append(st.Nodes, ns)
	}
	return st
}
