package tenant

import (
	"cmp"
	"slices"
	"time"
)

// Linked tells to which domains accounts' mail has links: what spammers advertise
// stands there, and not in their addresses. It is a fact and never refused for
// what it says.
type Linked struct {
	Node  NodeID
	Links []Link
}

// Link is an account whose mail has links to a domain.
type Link struct {
	Account AccountID
	Domain  string    // as somebody registered it; neither the tenant's own nor ours
	At      time.Time // no later than the state's clock
}

func (Linked) op()           {}
func (Linked) since() uint32 { return linkVersion }

// MaxLinked is the most of one Linked; a node with more sends several.
const MaxLinked = 256

const (
	// MaxLinks is how many domains are kept of an account, and how many new ones
	// within an hour: with thousands of throw-away domains nobody fills the state,
	// nor the questions that lists allow.
	MaxLinks = 10
	// maxLinkDomains is how many are kept of all accounts.
	maxLinkDomains = 20_000
	// manyLink is how many tenants must link to a domain that is nobody's sign: a
	// social network, a font. It is of no account then, and lists are not asked.
	manyLink = 5
)

// links are the domains that an account's mail had links to lately.
type links struct {
	account AccountID
	hour    uint64 // in which domains came that were new
	fresh   uint64 // so many
	used    []usedDomain
}

func (x *links) find(domain string) (int, bool) {
	if x == nil {
		return 0, false
	}
	return slices.BinarySearchFunc(x.used, domain, compareUsed)
}

// room says whether the hour allows one more new domain.
func (x *links) room(hour uint64) bool { return x == nil || x.hour != hour || x.fresh < MaxLinks }

// linkDomain is a domain that accounts link to.
type linkDomain struct {
	domain string
	first  time.Time // what was asked before says nothing about it
	// common: so many tenants link to it that it is of no account any more.
	common bool
	by     []linkTenant // ascending
}

type linkTenant struct {
	tenant ID
	last   uint64 // span, of a common one; 0: its accounts know
}

func (x *linkDomain) find(t ID) (int, bool) {
	return slices.BinarySearchFunc(x.by, t, func(b linkTenant, t ID) int { return cmp.Compare(b.tenant, t) })
}

// LacksLink says whether the state would learn from a Link: a node need not tell
// of others.
func (s *State) LacksLink(x Link) bool {
	a, r := s.accounts.get(x.Account), s.containRule()
	if a == nil || s.Contain() == nil || x.At.IsZero() || !inRange(x.At) || !validDomain(x.Domain) {
		return false
	}
	slot := slotOf(x.At, r.Slot)
	y := s.linked.get(x.Domain)
	if y != nil && y.common {
		i, found := y.find(a.Tenant)
		return found && y.by[i].last+stale(r) < slot
	}
	kept := s.links.get(x.Account)
	if i, found := kept.find(x.Domain); found {
		return kept.used[i].last+stale(r) < slot
	}
	return kept.room(slotOf(s.Now(), time.Hour)) && (y != nil || s.linked.len() < maxLinkDomains) &&
		slot+uint64(r.History/r.Slot) >= slotOf(s.Now(), r.Slot) && !s.ownLink(a.Tenant, x.Domain)
}

// ownLink says whether a domain is the tenant's, or ours: who links to it links
// to himself.
func (s *State) ownLink(t ID, domain string) bool {
	for d := range s.DomainsOf(t) {
		if below(d.Name, domain) || below(domain, d.Name) {
			return true
		}
	}
	for src := range s.sources.all() {
		if below(lower(src.EHLO), domain) {
			return true
		}
	}
	own := s.tenants.get(t)
	return own != nil && below(lower(own.Hostname), domain)
}

func (d *draft) link(c Linked) error {
	if len(c.Links) > MaxLinked {
		return refuse("more than %d links in one command", MaxLinked)
	}
	for _, x := range c.Links {
		if x.At.After(d.Now()) {
			x.At = d.Now() // a clock that is ahead: the fact stays one
		}
		if !d.LacksLink(x) {
			continue
		}
		slot, t := slotOf(x.At, d.containRule().Slot), d.accounts.get(x.Account).Tenant
		if y := d.linked.get(x.Domain); y != nil && y.common {
			d.sawCommon(y, t, slot)
			continue
		}
		d.keepLink(x.Account, x.Domain, slot)
		d.linkedBy(x.Domain, t)
	}
	return nil
}

// keepLink notes that an account links to a domain.
func (d *draft) keepLink(account AccountID, domain string, slot uint64) {
	next := &links{account: account}
	if old := d.links.get(account); old != nil {
		*next = *old
		next.used = slices.Clone(old.used)
	}
	i, found := next.find(domain)
	if !found {
		if hour := slotOf(d.Now(), time.Hour); next.hour != hour {
			next.hour, next.fresh = hour, 0
		}
		next.fresh++
		if len(next.used) == MaxLinks {
			next.used = slices.Delete(next.used, d.leastLink(next), d.leastLink(next)+1)
		}
		i, _ = next.find(domain)
		next.used = slices.Insert(next.used, i, usedDomain{domain: domain})
	}
	next.used[i].last = max(next.used[i].last, slot)
	d.keepLinks(next)
}

// leastLink is which one gives way to a new one: the oldest that is not listed,
// because what is listed is what the links are kept for.
func (d *draft) leastLink(x *links) (least int) {
	rank := func(u usedDomain) uint64 {
		if d.domainRaised(u.domain) {
			return u.last + 1<<63
		}
		return u.last
	}
	for i, u := range x.used {
		if rank(u) < rank(x.used[least]) {
			least = i
		}
	}
	return least
}

func (s *State) domainRaised(domain string) bool {
	x := s.domainSeen.get(domain)
	return x != nil && !x.raised.IsZero()
}

// keepLinks stores an account's links in place of those it had.
func (d *draft) keepLinks(next *links) {
	old := d.links.get(next.account)
	if len(next.used) == 0 {
		remove(d, &d.links, next.account)
	} else {
		put(d, &d.links, next.account, next)
	}
	if old == nil {
		return
	}
	for _, u := range old.used {
		if _, kept := next.find(u.domain); !kept {
			d.unlinked(u.domain, next.account)
		}
	}
}

// linkedBy notes that a tenant links to a domain. One that many do is common,
// unless it is listed: then it is a sign, however many were made to send it.
func (d *draft) linkedBy(domain string, t ID) {
	next := &linkDomain{domain: domain, first: d.Now()}
	if old := d.linked.get(domain); old != nil {
		*next = *old
		next.by = slices.Clone(old.by)
	}
	if i, found := next.find(t); !found {
		next.by = slices.Insert(next.by, i, linkTenant{tenant: t})
	}
	put(d, &d.linked, domain, next)
	if len(next.by) < manyLink || d.domainRaised(domain) {
		return
	}
	made := &linkDomain{domain: domain, first: next.first, common: true}
	for _, b := range next.by {
		b.last = slotOf(d.Now(), d.containRule().Slot)
		made.by = append(made.by, b)
	}
	put(d, &d.linked, domain, made)
	for _, b := range made.by {
		for _, a := range d.lookup.accounts[b.tenant] {
			d.dropLinks(a, func(u usedDomain) bool { return u.domain == domain })
		}
	}
	d.dropAsked(domain)
}

// sawCommon notes that a tenant still links to a common domain.
func (d *draft) sawCommon(x *linkDomain, t ID, slot uint64) {
	next := *x
	next.by = slices.Clone(x.by)
	i, _ := next.find(t)
	next.by[i].last = slot
	put(d, &d.linked, x.domain, &next)
}

// unlinked notes that an account links to a domain no more.
func (d *draft) unlinked(domain string, account AccountID) {
	old, a := d.linked.get(domain), d.accounts.get(account)
	if old == nil || old.common || a == nil {
		return
	}
	for _, other := range d.lookup.accounts[a.Tenant] {
		if _, kept := d.links.get(other).find(domain); kept {
			return
		}
	}
	d.dropLinkTenants(old, func(b linkTenant) bool { return b.tenant == a.Tenant })
}

// dropLinkTenants forgets tenants that linked to a domain; without any of them, or
// without enough for a common one, there is nothing left to know.
func (d *draft) dropLinkTenants(x *linkDomain, gone func(linkTenant) bool) {
	next := *x
	next.by = without(x.by, gone)
	switch {
	case len(next.by) == len(x.by):
	case len(next.by) == 0 || next.common && len(next.by) < manyLink:
		remove(d, &d.linked, x.domain)
		d.dropAsked(x.domain)
	default:
		put(d, &d.linked, x.domain, &next)
	}
}

// dropAsked forgets what lists said of a domain that they are not asked about any
// more, unless it is somebody's name as well.
func (d *draft) dropAsked(domain string) {
	x := d.domainSeen.get(domain)
	if x == nil || d.isNamed(domain) {
		return
	}
	d.keepDomain(&domainSeen{domain: domain, added: x.added})
}

// dropLinks forgets links of an account.
func (d *draft) dropLinks(a AccountID, gone func(usedDomain) bool) {
	old := d.links.get(a)
	if old == nil || !slices.ContainsFunc(old.used, gone) {
		return
	}
	next := *old
	next.used = without(old.used, gone)
	d.keepLinks(&next)
}
