package migrate

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"postern/tenant"
)

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
