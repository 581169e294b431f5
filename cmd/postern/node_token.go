package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

func (a *app) nodeToken() *cobra.Command {
	var n admin.NewJoinToken
	c := a.verb("token", "Make a token that lets nodes join, shown once", `  postern node token
  postern node token --witness --hours 2
  postern node token --node n4`,
		func(ctx context.Context, c *admin.Client, _ []string) error {
			t, err := c.MakeJoinToken(ctx, n)
			if err != nil {
				return err
			}
			return a.show(t, func() { a.joinToken(t) })
		})
	c.Long = `Make a token that lets nodes join until it expires. It is shown once: the
cluster keeps only its hash. A witness decides with the others and may hold
copies, but has no sources and owns no tenant: it is for those who own two
servers.`
	f := c.Flags()
	f.IntVar(&n.Hours, "hours", 24, "how long it is good, 1 to 720")
	f.BoolVar(&n.Witness, "witness", false, "who joins by it is a witness")
	f.StringVar(&n.Node, "node", "", "only a node of this name")
	return c
}

func (a *app) joinToken(t admin.JoinToken) {
	who := "a node"
	if t.Node != "" {
		who = "node " + t.Node
	}
	if t.Witness {
		who += ", as a witness"
	}
	a.say("This lets %s in until %s. Who has it can join: keep it secret.", clean(who), at(t.Expires))
	a.say("On that machine, with a peer section in its configuration:")
	a.say("")
	a.say("%s", joinLine(clean(t.Token)))
	a.say("postern serve")
}

func (a *app) nodeTokens() *cobra.Command {
	var all bool
	var one string
	var verb *cobra.Command
	verb = a.verb("tokens", "List the join tokens that are good now, or take them back", `  postern node tokens
  postern node tokens --revoke 5f0c21
  postern node tokens --revoke-all`,
		func(ctx context.Context, c *admin.Client, _ []string) error {
			switch {
			case one == "" && verb.Flags().Changed("revoke"):
				return usagef("--revoke wants an id; postern node tokens lists them")
			case one != "":
				done, err := c.RevokeJoinToken(ctx, one)
				if err != nil {
					return err
				}
				return a.show(done, func() {
					a.say("token %s taken back: by it no node can join any more; nodes that joined stay", clean(one))
				})
			case all:
				done, err := c.RevokeJoinTokens(ctx)
				if err != nil {
					return err
				}
				return a.show(done, func() { a.say("%s taken back: by none of them a node can join", some(done.Count, "token")) })
			}
			p, err := c.JoinTokens(ctx, admin.List{Limit: 1000}) // a cluster has few
			if err != nil {
				return err
			}
			slices.SortFunc(p.Items, func(x, y admin.OpenToken) int { return x.Expires.Compare(y.Expires) })
			return a.show(p, func() { a.openTokens(p.Items) })
		})
	verb.Flags().StringVar(&one, "revoke", "", "take one back: its id in the list, or the first 4 digits or more of it")
	verb.Flags().BoolVar(&all, "revoke-all", false, "take all back: none of them lets a node join any more")
	verb.MarkFlagsMutuallyExclusive("revoke", "revoke-all")
	verb.Long = `List the join tokens that are good now: their ids, until when, and for whom.
Their secrets are not kept and cannot be shown again. With --revoke ID, take one
back, with --revoke-all all of them, such as when one fell into wrong hands;
nodes that joined stay.`
	return verb
}

func (a *app) openTokens(all []admin.OpenToken) {
	if len(all) == 0 {
		a.say("No join tokens: no node can join. postern node token makes one.")
		return
	}
	t := newTable("TOKEN", "EXPIRES", "", "FOR~", "AS")
	for _, x := range all {
		who, as := "any name", "node"
		if x.Node != "" {
			who = x.Node
		}
		if x.Witness {
			as = "witness"
		}
		t.row(x.ID, at(x.Expires), a.from(x.Expires), who, as)
	}
	a.say("%s", strings.TrimSuffix(t.String(), "\n"))
}
