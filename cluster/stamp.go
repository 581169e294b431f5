package cluster

import (
	"fmt"
	"slices"
	"time"
)

const (
	// maxSkew is how far the leader's stamp may be from the median clock.
	maxSkew = 2 * time.Second
	// minClocks is how many clocks make a median that can say who is wrong.
	minClocks = 3
)

// skewed takes the median of the clocks that were reported within a lease's
// time; the caller holds l.mu. Clocks are compared as offsets to the leader's
// boot-time clock, so the comparison holds when the leader's own wall clock
// jumps a moment before it stamps.
func (c *Cluster) skewed(l *lessor) {
	now := c.clocks.now()
	var offsets []time.Duration
	for name, r := range l.nodes {
		switch {
		case name == c.cfg.Name:
		case now.boot-r.heard <= leaseTime:
			offsets = append(offsets, r.offset)
		}
	}
	own := time.Duration(now.wall) - now.boot
	offsets = append(offsets, own)
	if len(offsets) < minClocks {
		c.median.Store(nil)
		return
	}
	slices.Sort(offsets)
	n := len(offsets)
	median := offsets[n/2]
	if n%2 == 0 {
		median = offsets[n/2-1] + (offsets[n/2]-offsets[n/2-1])/2
	}
	c.median.Store(&median)
}

// skew is how far this node's wall clock is from the median, as the leader
// knows it; 0 when it does not.
func (c *Cluster) skew() time.Duration {
	median := c.median.Load()
	if median == nil {
		return 0
	}
	now := c.clocks.now()
	return time.Duration(now.wall) - now.boot - *median
}

// stamp is the time the leader puts into a command. A clock far from the
// median's stamps nothing: the state's clock would never go back.
func (c *Cluster) stamp() (time.Time, error) {
	if skew := c.skew(); skew.Abs() > maxSkew {
		c.badClock.wake()
		return time.Time{}, fmt.Errorf("%w: this node's clock is %s from the median of the nodes", ErrNoLeader, skew)
	}
	return c.cfg.Now(), nil
}

// lagging shows how much the followers that this leader hears lack. A lag that
// grows under fresh contact is a follower whose log is stuck.
func (c *Cluster) lagging() {
	l, index := c.lessor, c.State().Index()
	l.mu.Lock()
	defer l.mu.Unlock()
	now := c.clocks.boot()
	for name, r := range l.nodes {
		if name == c.cfg.Name || now-r.heard > leaseTime {
			c.metrics.lag.DeleteLabelValues(name)
			c.metrics.offset.DeleteLabelValues(name)
			continue
		}
		c.metrics.lag.WithLabelValues(name).Set(float64(index - min(r.applied, index)))
		if median := c.median.Load(); median != nil {
			c.metrics.offset.WithLabelValues(name).Set((r.offset - *median).Seconds())
		}
	}
}

// judgeClock gives leadership away when this node's clock is wrong, best to a
// voter whose clock is nearest to the median.
func (c *Cluster) judgeClock() {
	skew := c.skew()
	if skew.Abs() <= maxSkew || !c.Leads() || c.silent() {
		return
	}
	c.log.Error("alert: this node's clock is wrong; leadership is handed over", "node", c.cfg.Name, "skew", skew)
	if err := c.cede(c.heirsByClock()); err != nil {
		c.log.Error("leadership stays with a wrong clock", "node", c.cfg.Name, "err", err)
	}
}
