package cluster

import (
	"fmt"
	"time"
)

// Healthy says whether this node's consensus gets its writes done. A watchdog
// of the whole process asks, and probes do: half as long as what makes the node
// end itself is reported. It knows nothing of the other nodes. Safe for
// concurrent use.
func (c *Cluster) Healthy() error {
	if err := c.failed.error(); err != nil {
		return err
	}
	for _, s := range c.dog.watches {
		if d := s.longest(s.base); d > c.dog.limit/2 {
			return fmt.Errorf("%s hangs since %s", s.what, d.Round(time.Millisecond))
		}
	}
	return nil
}
