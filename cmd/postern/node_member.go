package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

// The verbs about a node's place in the cluster.

func (a *app) nodeDrain() *cobra.Command {
	c := a.verb("drain NODE", "Hand a node's tenants over to others, and give it no more", "  postern node drain n2",
		func(ctx context.Context, c *admin.Client, args []string) error {
			n, err := c.DrainNode(ctx, args[0], true)
			if err != nil {
				return err
			}
			return a.show(n, func() {
				a.say("node %s is being drained: %s left; nothing is lost or sent twice", n.Name, some(n.Tenants, "tenant"))
				a.say("postern node show %s tells how far it is; back: postern node undrain %s", n.Name, n.Name)
			})
		})
	c.Long = `Hand all tenants of a node over to their other places, in good order and with
their queues, and give the node no more: before taking it out for good. For a
restart there is postern node maintenance. What a drain will move, postern plan
drain NODE tells.`
	return c
}

func (a *app) nodeUndrain() *cobra.Command {
	return a.verb("undrain NODE", "Let a drained node have tenants again", "  postern node undrain n2",
		func(ctx context.Context, c *admin.Client, args []string) error {
			n, err := c.DrainNode(ctx, args[0], false)
			if err != nil {
				return err
			}
			return a.show(n, func() { a.say("node %s may have tenants again", n.Name) })
		})
}

func (a *app) nodeRemove() *cobra.Command {
	var lost, yes bool
	c := a.verb("remove NODE", "Take a node out of the cluster for good", `  postern node remove n2
  postern node remove n2 --lost`,
		func(ctx context.Context, c *admin.Client, args []string) error {
			if yes && !lost {
				return usagef("--yes goes with --lost")
			}
			if lost && !yes {
				if err := a.confirmLost(ctx, c, args[0]); err != nil {
					return err
				}
			}
			if err := c.RemoveNode(ctx, args[0], lost); err != nil {
				return err
			}
			return a.done("node", args[0], "removed")
		})
	f := c.Flags()
	f.BoolVar(&lost, "lost", false, "the node is down and its disk is gone: give up the copies of queues that it holds")
	f.BoolVar(&yes, "yes", false, "with --lost: do not ask")
	c.Long = `Take a node out of the cluster for good. It is refused while the node owns a
tenant, is a place of one, has sources, or holds copies: drain it first, give
its tenants other places (postern tenant place), and remove its sources.

A node that is down and does not come back, because its disk is gone, cannot
give up its copies by itself. With --lost you say so in its place.

` + lostMail + `

When a new machine takes its place, use postern node replace instead: it keeps
name, sources and places, and means the same for the mail.`
	return c
}

// lostMail is what giving up a node's copies means.
const lostMail = `Mail that another node has, too, stays and is sent. Mail that only that disk
had is gone for ever: its senders were told 250 and hear nothing more. Where a
tenant waited for that disk ("a copy of its log cannot be read"), its waiting
mail leaves now; some of it may have been sent before the loss, and arrives
twice. If the old machine is started later, what its disk has is not taken in.`

// confirmLost asks before copies of queues are given up.
func (a *app) confirmLost(ctx context.Context, c *admin.Client, name string) error {
	n, err := c.Node(ctx, name)
	if err != nil {
		return err
	}
	return a.confirm(fmt.Sprintf("The disk of node %s is given up for good.\n%s\n"+
		"If it can be started again, start it instead: nothing is lost then.", clean(n.Name), lostMail), "nothing was removed")
}

func (a *app) nodeReplace() *cobra.Command {
	var hours int
	c := a.verb("replace NODE", "Let a new machine take the place of a lost node", "  postern node replace n2",
		func(ctx context.Context, c *admin.Client, args []string) error {
			n, err := c.Node(ctx, args[0])
			if err != nil {
				return err
			}
			t, err := c.MakeJoinToken(ctx, admin.NewJoinToken{Hours: hours, Witness: n.Witness, Node: n.Name})
			if err != nil {
				return err
			}
			return a.show(t, func() { a.replacement(n, t) })
		})
	c.Flags().IntVar(&hours, "hours", 24, "how long the token is good, 1 to 720")
	c.Long = `Make a token by which a new machine takes the name, places and sources of a
node. From the moment it joins, the old machine is refused, and what lies on its
disk only is given up: mail that another node has, too, stays and is sent. If
the old disk is well, move it into the new machine instead, and start it there.`
	return c
}

func (a *app) replacement(n admin.Node, t admin.JoinToken) {
	if n.State == "up" || n.State == "draining" || n.State == "maintenance" {
		a.say("Careful: %s runs. When the new machine joins, the old one is shut out.", n.Name)
	}
	a.say("On the new machine:")
	a.say("1. give it the addresses of %s's sources, and the old configuration: name %s", n.Name, n.Name)
	a.say("   and a peer section of its own")
	a.say("2. %s", joinLine(clean(t.Token)))
	a.say("3. postern serve")
	a.say("It gets its copies from the other nodes; its tenants go home to it later.")
	a.say("The token is good until %s, for this name only.", at(t.Expires))
}
