package tenant

import (
	"net/netip"
	"slices"
	"time"
)

// Declared is what an operator says there shall be. It names things as people
// do, for their numbers differ between clusters. A nil part says nothing about
// its things; one that is there says all about those it names, and Diff prunes
// the others only when told to.
type Declared struct {
	Sources    *[]DeclaredSource
	Tenants    *[]DeclaredTenant
	Routes     *[]DeclaredRoute
	Lists      *SetLists
	Automation *Contain
	OnListing  *OnListing // of the cluster's conduct
	Notices    *Notices
	Retention  *Retention
}

// DeclaredSource is an outbound IP. At is where the declaration says so, for
// refusals; likewise below.
type DeclaredSource struct {
	At     string
	Addr   netip.Addr
	Node   string
	EHLO   string
	Shared bool
	Class  PoolClass
	Warm   time.Time // the day since which it is warm; zero: nobody says so
	// Enrolments are all that are not simply to do; nil leaves them alone. At of
	// one is not looked at: a state is as old as its setting.
	Enrolments *[]Enrolment
}

// DeclaredPlace is a node, and its pool or the dedicated source Addr.
type DeclaredPlace struct {
	Node string
	Addr netip.Addr // invalid: the pool
}

// DeclaredTenant is a tenant with what belongs to it.
type DeclaredTenant struct {
	At             string
	Name, Hostname string
	// Home and Backup; without a home the cluster chooses both for a new tenant,
	// and those of one that is there stay.
	Home, Backup *DeclaredPlace
	Customer     string
	Conduct      Conduct // Tenant is not looked at
	Domains      *[]DeclaredDomain
	Accounts     *[]DeclaredAccount
}

// DeclaredDomain is a sender domain.
type DeclaredDomain struct {
	At       string
	Name     string
	Selector string
	// SealedKey is nil when the key that is kept under the selector shall stay.
	SealedKey []byte
	Bounce    string // the subdomain bounces come back to; "": none
}

// DeclaredAccount is a credential.
type DeclaredAccount struct {
	At       string
	Username string
	// Secret is nil when an old one shall stay; a new account needs one.
	Secret *[32]byte
	// Hash is that of a password made elsewhere (ParseHash), instead of Secret.
	Hash      string
	Networks  []netip.Prefix
	Reference string
	Plan      Plan
	Class     Class
	Limits    []CautionLimit
	Gap       time.Duration
}

// DeclaredRoute is a static route.
type DeclaredRoute struct {
	At string
	Route
}

// Declaration is what the state has of what can be declared: Diff of it against
// the same state is empty. Secrets are not in it: they stay where they are.
func (s *State) Declaration() Declared {
	sources, tenants, routes := []DeclaredSource{}, []DeclaredTenant{}, []DeclaredRoute{}
	for x := range s.Sources() {
		enrolled := []Enrolment{}
		if e := s.enrolled.get(x.ID); e != nil {
			enrolled = slices.Clone(e.list)
		}
		sources = append(sources, DeclaredSource{Addr: x.Addr, Node: s.nodeText(x.Node), EHLO: x.EHLO, Shared: x.Shared, Class: s.PoolClass(x.ID), Warm: s.WarmSince(x.ID), Enrolments: &enrolled})
	}
	for t := range s.Tenants() {
		tenants = append(tenants, s.declaredTenant(t))
	}
	for r := range s.Routes() {
		routes = append(routes, DeclaredRoute{Route: *r})
	}
	d := Declared{Sources: &sources, Tenants: &tenants, Routes: &routes, Automation: s.Contain()}
	if l := s.Lists(); l != nil {
		d.Lists = &SetLists{Zones: l.Zones, Groups: l.Groups, Rule: l.Rule}
	}
	on := s.Conduct(0).OnListing
	d.OnListing = &on
	notices := Notices{}
	if n := s.Notices(); n != nil {
		notices = *n
	}
	d.Notices = &notices
	kept := s.Retention()
	d.Retention = &kept
	return d
}

func (s *State) declaredTenant(t *Tenant) DeclaredTenant {
	domains, accounts := []DeclaredDomain{}, []DeclaredAccount{}
	for d := range s.DomainsOf(t.ID) {
		domains = append(domains, DeclaredDomain{Name: d.Name, Selector: d.Selector, Bounce: s.BounceName(d.Name)})
	}
	for a := range s.AccountsOf(t.ID) {
		accounts = append(accounts, DeclaredAccount{Username: a.Username, Networks: a.Networks, Reference: a.Reference,
			Plan: a.Plan, Class: a.Class, Limits: a.Limits, Gap: a.Gap})
	}
	v := DeclaredTenant{Name: t.Name, Hostname: t.Hostname, Home: s.declaredPlace(t.Home), Backup: s.declaredPlace(t.Backup),
		Customer: s.Customer(t.ID), Conduct: s.Conduct(t.ID), Domains: &domains, Accounts: &accounts}
	v.Conduct.Tenant = 0
	return v
}

// declaredPlace is nil for no place.
func (s *State) declaredPlace(p Place) *DeclaredPlace {
	if p == (Place{}) {
		return nil
	}
	v := &DeclaredPlace{Node: s.nodeText(p.Node)}
	if x := s.sources.get(p.Source); x != nil {
		v.Addr = x.Addr
	}
	return v
}
