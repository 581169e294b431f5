package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postern/tenant"
)

const (
	// leaseTime is D: how long a node may act after it asked.
	leaseTime = 3 * time.Second
	// leaseMargin is what the leader waits longer than the node, for clocks
	// that run apart.
	leaseMargin = 500 * time.Millisecond
	// askPause is how often a lease is asked for while it is used, or the state
	// changes; restAsk when it is only kept, which leaves time for one ask that
	// fails; retryAsk after a failure.
	askPause = 500 * time.Millisecond
	restAsk  = leaseTime / 2
	retryAsk = 100 * time.Millisecond
	// askTime bounds one call, so that a dead leader costs one ask and not a lease.
	askTime = time.Second
	// maxUnheard is how many answers in a row may be lost before the leader
	// grants no more: else a node that can be heard and hears nothing would
	// keep what it cannot use.
	maxUnheard = 4
)

// lease lets this node act until a moment. It is kept only once the state it
// asks for is applied, so the state read after it is never older than that.
type lease struct {
	until  moment
	leader string
	term   uint64
}

// leaseAsk is what a node tells the leader when it asks for a lease.
type leaseAsk struct {
	Index  uint64 // of the state it has applied
	Digest []byte // of that state
	Wall   int64  // its wall clock, Unix nanoseconds
	// Term and Got are the number of the last answer that came, and its
	// leader's term: a node that hears no answers is not to be granted more.
	Term, Got uint64
	// Want is false when the queue store is not durable: then this is only a
	// report.
	Want bool
}

// leaseAnswer lets the asker act once its state has reached Index.
type leaseAnswer struct {
	Index   uint64
	Term    uint64
	Number  uint64
	Granted bool
}

// mayBeAlone is whether a state is that of one node that leads, and nobody else
// votes, as removed ones do for a while: it needs no lease, since nobody could
// have been told to act in its place.
func (c *Cluster) mayBeAlone(s *tenant.State) bool {
	if c.peers == nil {
		return true
	}
	nodes := 0
	for range s.Nodes() {
		if nodes++; nodes > 1 {
			return false
		}
	}
	return c.leads.Load() && alone(c.raft.GetConfiguration().Configuration(), c.cfg.Name)
}

// askLeases asks for leases until ctx ends.
func (c *Cluster) askLeases(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.newLeader:
			timer.Stop()
		}
		pause := askPause
		if news, err := c.askLease(ctx); err != nil {
			pause = retryAsk
			c.log.Debug("no lease", "node", c.cfg.Name, "err", err)
		} else if used := c.used.Swap(false); !used && !news {
			pause = restAsk
		}
		timer.Reset(pause)
	}
}

var errNotGranted = errors.New("the leader grants no lease now")

// askLease asks the leader once and waits until the lease counts. news says that
// the leader knows more than this node did, or heard of this node for the first
// time in a term: it will want to know how far this node has come.
func (c *Cluster) askLease(ctx context.Context) (news bool, err error) {
	asked := c.clocks.now() // before all that the answer could be about
	s := c.State()
	digest := s.Digest()
	ask := leaseAsk{Index: s.Index(), Digest: digest[:], Wall: asked.wall, Term: c.heard.Term, Got: c.heard.Number, Want: true}
	if p := c.cfg.Peering; p != nil && p.Durable != nil {
		if err := p.Durable(); err != nil {
			ask.Want = false
			if c.seldom.now("durable") {
				c.log.Warn("no lease is asked for: the queue is not durable", "node", c.cfg.Name, "err", err)
			}
		}
	}
	leader := c.leader()
	if leader == "" {
		return false, ErrNoLeader
	}
	callCtx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var answer leaseAnswer
	if leader == c.cfg.Name {
		answer, err = c.answerLease(callCtx, leader, ask)
	} else {
		err = c.peers.call(callCtx, leader, verbLease, ask, &answer)
	}
	if err != nil {
		return false, err
	}
	news = answer.Index != ask.Index || answer.Term != c.heard.Term
	c.heard = answer
	if err := c.reach(ctx, answer.Index, leaseTime); err != nil {
		return news, err
	}
	c.nowReady()
	if !ask.Want { // ever more asks, so that a lease begins as soon as it may
		return true, nil
	}
	if !answer.Granted {
		return news, errNotGranted
	}
	l := &lease{until: asked.plus(leaseTime), leader: leader, term: answer.Term}
	c.lease.Store(l)
	c.leased.wake()
	return news, nil
}

// reach waits until the state is at index, for as long as limit.
func (c *Cluster) reach(ctx context.Context, index uint64, limit time.Duration) error {
	if index == 0 || c.State().Index() >= index {
		return nil
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-c.Watch(index - 1):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return fmt.Errorf("entry %d is not here after %s", index, limit)
	}
}

// MayAct is the one answer to "may I say 250, may I send the dot": nil while
// this node's lease runs and it owns the tenant under epoch. A cluster of one
// needs no lease. It waits for a lease until ctx ends.
func (c *Cluster) MayAct(ctx context.Context, t tenant.ID, epoch uint64) error {
	if err := c.awaitReady(ctx); err != nil {
		return fmt.Errorf("ask to act: %w", err)
	}
	for {
		ok, err := c.mayAct(t, epoch)
		if ok || err != nil {
			return err
		}
		woken, newer := c.leased.next(), c.Watch(c.State().Index())
		if ok, err := c.mayAct(t, epoch); ok || err != nil {
			return err
		}
		select {
		case <-woken:
		case <-newer: // the epoch may be gone
		case <-c.closing:
			return fmt.Errorf("ask to act: %w", ErrClosed)
		case <-ctx.Done():
			return fmt.Errorf("ask to act: %w: %w", ErrNoLease, context.Cause(ctx))
		}
	}
}

// mayAct looks once. The order matters: the lease, then a state that is not
// older than what the lease asks for, then the clocks. A process that is frozen
// in between finds that lease run out.
func (c *Cluster) mayAct(t tenant.ID, epoch uint64) (ok bool, err error) {
	l := c.lease.Load()
	s := c.State()
	owned := s.Tenant(t)
	if owned == nil {
		return false, fmt.Errorf("ask to act: tenant %d is unknown: %w", t, ErrNotOwner)
	}
	if owned.Epoch != epoch {
		return false, fmt.Errorf("ask to act: tenant %d is in epoch %d, not %d: %w", t, owned.Epoch, epoch, ErrNotOwner)
	}
	node := s.Node(owned.Owner)
	if node == nil || node.Name != c.cfg.Name {
		return false, fmt.Errorf("ask to act: node %d owns tenant %d: %w", owned.Owner, t, ErrNotOwner)
	}
	// What a node that is down still owns may be given away any time, whether
	// it has a lease again or not.
	if !node.Down.IsZero() && c.peers != nil {
		return false, nil
	}
	if c.mayBeAlone(s) {
		return true, nil
	}
	if !c.used.Load() {
		c.used.Store(true)
	}
	return l != nil && c.clocks.now().before(l.until), nil
}
