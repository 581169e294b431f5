package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

func (a *app) usageCommand() *cobra.Command {
	var l listing
	var tenant, account string
	c := l.flags(a.verb("usage", "Say what accounts used of their quotas", "  postern usage\n  postern usage --tenant acme --json",
		func(ctx context.Context, c *admin.Client, _ []string) error {
			p, err := pages(ctx, &l, func(ctx context.Context, l admin.List) (admin.Page[admin.Usage], error) {
				return c.Usage(ctx, tenant, account, l)
			})
			if err != nil {
				return err
			}
			return a.show(p, func() { a.usage(p) })
		}))
	c.Flags().StringVar(&tenant, "tenant", "", "only of this tenant")
	c.Flags().StringVar(&account, "account", "", "only of this account")
	c.AddCommand(a.usageExport())
	return c
}

func (a *app) usage(p admin.Page[admin.Usage]) {
	if len(p.Items) == 0 {
		a.say("Nothing to show.")
		return
	}
	t := newTable("ACCOUNT~", "WINDOW", "MAILS>", "OF>", "BYTES>", "OF>", "USED>")
	var full []string
	for _, u := range p.Items {
		share, text := used(u), "-"
		if share >= 0 {
			text = fmt.Sprintf("%.0f %%", share)
		}
		if share >= 100 {
			full = append(full, u.Account)
		}
		t.row(u.Account, u.Window, count(u.Mails), limitCount(u.MailsLimit), bytesText(u.Bytes), limitBytes(u.BytesLimit), text)
	}
	a.say("%s", strings.TrimSuffix(t.String(), "\n"))
	a.more(p.Next)
	for _, f := range full {
		a.note("", f+" is at its limit: refused until the next window", "postern account set "+f)
	}
}

// used is the share of the nearer limit in per cent; -1 without one.
func used(u admin.Usage) float64 {
	share := -1.0
	if u.MailsLimit > 0 {
		share = max(share, 100*float64(u.Mails)/float64(u.MailsLimit))
	}
	if u.BytesLimit > 0 {
		share = max(share, 100*float64(u.Bytes)/float64(u.BytesLimit))
	}
	return share
}
