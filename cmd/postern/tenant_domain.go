package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

// maxKeyFile bounds a DKIM key's file, in bytes; the API takes 16 KB.
const maxKeyFile = 16 << 10

func (a *app) domainCommand() *cobra.Command {
	return family("domain", "Sender domains proved for a tenant, and their DKIM keys", a.domainAdd(), a.domainSet(), a.domainList(), a.domainRemove())
}

func (a *app) domainAdd() *cobra.Command {
	var selector, keyFile string
	var over bool
	c := a.verb("add TENANT DOMAIN", "Prove a sender domain by your word; set or clear its DKIM key",
		`  postern tenant domain add acme acme.example
  postern tenant domain add acme acme.example \
      --dkim-selector s1 --dkim-key s1.pem`,
		func(ctx context.Context, c *admin.Client, args []string) error {
			if (selector == "") != (keyFile == "") {
				return usagef("--dkim-selector and --dkim-key go together")
			}
			overriding(c, over)
			set := admin.SetDomain{Selector: selector}
			if keyFile != "" {
				key, err := readKey(keyFile)
				if err != nil {
					return err
				}
				set.Key = key
			}
			d, err := c.SetDomain(ctx, args[0], args[1], set)
			if err != nil {
				return err
			}
			return a.show(d, func() { a.domain(d) })
		})
	c.Flags().StringVar(&selector, "dkim-selector", "", "selector of the key")
	c.Flags().StringVar(&keyFile, "dkim-key", "", "PEM file of the private key, RSA or Ed25519")
	return overrideFlag(c, &over)
}

func (a *app) domainSet() *cobra.Command {
	var bounce string
	var none bool
	c := a.verb("set TENANT DOMAIN", "Name the subdomain that bounces of its mail come back to",
		`  postern tenant domain set acme acme.example --bounce bounce.acme.example
  postern tenant domain set acme acme.example --no-bounce`,
		func(ctx context.Context, c *admin.Client, args []string) error {
			if (bounce == "") == !none {
				return usagef("give --bounce NAME or --no-bounce")
			}
			d, err := c.SetBounce(ctx, args[0], args[1], bounce)
			if err != nil {
				return err
			}
			return a.show(d, func() {
				if d.Bounce == "" {
					a.say("bounces of mail from %s go to its senders", d.Name)
					return
				}
				a.paragraph("", "bounces of mail from "+d.Name+" come back to "+d.Bounce+" once its DNS is ready; until then they go to its senders. "+
					"What it must have: postern tenant dns "+d.Tenant+"; whether it is there: postern doctor")
			})
		})
	c.Long = `Mail whose recipients fail late, after their host took it, comes back to its
envelope sender. With a bounce subdomain it comes back to Postern, which counts
it, tells the sender, and knows which message and recipient it was.

The subdomain lies below the sender domain. Its MX must name nodes that take
bounces (intake.listen), its SPF record every source of the tenant; the message
itself does not change. As long as a node finds that it is not so, mail leaves
with the sender's own address. postern doctor says what is lacking.`
	c.Flags().StringVar(&bounce, "bounce", "", "subdomain that bounces come back to")
	c.Flags().BoolVar(&none, "no-bounce", false, "bounces go to the senders")
	return c
}

func readKey(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("read DKIM key: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return "", fmt.Errorf("read DKIM key: %w", err)
	}
	if len(b) > maxKeyFile {
		return "", fmt.Errorf("read DKIM key: %s is too large for one key", name)
	}
	return string(b), nil
}

func (a *app) domain(d admin.Domain) {
	if d.Selector == "" {
		a.say("domain %s is proved for %s; its mail is not signed", d.Name, d.Tenant)
		a.say("What its DNS must have: postern tenant dns %s", d.Tenant)
		return
	}
	a.say("domain %s is proved for %s; its mail is signed as %s", d.Name, d.Tenant, d.Selector)
	for _, w := range d.Warnings {
		a.paragraph("", "warning: "+w)
	}
	if d.Record != "" {
		a.say("Its DNS must have this TXT record at %s._domainkey.%s:", d.Selector, d.Name)
		// One line, to be copied; the record is as long as its key.
		a.say("%s", clean(d.Record))
		a.say("All that its DNS must have: postern tenant dns %s", d.Tenant)
	}
}

func (a *app) domainList() *cobra.Command {
	var l listing
	return l.flags(a.verb("list TENANT", "List a tenant's sender domains", "  postern tenant domain list acme",
		func(ctx context.Context, c *admin.Client, args []string) error {
			p, err := pages(ctx, &l, func(ctx context.Context, l admin.List) (admin.Page[admin.Domain], error) {
				return c.Domains(ctx, args[0], l)
			})
			if err != nil {
				return err
			}
			return a.show(p, func() {
				if len(p.Items) == 0 {
					a.say("No domains: the tenant cannot send. postern tenant domain add %s DOMAIN", clean(args[0]))
					return
				}
				t := newTable("DOMAIN~", "DKIM~", "BOUNCES TO~")
				for _, d := range p.Items {
					t.row(d.Name, first(d.Selector, "not signed"), first(d.Bounce, "its senders"))
				}
				a.say("%s", strings.TrimSuffix(t.String(), "\n"))
				a.more(p.Next)
			})
		}))
}

func (a *app) domainRemove() *cobra.Command {
	return a.verb("remove TENANT DOMAIN", "Take back a sender domain", "  postern tenant domain remove acme acme.example",
		func(ctx context.Context, c *admin.Client, args []string) error {
			if err := c.RemoveDomain(ctx, args[0], args[1]); err != nil {
				return err
			}
			return a.done("domain", args[1], "removed")
		})
}
