package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

func (a *app) nodeLogLevel() *cobra.Command {
	var length time.Duration
	var end bool
	c := a.verb("log-level NODE [LEVEL]", "Show how much a node logs, or change it for a while", `  postern node log-level n1 debug --for 10m
  postern node log-level n1
  postern node log-level n1 --end`, nil)
	c.Args = cobra.RangeArgs(1, 2)
	c.RunE = a.asking(func(ctx context.Context, c *admin.Client, args []string) error {
		l, err := logLevel(ctx, c, args, length, end)
		if err != nil {
			return err
		}
		return a.show(l, func() {
			if l.Until == nil {
				a.say("node %s logs %s, as its configuration says", l.Node, l.Level)
				return
			}
			a.say("node %s logs %s until %s, then %s again", l.Node, l.Level, at(*l.Until), l.Usual)
		})
	})
	f := c.Flags()
	f.DurationVar(&length, "for", 10*time.Minute, "how long, 1s to 24h")
	f.BoolVar(&end, "end", false, "go back to what the configuration says")
	c.MarkFlagsMutuallyExclusive("for", "end")
	c.Long = `Show how much a node logs, or let it log more or less for a while: debug, info,
warn or error. It goes back by itself to what log.level in its configuration
says, also when it starts again.`
	return c
}

func logLevel(ctx context.Context, c *admin.Client, args []string, length time.Duration, end bool) (admin.LogLevel, error) {
	switch {
	case end && len(args) > 1:
		return admin.LogLevel{}, usagef("--end goes without a level")
	case end:
		return c.EndLogLevel(ctx, args[0])
	case len(args) == 1:
		return c.LogLevel(ctx, args[0])
	case length < time.Second || length > admin.MaxLogLevel || length%time.Second != 0:
		return admin.LogLevel{}, usagef("--for is 1s to 24h, in whole seconds")
	case !slices.Contains([]string{"debug", "info", "warn", "error"}, args[1]):
		return admin.LogLevel{}, usagef("%q is no level: debug, info, warn or error", clean(args[1]))
	}
	return c.SetLogLevel(ctx, args[0], args[1], length)
}

func (a *app) nodeReload() *cobra.Command {
	c := a.verb("reload [NODE]", "Let a node read its configuration file again", `  postern node reload
  postern node reload n2 --json`, nil)
	c.Args = cobra.MaximumNArgs(1)
	c.RunE = a.asking(func(ctx context.Context, c *admin.Client, args []string) error {
		name := strings.Join(args, "")
		if name == "" {
			s, err := c.Status(ctx)
			if err != nil {
				return err
			}
			name = s.Node
		}
		r, err := c.ReloadNode(ctx, name)
		if err != nil {
			return err
		}
		return a.show(r, func() { a.reloaded(r) })
	})
	c.Long = `Let a node, or the one that is asked, read its configuration file again and take
up what can change while it runs: tls.cert and tls.key, resolvers and
dnsbl.resolvers, delivery.retry, intake.domains and intake.traps,
queue.free_floor, log.level. No connection is touched. Other keys that changed
are named: they wait for a restart (postern node maintenance). A file with a
fault changes nothing, and the answer says what is wrong.`
	return c
}

func (a *app) reloaded(r admin.Reloaded) {
	switch {
	case len(r.Changed) > 0:
		a.paragraph("", "node "+r.Node+" took up: "+strings.Join(r.Changed, ", "))
	case len(r.Restart) == 0:
		a.say("node %s: nothing has changed", r.Node)
	}
	if len(r.Restart) > 0 {
		a.note("", "node "+r.Node+" goes on with the old "+strings.Join(r.Restart, ", "),
			"postern node maintenance "+r.Node+" && systemctl restart postern")
	}
}
