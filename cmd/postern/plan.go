package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

func (a *app) planCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "plan", Short: "Say what a loss, a drain or a listing would move",
		Long: `Say what a change would move, without moving anything; with --capacity, how many
tenants and addresses the cluster carries while any one node may be lost.`,
		Example: "  postern plan --capacity\n  postern plan loss n2",
		Args:    cobra.NoArgs,
	}
	var capacity bool
	var listed string
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if !capacity && listed == "" {
			return usagef("say what would happen: loss NODE, drain NODE, listing ADDRESS, or --capacity")
		}
		cl, err := a.client()
		if err != nil {
			return err
		}
		defer cl.Close()
		if listed != "" {
			p, err := cl.Listing(cmd.Context(), listed)
			if err != nil {
				return err
			}
			return a.show(p, func() { a.forecast(p) })
		}
		x, err := cl.Capacity(cmd.Context())
		if err != nil {
			return err
		}
		return a.show(x, func() { a.capacity(x) })
	}
	c.Flags().BoolVar(&capacity, "capacity", false, "how many tenants and addresses the cluster carries")
	c.Flags().StringVar(&listed, "listing", "", "what a DNSBL listing of this source would move")
	c.MarkFlagsMutuallyExclusive("capacity", "listing")
	c.AddCommand(
		a.planVerb("loss NODE", "What the loss of a node would move", "  postern plan loss n2", (*admin.Client).Loss),
		a.planVerb("drain NODE", "What draining a node would move", "  postern plan drain n2", (*admin.Client).Drain),
		a.planVerb("listing ADDRESS", "What a DNSBL listing of a source would move", "  postern plan listing 192.0.2.10", (*admin.Client).Listing))
	return c
}

func (a *app) planVerb(use, short, example string, ask func(*admin.Client, context.Context, string) (admin.Forecast, error)) *cobra.Command {
	return a.verb(use, short, example, func(ctx context.Context, c *admin.Client, args []string) error {
		p, err := ask(c, ctx, args[0])
		if err != nil {
			return err
		}
		return a.show(p, func() { a.forecast(p) })
	})
}

func (a *app) forecast(p admin.Forecast) {
	a.say("%s: %s, %d would stay. Nothing was moved.", clean(p.What), some(len(p.Moves), "tenant")+" would move", p.Stays)
	if len(p.Moves) > 0 {
		t := newTable("TENANT~", "FROM~", "TO~")
		for _, m := range p.Moves {
			to := placeText(m.To)
			if !m.Sends {
				to = m.To.Node + ", NOT SENDING"
			}
			t.row(m.Tenant, placeText(m.From), to)
		}
		a.say("%s", strings.TrimSuffix(t.String(), "\n"))
	}
	t := newTable("NODE~", "NOW>", "THEN>")
	for _, n := range p.Nodes {
		t.row(n.Node, count(n.Now), count(n.Then)+" of 20")
	}
	a.say("%s", strings.TrimSuffix(t.String(), "\n"))
	for i, s := range p.Suspects {
		if i < 5 {
			a.suspect(s, false)
		}
	}
	for _, x := range p.Nowhere {
		a.paragraph("", x.Tenant+" would stay and wait: "+x.Why)
	}
	if !p.Quorum {
		a.note("", "too few nodes would be left to decide: nothing would be accepted or sent", "start or add nodes first")
	}
	if !p.Reserve {
		a.note("", "after that, not every tenant would have a place if one more node were lost", "postern plan --capacity")
	}
}

func (a *app) capacity(c admin.Capacity) {
	nodes := some(c.Nodes, "node")
	if c.Witnesses > 0 {
		nodes += ", " + some(c.Witnesses, "witness")
	}
	a.fields("nodes", nodes, "tenants", fmt.Sprintf("%d now; %d with reserve, %d without", c.Tenants, c.Most, c.MostBare),
		"sources", fmt.Sprintf("%d IPv4 in %s, %d IPv6", c.IPv4, some(c.Networks, "/24"), c.IPv6),
		"", fmt.Sprintf("%d dedicated, %d of them free; %d in pools", c.Dedicated, c.Free, c.Shared))
	if c.Reserve {
		a.say("Any one node may be lost: every tenant has a place.")
	} else {
		a.say("NO RESERVE: the loss of a node would leave a tenant without a place.")
	}
	for _, s := range c.Short {
		a.paragraph("  ", s)
	}
}
