package tenant

import "strings"

func (d *draft) setDomain(c SetDomain) error {
	if !d.tenants.has(c.Tenant) {
		return refuse("tenant %d is not known", c.Tenant)
	}
	if err := d.stillOpen(c.Tenant, 0); err != nil {
		return err
	}
	if !validDomain(c.Name) {
		return refuse("domain %q is not valid", clip(c.Name))
	}
	if PublicMailbox(c.Name) {
		return refuse("domain %q belongs to a public mailbox provider", c.Name)
	}
	if (c.Selector == "") != (len(c.SealedKey) == 0) {
		return refuse("a DKIM key needs a selector, and a selector a key")
	}
	if c.Selector != "" && !validSelector(c.Selector) {
		return refuse("selector %q is not valid", clip(c.Selector))
	}
	if len(c.SealedKey) > maxKey {
		return refuse("a sealed key has at most %d octets", maxKey)
	}
	old := d.domains.get(c.Name)
	if old != nil && old.Tenant != c.Tenant {
		return refuse("domain %q is proved for another tenant", c.Name)
	}
	if old == nil {
		n := 0
		for range d.DomainsOf(c.Tenant) {
			n++
		}
		if n >= maxOfTenant {
			return refuse("a tenant has at most %d domains", maxOfTenant)
		}
	}
	d.names = d.names || old == nil && d.bounces.len() > 0 // it may lie above one
	key := append([]byte(nil), c.SealedKey...)
	put(d, &d.domains, c.Name, &Domain{Name: c.Name, Tenant: c.Tenant, Selector: c.Selector, SealedKey: key})
	if old == nil {
		d.newDomain(c.Name)
	}
	d.emit(DomainChanged{c.Name})
	return nil
}

func (d *draft) removeDomain(c RemoveDomain) error {
	if !d.domains.has(c.Name) {
		return refuse("domain %q is not known", clip(c.Name))
	}
	remove(d, &d.domains, c.Name)
	remove(d, &d.outlooks, c.Name)
	remove(d, &d.bounces, c.Name)
	d.forgetImported(func(x *Import) { x.Domains = dropped(x.Domains, c.Name) })
	d.forgetDomains()
	d.names = true
	d.emit(DomainChanged(c))
	return nil
}

func (d *draft) setRoute(c SetRoute) error {
	r := c.Route
	if r.Domain != "*" && !ValidHost(r.Domain) {
		return refuse("domain %q is not valid", clip(r.Domain))
	}
	if r.Host == "" {
		if !d.routes.has(r.Domain) {
			return refuse("domain %q has no route", r.Domain)
		}
		remove(d, &d.routes, r.Domain)
		d.forgetImported(func(x *Import) { x.Routes = dropped(x.Routes, r.Domain) })
		d.emit(RouteChanged{r.Domain})
		return nil
	}
	if !validRouteHost(r.Host) {
		return refuse("route host %q is neither a host name nor an address", clip(r.Host))
	}
	if r.Port == 0 {
		return refuse("a route needs a port")
	}
	if !d.routes.has(r.Domain) && d.routes.len() >= maxRoutes {
		return refuse("a cluster has at most %d routes", maxRoutes)
	}
	put(d, &d.routes, r.Domain, &r)
	d.emit(RouteChanged{r.Domain})
	return nil
}

// PublicMailbox reports whether a domain is that of a provider whose addresses
// anybody can have: no tenant can prove it, and its DMARC policy would refuse
// our mail in its name.
func PublicMailbox(domain string) bool {
	switch domain {
	case "gmail.com", "googlemail.com", "google.com",
		"outlook.com", "hotmail.com", "live.com", "msn.com", "passport.com",
		"icloud.com", "me.com", "mac.com", "apple.com",
		"aol.com", "aim.com", "ymail.com", "rocketmail.com", "myyahoo.com",
		"web.de", "freenet.de", "t-online.de", "arcor.de", "email.de", "online.de", "magenta.de", "posteo.de", "mailbox.org",
		"libero.it", "virgilio.it", "tiscali.it", "alice.it", "tim.it", "tin.it", "inwind.it", "iol.it", "blu.it", "giallo.it", "email.it", "fastwebnet.it",
		"bluewin.ch", "hispeed.ch", "sunrise.ch", "aon.at", "chello.at",
		"orange.fr", "wanadoo.fr", "free.fr", "sfr.fr", "laposte.net", "neuf.fr",
		"btinternet.com", "sky.com", "virginmedia.com", "talktalk.net",
		"comcast.net", "verizon.net", "att.net", "sbcglobal.net", "bellsouth.net", "cox.net", "charter.net",
		"mail.com", "email.com", "proton.me", "protonmail.com", "protonmail.ch", "pm.me", "tutanota.com", "tutanota.de", "tuta.com", "tuta.io",
		"fastmail.com", "fastmail.fm", "hey.com", "zoho.com", "zohomail.com", "zohomail.eu", "hushmail.com",
		"yandex.ru", "yandex.com", "ya.ru", "mail.ru", "bk.ru", "list.ru", "inbox.ru", "rambler.ru", "ukr.net",
		"qq.com", "foxmail.com", "163.com", "126.com", "yeah.net", "sina.com", "sina.cn", "sohu.com", "naver.com", "daum.net", "hanmail.net",
		"rediffmail.com", "seznam.cz", "centrum.cz", "wp.pl", "o2.pl", "onet.pl", "interia.pl", "gazeta.pl",
		"uol.com.br", "bol.com.br", "terra.com.br", "telenet.be", "skynet.be", "ziggo.nl", "kpnmail.nl", "planet.nl", "xs4all.nl":
		return true
	}
	// Families under many country names.
	name, rest, ok := strings.Cut(domain, ".")
	if !ok || strings.Count(rest, ".") > 1 {
		return false
	}
	switch name {
	case "gmx", "yahoo", "hotmail", "outlook", "live", "aol":
		// Short country endings only: gmx.de, yahoo.co.uk, hotmail.com.br.
		for _, label := range strings.Split(rest, ".") {
			if len(label) > 3 {
				return false
			}
		}
		return true
	}
	return false
}
