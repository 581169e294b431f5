package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/node/admin"
	"postern/node/declare"
	"postern/node/migrate"
)

func (a *app) importCommand() *cobra.Command {
	return family("import", "Take over one customer of another mail server, with a way back", a.importPostfix(), a.importList(), a.importUndo())
}

// importFlags are what is read, and what is done with it.
type importFlags struct {
	root, config              string
	users, dkim, suppression  string
	to, passwords             string
	apply, over               bool
	terms                     terms
	plan                      migrate.Options
	warm, node, backup, realm string
}

func (a *app) importPostfix() *cobra.Command {
	var f importFlags
	c := &cobra.Command{Use: "postfix", Short: "Plan the move of one customer of a Postfix server, or carry it out", Args: named("postfix"),
		Example: `  postern import postfix --root old --users /etc/dovecot/users \
      --opendkim /etc/opendkim --tenant shoes \
      --hostname shoes.relay.example --only shoes.example
  postern import postfix --tenant shoes --hostname shoes.relay.example \
      --users /etc/dovecot/users --node n1 --backup n2 --apply`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.planImport(cmd.Context(), &f) }}
	c.Long = `Read the files of a Postfix server, of its Dovecot and its OpenDKIM, and say
what of one customer becomes what here, what cannot be carried and what to do
about it. Nothing changes, here or there, unless --apply is given; then it is
done as postern apply does it. With --to it is written as a file for postern
apply.

Nothing that is here is changed: what the import makes is noted, and postern
import undo takes just that away. A second run brings passwords up to date that
the customer has changed there since, and says so.

Copy the old server's files with their directories to a machine that reaches a
node, and name the copy with --root. --config is the directory of main.cf there;
POSTERN_CONFIG names Postern's own file.`
	fl := c.Flags()
	fl.StringVar(&f.root, "root", "/", "where the old server's files begin on this machine")
	fl.StringVar(&f.config, "config", "/etc/postfix", "directory of main.cf and master.cf, below the root")
	fl.StringVar(&f.users, "users", "", "Dovecot's passwd-file, such as /etc/dovecot/users")
	fl.StringVar(&f.dkim, "opendkim", "", "opendkim.conf, or the directory of its tables")
	fl.StringVar(&f.suppression, "suppression", "", "list of addresses to send nothing to: lines, CSV, access table")
	fl.StringVar(&f.plan.Tenant, "tenant", "", "what the customer is called here (required)")
	fl.StringVar(&f.plan.Hostname, "hostname", "", "the name its programs connect to here (required)")
	fl.StringSliceVar(&f.plan.Only, "only", nil, "its domains and logins, when others are there, too (repeatable)")
	fl.StringVar(&f.realm, "realm", "", "domain of logins that have none")
	fl.StringVar(&f.node, "node", "", "its home, and where its address moves to; else the cluster chooses")
	fl.StringVar(&f.backup, "backup", "", "its backup: NODE or NODE/ADDRESS")
	fl.StringVar(&f.plan.EHLO, "ehlo", "", "name the address greets with; else as there")
	fl.StringVar(&f.warm, "warm-since", "", "day since which the address sends, as 2023-04-01; else today")
	fl.BoolVar(&f.plan.Routes, "routes", false, "carry transport_maps, too: they count for all tenants")
	fl.StringVar(&f.to, "to", "", "FILE to write for postern apply (mode 0600: it has secrets)")
	fl.BoolVar(&f.apply, "apply", false, "carry it out")
	fl.StringVar(&f.passwords, "passwords", "", "file to add passwords of new accounts to (mode 0600)")
	f.terms.plan(c)
	c.MarkFlagsMutuallyExclusive("to", "apply")
	for _, name := range []string{"tenant", "hostname"} {
		_ = c.MarkFlagRequired(name) // the flags exist
	}
	return overrideFlag(c, &f.over)
}

// plan are the flags of what an account bought.
func (t *terms) plan(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&t.class, "class", "transactional", "of the accounts: transactional or bulk")
	f.Var(sizeFlag{&t.bytes}, "bytes-per-month", "of each account, such as 500MB; 0 for none")
	f.Uint64Var(&t.mails, "mails-per-month", 0, "of each account; 0 for none")
}

// options are what the flags say, checked.
func (f *importFlags) options(now time.Time) (migrate.Options, error) {
	o := f.plan
	if f.backup != "" && f.node == "" {
		return o, usagef("--backup needs --node: without both the cluster chooses both")
	}
	o.Files, o.Config, o.Users, o.DKIM, o.Suppression = os.DirFS(f.root), f.config, f.users, f.dkim, f.suppression
	for _, name := range []*string{&o.Config, &o.Users, &o.DKIM, &o.Suppression} {
		if *name == "" || f.root != "/" {
			continue
		}
		full, err := filepath.Abs(*name)
		if err != nil {
			return o, fmt.Errorf("find %s: %w", *name, err)
		}
		*name = full
	}
	o.Realm, o.Node, o.Backup, o.WarmSince = f.realm, f.node, f.backup, first(f.warm, now.UTC().Format(time.DateOnly))
	o.Account = admin.DeclaredAccount{BytesPerMonth: f.terms.bytes, MailsPerMonth: f.terms.mails}
	switch f.terms.class {
	case "transactional":
	case "bulk":
		o.Account.Class = "bulk"
	default:
		return o, usagef("--class is transactional or bulk")
	}
	return o, nil
}

// importView is what an import answers in JSON.
type importView struct {
	*migrate.Plan
	applyView
	Rehearsed  bool   `json:"rehearsed"`
	Unasked    string `json:"unasked,omitempty"`
	Written    string `json:"written,omitempty"`
	Suppressed int    `json:"suppressed"`
}

func (a *app) planImport(ctx context.Context, f *importFlags) error {
	o, err := f.options(a.now())
	if err != nil {
		return err
	}
	p, err := migrate.Postfix(o)
	if err != nil {
		return err
	}
	v := importView{Plan: p}
	v.Operations = []admin.Operation{}
	if !a.json {
		a.importPlan(p)
	}
	if f.to != "" {
		if err := writeImport(f.to, p); err != nil {
			return err
		}
		v.Written = f.to
		return a.show(v, func() { a.importNext(f, v) })
	}
	err = a.carryImport(ctx, f, &v)
	if err != nil && !v.Rehearsed {
		return err
	}
	// Also when only part of it was done: passwords are shown once.
	return errors.Join(a.show(v, func() {
		if v.Rehearsed {
			a.say("\nOn the cluster:")
			(&applying{a: a}).tell(v.applyView)
		}
		if err == nil {
			a.importNext(f, v)
		}
	}), err)
}

// carryImport asks a node what would change, or has it changed. Without a node
// the plan is still worth reading.
func (a *app) carryImport(ctx context.Context, f *importFlags, v *importView) error {
	c, err := a.client()
	if err != nil {
		if v.Unasked = err.Error(); f.apply {
			return err
		}
		return nil
	}
	defer c.Close()
	overriding(c, f.over)
	x := applying{a: a, c: c, set: &declare.Set{Declaration: v.Declaration}, passwords: f.passwords, read: "what was read", ask: admin.Apply{Name: "of " + v.From, Declaration: v.Declaration}}
	done, err := x.change(ctx, !f.apply)
	var gone *admin.Unreachable
	switch {
	case errors.As(err, &gone) && !f.apply:
		v.Unasked = gone.Error()
		return nil
	case err != nil:
		return err
	}
	v.applyView, v.Rehearsed = done, true
	if f.apply {
		v.Suppressed, err = importAddresses(ctx, c, f.plan.Tenant, v.Plan)
	}
	if err != nil {
		err = fmt.Errorf("all else is imported, but the suppression list: %w; run it again: it goes on where it stopped", err)
	}
	return err
}

// taking is how long a new tenant's owner may need until it keeps its log.
const taking = 30 * time.Second

// whenTaken does it again while the owner of a new tenant is not ready.
func whenTaken(ctx context.Context, do func() error) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(taking); ; {
		err := do()
		var p *admin.Problem
		if !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable || time.Now().After(end) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// writeImport writes the declaration as a file that nobody else reads.
func writeImport(name string, p *migrate.Plan) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write declaration: %w", err)
	}
	err = declare.Write(f, &p.Declaration, "Read of "+p.From+", for postern apply. KEEP THIS FILE SECRET: it may have hashes\nof passwords and private DKIM keys.")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write declaration: %w", err)
	}
	return nil
}

// importedText is what the list says of an address that came with an import, so
// that undoing finds it again.
func importedText(from, why string) string {
	text := "imported from " + from
	if why != "" {
		text += ": " + why
	}
	return text[:min(len(text), 400)]
}

// importAddresses puts on the tenant's list what is not on it.
func importAddresses(ctx context.Context, c *admin.Client, tenant string, p *migrate.Plan) (int, error) {
	if len(p.Addresses) == 0 {
		return 0, nil
	}
	there := map[string]bool{}
	if err := whenTaken(ctx, func() error {
		return eachSuppressed(ctx, c, tenant, func(x admin.Suppression) { there[x.Address] = true })
	}); err != nil {
		return 0, err
	}
	total := 0
	part := []admin.SuppressAddress{}
	send := func() error {
		if len(part) == 0 {
			return nil
		}
		d, err := c.Suppress(ctx, tenant, admin.ChangeSuppressions{Addresses: part})
		if err != nil {
			return fmt.Errorf("%s put on the suppression list, then: %w", some(total, "address"), err)
		}
		total, part = total+d.Count, part[:0]
		return nil
	}
	for _, x := range p.Addresses {
		if there[strings.ToLower(x.Address)] {
			continue
		}
		x.Text = importedText(p.From, x.Text)
		if part = append(part, x); len(part) == migrate.AddressesAtOnce {
			if err := send(); err != nil {
				return total, err
			}
		}
	}
	return total, send()
}

// eachSuppressed reads all of a tenant's list.
func eachSuppressed(ctx context.Context, c *admin.Client, tenant string, do func(admin.Suppression)) error {
	for next := (admin.List{Limit: 1000}); ; {
		p, err := c.Suppressions(ctx, tenant, next)
		if err != nil {
			return err
		}
		for _, x := range p.Items {
			do(x)
		}
		if p.Next == "" || p.Next == next.After {
			return nil
		}
		next.After = p.Next
	}
}
