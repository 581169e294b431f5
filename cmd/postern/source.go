package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

func (a *app) sourceCommand() *cobra.Command {
	return family("source", "Outbound IPs and the names they greet with", a.sourceAdd(), a.sourceList(), a.sourceDNS(), a.sourcePool(), a.sourceEnrol(), a.sourceRemove())
}

func (a *app) sourceAdd() *cobra.Command {
	var n admin.NewSource
	c := a.verb("add ADDRESS", "Register an outbound IP on a node", `  postern source add 192.0.2.10 --node n1 --ehlo out-10.relay.example
  postern source add 192.0.2.20 --node n1 --ehlo out-20.relay.example --shared
  postern source add 192.0.2.30 --node n1 --ehlo out-30.relay.example \
      --warm-since 2023-04-01`,
		func(ctx context.Context, c *admin.Client, args []string) error {
			n.Addr = args[0]
			s, err := c.AddSource(ctx, n)
			if err != nil {
				return err
			}
			return a.show(s, func() {
				a.say("source %s added to %s (%s)", s.Addr, s.Node, sourceKind(s))
				a.paragraph("", "Its reverse DNS (PTR) must say "+s.EHLO+", and "+s.EHLO+" must have its address.")
			})
		})
	f := c.Flags()
	f.StringVar(&n.Node, "node", "", "node that has the address (required)")
	f.StringVar(&n.EHLO, "ehlo", "", "name it greets with; never a tenant's (required)")
	f.BoolVar(&n.Shared, "shared", false, "a member of the node's pool, not for one tenant")
	f.StringVar(&n.WarmSince, "warm-since", "", "day since which it has sent elsewhere, as 2023-04-01")
	_ = c.MarkFlagRequired("node") // the flags exist
	_ = c.MarkFlagRequired("ehlo")
	return c
}

// sourcePool says what a shared source carries.
func (a *app) sourcePool() *cobra.Command {
	c := a.verb("pool ADDRESS CLASS", "Say what a shared source carries", "  postern source pool 192.0.2.20 bulk",
		func(ctx context.Context, c *admin.Client, args []string) error {
			s, err := c.SetPool(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			return a.show(s, func() { a.say("source %s: %s", s.Addr, sourceKind(s)) })
		})
	c.Long = `Say what a shared source carries: transactional, bulk, probation, or mixed,
which is everything. Transactional accounts leave by transactional
members of the pool, bulk accounts by bulk members, and each by mixed ones where
its own are missing or listed. Tenants on probation (postern tenant listing)
leave only by the members for probation, which nobody else uses.`
	return c
}

func sourceKind(s admin.Source) string {
	if s.Shared && s.Pool != "" && s.Pool != "mixed" {
		return "pool, " + s.Pool
	}
	if s.Shared {
		return "pool"
	}
	return "dedicated"
}

func (a *app) sourceList() *cobra.Command {
	var l listing
	var node string
	c := l.flags(a.verb("list", "List the outbound IPs", "  postern source list --node n1",
		func(ctx context.Context, c *admin.Client, _ []string) error {
			p, err := pages(ctx, &l, func(ctx context.Context, l admin.List) (admin.Page[admin.Source], error) {
				return c.Sources(ctx, node, l)
			})
			if err != nil {
				return err
			}
			return a.show(p, func() {
				if len(p.Items) == 0 {
					a.say("No sources: no mail can leave. postern source add makes one.")
					return
				}
				t := newTable("SOURCE", "NODE~", "KIND", "EHLO~", "WARM SINCE", "TENANTS~")
				for _, s := range p.Items {
					t.row(s.Addr, s.Node, sourceKind(s), s.EHLO, first(s.WarmSince, "-"), first(strings.Join(s.Tenants, " "), "-"))
				}
				a.say("%s", strings.TrimSuffix(t.String(), "\n"))
				a.more(p.Next)
			})
		}))
	c.Flags().StringVar(&node, "node", "", "only of this node")
	return c
}

func (a *app) sourceRemove() *cobra.Command {
	return a.verb("remove ADDRESS", "Take away an outbound IP that no tenant's place names", "  postern source remove 192.0.2.20",
		func(ctx context.Context, c *admin.Client, args []string) error {
			if err := c.RemoveSource(ctx, args[0]); err != nil {
				return err
			}
			return a.done("source", args[0], "removed")
		})
}
