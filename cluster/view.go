package cluster

import (
	"context"
	"fmt"

	"postern/tenant"
)

// State is the newest applied state; never nil; no lock.
func (c *Cluster) State() *tenant.State { return c.fsm.state.Load() }

// Watch returns a channel that is closed once a state newer than index is applied.
func (c *Cluster) Watch(index uint64) <-chan struct{} { return c.fsm.after(index) }

// MayAct is the one answer to "may I say 250, may I send the dot": nil while
// this node's lease runs and it owns the tenant under epoch. A cluster of one
// needs no lease. It waits for a lease until ctx ends.
func (c *Cluster) MayAct(ctx context.Context, t tenant.ID, epoch uint64) error {
	if err := c.awaitReady(ctx); err != nil {
		return fmt.Errorf("ask to act: %w", err)
	}
	s := c.State()
	owned := s.Tenant(t)
	if owned == nil {
		return fmt.Errorf("ask to act: tenant %d is unknown: %w", t, ErrNotOwner)
	}
	if owned.Epoch != epoch {
		return fmt.Errorf("ask to act: tenant %d is in epoch %d, not %d: %w", t, owned.Epoch, epoch, ErrNotOwner)
	}
	if node := s.Node(owned.Owner); node == nil || node.Name != c.cfg.Name {
		return fmt.Errorf("ask to act: node %d owns tenant %d: %w", owned.Owner, t, ErrNotOwner)
	}
	return nil
}
