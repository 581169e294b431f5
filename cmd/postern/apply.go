package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"postern/node/admin"
	"postern/node/declare"
)

func (a *app) applyCommand() *cobra.Command {
	var dry, diff, prune, over bool
	var passwords string
	c := a.verb("apply FILE", "Make the cluster as a file declares it", `  postern apply --diff cluster.yaml
  postern apply cluster.yaml --passwords new.passwords
  postern export | postern apply -`,
		func(ctx context.Context, c *admin.Client, args []string) error {
			overriding(c, over)
			set, err := declare.Load(args[0], a.in)
			if err != nil {
				return a.atFault(err)
			}
			x := applying{a: a, c: c, set: set, passwords: passwords, ask: admin.Apply{Name: filepath.Base(args[0]), Declaration: set.Declaration, Prune: prune}}
			return x.run(ctx, dry || diff)
		})
	c.Long = `Make the cluster as a file declares it: sources, tenants with their domains and
accounts, routes, DNS lists, automation, notices. FILE is a YAML file, a
directory of them, or - for standard input; deploy/cluster.yaml shows all of it.

A part that is absent (no routes: at all) is left alone; a thing that is named
becomes as it is written, and what is not written of it is as for a new one. But
places and secrets that are not written stay. Nothing goes unless --prune is
given; then what the parts that are there do not name goes. What cannot be is
told before anything is done, each with its line.

New accounts without a password_file get a machine-made one, printed once, or
added to the file of --passwords before anything is done.`
	f := c.Flags()
	f.BoolVar(&diff, "diff", false, "say what would change, and change nothing")
	f.BoolVar(&dry, "dry-run", false, "the same")
	f.BoolVar(&prune, "prune", false, "take away what is not named")
	f.StringVar(&passwords, "passwords", "", "file to add passwords of new accounts to (mode 0600)")
	return overrideFlag(c, &over)
}

// applying is one run of apply.
type applying struct {
	a         *app
	c         *admin.Client
	set       *declare.Set
	passwords string
	ask       admin.Apply
	read      string // what it was read from, when that is no file of ours
}

// applyView is what apply answers in JSON.
type applyView struct {
	Changed    bool              `json:"changed"`
	DryRun     bool              `json:"dry_run,omitempty"`
	Operations []admin.Operation `json:"operations"`
	LeftAlone  []string          `json:"left_alone,omitempty"`
	Passwords  []accountPassword `json:"passwords,omitempty"`
}

type accountPassword struct {
	Account  string `json:"account"`
	Password string `json:"password"`
}

func (x *applying) run(ctx context.Context, dry bool) error {
	v, err := x.change(ctx, dry)
	if err != nil {
		return err
	}
	return x.a.show(v, func() { x.tell(v) })
}

// change makes it so, or says what would change.
func (x *applying) change(ctx context.Context, dry bool) (v applyView, err error) {
	// Always rehearsed first: it tells all that is wrong, and which accounts are
	// new, so that no password is made that nobody was told.
	x.ask.DryRun = true
	planned, err := x.c.Apply(ctx, x.ask)
	if err != nil {
		return v, x.placed(err)
	}
	v = applyView{Changed: planned.Changed, DryRun: dry, Operations: planned.Operations, LeftAlone: planned.LeftAlone}
	if dry || !planned.Changed {
		return v, nil
	}
	if v.Passwords, err = x.makePasswords(planned.Operations); err != nil {
		return v, err
	}
	x.ask.DryRun = false
	done, err := x.c.Apply(ctx, x.ask)
	if err != nil {
		return v, x.placed(err)
	}
	// A repeated request may find its own work done: what was planned was changed
	// all the same.
	if done.Changed {
		v.Operations = done.Operations
	}
	if x.passwords != "" {
		v.Passwords = nil
	}
	return v, nil
}

// makePasswords makes those that new accounts need, and keeps them in the file
// before an account has one.
func (x *applying) makePasswords(all []admin.Operation) ([]accountPassword, error) {
	var made []accountPassword
	for _, o := range all {
		if o.Password == "" {
			continue
		}
		account := x.account(o.At)
		if account == nil {
			return nil, fmt.Errorf("find account %s at %s of the declaration", o.Name, o.At)
		}
		var b [20]byte
		_, _ = rand.Read(b[:]) // never fails (crypto/rand)
		p := accountPassword{o.Name, strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))}
		h := sha256.Sum256([]byte(p.Password))
		account.PasswordSHA256 = hex.EncodeToString(h[:])
		made = append(made, p)
	}
	if x.passwords == "" || len(made) == 0 {
		return made, nil
	}
	return made, addPasswords(x.passwords, made)
}

// account finds what tenants[0].accounts[1] names.
func (x *applying) account(at string) *admin.DeclaredAccount {
	parts := strings.FieldsFunc(at, func(r rune) bool { return r == '[' || r == ']' })
	if len(parts) != 4 || x.ask.Declaration.Tenants == nil {
		return nil
	}
	t, err := strconv.Atoi(parts[1])
	i, err2 := strconv.Atoi(parts[3])
	if tenants := *x.ask.Declaration.Tenants; err == nil && err2 == nil && t < len(tenants) && tenants[t].Accounts != nil && i < len(*tenants[t].Accounts) {
		return &(*tenants[t].Accounts)[i]
	}
	return nil
}

// addPasswords adds lines of account and password; of an account that stands
// there twice the last counts.
func addPasswords(name string, made []accountPassword) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("keep passwords: %w", err)
	}
	var b strings.Builder
	for _, p := range made {
		fmt.Fprintf(&b, "%s %s\n", p.Account, p.Password)
	}
	_, err = f.WriteString(b.String())
	err = errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("keep passwords: %w", err)
	}
	return nil
}

func (x *applying) tell(v applyView) {
	a := x.a
	for _, o := range v.Operations {
		a.indent(operationText(o))
		if o.Record != "" {
			a.note("    ", "a new key", "postern tenant dns "+o.Tenant)
		}
		for _, w := range o.Warnings {
			a.paragraph("    ", w)
		}
	}
	for _, s := range v.LeftAlone {
		a.indent("= " + s + " is there and stays as it is")
	}
	switch {
	case !v.Changed:
		a.say("Nothing to do: all is as declared.")
	case v.DryRun:
		a.say("%s would be made; nothing was.", some(len(v.Operations), "change"))
	default:
		a.say("%s made.", some(len(v.Operations), "change"))
	}
	for _, p := range v.Passwords {
		a.say("%s %s", clean(p.Account), p.Password)
	}
	if len(v.Passwords) > 0 {
		a.say("Shown once: passwords are not kept.")
	}
}

// indent folds a text; its further lines begin further in.
func (a *app) indent(text string) {
	mark := ""
	for _, line := range fold(clean(text), wide-4) {
		a.say("%s%s", mark, line)
		mark = "    "
	}
}

// operationText is "~ account mail@shoes.example: bytes_per_month 500MB -> 1GB".
func operationText(o admin.Operation) string {
	text := map[string]string{"add": "+", "change": "~", "remove": "-"}[o.Do] + " " + strings.ReplaceAll(o.Kind, "_", " ")
	if o.Name != "" {
		text += " " + o.Name
	}
	if o.Tenant != "" && o.Kind == "domain" {
		text += " of " + o.Tenant
	}
	var fields []string
	for _, f := range o.Fields {
		one := f.Name + " " + orNone(f.To)
		if o.Do == "change" && !(f.From == "" && f.To == "changed") { // a secret
			one = f.Name + " " + orNone(f.From) + " -> " + orNone(f.To)
		}
		fields = append(fields, one)
	}
	if o.Password != "" {
		fields = append(fields, "with a new password")
	}
	if len(fields) > 0 {
		text += ": " + strings.Join(fields, ", ")
	}
	return text
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// placed tells a node's refusal with the lines of the file it is about.
func (x *applying) placed(err error) error {
	var p *admin.Problem
	if !errors.As(err, &p) || !slices.ContainsFunc(p.Errors, func(f admin.Fault) bool { return f.Location != "" }) {
		return err
	}
	var faults []declare.Fault
	for _, f := range p.Errors {
		at, ok := x.set.Place(f.Location)
		if !ok {
			at = declare.Place{File: first(x.read, x.ask.Name)}
		}
		faults = append(faults, declare.Fault{Place: at, Text: f.Message})
	}
	return x.a.atFault(&declare.FaultsError{Faults: faults})
}

// atFault shows what is wrong with a file, each fault with its place.
func (a *app) atFault(err error) error {
	var f *declare.FaultsError
	if !errors.As(err, &f) {
		return err
	}
	v := faultsView{Faults: []faultView{}}
	for _, x := range f.Faults {
		v.Faults = append(v.Faults, faultView{x.File, x.Line, x.Col, strings.TrimPrefix(x.Key+": ", ": ") + x.Text, x.Mend})
	}
	if err := a.show(v, func() {
		for _, x := range f.Faults {
			a.indent(x.String())
		}
	}); err != nil {
		return err
	}
	return fmt.Errorf("cannot be applied: %s to mend; nothing was changed", some(len(f.Faults), "fault"))
}

type faultsView struct {
	Changed bool        `json:"changed"`
	Faults  []faultView `json:"faults"`
}

type faultView struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Text   string `json:"text"`
	Mend   string `json:"mend,omitempty"`
}

func (a *app) exportCommand() *cobra.Command {
	var tenant string
	var passwords, secrets bool
	c := a.verb("export", "Declare what there is, as a file for apply", `  postern export > cluster.yaml
  postern export --tenant shoes
  umask 077; postern export --secrets > whole.yaml`,
		func(ctx context.Context, c *admin.Client, _ []string) error {
			d, err := c.Export(ctx, tenant, admin.ExportSecrets{Passwords: passwords || secrets, Keys: secrets})
			if err != nil {
				return err
			}
			if a.json {
				return a.show(d, nil)
			}
			head := exportHead(passwords, secrets)
			if d.Zones == nil && tenant == "" {
				head += "\nThe DNS lists are not in it: there are none, or a trial scaled their times."
			}
			return declare.Write(a.out, &d, head)
		})
	c.Long = `Declare what there is, as a file that postern apply reads: applied here it
changes nothing. Secrets are not in it. With --passwords it has the hashes of
the accounts' passwords, machine-made and imported ones, so that they work
elsewhere, too; with --secrets also the private DKIM keys. Keep such a file as
you keep the keys. The secrets of notices are never in it.`
	c.Flags().StringVar(&tenant, "tenant", "", "this tenant alone")
	c.Flags().BoolVar(&passwords, "passwords", false, "with the hashes of passwords")
	c.Flags().BoolVar(&secrets, "secrets", false, "with these and the private DKIM keys")
	return c
}

// exportHead says in an exported file what it leaves out.
func exportHead(passwords, secrets bool) string {
	switch {
	case secrets:
		return "What there is, for postern apply. KEEP THIS FILE SECRET: it has the hashes of\npasswords and the private DKIM keys. Elsewhere, add the notices' secrets."
	case passwords:
		return "What there is, for postern apply, with the hashes of passwords. DKIM keys and\nother secrets are left out (export --secrets): elsewhere, add key_file."
	}
	return "What there is, for postern apply. Left out: hashes of passwords, without which\naccounts get new ones elsewhere, and DKIM keys (export --secrets has both), and\nthe notices' secrets."
}
