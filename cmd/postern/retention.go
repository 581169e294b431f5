package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"postern/node/admin"
	"postern/tenant"
)

func (a *app) retentionCommand() *cobra.Command {
	return family("retention", "For how long personal data is kept", a.retentionShow(), a.retentionSet())
}

func (a *app) retentionShow() *cobra.Command {
	c := a.verb("show", "Show for how long personal data is kept, and the oldest there is", "  postern retention show",
		func(ctx context.Context, c *admin.Client, _ []string) error {
			r, err := c.Retention(ctx)
			if err != nil {
				return err
			}
			return a.show(r, func() { a.retention(r) })
		})
	c.Long = `Show for how long each class of personal data is kept, and how old the oldest
of it is on each node. Rows go by whole days, so the oldest may be a day older
than what is kept; "late" is what should be gone.`
	return c
}

func (a *app) retention(r admin.Retention) {
	for _, c := range r.Classes {
		text := "kept " + keptText(c.Days)
		if c.Days != c.Usual {
			text += " (usually " + keptText(c.Usual) + ")"
		}
		a.say("%s  %s", c.Class, text)
		a.paragraph("  ", c.What)
		var nodes []string
		for _, n := range c.Nodes {
			one := n.Node + " " + n.Oldest.UTC().Format("2006-01-02")
			if n.Late {
				one += " late"
			}
			nodes = append(nodes, one)
		}
		if len(nodes) > 0 {
			a.paragraph("  ", "oldest: "+strings.Join(nodes, ", "))
		}
	}
	if len(r.Missing) > 0 {
		a.say("no answer from %s", strings.Join(r.Missing, ", "))
	}
}

func keptText(days uint32) string {
	if days == 0 {
		return "for ever"
	}
	return some(int(days), "day")
}

func (a *app) retentionSet() *cobra.Command {
	c := a.verb("set CLASS DURATION", "Say for how long a class of personal data is kept", `  postern retention set recipients 14d
  postern retention set journal forever`,
		func(ctx context.Context, c *admin.Client, args []string) error {
			days, err := tenant.ParseDays(args[1])
			if err != nil {
				return usagef("%v", err)
			}
			r, err := c.SetRetention(ctx, args[0], days)
			if err != nil {
				return err
			}
			return a.show(r, func() {
				a.note("", args[0]+" is kept "+keptText(days), "each node removes what is older within seconds")
			})
		})
	var classes strings.Builder
	for _, x := range tenant.RetentionClasses() {
		more := ""
		if x.Forever {
			more = ", or forever"
		}
		fmt.Fprintf(&classes, "\n  %-10s %d to %d days%s", x.Name, x.Least, x.Most, more)
	}
	c.Long = "Say for how long a class of personal data is kept, on all nodes. DURATION is a\nnumber of days, such as 14d." + "\n" + classes.String() + `

Dialogues name recipients: they are kept no longer than these. The journal must
reach back as far as what listings and bills are judged by.`
	return c
}
