package cluster

import (
	"context"
	"errors"
	"time"

	"postern/tenant"
)

// reportPause is how long a node waits before it tries again to report itself.
const reportPause = 2 * time.Second

// refusedPause is that pause when the cluster said no: only a change of this
// node's configuration or program helps.
const refusedPause = time.Minute

// reportSelf founds the cluster's state when this node leads and it has none,
// and keeps this node's own facts in it: where it is reached, what it knows.
func (c *Cluster) reportSelf(ctx context.Context) {
	select {
	case <-c.ready:
	case <-ctx.Done():
		return
	}
	for {
		s := c.State()
		again := c.led.next()
		err := c.reportOnce(ctx, s)
		if err != nil && !errors.Is(err, ErrClosed) && ctx.Err() == nil {
			c.log.Warn("this node cannot report itself", "node", c.cfg.Name, "err", err)
			// A refusal makes a state too: it must not be what wakes this.
			pause := reportPause
			if refused := (*tenant.Refused)(nil); errors.As(err, &refused) {
				pause = refusedPause
			}
			if !sleep(ctx, pause) {
				return
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-again:
		case <-c.Watch(s.Index()):
		}
	}
}

func (c *Cluster) reportOnce(ctx context.Context, s *tenant.State) error {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	if c.peers != nil && founding(s) {
		if !c.Leads() {
			return nil
		}
		return c.peers.found(ctx, c.proposal)
	}
	n := s.NodeByName(c.cfg.Name)
	if n == nil {
		return nil
	}
	report := tenant.SetNode{Node: n.ID}
	if p := c.cfg.Peering; p != nil && p.Advertise != n.Peer {
		report.Peer = &p.Advertise
	}
	if version := uint32(tenant.NewestVersion); n.Version != version {
		report.Version = &version
	}
	if report.Peer == nil && report.Version == nil {
		return nil
	}
	_, _, err := c.Propose(ctx, tenant.RequestID{}, report)
	return err
}
