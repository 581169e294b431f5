package main

import (
	"context"
	"encoding/csv"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

func (a *app) suppressionCommand() *cobra.Command {
	return family("suppression", "Addresses that nothing is sent to for a tenant",
		a.suppressionList(), a.suppressionAdd(), a.suppressionRemove(), a.suppressionImport(), a.suppressionExport())
}

func tenantFlag(c *cobra.Command, tenant *string) *cobra.Command {
	c.Flags().StringVar(tenant, "tenant", "", "whose list (required)")
	_ = c.MarkFlagRequired("tenant") // the flag exists
	return c
}

func (a *app) suppressionList() *cobra.Command {
	var l listing
	var tenant string
	return tenantFlag(l.flags(a.verb("list", "List the addresses that nothing is sent to", `  postern suppression list --tenant acme
  postern suppression list --tenant acme --all --json`,
		func(ctx context.Context, c *admin.Client, _ []string) error {
			p, err := pages(ctx, &l, func(ctx context.Context, l admin.List) (admin.Page[admin.Suppression], error) {
				return c.Suppressions(ctx, tenant, l)
			})
			if err != nil {
				return err
			}
			return a.show(p, func() { a.suppressions(p) })
		})), &tenant)
}

func (a *app) suppressions(p admin.Page[admin.Suppression]) {
	if len(p.Items) == 0 && p.Next == "" {
		a.say("Mail is sent to everybody.")
		return
	}
	t := newTable("ADDRESS~", "REASON", "SINCE", "UNTIL", "SAID~")
	for _, x := range p.Items {
		t.row(x.Address, x.Reason, x.First.Format(time.DateOnly), untilText(x), clean(replyText(x.Reply)))
	}
	a.say("%s", strings.TrimSuffix(t.String(), "\n"))
	a.more(p.Next)
}

func untilText(x admin.Suppression) string {
	if x.Until == nil {
		return "removed"
	}
	return x.Until.Format(time.DateOnly)
}

func (a *app) suppressionAdd() *cobra.Command {
	var tenant, reason string
	var complaint bool
	c := tenantFlag(a.verb("add ADDRESS", "Send nothing to an address any more", "  postern suppression add bob@dest.example --tenant acme",
		func(ctx context.Context, c *admin.Client, args []string) error {
			one := admin.SuppressAddress{Address: args[0], Text: reason}
			if complaint {
				one.Reason = "complaint"
			}
			d, err := c.Suppress(ctx, tenant, admin.ChangeSuppressions{Addresses: []admin.SuppressAddress{one}})
			if err != nil {
				return err
			}
			return a.show(d, func() { a.say("nothing is sent to %s any more", clean(args[0])) })
		}), &tenant)
	c.Flags().StringVar(&reason, "reason", "", "why; senders are told")
	c.Flags().BoolVar(&complaint, "complaint", false, "its owner complained: transactional mail goes on")
	return c
}

func (a *app) suppressionRemove() *cobra.Command {
	var tenant string
	return tenantFlag(a.verb("remove ADDRESS", "Send mail to an address again", "  postern suppression remove bob@dest.example --tenant acme",
		func(ctx context.Context, c *admin.Client, args []string) error {
			d, err := c.Unsuppress(ctx, tenant, admin.ChangeSuppressions{Addresses: []admin.SuppressAddress{{Address: args[0]}}})
			if err != nil {
				return err
			}
			if d.Count == 0 {
				return a.show(d, func() { a.say("%s was not on the list of %s", clean(args[0]), clean(tenant)) })
			}
			return a.show(d, func() { a.say("mail is sent to %s again", clean(args[0])) })
		}), &tenant)
}

func (a *app) suppressionExport() *cobra.Command {
	var tenant string
	return tenantFlag(a.verb("export", "Write a tenant's list as CSV, or as JSON lines", `  postern suppression export --tenant acme >list.csv
  postern suppression export --tenant acme --json`,
		func(ctx context.Context, c *admin.Client, _ []string) error {
			out := csv.NewWriter(a.out)
			if !a.json {
				_ = out.Write([]string{"address", "reason", "class", "code", "status", "text", "first", "last", "days", "until"}) // Flush tells
			}
			for next := (admin.List{Limit: 1000}); ; {
				p, err := c.Suppressions(ctx, tenant, next)
				if err != nil {
					return err
				}
				for _, x := range p.Items {
					if err := a.exported(out, x); err != nil {
						return err
					}
				}
				if p.Next == "" || p.Next == next.After {
					out.Flush()
					return out.Error()
				}
				next.After = p.Next
			}
		}), &tenant)
}

func (a *app) exported(out *csv.Writer, x admin.Suppression) error {
	if a.json {
		return a.line(x)
	}
	until := ""
	if x.Until != nil {
		until = x.Until.Format(time.RFC3339)
	}
	return out.Write([]string{cell(x.Address), x.Reason, x.Class, codeText(x.Reply), x.Reply.Enhanced, cell(x.Reply.Text),
		x.First.Format(time.RFC3339), x.Last.Format(time.RFC3339), strconv.Itoa(x.Count), until})
}
