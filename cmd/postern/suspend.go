package main

import (
	"context"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

const suspendHelp = `The mail that was accepted waits, and submissions are refused: 525 5.7.13 at
AUTH to who knows the password, else 550 5.7.1 at MAIL. Unlike those of a hold,
class and reason stand in these replies and in the notice to the customer. No
class counts as evidence when an IP is listed.

What is held for another reason cannot be suspended, so that a bill that is paid
lets nobody go on who was stopped for something else.`

// suspending are the flags of both verbs.
type suspending struct{ admin.Suspend }

func (s *suspending) flags(c *cobra.Command) *cobra.Command {
	c.Flags().StringVar(&s.Class, "class", "", "billing, abuse or customer (at the customer's wish) (required)")
	c.Flags().StringVar(&s.Reason, "reason", "", "why, for the customer to read (required)")
	_, _ = c.MarkFlagRequired("class"), c.MarkFlagRequired("reason") // the flags exist
	return c
}

func (s *suspending) wrong() error {
	switch s.Class {
	case "billing", "abuse", "customer":
	default:
		return usagef("--class is billing, abuse or customer")
	}
	if s.Reason == "" {
		return usagef("--reason is empty")
	}
	return nil
}

func (a *app) tenantSuspend() *cobra.Command {
	var s suspending
	c := s.flags(a.verb("suspend TENANT", "Suspend a tenant, and tell it why", "  postern tenant suspend acme --class billing --reason 'invoice 4711'",
		func(ctx context.Context, c *admin.Client, args []string) error {
			if err := s.wrong(); err != nil {
				return err
			}
			t, err := c.SuspendTenant(ctx, args[0], s.Suspend)
			if err != nil {
				return err
			}
			return a.show(t, func() { a.note("", "tenant "+t.Name+" is suspended", "later: "+t.Mend) })
		}))
	c.Long = "Suspend a tenant with all its accounts.\n\n" + suspendHelp
	return c
}

func (a *app) tenantResume() *cobra.Command {
	return a.verb("resume TENANT", "Let a suspended or paused tenant send again", "  postern tenant resume acme",
		func(ctx context.Context, c *admin.Client, args []string) error {
			t, err := c.Tenant(ctx, args[0])
			if err != nil {
				return err
			}
			if t.Suspended != nil {
				t, err = c.SuspendTenant(ctx, args[0], admin.Suspend{})
			} else {
				t, err = c.PauseTenant(ctx, args[0], "")
			}
			if err != nil {
				return err
			}
			return a.show(t, func() {
				a.note("", "tenant "+t.Name+" is "+stateText(t.State, first(t.Held, t.Paused)), t.Mend)
			})
		})
}

func (a *app) accountSuspend() *cobra.Command {
	var s suspending
	c := s.flags(a.verb("suspend ADDRESS", "Suspend one account, and tell it why", "  postern account suspend a@acme.example --class abuse --reason 'old list'",
		func(ctx context.Context, c *admin.Client, args []string) error {
			if err := s.wrong(); err != nil {
				return err
			}
			x, err := c.SuspendAccount(ctx, args[0], s.Suspend)
			if err != nil {
				return err
			}
			return a.show(x, func() { a.note("", "account "+x.Username+" is suspended", "later: "+mendAccount(x)) })
		}))
	c.Long = "Suspend one account; the tenant's others go on.\n\n" + suspendHelp
	return c
}

func (a *app) accountResume() *cobra.Command {
	return a.verb("resume ADDRESS", "Let a suspended account send again", "  postern account resume news@acme.example",
		func(ctx context.Context, c *admin.Client, args []string) error {
			x, err := c.SuspendAccount(ctx, args[0], admin.Suspend{})
			if err != nil {
				return err
			}
			return a.show(x, func() {
				a.note("", "account "+x.Username+" is "+stateText(x.State, x.Held), mendAccount(x))
			})
		})
}
