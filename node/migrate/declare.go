package migrate

import (
	"fmt"
	"strings"

	"postern/node/admin"
	"postern/tenant"
)

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
