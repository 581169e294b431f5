package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
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

// sender is a line of smtpd_sender_login_maps: who may send as what.
type sender struct {
	domain string
	whole  bool // all of the domain
	logins []string
}

// login is one that becomes an account.
type login struct {
	name    string // as it logs in there
	address string // as it logs in here
	user    *user  // nil without a file of users
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

func (b *builder) readSenders() error {
	all, err := b.table("smtpd_sender_login_maps")
	if err != nil {
		return err
	}
	for _, e := range all {
		local, domain, ok := strings.Cut(e.key, "@")
		if !ok {
			local, domain = e.key, "" // a name alone is of this server's own domain
			if domain, err = b.origin(); err != nil {
				return err
			}
		}
		logins := words(strings.ToLower(e.value))
		b.senders = append(b.senders, sender{domain: strings.ToLower(domain), whole: local == "", logins: logins})
	}
	return nil
}

// origin is the domain of names that have none; it may stand in a file.
func (b *builder) origin() (string, error) {
	v, err := b.main.value("myorigin")
	if err != nil || !strings.HasPrefix(v, "/") {
		return v, err
	}
	text, err := b.tree.read(v, maxKey)
	if err != nil {
		b.left("senders without a domain", err.Error(), "copy that file, too: it has their domain")
		return "", nil
	}
	first, _, _ := strings.Cut(text, "\n")
	return strings.TrimSpace(first), nil
}

// chosen says whether a login is one of those --only names.
func (b *builder) chosen(name, address string) bool {
	if len(b.Only) == 0 {
		return true
	}
	_, domain, _ := strings.Cut(address, "@")
	return slices.ContainsFunc(b.Only, func(x string) bool {
		return x == name || x == address || x == domain || slices.ContainsFunc(b.senders, func(s sender) bool { return s.domain == x && slices.Contains(s.logins, name) })
	})
}

// addressOf is what a login is called here: an address.
func (b *builder) addressOf(name string) (string, error) {
	if strings.Contains(name, "@") {
		return name, nil
	}
	realm := b.Realm
	if realm == "" {
		var err error
		if realm, err = b.main.value("smtpd_sasl_local_domain"); err != nil {
			return "", err
		}
	}
	if realm == "" {
		return name, nil
	}
	return name + "@" + strings.ToLower(realm), nil
}

// pickAccounts finds the logins that become accounts.
func (b *builder) pickAccounts() error {
	var users []user
	if b.Users != "" {
		text, err := b.tree.read(b.Users, maxFile)
		if err != nil {
			return err
		}
		if users, err = parsePasswd(text); err != nil {
			return fmt.Errorf("read /%s: %w", inTree("", b.Users), err)
		}
		b.read(b.Users, some(len(users), "user", "users"))
	} else {
		names := map[string]bool{}
		for _, s := range b.senders {
			for _, l := range s.logins {
				names[l] = true
			}
		}
		for _, n := range slices.Sorted(keys(names)) {
			users = append(users, user{name: n})
		}
		if len(users) > 0 {
			b.left("passwords", "no file of users was given", "give Dovecot's with --users; without it accounts get new passwords")
		}
	}
	for i := range users {
		if err := b.pick(&users[i]); err != nil {
			return err
		}
	}
	if len(b.accounts) == 0 {
		return errors.New("read users: none of them is chosen; --users names their file, --only the customer's domains and logins")
	}
	return nil
}

func (b *builder) pick(u *user) error {
	address, err := b.addressOf(u.name)
	if err != nil || !b.chosen(u.name, address) {
		return err
	}
	switch {
	case !strings.Contains(address, "@"):
		b.left("login "+clip(u.name), "here logins are addresses", "name its domain with --realm; its programs must log in with it, too")
	case !tenant.ValidAddress(address):
		b.left("login "+clip(u.name), clip(address)+" is no address", "make it an account by hand: postern account add")
	case b.Users != "" && u.locked():
		b.left("login "+u.name, "nobody can log in as it there", "")
	case slices.ContainsFunc(b.accounts, func(l login) bool { return l.address == address }):
		b.left("login "+u.name, "another one is called "+address+" here, too", "")
	case len(b.accounts) == 1000:
		return errors.New("read users: more than 1000 are chosen; name this customer's with --only")
	default:
		b.accounts = append(b.accounts, login{name: u.name, address: address, user: u})
	}
	return nil
}

// pickDomains finds the domains the accounts may send as.
func (b *builder) pickDomains() error {
	mine := map[string]bool{}
	others := map[string]string{} // of a domain, a login that is not chosen
	single := false
	known := map[string]bool{}
	for _, a := range b.accounts {
		known[a.name] = true
	}
	sends := map[string]bool{}
	for _, s := range b.senders {
		for _, l := range s.logins {
			if known[l] {
				mine[s.domain], sends[l] = true, true
				single = single || !s.whole
			} else if others[s.domain] == "" {
				others[s.domain] = l
			}
		}
	}
	for _, a := range b.accounts {
		if !sends[a.name] {
			_, domain, _ := strings.Cut(a.address, "@")
			mine[domain] = true
		}
	}
	for _, d := range slices.Sorted(keys(mine)) {
		switch {
		case tenant.PublicMailbox(d):
			b.left("sender domain "+d, "it belongs to a public mailbox provider: nobody can prove it", "the customer sends as a domain of its own")
			continue
		case !tenant.ValidHost(d):
			b.left("sender domain "+clip(d), "it is no domain", "")
			continue
		}
		b.domains = append(b.domains, d)
		if l := others[d]; l != "" {
			b.left("sender domain "+d+" for login "+clip(l), "a domain belongs to one tenant, and that login is not imported with it", "name it with --only as well, or give it another domain")
		}
	}
	if single {
		b.left("which login may send as which address", "here each account of a tenant may send as any address of its domains", "give logins that must not their own tenant")
	}
	return nil
}

// declare writes down what there shall be.
func (b *builder) declare() error {
	b.limits()
	domains, err := b.signedDomains()
	if err != nil {
		return err
	}
	accounts := []admin.DeclaredAccount{}
	for _, l := range b.accounts {
		a := b.account
		a.Address = l.address
		what := "login " + l.name
		switch why := l.user.hashWhy(); {
		case b.Users == "":
			b.becomes(what, "account "+a.Address+", with a new password")
		case why != "":
			b.becomes(what, "account "+a.Address+", with a new password")
			b.left("password of "+l.name, why, "give the customer the new one: it is shown once when this is applied")
		default:
			h, err := tenant.ParseHash(l.user.hash)
			if err != nil {
				return err
			}
			a.PasswordHash = l.user.hash
			b.becomes(what, "account "+a.Address+", its password stays ("+h.Kind.String()+")")
		}
		if l.name != l.address {
			b.left("login name "+l.name, "here it is called "+l.address, "its programs must log in with that")
		}
		accounts = append(accounts, a)
	}
	t := admin.DeclaredTenant{Name: b.Tenant, Hostname: b.Hostname, Home: b.Node, Backup: b.Backup, Domains: &domains, Accounts: &accounts}
	b.plan.Declaration = admin.Declaration{Import: b.plan.From}
	if err := b.way(&t); err != nil {
		return err
	}
	b.plan.Declaration.Tenants = &[]admin.DeclaredTenant{t}
	return b.routes()
}

// limits carries what the server allows in one message, unless the plan says.
func (b *builder) limits() {
	number := func(setting string, most uint64) (n uint64) {
		if _, set := b.main.own(setting); !set {
			return 0
		}
		text, err := b.main.value(setting)
		if err == nil {
			_, err = fmt.Sscanf(text, "%d", &n)
		}
		if err != nil || n > most {
			b.left(setting, clip(text)+" is out of bounds here", "postern account set says what an account may")
			return 0
		}
		return n
	}
	if b.account.MaxSize == 0 {
		if b.account.MaxSize = number("message_size_limit", 1<<40); b.account.MaxSize > 0 {
			b.becomes("message_size_limit", "max_size "+tenant.SizeText(b.account.MaxSize)+" of each account")
		}
	}
	if b.account.MaxRecipients == 0 {
		if n := number("smtpd_recipient_limit", 1000); n > 0 {
			b.account.MaxRecipients = int(n)
			b.becomes("smtpd_recipient_limit", fmt.Sprintf("max_recipients %d of each account", n))
		}
	}
}

func (b *builder) signedDomains() ([]admin.DeclaredDomain, error) {
	var s *signer
	if b.DKIM != "" {
		var err error
		if s, err = b.tree.readSigner(b.DKIM); err != nil {
			return nil, err
		}
		for _, f := range s.read {
			b.read(f, "DKIM")
		}
	}
	all := []admin.DeclaredDomain{}
	for _, name := range b.domains {
		d := admin.DeclaredDomain{Name: name}
		b.becomes("senders at "+name, "domain "+name)
		if s != nil {
			b.sign(s, &d)
		}
		all = append(all, d)
	}
	return all, nil
}

func (b *builder) sign(s *signer, d *admin.DeclaredDomain) {
	what := "DKIM key of " + d.Name
	k, name, found := s.keyFor(d.Name)
	if only := s.alone(d.Name, name); len(only) > 0 {
		b.left("DKIM keys of single addresses, such as "+clip(only[0]), "here all of a domain is signed with one key", "")
	}
	again := "postern tenant domain add " + b.Tenant + " " + d.Name + " --dkim-selector S --dkim-key FILE gives it one"
	switch {
	case name == "":
		b.left(what, "no line of the SigningTable is about all of it", again)
		return
	case !found:
		b.left(what, "the SigningTable names key "+clip(name)+", and the KeyTable has none of this name", again)
		return
	case k.domain != d.Name:
		b.left(what, "it is signed as "+clip(k.domain)+"; here each domain signs as itself", again)
		return
	}
	text, err := b.tree.pemOf(s, k)
	if err != nil {
		b.left(what, err.Error(), again)
		return
	}
	d.Selector, d.Key = strings.ToLower(k.selector), text
	b.becomes(what+", selector "+d.Selector, "the same key and selector: its record in the DNS stays")
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
