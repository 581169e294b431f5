package admin

import (
	"context"
	"net/http"
	"strings"
	"time"

	"postern/tenant"
)

// DomainListing is what DNS lists say of a domain.
type DomainListing struct {
	Domain  string        `json:"domain" doc:"As lists are asked about it, or the name that was asked for"`
	Kind    string        `json:"kind" enum:"relay,sender,link" doc:"relay: a name of ours is it, or lies below it; sender: a tenant's sender domain does; link: tenants' mail has links to it"`
	Listed  *time.Time    `json:"listed,omitempty" doc:"Since when it counts as listed"`
	Relay   bool          `json:"relay" doc:"A name of ours is it, or lies below it: an EHLO name, or a tenant's host name"`
	Tenants []string      `json:"tenants" nullable:"false" doc:"Whose sender domains are it, or lie below it"`
	Linkers []string      `json:"linkers" nullable:"false" doc:"Usernames of the accounts whose mail has links to it, in what was read of it"`
	Known   bool          `json:"known" doc:"Enough is known to call it listed, or not"`
	Points  int           `json:"points" doc:"What it counts against an account that sent as it, or links to it, should a source be listed"`
	Zones   []ListingZone `json:"zones" nullable:"false"`
}

// Kinds of a DomainListing.
const (
	DomainRelay  = "relay"
	DomainSender = "sender"
	DomainLink   = "link"
)

func (s *Server) domainListingRoutes() {
	type list struct{ Paged }
	register(s, in{verb: http.MethodGet, path: "/v1/domain-listings", id: "list-domain-listings", tag: "listing",
		does: "List the domains, ours, those of senders and those that mail links to, that a DNS list has in the words of a node"},
		func(_ context.Context, _ caller, i *list) (*out[Page[DomainListing]], error) {
			st := s.cfg.State()
			var all []DomainListing
			for _, x := range st.DomainListings() {
				all = append(all, viewDomainListing(st, x))
			}
			return reply(cut(all, i.Paged, func(x DomainListing) string { return x.Domain }, strings.Compare)), nil
		})
	type one struct {
		Domain string `path:"domain" maxLength:"253"`
	}
	register(s, in{verb: http.MethodGet, path: "/v1/domain-listings/{domain}", id: "get-domain-listing", tag: "listing",
		does: "Show what DNS lists say of a domain that they are asked about, with every answer"},
		func(_ context.Context, _ caller, i *one) (*out[DomainListing], error) {
			st, name := s.cfg.State(), strings.TrimSuffix(strings.ToLower(i.Domain), ".")
			x, known := st.DomainListing(name)
			if !known {
				return nil, absent("domain", i.Domain)
			}
			return reply(viewDomainListing(st, x)), nil
		})
}

func viewDomainListing(st *tenant.State, x tenant.DomainListing) DomainListing {
	v := DomainListing{Domain: x.Domain, Listed: instant(x.Raised), Kind: domainKind(x), Relay: x.Relay, Tenants: []string{}, Linkers: []string{}, Known: x.Verdict.Known, Points: x.Verdict.Points, Zones: []ListingZone{}}
	for _, id := range x.Tenants {
		if t := st.Tenant(id); t != nil {
			v.Tenants = append(v.Tenants, t.Name)
		}
	}
	for _, id := range x.Linkers {
		if a := st.Account(id); a != nil {
			v.Linkers = append(v.Linkers, a.Username)
		}
	}
	for _, t := range x.Verdict.Terms {
		z := st.Lists().Zone(t.Zone)
		one := ListingZone{Zone: t.Zone, Heavy: z.Heavy, State: t.State.String(), Listed: t.Listed, Clean: t.Clean, Blind: t.Blind,
			Weight: t.Weight, Counts: t.Counts, Answers: []ListingAnswer{}}
		for _, g := range x.Told {
			if g.Zone == t.Zone {
				one.Answers = append(one.Answers, viewAnswer(g))
			}
		}
		if t.Listed > 0 {
			one.Delist = strings.ReplaceAll(z.Delist, "{}", x.Domain)
		}
		v.Zones = append(v.Zones, one)
	}
	return v
}

// domainKind is what hurts most when the domain is listed.
func domainKind(x tenant.DomainListing) string {
	switch {
	case x.Relay:
		return DomainRelay
	case len(x.Tenants) > 0:
		return DomainSender
	}
	return DomainLink
}
