package cluster

import "postern/tenant"

// State is the newest applied state; never nil; no lock.
func (c *Cluster) State() *tenant.State { return c.fsm.state.Load() }

// Watch returns a channel that is closed once a state newer than index is applied.
func (c *Cluster) Watch(index uint64) <-chan struct{} { return c.fsm.after(index) }
