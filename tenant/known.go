package tenant

import "time"

// Known is what the state keeps of an account beside its settings and its use:
// what is weighed when one of its sources is listed.
type Known struct {
	Evidence []Evidence
	Heard    []KnownEcho
	SentAs   []string // domains, ascending
	Links    []string // domains its mail linked to, ascending
}

// KnownEcho is one thing that was heard, or a few alike.
type KnownEcho struct {
	Kind  EchoKind
	At    time.Time
	Count uint64
}

// String names a kind.
func (k EchoKind) String() string {
	switch k {
	case EchoComplaint:
		return "complaint"
	case EchoBounce:
		return "late bounce"
	case EchoTrap:
		return "spam trap"
	case EchoLogin:
		return "login from a network"
	case EchoList:
		return "returned by a list"
	}
	return "unknown"
}

// KnownOf gives what is known of an account.
func (s *State) KnownOf(a AccountID) (k Known) {
	for e := range s.evidence.all() {
		if e.Account == a {
			k.Evidence = append(k.Evidence, *e)
		}
	}
	if x := s.echoes.get(a); x != nil {
		for _, m := range x.echoes {
			k.Heard = append(k.Heard, KnownEcho{m.kind, m.at, 1 << m.weight})
		}
	}
	if x := s.senders.get(a); x != nil {
		k.SentAs = domainsOf(x.used)
	}
	if x := s.links.get(a); x != nil {
		k.Links = domainsOf(x.used)
	}
	return k
}

func domainsOf(used []usedDomain) []string {
	all := make([]string, len(used))
	for i, u := range used {
		all[i] = u.domain
	}
	return all
}
