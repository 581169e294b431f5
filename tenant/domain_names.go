package tenant

import (
	"cmp"
	"slices"
	"strings"
)

// MaxListNames is of how many names lists are asked; of more, the rest is known
// to nobody and never clean.
const MaxListNames = 3000

// ListNames are the names DNS lists are asked about, ours first: the sources'
// EHLO names, the tenants' host names, and the sender domains, those that
// accounts sent as before others; then the domains that mail links to, those that
// are listed before others. No tenant's many come before another's few.
func (s *State) ListNames() []string {
	type ranked struct {
		name string
		rank int
	}
	var all []ranked
	seen := make(map[string]bool)
	add := func(name string, rank int) {
		if name = strings.TrimSuffix(lower(name), "."); strings.Contains(name, ".") && ValidHost(name) && !seen[name] {
			seen[name] = true
			all = append(all, ranked{name, rank})
		}
	}
	for name := range s.relayNames() {
		add(name, 0)
	}
	for x := range s.senders.all() {
		for _, u := range x.used {
			if s.domains.has(u.domain) {
				add(u.domain, 1)
			}
		}
	}
	nth := make(map[ID]int)
	for x := range s.domains.all() {
		nth[x.Tenant]++
		add(x.Name, 1+nth[x.Tenant])
	}
	clear(nth)
	for x := range s.links.all() {
		t := s.accounts.get(x.account).Tenant
		for _, u := range x.used {
			nth[t]++
			rank := linkRank
			if !s.domainRaised(u.domain) {
				rank += nth[t]
			}
			add(u.domain, rank)
		}
	}
	slices.SortFunc(all, func(a, b ranked) int { return cmp.Or(cmp.Compare(a.rank, b.rank), strings.Compare(a.name, b.name)) })
	names := make([]string, 0, min(len(all), MaxListNames))
	for _, x := range all[:min(len(all), MaxListNames)] {
		names = append(names, x.name)
	}
	return names
}

// linkRank is behind that of all names.
const linkRank = 1 << 30

// relayNames are the names of ours that receivers see.
func (s *State) relayNames() map[string]bool {
	all := make(map[string]bool)
	for x := range s.sources.all() {
		all[lower(x.EHLO)] = true
	}
	for t := range s.tenants.all() {
		all[lower(t.Hostname)] = true
	}
	return all
}

// knownNames are all names a list may be asked about, and what they lie below:
// lists have whole domains, and which part of a name that is nobody can tell
// without a list of public suffixes.
func (s *State) knownNames() map[string]bool {
	known := make(map[string]bool)
	add := func(name string) {
		for strings.Contains(name, ".") && !known[name] {
			if ValidHost(name) {
				known[name] = true
			}
			_, name, _ = strings.Cut(name, ".")
		}
	}
	for name := range s.relayNames() {
		add(strings.TrimSuffix(name, "."))
	}
	for x := range s.domains.all() {
		add(x.Name)
	}
	return known
}
