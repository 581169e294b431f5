package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"

	"postern/node/admin"
	"postern/tenant"
)

// Options say what is read and what it shall become. Names of files are those
// they have in Files, from its root.
type Options struct {
	Files       fs.FS
	Config      string // directory of main.cf and master.cf
	Users       string // a Dovecot passwd-file; "": none
	DKIM        string // OpenDKIM's configuration, or the directory of its tables; "": none
	Suppression string // a list of addresses nothing is sent to; "": none

	Tenant, Hostname string
	Only             []string // domains and logins; none: all
	Realm            string   // of logins without a domain; "": as the server says
	Node, Backup     string   // where to, as in a declaration; "": the cluster chooses
	EHLO             string   // of the source; "": as the server says
	WarmSince        string   // of the source, a day
	Routes           bool     // carry transport_maps, too
	// Account is what each account may do; its address and password are not
	// looked at.
	Account admin.DeclaredAccount
}

// Plan is what was found and what becomes of it.
type Plan struct {
	From       string `json:"from"`
	Read       []Read `json:"read"`
	Becomes    []Step `json:"becomes"`
	NotCarried []Left `json:"not_carried"`
	// Declaration has secrets in it: it is shown to nobody.
	Declaration admin.Declaration       `json:"-"`
	Addresses   []admin.SuppressAddress `json:"-"`
}

// Read is a file that was read.
type Read struct {
	File string `json:"file"`
	Has  string `json:"has"`
}

// Step is what one thing becomes.
type Step struct {
	What string `json:"what"`
	Now  string `json:"becomes"`
}

// Left is what could not be carried, why, and what to do.
type Left struct {
	What string `json:"what"`
	Why  string `json:"why"`
	Do   string `json:"do,omitempty"`
}

// builder makes the plan.
type builder struct {
	Options
	tree     *tree
	main     *settings
	master   []service
	plan     *Plan
	base     string // the configuration's directory, in the tree
	account  admin.DeclaredAccount
	senders  []sender
	accounts []login
	domains  []string
}

// Postfix reads a Postfix server and makes a plan of it. The error is about what
// cannot be read at all; what can and is not carried stands in the plan.
func Postfix(o Options) (*Plan, error) {
	b := &builder{Options: o, tree: newTree(o.Files), base: inTree("", o.Config),
		plan: &Plan{Read: []Read{}, Becomes: []Step{}, NotCarried: []Left{}}, account: o.Account}
	for i, x := range b.Only {
		b.Only[i] = strings.TrimPrefix(strings.ToLower(x), "@")
	}
	for _, do := range []func() error{b.readMain, b.readSenders, b.pickAccounts, b.pickDomains, b.declare, b.readAddresses} {
		if err := do(); err != nil {
			return nil, err
		}
	}
	b.others()
	return b.plan, nil
}

func (b *builder) read(file, has string) {
	b.plan.Read = append(b.plan.Read, Read{"/" + inTree("", file), has})
}

func (b *builder) becomes(what, now string) {
	b.plan.Becomes = append(b.plan.Becomes, Step{what, now})
}

func (b *builder) left(what, why, do string) {
	b.plan.NotCarried = append(b.plan.NotCarried, Left{what, why, do})
}

func some(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", more)
}

func (b *builder) readMain() error {
	name := inTree(b.base, "main.cf")
	text, err := b.tree.read(name, maxFile)
	if err != nil {
		return fmt.Errorf("%w; is --config the directory of main.cf?", err)
	}
	if b.main, err = parseMain(text, "/"+b.base); err != nil {
		return err
	}
	b.read(name, some(len(b.main.set), "setting", "settings"))
	name = inTree(b.base, "master.cf")
	if text, err = b.tree.read(name, maxFile); err == nil {
		b.master, err = parseMaster(text)
	}
	if err != nil {
		return err
	}
	b.read(name, some(len(b.master), "service", "services"))
	host, err := b.main.value("myhostname")
	if err != nil {
		return err
	}
	if !tenant.ValidHost(strings.ToLower(host)) {
		host = "/" + b.base
	}
	b.plan.From = clip("postfix " + host)
	return nil
}

// table reads all tables a setting names; those that cannot be are told.
func (b *builder) table(setting string) (all []entry, err error) {
	list, err := b.main.value(setting)
	if err != nil {
		return nil, err
	}
	refs, err := b.main.tables(list)
	if err != nil {
		return nil, fmt.Errorf("main.cf: %s: %w", setting, err)
	}
	for _, ref := range refs {
		part, err := b.tree.table(b.base, ref)
		switch {
		case errors.Is(err, errNotCarried):
			why, do := whyNot(ref.kind)
			b.left(setting+" "+ref.String(), why, do)
			continue
		case err != nil:
			b.left(setting+" "+ref.String(), err.Error(), "give the text file it is made of its place beside it")
			continue
		}
		if all = append(all, part...); len(all) > maxEntries {
			return nil, fmt.Errorf("main.cf: %s: more than %d entries", setting, maxEntries)
		}
		name := b.base + "/main.cf"
		if ref.kind != "inline" {
			name = inTree(b.base, ref.name)
		}
		b.read(name, some(len(part), "entry", "entries")+" of "+setting)
	}
	return all, nil
}

// readAddresses reads the list of those nothing is sent to.
func (b *builder) readAddresses() error {
	if b.Suppression == "" {
		return nil
	}
	f, err := b.tree.open(b.Suppression)
	if err != nil {
		return err
	}
	defer f.Close()
	skipped, first := 0, (*NoAddress)(nil)
	seen := map[string]bool{}
	err = ReadAddresses(f, func(part []admin.SuppressAddress) error {
		for _, x := range part {
			if name := strings.ToLower(x.Address); !seen[name] {
				seen[name] = true
				b.plan.Addresses = append(b.plan.Addresses, x)
			}
		}
		return nil
	}, func(x *NoAddress) error {
		if skipped++; first == nil {
			first = x
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("/%s: %w", inTree("", b.Suppression), err)
	}
	n := some(len(b.plan.Addresses), "address", "addresses")
	b.read(b.Suppression, n)
	if len(b.plan.Addresses) > 0 {
		b.becomes(n+" nothing was sent to", "the tenant's suppression list")
	}
	if skipped > 0 {
		b.left(some(skipped, "line", "lines")+" of /"+inTree("", b.Suppression), "here single addresses are suppressed; "+first.Error(), "")
	}
	return nil
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// validAddr says whether a text is an address a source may have.
func validAddr(text string) bool {
	a, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return err == nil && a.Zone() == "" && !a.IsUnspecified()
}
