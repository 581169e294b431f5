package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

func (a *app) banCommand() *cobra.Command {
	return family("ban", "Customers that must not come back", a.banList(), a.banAdd(), a.banLift())
}

// overrideFlag lets a change through although what it names is banned.
func overrideFlag(c *cobra.Command, over *bool) *cobra.Command {
	c.Flags().BoolVar(over, "override-ban", false, "do it although what it names is banned; the journal notes it")
	return c
}

func overriding(c *admin.Client, over bool) {
	if over {
		c.OverrideBan()
	}
}

func marksText(b admin.Ban) string {
	var parts []string
	for kind, n := range b.Marks {
		parts = append(parts, some(n, kind))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func (a *app) banList() *cobra.Command {
	var l listing
	return l.flags(a.verb("list", "List the bans; names are not kept, only keyed hashes", "  postern ban list",
		func(ctx context.Context, c *admin.Client, _ []string) error {
			p, err := pages(ctx, &l, c.Bans)
			if err != nil {
				return err
			}
			return a.show(p, func() {
				if len(p.Items) == 0 {
					a.say("Nobody is banned.")
					return
				}
				for _, b := range p.Items {
					of := ""
					if b.Tenant != "" {
						of = ", of tenant " + b.Tenant
					}
					a.hang(fmt.Sprintf("%-6d", b.ID), "      ", fmt.Sprintf("%s%s: %s (%s)", instantText(&b.At), of, b.Reason, marksText(b)))
				}
				a.more(p.Next)
			})
		}))
}

func (a *app) banAdd() *cobra.Command {
	var b admin.NewBan
	c := a.verb("add", "Ban a customer that is no tenant here", `  postern ban add --reason "as told by the abuse desk" \
      --domain shoes.example --address boss@shoes.example --customer C-4711`,
		func(ctx context.Context, c *admin.Client, _ []string) error {
			x, err := c.AddBan(ctx, b)
			if err != nil {
				return err
			}
			return a.show(x, func() { a.say("ban %d: %s", x.ID, marksText(x)) })
		})
	f := c.Flags()
	f.StringVar(&b.Reason, "reason", "", "why (required)")
	f.StringSliceVar(&b.Names, "name", nil, "a tenant's name (repeatable)")
	f.StringSliceVar(&b.Hosts, "host", nil, "a tenant's host name (repeatable)")
	f.StringSliceVar(&b.Domains, "domain", nil, "a sender domain, and all below it (repeatable)")
	f.StringSliceVar(&b.Addresses, "address", nil, "a username or a reference address (repeatable)")
	f.StringSliceVar(&b.Customers, "customer", nil, "your own number of the customer (repeatable)")
	_ = c.MarkFlagRequired("reason") // the flag exists
	return c
}

func (a *app) banLift() *cobra.Command {
	return a.verb("lift BAN", "Lift a ban; what was closed stays closed", "  postern ban lift 812",
		func(ctx context.Context, c *admin.Client, args []string) error {
			id, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil {
				return usagef("BAN is its number, as postern ban list shows it")
			}
			if err := c.LiftBan(ctx, id); err != nil {
				return err
			}
			return a.done("ban", args[0], "lifted")
		})
}

// reasonFlag is the reason of what is done for ever.
func reasonFlag(c *cobra.Command, reason *string) *cobra.Command {
	c.Flags().StringVar(reason, "reason", "", "why (required)")
	_ = c.MarkFlagRequired("reason") // the flag exists
	return c
}

func (a *app) tenantClose() *cobra.Command {
	var reason string
	var yes bool
	c := a.verb("close TENANT", "Close a tenant for ever: held, and nothing releases it", "  postern tenant close shoes --reason 'bought lists, twice'",
		func(ctx context.Context, c *admin.Client, args []string) error {
			if err := a.forEver(yes, "tenant "+args[0]); err != nil {
				return err
			}
			t, err := c.CloseTenant(ctx, args[0], reason)
			if err != nil {
				return err
			}
			return a.show(t, func() {
				a.say("tenant %s is closed for ever; its mail waits", t.Name)
				a.say("to end its mail: postern tenant purge %s", t.Name)
			})
		})
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return reasonFlag(c, &reason)
}

func (a *app) forEver(yes bool, what string) error {
	if yes {
		return nil
	}
	return a.confirm("This closes "+what+" for ever; nothing opens it again.", "nothing was closed")
}

func (a *app) tenantBan() *cobra.Command {
	var reason string
	var yes bool
	c := a.verb("ban TENANT", "Close a tenant for ever and ban its customer", "  postern tenant ban shoes --reason 'spam traps, and no answer'",
		func(ctx context.Context, c *admin.Client, args []string) error {
			if err := a.forEver(yes, "tenant "+args[0]); err != nil {
				return err
			}
			b, err := c.BanTenant(ctx, args[0], reason)
			if err != nil {
				return err
			}
			return a.show(b, func() {
				a.say("tenant %s is closed for ever and its customer banned: ban %d", clean(args[0]), b.ID)
				a.paragraph("", "known again by "+marksText(b))
			})
		})
	c.Long = `Close a tenant for ever and ban its customer: nobody is taken in again under its
name, host name, domains (and all below them), usernames, reference addresses or
customer number. Only keyed hashes of these are kept. postern tenant add and
the like are then refused, unless they are given --override-ban.`
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return reasonFlag(c, &reason)
}

func (a *app) tenantCustomer() *cobra.Command {
	var over bool
	c := a.verb("customer TENANT NUMBER", "Note your own number of a tenant's customer; - forgets it", "  postern tenant customer shoes C-4711",
		func(ctx context.Context, c *admin.Client, args []string) error {
			overriding(c, over)
			number := args[1]
			if number == "-" {
				number = ""
			}
			t, err := c.SetCustomer(ctx, args[0], number)
			if err != nil {
				return err
			}
			return a.show(t, func() { a.say("tenant %s is customer %s", t.Name, clean(first(t.Customer, "of no known number"))) })
		})
	return overrideFlag(c, &over)
}

func (a *app) accountClose() *cobra.Command {
	var reason string
	var yes bool
	c := a.verb("close ADDRESS", "Close one account for ever; the tenant's others go on", "  postern account close news@shoes.example --reason 'spam traps'",
		func(ctx context.Context, c *admin.Client, args []string) error {
			if err := a.forEver(yes, "account "+args[0]); err != nil {
				return err
			}
			x, err := c.CloseAccount(ctx, args[0], reason)
			if err != nil {
				return err
			}
			return a.show(x, func() {
				a.say("account %s is closed for ever; its mail waits", x.Username)
				a.say("to end its mail: postern account purge %s", x.Username)
			})
		})
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return reasonFlag(c, &reason)
}

func (a *app) tenantPurge() *cobra.Command {
	return a.purgeHeld("purge TENANT", "End a held tenant's mail; nobody is told", "  postern tenant purge shoes --yes", func(ctx context.Context, c *admin.Client, name string) (admin.Match, bool, error) {
		t, err := c.Tenant(ctx, name)
		return admin.Match{Tenant: name}, t.State == "held", err
	})
}

func (a *app) accountPurge() *cobra.Command {
	return a.purgeHeld("purge ADDRESS", "End a held account's mail; nobody is told", "  postern account purge news@shoes.example --yes", func(ctx context.Context, c *admin.Client, name string) (admin.Match, bool, error) {
		x, err := c.Account(ctx, name)
		return admin.Match{Account: name}, x.State == "held", err
	})
}

// purgeHeld ends the mail of what is held: of what is not, more would come.
func (a *app) purgeHeld(use, short, example string, find func(context.Context, *admin.Client, string) (admin.Match, bool, error)) *cobra.Command {
	var yes bool
	c := a.verb(use, short, example, func(ctx context.Context, c *admin.Client, args []string) error {
		m, held, err := find(ctx, c, args[0])
		if err != nil {
			return err
		}
		if !held {
			return fmt.Errorf("purge %s: it is not held, and more mail would come: hold it first, or use postern queue purge", clean(args[0]))
		}
		if !yes {
			if err := a.confirmPurge(ctx, c, m); err != nil {
				return err
			}
		}
		d, err := c.Purge(ctx, m)
		if err != nil {
			return err
		}
		return a.show(d, func() { a.say("%s%s cancelled", some(d.Count, "message"), matchText(m)) })
	})
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}
