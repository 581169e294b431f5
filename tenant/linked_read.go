package tenant

import (
	"slices"
	"strings"
)

// isNamed says whether a name of ours or a sender domain is a domain, or lies below.
func (s *State) isNamed(domain string) bool {
	return s.isSent(domain) || isBelow(s.relayNames(), domain)
}

func (s *State) isSent(domain string) bool {
	return slices.ContainsFunc(s.domains.vals, func(d *Domain) bool { return below(d.Name, domain) })
}

// asksAbout says whether lists are asked about a name; known are knownNames.
func (s *State) asksAbout(known map[string]bool, name string) bool {
	return known[name] || s.asksLink(name)
}

func (s *State) asksLink(name string) bool {
	x := s.linked.get(name)
	return x != nil && !x.common
}

// linkerNames are the accounts that link to a domain, a few of many.
func (s *State) linkerNames(domain string) string {
	var all []string
	for _, a := range s.linkers(domain) {
		if len(all) == 3 {
			all = append(all, "others")
			break
		}
		all = append(all, a.Username)
	}
	return strings.Join(all, ", ")
}

// linksListed says whether each account that links to a domain links to another
// that is listed.
func (s *State) linksListed(domain string) bool {
	for _, a := range s.linkers(domain) {
		if !slices.ContainsFunc(s.links.get(a.ID).used, func(u usedDomain) bool { return u.domain != domain && s.domainRaised(u.domain) }) {
			return false
		}
	}
	return true
}

// linkers are the accounts that link to a domain, by tenant.
func (s *State) linkers(domain string) (all []*Account) {
	x := s.linked.get(domain)
	if x == nil || x.common {
		return nil
	}
	for _, b := range x.by {
		for _, a := range s.lookup.accounts[b.tenant] {
			if _, kept := s.links.get(a).find(domain); kept {
				all = append(all, s.accounts.get(a))
			}
		}
	}
	return all
}
