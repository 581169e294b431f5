package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

func (a *app) accountCommand() *cobra.Command {
	return family("account", "Credentials of tenants: plan, limits, holds, passwords",
		a.accountAdd(), a.accountList(), a.accountShow(), a.accountSet(), a.accountRemove(), a.accountHold(), a.accountRelease(), a.accountSuspend(), a.accountResume(), a.accountPassword(), a.accountEvidence(),
		a.accountPurge(), a.accountErrors(), a.accountClose())
}

// terms are the flags of what an account may do.
type terms struct {
	class     string
	bytes     uint64
	mails     uint64
	rcpts     int
	size      uint64
	networks  []string
	reference string
	hashFile  string
}

// hash reads the file with a password's hash; - is standard input.
func (t *terms) hash(a *app) (string, error) {
	if t.hashFile == "" {
		return "", nil
	}
	if t.hashFile == "-" {
		return readWord(a.in, "--password-hash")
	}
	f, err := os.Open(t.hashFile)
	if err != nil {
		return "", fmt.Errorf("read --password-hash: %w", err)
	}
	defer f.Close()
	return readWord(f, "--password-hash")
}

func (t *terms) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&t.class, "class", "transactional", "transactional or bulk")
	f.Var(sizeFlag{&t.bytes}, "bytes-per-month", "quota, size times recipients, such as 500MB; 0 for none")
	f.Uint64Var(&t.mails, "mails-per-month", 0, "quota in e-mails, one per recipient; 0 for none")
	f.IntVar(&t.rcpts, "max-recipients", 0, "of one message; 0 means 50")
	f.Var(sizeFlag{&t.size}, "max-size", "of one message, such as 90MB; 0 for the node's own limit")
	f.StringSliceVar(&t.networks, "network", nil, "CIDR that may send without a password (repeatable)")
	f.StringVar(&t.hashFile, "password-hash", "", "FILE with the hash of the password it had elsewhere; - reads it")
	f.StringVar(&t.reference, "reference", "", "address for reports and notices")
}

func (a *app) accountAdd() *cobra.Command {
	var t terms
	var tenant string
	var over bool
	c := a.verb("add ADDRESS", "Register an account; its password is shown once", `  postern account add info@acme.example --tenant acme
  postern account add news@acme.example --tenant acme --class bulk \
      --bytes-per-month 500MB --mails-per-month 50000
  postern account add old@acme.example --tenant acme --password-hash - <hash`,
		func(ctx context.Context, c *admin.Client, args []string) error {
			overriding(c, over)
			hash, err := t.hash(a)
			if err != nil {
				return err
			}
			cr, err := c.AddAccount(ctx, admin.NewAccount{Tenant: tenant, Username: args[0], Class: t.class,
				Plan:     admin.Plan{BytesPerMonth: t.bytes, MailsPerMonth: t.mails, MaxRecipients: t.rcpts, MaxSize: int64(t.size)},
				Networks: t.networks, Reference: t.reference, PasswordHash: hash})
			if err != nil {
				return err
			}
			return a.show(cr, func() { a.credential(cr) })
		})
	t.flags(c)
	c.Flags().StringVar(&tenant, "tenant", "", "whose account it is (required)")
	_ = c.MarkFlagRequired("tenant") // the flag exists
	c.Long = "Register an account; its password is shown once.\n\n" + hashHelp
	return overrideFlag(c, &over)
}

const hashHelp = `With --password-hash it keeps the password it had elsewhere. The file holds that
password's hash and nothing else: bcrypt ($2y$), SHA-crypt ($5$, $6$) or argon2
($argon2id$), also behind Dovecot's {SCHEME}. What is kept in clear, or hashed
with MD5 or one round of SHA, is refused: such an account gets a new password.`

func (a *app) credential(c admin.Credential) {
	if c.Password == "" {
		a.fields("account", c.Account.Username, "tenant", c.Account.Tenant, "password", "as before ("+c.Account.Password+")")
		return
	}
	a.fields("account", c.Account.Username, "tenant", c.Account.Tenant, "password", c.Password)
	a.say("Shown once: the password is not kept. postern account password makes another.")
}

func (a *app) accountList() *cobra.Command {
	var l listing
	var tenant string
	c := l.flags(a.verb("list", "List accounts", "  postern account list\n  postern account list --tenant acme",
		func(ctx context.Context, c *admin.Client, _ []string) error {
			p, err := pages(ctx, &l, func(ctx context.Context, l admin.List) (admin.Page[admin.Account], error) {
				return c.Accounts(ctx, tenant, l)
			})
			if err != nil {
				return err
			}
			return a.show(p, func() { a.accounts(p) })
		}))
	c.Flags().StringVar(&tenant, "tenant", "", "only of this tenant")
	return c
}

func (a *app) accounts(p admin.Page[admin.Account]) {
	if len(p.Items) == 0 {
		a.say("No accounts. postern account add makes one.")
		return
	}
	t := newTable("ACCOUNT~", "TENANT~", "STATE", "CLASS", "BYTES/MONTH>", "MAILS/MONTH>")
	var held []admin.Account
	for _, x := range p.Items {
		t.row(x.Username, x.Tenant, x.State, x.Class, limitBytes(x.Plan.BytesPerMonth), limitCount(x.Plan.MailsPerMonth))
		if x.State == "held" {
			held = append(held, x)
		}
	}
	a.say("%s", strings.TrimSuffix(t.String(), "\n"))
	a.more(p.Next)
	for _, x := range held {
		a.note("  ", x.Username+" is held: "+x.Held, mendAccount(x))
	}
}

func mendAccount(x admin.Account) string {
	switch {
	case x.Closed:
		return ""
	case x.Suspended != nil && strings.HasPrefix(x.Held, "tenant: "):
		return "postern tenant resume " + x.Tenant
	case x.Suspended != nil:
		return "postern account resume " + x.Username
	case x.State == "held" && strings.HasPrefix(x.Held, "tenant: "):
		return "postern tenant release " + x.Tenant
	case x.State == "held":
		return "postern account release " + x.Username
	case x.State == "paused":
		return "postern tenant resume " + x.Tenant
	}
	return ""
}

func limitBytes(n uint64) string {
	if n == 0 {
		return "no limit"
	}
	return bytesText(n)
}

func limitCount(n uint64) string {
	if n == 0 {
		return "no limit"
	}
	return count(n)
}

func (a *app) accountShow() *cobra.Command {
	return a.verb("show ADDRESS", "Show one account and what it used", "  postern account show info@acme.example",
		func(ctx context.Context, c *admin.Client, args []string) error {
			x, err := c.Account(ctx, args[0])
			if err != nil {
				return err
			}
			return a.show(x, func() { a.account(x) })
		})
}

func (a *app) account(x admin.Account) {
	rcpts := "50"
	if x.Plan.MaxRecipients > 0 {
		rcpts = count(x.Plan.MaxRecipients)
	}
	a.fields("account", x.Username, "tenant", x.Tenant, "state", stateText(x.State, x.Held), "to mend", mendAccount(x), "class", x.Class,
		"bytes a month", limitBytes(x.Plan.BytesPerMonth), "mails a month", limitCount(x.Plan.MailsPerMonth),
		"recipients", rcpts+" a message", "size", limitBytes(uint64(x.Plan.MaxSize)), "limits", limitsText(x), "networks", strings.Join(x.Networks, " "),
		"reference", x.Reference, "password", x.Password)
}

func (a *app) accountSet() *cobra.Command {
	var t terms
	var limits limitsFlag
	var gap time.Duration
	var over bool
	var c *cobra.Command
	c = a.verb("set ADDRESS", "Change what an account may do; flags not given stay", `  postern account set info@acme.example --bytes-per-month 1GB
  postern account set info@acme.example --network 198.51.100.0/24
  postern account set info@acme.example --limit minute=300 --gap 2s
  postern account set info@acme.example --password-hash hash.txt`,
		func(ctx context.Context, cl *admin.Client, args []string) error {
			overriding(cl, over)
			var s admin.SetAccount
			var plan admin.SetPlan
			gapMS := float64(gap) / float64(time.Millisecond)
			size := int64(t.size)
			for flag, set := range map[string]func(){
				"class": func() { s.Class = &t.class }, "network": func() { s.Networks = &t.networks }, "reference": func() { s.Reference = &t.reference },
				"bytes-per-month": func() { s.Plan = &plan; plan.BytesPerMonth = &t.bytes },
				"mails-per-month": func() { s.Plan = &plan; plan.MailsPerMonth = &t.mails },
				"max-recipients":  func() { s.Plan = &plan; plan.MaxRecipients = &t.rcpts },
				"max-size":        func() { s.Plan = &plan; plan.MaxSize = &size },
				"limit":           func() { s.Limits = &limits.limits },
				"gap":             func() { s.GapMS = &gapMS },
			} {
				if c.Flags().Changed(flag) {
					set()
				}
			}
			hash, err := t.hash(a)
			if err != nil {
				return err
			}
			if s == (admin.SetAccount{}) && hash == "" {
				return usagef("nothing to change: give a flag")
			}
			var x admin.Account
			if hash != "" {
				x, err = cl.SetHash(ctx, args[0], hash)
			}
			if err == nil && s != (admin.SetAccount{}) {
				x, err = cl.SetAccount(ctx, args[0], s)
			}
			if err != nil {
				return err
			}
			return a.show(x, func() { a.account(x) })
		})
	t.flags(c)
	c.Long = "Change what an account may do; flags not given stay.\n\n" + hashHelp
	c.Flags().Var(&limits, "limit", "caution limit of a window: all of them, repeatable; none ends them")
	c.Flags().DurationVar(&gap, "gap", 0, "least time between two messages; 0 is none")
	return overrideFlag(c, &over)
}

func (a *app) accountRemove() *cobra.Command {
	return a.verb("remove ADDRESS", "Take away an account", "  postern account remove info@acme.example",
		func(ctx context.Context, c *admin.Client, args []string) error {
			if err := c.RemoveAccount(ctx, args[0]); err != nil {
				return err
			}
			return a.done("account", args[0], "removed")
		})
}

func (a *app) accountHold() *cobra.Command {
	var reason string
	c := a.verb("hold ADDRESS", "Hold one account; the tenant's others go on", "  postern account hold news@acme.example --reason 'list not clean'",
		func(ctx context.Context, c *admin.Client, args []string) error {
			if reason == "" {
				return usagef("--reason is empty")
			}
			x, err := c.HoldAccount(ctx, args[0], reason)
			if err != nil {
				return err
			}
			return a.show(x, func() { a.note("", "account "+x.Username+" is held", "later: "+mendAccount(x)) })
		})
	c.Flags().StringVar(&reason, "reason", "", "why; the tenant's screens show it (required)")
	_ = c.MarkFlagRequired("reason") // the flag exists
	return c
}

func (a *app) accountRelease() *cobra.Command {
	return a.verb("release ADDRESS", "Let a held account send again", "  postern account release news@acme.example",
		func(ctx context.Context, c *admin.Client, args []string) error {
			x, err := c.HoldAccount(ctx, args[0], "")
			if err != nil {
				return err
			}
			return a.show(x, func() {
				a.note("", "account "+x.Username+" is "+stateText(x.State, x.Held), mendAccount(x))
			})
		})
}

func (a *app) accountPassword() *cobra.Command {
	return a.verb("password ADDRESS", "Make a new password, shown once; the old one ends", "  postern account password info@acme.example",
		func(ctx context.Context, c *admin.Client, args []string) error {
			cr, err := c.MakePassword(ctx, args[0])
			if err != nil {
				return err
			}
			return a.show(cr, func() { a.credential(cr) })
		})
}
