package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"postern/tenant"
)

// maxGap is how long the leader may have slept without noticing. After a longer
// gap it counts every lease anew: the others may have asked meanwhile in vain.
const maxGap = time.Second

// lessor is the leader's side of leases. It counts a lease from its answer,
// which is later than the ask the node counts from, and the margin on top.
type lessor struct {
	mu     sync.Mutex    // guards what follows
	term   uint64        // of the leadership; 0: this node does not lead
	since  time.Duration // boot-time clock: nobody is listed before a lease's time after it
	ticked time.Duration
	nodes  map[string]*report
	// trial counts the decisions about a node that are under way: while one
	// is, the node gets no lease, so that none can begin just before it.
	trial map[string]int
}

// report is what the leader knows from a node's asks.
type report struct {
	heard    time.Duration // boot-time clock
	answered time.Duration // 0: never granted
	applied  uint64
	lag      uint64
	sent     uint64        // number of the last answer
	unheard  int           // answers the node did not name in its next ask
	offset   time.Duration // its wall clock less the leader's boot-time clock
}

func newLessor() *lessor {
	return &lessor{nodes: map[string]*report{}, trial: map[string]int{}}
}

// begin starts a leadership whose barrier was just applied.
func (l *lessor) begin(term uint64, now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.term, l.since, l.ticked = term, now, now
	clear(l.nodes)
}

// end forgets the leadership. Trials stay until their decisions are known.
func (l *lessor) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.term = 0
	clear(l.nodes)
}

// tick notices when this process did not run.
func (l *lessor) tick(now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now-l.ticked > maxGap {
		l.since = now
	}
	l.ticked = now
}

// lapsed says whether a node's lease has run out for sure; the caller holds mu.
func (l *lessor) lapsed(name string, now time.Duration) bool {
	if l.term == 0 || now-l.ticked > maxGap {
		return false
	}
	from := l.since
	if r := l.nodes[name]; r != nil {
		from = max(from, r.answered)
	}
	return now-from > leaseTime+leaseMargin
}

// leased says whether a node was answered within a lease's time; the caller
// holds mu.
func (l *lessor) leased(name string, now time.Duration) bool {
	r := l.nodes[name]
	return l.term != 0 && r != nil && r.answered > 0 && now-r.answered <= leaseTime
}

var (
	errNotLeader   = errors.New("this node does not lead")
	errUnknownNode = errors.New("the state does not know this node")
)

// answerLease answers a node's ask, at the leader; also the leader's own.
func (c *Cluster) answerLease(ctx context.Context, from string, ask leaseAsk) (leaseAnswer, error) {
	arrived := c.clocks.now()
	term, err := c.confirm(ctx)
	if err != nil {
		return leaseAnswer{}, err
	}
	c.compare(from, ask)
	return c.grant(from, ask, arrived, term)
}

// grant answers an ask that arrived in a term in which this node led after it.
func (c *Cluster) grant(from string, ask leaseAsk, arrived moment, term uint64) (leaseAnswer, error) {
	l := c.lessor
	l.mu.Lock()
	defer l.mu.Unlock()
	// Under the lock: a decision about the node is either known, and then in
	// this state, or not begun; then it finds this lease running.
	s := c.State()
	if l.term != term {
		return leaseAnswer{}, fmt.Errorf("%w: term %d, now %d", errNotLeader, l.term, term)
	}
	// raft stops leading before it tells what became of a decision. So one that
	// is known here to be lost, and may still count at the next leader, is seen
	// as the end of this leadership, even if nobody has called end yet.
	if !c.Leads() || c.leadTerm.Load() != term {
		return leaseAnswer{}, errNotLeader
	}
	if s.NodeByName(from) == nil && !founding(s) {
		return leaseAnswer{}, errUnknownNode
	}
	r := l.nodes[from]
	if r == nil {
		r = &report{}
		l.nodes[from] = r
	}
	now := c.clocks.boot()
	r.heard, r.applied = now, ask.Index
	r.lag = s.Index() - min(ask.Index, s.Index())
	r.offset = time.Duration(ask.Wall) - arrived.boot
	c.skewed(l)
	if r.unheard++; ask.Term == term && ask.Got == r.sent {
		r.unheard = 0
	}
	r.sent++
	answer := leaseAnswer{Index: s.Index(), Term: term, Number: r.sent}
	if ask.Want && l.trial[from] == 0 && r.unheard < maxUnheard {
		r.answered = now
		answer.Granted = true
	}
	if r.lag > 0 {
		c.notice(from, answer.Index) // its lease waits for that entry
	}
	return answer, nil
}

// founding says whether a cluster with a peer port has not told its state of
// itself yet.
func founding(s *tenant.State) bool { return s.Authority() == nil }

// compare looks whether a node's state is this one's at the same index.
func (c *Cluster) compare(from string, ask leaseAsk) {
	ours, ok := c.fsm.digestAt(ask.Index)
	if !ok || bytes.Equal(ours[:], ask.Digest) {
		return
	}
	c.mismatches.Add(1)
	c.metrics.mismatches.Inc()
	if c.seldom.now("differs " + from) {
		c.log.Error("states differ at the same index", "node", from, "index", ask.Index)
	}
}

// sentence begins a decision that nodes are down. It is allowed only for nodes
// whose leases have run out; from now until release they get none.
func (c *Cluster) sentence(op tenant.NodesDown) (release func(), err error) {
	l, s := c.lessor, c.State()
	l.mu.Lock()
	defer l.mu.Unlock()
	now := c.clocks.boot()
	var names []string
	for _, id := range op.Nodes {
		n := s.Node(id)
		if n == nil {
			continue
		}
		if !l.lapsed(n.Name, now) {
			return nil, &tenant.Refused{Reason: fmt.Sprintf("node %q may still have a lease", n.Name)}
		}
		names = append(names, n.Name)
	}
	for _, name := range names {
		l.trial[name]++
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, name := range names {
			if l.trial[name]--; l.trial[name] == 0 {
				delete(l.trial, name)
			}
		}
	}, nil
}

// Lapsed lists nodes whose lease has run out for sure, as the leader counts:
// a new leader lists nobody before a whole lease has passed. Empty elsewhere.
func (c *Cluster) Lapsed() []string {
	if c.peers == nil || !c.Leads() {
		return nil
	}
	s := c.State()
	var names []string
	l := c.lessor
	l.mu.Lock()
	defer l.mu.Unlock()
	now := c.clocks.boot()
	for n := range s.Nodes() {
		if l.lapsed(n.Name, now) {
			names = append(names, n.Name)
		}
	}
	return names
}

// LapseIn is how long it takes at least until Lapsed lists one more node, as far
// as this leader knows now: any ask of a node makes it longer.
func (c *Cluster) LapseIn() time.Duration {
	const whole = leaseTime + leaseMargin
	least := whole
	s, l := c.State(), c.lessor
	l.mu.Lock()
	defer l.mu.Unlock()
	now := c.clocks.boot()
	for n := range s.Nodes() {
		from := l.since
		if r := l.nodes[n.Name]; r != nil {
			from = max(from, r.answered)
		}
		if left := whole - (now - from); left >= 0 { // lapsed says more than whole
			least = min(least, left+1)
		}
	}
	return least
}

// Leads says whether this node leads and has applied all older entries.
func (c *Cluster) Leads() bool {
	return c.leads.Load() && c.raft.State() == raft.Leader && c.raft.CurrentTerm() == c.leadTerm.Load()
}
