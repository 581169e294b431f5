package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

func (a *app) importList() *cobra.Command {
	var l listing
	return l.flags(a.verb("list", "List what was imported and can be taken back", "  postern import list",
		func(ctx context.Context, c *admin.Client, _ []string) error {
			p, err := pages(ctx, &l, c.Imports)
			if err != nil {
				return err
			}
			return a.show(p, func() {
				if len(p.Items) == 0 {
					a.say("Nothing was imported.")
					return
				}
				t := newTable("TENANT~", "WHEN", "FROM~", "NEW", "ACCOUNTS>", "DOMAINS>", "SOURCES~")
				for _, x := range p.Items {
					t.row(x.Tenant, a.from(x.At), x.From, map[bool]string{true: "yes", false: "no"}[x.New], fmt.Sprint(len(x.Accounts)), fmt.Sprint(len(x.Domains)), first(strings.Join(x.Sources, " "), "-"))
				}
				a.say("%s", strings.TrimSuffix(t.String(), "\n"))
				a.more(p.Next)
			})
		}))
}

// undoneView is what undoing answers in JSON.
type undoneView struct {
	admin.Applied
	Unsuppressed int `json:"unsuppressed,omitempty"`
}

func (a *app) importUndo() *cobra.Command {
	var name string
	var dry bool
	c := tenantFlag(a.verb("undo", "Take back what an import made for a tenant", `  postern import undo --tenant shoes --dry-run
  postern import undo --tenant shoes`,
		func(ctx context.Context, c *admin.Client, _ []string) error {
			was, err := importOf(ctx, c, name)
			if err != nil {
				return err
			}
			v := undoneView{}
			// Rehearsed first: what is refused shall not have begun.
			if v.Applied, err = c.UndoImport(ctx, name, true); err == nil && !dry {
				// The list of a tenant that goes will go with it.
				if was != nil && !was.New {
					if v.Unsuppressed, err = unsuppressImported(ctx, c, name, was.From); err != nil {
						return fmt.Errorf("clean the suppression list: %w", err)
					}
				}
				v.Applied, err = c.UndoImport(ctx, name, false)
			}
			if err != nil {
				return err
			}
			return a.show(v, func() { a.undone(v, was) })
		}), &name)
	c.Flags().BoolVar(&dry, "dry-run", false, "say what would go, and take nothing away")
	c.Long = `Take back what an import made for a tenant: its accounts, domains, routes and
source, and the tenant itself if the import made it. What was there before
stays.

It is refused while mail waits that would be left without a sender. Nobody has
to wait for that: the old server was never touched, and the customer's programs
can use it at once. What waits here goes on leaving (postern queue list);
postern queue flush tries it now, postern queue purge ends it.`
	return c
}

// importOf finds a tenant's import, nil for none.
func importOf(ctx context.Context, c *admin.Client, name string) (*admin.Import, error) {
	p, err := pages(ctx, &listing{all: true}, c.Imports)
	if err != nil {
		return nil, err
	}
	for i := range p.Items {
		if p.Items[i].Tenant == name {
			return &p.Items[i], nil
		}
	}
	return nil, nil
}

// unsuppressImported takes off a tenant's list what came with an import.
func unsuppressImported(ctx context.Context, c *admin.Client, tenant, from string) (int, error) {
	var all []admin.SuppressAddress
	mark := importedText(from, "")
	if err := eachSuppressed(ctx, c, tenant, func(x admin.Suppression) {
		if x.Reply.Text == mark || strings.HasPrefix(x.Reply.Text, mark+": ") {
			all = append(all, admin.SuppressAddress{Address: x.Address})
		}
	}); err != nil {
		return 0, err
	}
	total := 0
	for len(all) > 0 {
		n := min(len(all), 1000)
		d, err := c.Unsuppress(ctx, tenant, admin.ChangeSuppressions{Addresses: all[:n]})
		if err != nil {
			return total, err
		}
		total, all = total+d.Count, all[n:]
	}
	return total, nil
}

func (a *app) undone(v undoneView, was *admin.Import) {
	for _, o := range v.Operations {
		a.indent(operationText(o))
	}
	for _, s := range v.LeftAlone {
		a.indent("= " + s + ": it stays")
	}
	if v.Unsuppressed > 0 {
		a.say("%s taken off the suppression list.", some(v.Unsuppressed, "address"))
	}
	if v.DryRun {
		a.say("%s would be taken back; nothing was.", some(len(v.Operations), "thing"))
		return
	}
	a.say("%s taken back. The old server was not touched.", some(len(v.Operations), "thing"))
	if was != nil {
		for _, addr := range was.Sources {
			a.paragraph("", addr+" is no source any more: give it back to the old server.")
		}
	}
}
