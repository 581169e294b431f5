package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"postern/node/admin"
	"postern/tenant"
)

func (a *app) nodeMaintenance() *cobra.Command {
	var length time.Duration
	var end bool
	c := a.verb("maintenance NODE", "Let a node be away for a restart without its tenants moving", `  postern node maintenance n2 && systemctl restart postern
  postern node maintenance n2 --for 10s
  postern node maintenance n2 --end`,
		func(ctx context.Context, c *admin.Client, args []string) error {
			if end {
				length = 0
			} else if length < time.Second || length > tenant.MaxAway || length%time.Second != 0 {
				return usagef("--for is 1s to %s, in whole seconds", tenant.MaxAway)
			}
			n, err := c.MaintainNode(ctx, args[0], length)
			if err != nil {
				return err
			}
			return a.show(n, func() {
				if n.Away == nil {
					a.say("node %s is in no maintenance: without a lease, its tenants move", n.Name)
					return
				}
				a.say("node %s is in maintenance until %s: its tenants stay", n.Name, at(*n.Away))
				a.say("restart it now; what takes longer moves them to their backups")
			})
		})
	f := c.Flags()
	f.DurationVar(&length, "for", tenant.MaxAway, "how long at most, 1s to "+tenant.MaxAway.String())
	f.BoolVar(&end, "end", false, "end it before its time")
	c.MarkFlagsMutuallyExclusive("for", "end")
	c.Long = `Let a node be away for a moment, such as for its restart after an upgrade.
Until the time is over, its tenants stay with it though it has no lease: their
clients get 451 or no connection, and come again. Without this a restart of
some seconds may move them to their backups, which is safe, but moves them
back later. It ends by itself; for longer work: postern node drain.`
	return c
}
