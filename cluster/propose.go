package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"postern/tenant"
)

// retryPause is how long a proposal waits for a leader before it asks again.
const retryPause = 20 * time.Millisecond

// pending is a proposal raft has.
type pending struct {
	future  raft.ApplyFuture
	release func()        // called once the outcome is known; may be nil
	done    chan struct{} // closed once result and err are set
	result  *applied
	err     error
}

// Propose carries op through the log and returns the events it made and the
// state it led to. A refusal is a *tenant.Refused. The request id makes repeats
// harmless; zero means a fresh one. Any number of calls may run at once.
//
// A lost leader or a full queue is tried again under the same request id until
// ctx ends (or 20 s passed). After that the error is ErrNoLeader when nothing
// was handed over, and ErrUnknown when something was.
func (c *Cluster) Propose(ctx context.Context, req tenant.RequestID, op tenant.Op) ([]tenant.Event, *tenant.State, error) {
	if op == nil {
		return nil, nil, errors.New("propose: no operation")
	}
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	if err := c.awaitReady(ctx); err != nil {
		return nil, nil, fmt.Errorf("propose: %w", err)
	}
	if req == (tenant.RequestID{}) {
		_, _ = rand.Read(req[:]) // never fails
	}
	var mine <-chan *applied
	if c.peers != nil {
		var forget func()
		mine, forget = c.fsm.expect(req)
		defer forget()
	}
	unknown := false
	for {
		r, err := c.try(ctx, req, op, mine)
		if r != nil {
			return r.events, r.state, r.err
		}
		if refused := (*tenant.Refused)(nil); errors.As(err, &refused) {
			return nil, c.State(), refused
		}
		unknown = unknown || errors.Is(err, ErrUnknown)
		if !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrNoLeader) && !unknown {
			return nil, nil, fmt.Errorf("propose: %w", err)
		}
		pause := time.NewTimer(retryPause)
		select {
		case <-pause.C:
			continue
		case <-ctx.Done():
		case <-c.closing:
		}
		pause.Stop()
		if unknown && !errors.Is(err, ErrUnknown) {
			err = fmt.Errorf("%w: %v", ErrUnknown, err)
		}
		return nil, nil, fmt.Errorf("propose: %w", err)
	}
}

// awaitReady waits until proposals can be made.
func (c *Cluster) awaitReady(ctx context.Context) error {
	select {
	case <-c.closing:
		return ErrClosed
	default:
	}
	select {
	case <-c.ready: // the fast way
		return nil
	default:
	}
	select {
	case <-c.closing:
		return ErrClosed
	case <-c.ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrNoLeader, context.Cause(ctx))
	}
}

// try proposes one time, here or at the leader. A nil result comes with
// ErrNoLeader (raft did not take it), ErrUnknown, or an error that no repeat
// changes.
func (c *Cluster) try(ctx context.Context, req tenant.RequestID, op tenant.Op, mine <-chan *applied) (*applied, error) {
	if c.peers == nil || c.leads.Load() {
		return c.once(ctx, req, op)
	}
	data, err := encodeCommand(req, c.cfg.Now(), op) // the leader stamps it anew
	if err != nil {
		return nil, err
	}
	return c.forward(ctx, data, mine)
}

func encodeCommand(req tenant.RequestID, at time.Time, op tenant.Op) ([]byte, error) {
	data, err := tenant.EncodeCommand(tenant.Command{Request: req, At: at, Op: op})
	if err == nil && len(data) > MaxCommand {
		err = fmt.Errorf("%d octets: %w", len(data), ErrTooLarge)
	}
	return data, err
}

// once hands the command to raft one time, under this leader's stamp.
func (c *Cluster) once(ctx context.Context, req tenant.RequestID, op tenant.Op) (*applied, error) {
	at, err := c.stamp()
	if err != nil {
		return nil, err
	}
	data, err := encodeCommand(req, at, op)
	if err != nil {
		return nil, err
	}
	select {
	case c.slots <- struct{}{}:
	case <-c.closing:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrNoLeader, context.Cause(ctx))
	}
	select {
	case <-c.closing:
		<-c.slots
		return nil, ErrClosed
	default:
	}
	var release func()
	if down, ok := op.(tenant.NodesDown); ok && c.peers != nil {
		if release, err = c.sentence(down); err != nil {
			<-c.slots
			return nil, err
		}
	}
	began := time.Now()
	// A slot is a place in raft's queue, so this never blocks, and raft's own
	// timeout, which its batching would not honour, is not needed.
	p := &pending{future: c.raft.Apply(data, 0), release: release, done: make(chan struct{})}
	c.pending <- p
	select {
	case <-p.done:
	case <-c.done:
		return nil, fmt.Errorf("%w: %w", ErrUnknown, ErrClosed)
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnknown, context.Cause(ctx))
	}
	if p.err != nil {
		return nil, outcome(p.err)
	}
	c.metrics.commit.Observe(time.Since(began).Seconds())
	return p.result, nil
}

// outcome sorts raft's errors into "was not taken" and "may have been".
func outcome(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader),
		errors.Is(err, raft.ErrLeadershipTransferInProgress),
		errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%w: %w", ErrNoLeader, err)
	default:
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
}

// resolve waits for raft's answers. Entries are answered in the order of the
// log, so one goroutine can wait for all of them, and a caller that went away
// leaves none behind.
func (c *Cluster) resolve() {
	for p := range c.pending {
		p.err = p.future.Error()
		if p.err == nil {
			p.result, _ = p.future.Response().(*applied)
			if p.result == nil {
				p.err = errors.New("raft gave no answer")
			}
		}
		if p.release != nil {
			p.release()
		}
		close(p.done)
		<-c.slots
	}
}
