package cluster

import (
	"context"
	"fmt"
	"time"

	"postern/tenant"
)

type readAsk struct{}

type readAnswer struct{ Index uint64 }

// Read returns a state that has everything committed before the call: a
// linearizable read, also on a node that does not lead.
func (c *Cluster) Read(ctx context.Context) (*tenant.State, error) {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	if err := c.awaitReady(ctx); err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	if c.peers == nil {
		return c.State(), nil // a lone voter commits nothing it has not applied
	}
	for {
		s, err := c.readOnce(ctx)
		if err == nil {
			return s, nil
		}
		pause := time.NewTimer(retryPause)
		select {
		case <-pause.C:
			continue
		case <-ctx.Done():
		case <-c.closing:
			err = ErrClosed
		}
		pause.Stop()
		return nil, fmt.Errorf("read: %w: %w", ErrNoLeader, err)
	}
}

func (c *Cluster) readOnce(ctx context.Context) (*tenant.State, error) {
	leader := c.leader()
	if leader == "" {
		return nil, ErrNoLeader
	}
	if leader == c.cfg.Name {
		if _, err := c.confirm(ctx); err != nil {
			return nil, err
		}
		return c.State(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, forwardTime)
	defer cancel()
	var a readAnswer
	if err := c.peers.call(ctx, leader, verbRead, readAsk{}, &a); err != nil {
		return nil, err
	}
	if err := c.reach(ctx, a.Index, forwardTime); err != nil {
		return nil, err
	}
	return c.State(), nil
}

// answerRead tells a follower which index has everything committed by now.
// Whatever was acknowledged is applied at the leader: in this term because it
// acknowledged it, from older ones by its barrier.
func (c *Cluster) answerRead(ctx context.Context, from string, _ readAsk) (readAnswer, error) {
	if _, err := c.confirm(ctx); err != nil {
		return readAnswer{}, err
	}
	a := readAnswer{Index: c.State().Index()}
	c.notice(from, a.Index)
	return a, nil
}
