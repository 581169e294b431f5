package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// confirmTries is how often raft's own word is asked for again when the
// majority's answers were to older heartbeats.
const confirmTries = 8

// confirmed is the answer to one who wants to know whether this node leads.
type confirmed struct {
	term uint64
	err  error
}

// confirm proves that this node led, with everything older applied, at a
// moment after the call began. Calls that wait share one proof.
func (c *Cluster) confirm(ctx context.Context) (term uint64, err error) {
	if err := c.awaitLeads(ctx); err != nil {
		return 0, err
	}
	answer := make(chan confirmed, 1)
	select {
	case c.confirms <- answer:
	case <-c.closing:
		return 0, ErrClosed
	case <-ctx.Done():
		return 0, fmt.Errorf("confirm leadership: %w", context.Cause(ctx))
	}
	select {
	case a := <-answer:
		return a.term, a.err
	case <-ctx.Done():
		return 0, fmt.Errorf("confirm leadership: %w", context.Cause(ctx))
	}
}

// awaitLeads lets a new leader finish its barrier.
func (c *Cluster) awaitLeads(ctx context.Context) error {
	for {
		if c.Leads() {
			return nil
		}
		woken := c.led.next()
		if c.Leads() {
			return nil
		}
		if !c.started() || c.raft.State() != raft.Leader {
			return errNotLeader
		}
		select {
		case <-woken:
		case <-c.closing:
			return ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", errNotLeader, context.Cause(ctx))
		}
	}
}

// confirmLeadership serves confirm until ctx ends. A question that has arrived
// when a proof begins is answered by it.
func (c *Cluster) confirmLeadership(ctx context.Context) {
	for {
		var waiting []chan confirmed
		select {
		case <-ctx.Done():
			return
		case w := <-c.confirms:
			waiting = append(waiting, w)
		}
		for more := true; more; {
			select {
			case w := <-c.confirms:
				waiting = append(waiting, w)
			default:
				more = false
			}
		}
		term, err := c.prove()
		for _, w := range waiting {
			w <- confirmed{term, err}
		}
	}
}

var errNoMajority = errors.New("no majority answered in time")

func (c *Cluster) prove() (term uint64, err error) {
	mark := c.contacts.mark()
	for range confirmTries {
		term = c.leadTerm.Load()
		if err := c.raft.VerifyLeader().Error(); err != nil {
			return 0, fmt.Errorf("%w: %w", errNotLeader, err)
		}
		if !c.Leads() || term != c.leadTerm.Load() {
			return 0, errNotLeader
		}
		servers := c.raft.GetConfiguration().Configuration().Servers
		if c.contacts.majority(servers, raft.ServerID(c.cfg.Name), term, mark) {
			return term, nil
		}
	}
	return 0, fmt.Errorf("%w: %w", errNotLeader, errNoMajority)
}
