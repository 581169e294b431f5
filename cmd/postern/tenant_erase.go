package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

func (a *app) tenantErase() *cobra.Command {
	var e admin.Erase
	var yes, status bool
	c := a.verb("erase TENANT", "Remove a tenant and all that is kept of it, on every node", `  postern tenant erase shoes
  postern tenant erase shoes --purge --yes
  postern tenant erase shoes --status`,
		func(ctx context.Context, c *admin.Client, args []string) error {
			if status {
				if yes || e.Purge {
					return usagef("--status changes nothing: give it alone")
				}
				return a.eraseStatus(ctx, c, args[0])
			}
			if !yes {
				if err := a.confirmErase(ctx, c, args[0]); err != nil {
					return err
				}
			}
			x, err := c.EraseTenant(ctx, args[0], e)
			if err != nil {
				return err
			}
			return a.show(x, func() {
				a.erasure(x)
				a.say("to see when it is done: postern tenant erase %s --status", x.Tenant)
			})
		})
	c.Flags().BoolVar(&e.Purge, "purge", false, "also when mail of it waits: that ends, and nobody is told")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&status, "status", false, "only show which nodes are done")
	c.Long = `Remove a tenant with accounts and domains, and have every node remove what it
has of it: mail, traces, dialogues, suppressed addresses, reports, evidence, and
its names in the journal. A node that is down does it when it comes back; one
that restores an older backup has it done again. Each node writes its queue
anew for it, so that nothing is left in its files, and says so.

What stays: the tenant's name and number with the time of this, bans (keyed
hashes), the use in numbers under the customer's number for bills, and the
hashes of the journal's entries. What Postern does not have, it cannot erase:
backups you keep, the mail log in your log store, what Prometheus stored.`
	return c
}

// confirmErase wants the name typed: of what is gone for good, a yes to the wrong
// name is not taken back.
func (a *app) confirmErase(ctx context.Context, c *admin.Client, name string) error {
	t, err := c.Tenant(ctx, name)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("This erases tenant %s with %s and %s, and all that is kept of it,\non every node, for good.", t.Name, some(t.Accounts, "account"), some(t.Domains, "domain"))
	if t.Messages != nil && *t.Messages > 0 {
		what += fmt.Sprintf(" %s wait.", some(int(*t.Messages), "message"))
	}
	fmt.Fprintf(a.err, "%s\nType its name: ", what)
	line, err := bufio.NewReader(io.LimitReader(a.in, 1000)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read answer: %w", err)
	}
	if strings.TrimSpace(line) != t.Name {
		return errors.New("nothing was erased: the answer was not the tenant's name (--yes does not ask)")
	}
	return nil
}

// eraseStatus shows the newest erasing of a name, which may have been given again.
func (a *app) eraseStatus(ctx context.Context, c *admin.Client, name string) error {
	all, err := c.Erasures(ctx)
	if err != nil {
		return err
	}
	for _, x := range slices.Backward(all.Items) {
		if x.Tenant == name {
			return a.show(x, func() { a.erasure(x) })
		}
	}
	return fmt.Errorf("no tenant %s was erased, or it is forgotten by now", clean(name))
}

func (a *app) erasure(x admin.Erasure) {
	if x.Done != nil {
		a.say("tenant %s is erased: no node has anything of it since %s", x.Tenant, at(*x.Done))
		return
	}
	a.say("tenant %s is being erased; not done yet: %s", x.Tenant, strings.Join(x.Left, ", "))
}
