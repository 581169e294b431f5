package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

func (a *app) listingDelist() *cobra.Command {
	var ask admin.AskDelisting
	c := a.verb("delist ADDRESS", "Note that you asked a list to take an outbound IP off", `  postern listing delist 192.0.2.10 --zone zen.spamhaus.org`,
		func(ctx context.Context, c *admin.Client, args []string) error {
			x, err := c.AskedDelisting(ctx, args[0], ask)
			if err != nil {
				return err
			}
			return a.show(x, func() {
				a.paragraph("", fmt.Sprintf("%s was asked about %s; it takes the next request from %s", ask.Zone, args[0], instantText(x.Next)))
				if x.Link != "" {
					a.say("-> %s", clean(x.Link))
				}
				a.paragraph("   ", x.How)
			})
		})
	c.Long = `Note that you asked a list to take an outbound IP off. Asking is done at the
list's own page, which listing show names with what to do there; this keeps when
it was asked and by whom, so that nobody asks twice before the list takes the
next request. When the list says clean again, that is noted, too.`
	c.Flags().StringVar(&ask.Zone, "zone", "", "the list that was asked (required)")
	c.Flags().BoolVar(&ask.Again, "again", false, "also before the list takes the next request")
	_ = c.MarkFlagRequired("zone") // the flag exists
	return c
}

// delistText says how a list takes an address off, and what it was asked.
func (a *app) delistText(d *admin.Delist) {
	if d == nil {
		return
	}
	if d.How != "" && d.Cleared == nil {
		a.paragraph("       ", d.How)
	}
	switch {
	case d.Asked == nil:
	case d.Cleared != nil:
		a.paragraph("       ", fmt.Sprintf("asked at %s by %s; clean again at %s", instantText(d.Asked), d.By, instantText(d.Cleared)))
	default:
		a.paragraph("       ", fmt.Sprintf("asked at %s by %s, %s; the next request from %s", instantText(d.Asked), d.By, some(int(d.Times), "time"), instantText(d.Next)))
	}
}
