package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

func (a *app) usageExport() *cobra.Command {
	var month, tenant, format string
	c := a.verb("export", "Write what accounts used in a month, for bills", `  postern usage export --month 2026-10 > 2026-10.csv
  postern usage export --month 2026-10 --tenant acme --format json`,
		func(ctx context.Context, c *admin.Client, _ []string) error {
			if a.json {
				format = "json"
			}
			if _, err := admin.ReadMonth(month); err != nil {
				return usagef("--month is written as 2026-10")
			}
			var write func(admin.MonthPage) error
			switch format {
			case "csv":
				write = admin.NewMonthCSV(a.out).Write
			case "json":
				write = a.monthJSON()
			default:
				return usagef("--format is csv or json")
			}
			return a.exportMonth(ctx, c, month, tenant, write)
		})
	c.Long = `Write what each account used in a month (UTC), a line an account: plan, e-mails
(one is one recipient), octets (size times recipients; 1 MB is 1,000,000), the
plan's limits, and how far the use is beyond them. An empty limit is none.

A month that runs is provisional; so is the one before it, which settles: what a
lost node spent may still come to light. An older one is closed, and each export
of it is the same to the octet. Use is kept for two years.

In CSV a text that begins with = + - @ has an apostrophe before it, so that no
spreadsheet computes it. Overuse tiers and credits are not computed.`
	f := c.Flags()
	f.StringVar(&month, "month", "", "the month, as 2026-10 (required)")
	f.StringVar(&tenant, "tenant", "", "only of this tenant")
	f.StringVar(&format, "format", "csv", "csv or json")
	_ = c.MarkFlagRequired("month") // the flag exists
	return c
}

// exportMonth writes page by page, so that no number of accounts is too many.
func (a *app) exportMonth(ctx context.Context, c *admin.Client, month, tenant string, write func(admin.MonthPage) error) error {
	state := ""
	for next := (admin.List{Limit: 1000}); ; {
		p, err := c.MonthUsage(ctx, month, tenant, next)
		if err != nil {
			return err
		}
		if state != "" && p.State != state {
			return fmt.Errorf("export usage: the month was %s and is %s now; ask again", state, p.State)
		}
		state = p.State
		if err := write(p); err != nil {
			return err
		}
		if p.Next == "" {
			if p.Provisional && !a.json {
				fmt.Fprintf(a.err, "month %s is %s: these figures may still change\n", p.Month, p.State)
			}
			return nil
		}
		next.After = p.Next
	}
}

// monthJSON writes one document of all pages, a line an account.
func (a *app) monthJSON() func(admin.MonthPage) error {
	begun, some := false, false
	return func(p admin.MonthPage) error {
		if !begun {
			begun = true
			fmt.Fprintf(a.out, "{\"month\": %q, \"state\": %q, \"provisional\": %t, \"items\": [", p.Month, p.State, p.Provisional)
		}
		for _, u := range p.Items {
			line, err := json.Marshal(u)
			if err != nil {
				return fmt.Errorf("write usage: %w", err)
			}
			between := ",\n  "
			if !some {
				between, some = "\n  ", true
			}
			if _, err := fmt.Fprintf(a.out, "%s%s", between, line); err != nil {
				return fmt.Errorf("write usage: %w", err)
			}
		}
		if p.Next == "" {
			_, err := fmt.Fprintln(a.out, "\n]}")
			return err
		}
		return nil
	}
}
