package tenant

import (
	"errors"
	"fmt"
	"slices"
)

func (s *State) checkNodes() error {
	if s.nodes.len() > maxNodes {
		return fmt.Errorf("nodes: %d", s.nodes.len())
	}
	names := make(map[string]bool, s.nodes.len())
	keys := make(map[[32]byte]bool, s.nodes.len())
	for i, n := range s.nodes.vals {
		switch {
		case n.ID != s.nodes.keys[i] || n.ID == 0 || n.ID > s.lastNode:
			return fmt.Errorf("node %d: wrong id", n.ID)
		case !ValidName(n.Name) || names[n.Name]:
			return fmt.Errorf("node %d: name %q", n.ID, n.Name)
		}
		if err := s.checkMember(n, keys); err != nil {
			return fmt.Errorf("node %d: %w", n.ID, err)
		}
		names[n.Name], keys[n.Key] = true, true
	}
	return nil
}

func (s *State) checkSources() error {
	if s.sources.len() > maxSources {
		return fmt.Errorf("sources: %d", s.sources.len())
	}
	addrs := make(map[any]bool, s.sources.len())
	for i, src := range s.sources.vals {
		switch {
		case src.ID != s.sources.keys[i] || src.ID == 0 || src.ID > s.lastSource:
			return fmt.Errorf("source %d: wrong id", src.ID)
		case !s.nodes.has(src.Node):
			return fmt.Errorf("source %d: no node %d", src.ID, src.Node)
		case s.nodes.get(src.Node).Witness:
			return fmt.Errorf("source %d: node %d is a witness", src.ID, src.Node)
		case !validSource(src.Addr) || addrs[src.Addr]:
			return fmt.Errorf("source %d: address %s", src.ID, src.Addr)
		case !ValidHost(src.EHLO):
			return fmt.Errorf("source %d: EHLO name %q", src.ID, src.EHLO)
		}
		addrs[src.Addr] = true
	}
	return nil
}

func (s *State) checkTenants() error {
	names, hosts := make(map[string]bool), make(map[string]bool)
	tokens := make(map[[32]byte]bool)
	dedicated := make(map[SourceID]bool)
	owned := make(map[NodeID]int)
	for i, t := range s.tenants.vals {
		switch {
		case t.ID != s.tenants.keys[i] || t.ID == 0 || t.ID > s.lastTenant:
			return fmt.Errorf("tenant %d: wrong id", t.ID)
		case !ValidName(t.Name) || names[t.Name]:
			return fmt.Errorf("tenant %d: name %q", t.ID, t.Name)
		case !ValidHost(t.Hostname) || hosts[t.Hostname]:
			return fmt.Errorf("tenant %d: host name %q", t.ID, t.Hostname)
		case tokens[t.Token]:
			return fmt.Errorf("tenant %d: token of another", t.ID)
		case t.Epoch == 0 || t.Epoch >= maxCounter || !s.nodes.has(t.Owner):
			return fmt.Errorf("tenant %d: owner %d, epoch %d", t.ID, t.Owner, t.Epoch)
		case t.Home == Place{} || t.Home.Node == t.Backup.Node:
			return fmt.Errorf("tenant %d: home and backup on node %d", t.ID, t.Home.Node)
		}
		if err := s.checkLog(t); err != nil {
			return fmt.Errorf("tenant %d: %w", t.ID, err)
		}
		names[t.Name], hosts[t.Hostname] = true, true
		if t.Token != ([32]byte{}) {
			tokens[t.Token] = true
		}
		for _, p := range [2]Place{t.Home, t.Backup} {
			if err := s.checkPlace(p, dedicated); err != nil {
				return fmt.Errorf("tenant %d: %w", t.ID, err)
			}
		}
		if owned[t.Owner]++; owned[t.Owner] > NodeTenants {
			return fmt.Errorf("node %d: owns more than %d tenants", t.Owner, NodeTenants)
		}
		if err := s.checkStopped(t.Paused+t.Held, t.Stopped); err != nil {
			return fmt.Errorf("tenant %d: %w", t.ID, err)
		}
		if !validText(t.Paused, maxReason) || !validText(t.Held, maxReason) {
			return fmt.Errorf("tenant %d: reason", t.ID)
		}
	}
	return nil
}

func (s *State) checkPlace(p Place, dedicated map[SourceID]bool) error {
	if p == (Place{}) {
		return nil
	}
	if !s.nodes.has(p.Node) {
		return fmt.Errorf("no node %d", p.Node)
	}
	if p.Source == 0 {
		return nil
	}
	src := s.sources.get(p.Source)
	if src == nil || src.Node != p.Node || src.Shared {
		return fmt.Errorf("source %d is not a dedicated one of node %d", p.Source, p.Node)
	}
	if dedicated[p.Source] {
		return fmt.Errorf("dedicated source %d carries two", p.Source)
	}
	dedicated[p.Source] = true
	return nil
}

// checkStopped proves that spans are ascending and that the last one runs
// exactly while there is a reason.
func (s *State) checkStopped(reason string, spans []Span) error {
	if len(spans) > maxSpans {
		return fmt.Errorf("%d spans", len(spans))
	}
	running := false
	for i, sp := range spans {
		running = sp.Until.IsZero()
		switch {
		case running && i != len(spans)-1,
			!running && !sp.Until.After(sp.From),
			i > 0 && !sp.From.After(spans[i-1].Until),
			sp.From.IsZero() || sp.From.After(s.Now()) || sp.Until.After(s.Now()):
			return fmt.Errorf("span %d is out of order", i)
		}
	}
	if running != (reason != "") {
		return errors.New("the last span does not fit the reason")
	}
	return nil
}

func (s *State) checkAccounts() error {
	names := make(map[string]bool, s.accounts.len())
	nets := make(map[any]bool)
	of := make(map[ID]int)
	for i, a := range s.accounts.vals {
		switch {
		case a.ID != s.accounts.keys[i] || a.ID == 0 || a.ID > s.lastAccount:
			return fmt.Errorf("account %d: wrong id", a.ID)
		case !s.tenants.has(a.Tenant):
			return fmt.Errorf("account %d: no tenant %d", a.ID, a.Tenant)
		case !ValidAddress(a.Username) || names[a.Username]:
			return fmt.Errorf("account %d: username %q", a.ID, a.Username)
		case a.Reference != "" && !ValidAddress(lower(a.Reference)):
			return fmt.Errorf("account %d: reference %q", a.ID, a.Reference)
		case !a.Class.valid() || !a.Plan.valid() || !validText(a.Held, maxReason):
			return fmt.Errorf("account %d: class, plan or reason", a.ID)
		case len(a.Networks) > maxNetworks || !slices.IsSortedFunc(a.Networks, comparePrefix):
			return fmt.Errorf("account %d: networks", a.ID)
		}
		names[a.Username] = true
		if of[a.Tenant]++; of[a.Tenant] > maxOfTenant {
			return fmt.Errorf("tenant %d: too many accounts", a.Tenant)
		}
		if !validLimits(a.Limits) || a.Gap < 0 || a.Gap > maxGap {
			return fmt.Errorf("account %d: caution limits or gap", a.ID)
		}
		for _, p := range a.Networks {
			if !validNetwork(p) || nets[p] {
				return fmt.Errorf("account %d: network %s", a.ID, p)
			}
			nets[p] = true
		}
		if err := s.checkStopped(a.Held, a.Stopped); err != nil {
			return fmt.Errorf("account %d: %w", a.ID, err)
		}
	}
	return nil
}

func (s *State) checkDomains() error {
	of := make(map[ID]int)
	for i, d := range s.domains.vals {
		switch {
		case d.Name != s.domains.keys[i] || !validDomain(d.Name) || PublicMailbox(d.Name):
			return fmt.Errorf("domain %q: name", d.Name)
		case !s.tenants.has(d.Tenant):
			return fmt.Errorf("domain %q: no tenant %d", d.Name, d.Tenant)
		case (d.Selector == "") != (len(d.SealedKey) == 0) || len(d.SealedKey) > maxKey,
			d.Selector != "" && !validSelector(d.Selector):
			return fmt.Errorf("domain %q: key or selector", d.Name)
		}
		if of[d.Tenant]++; of[d.Tenant] > maxOfTenant {
			return fmt.Errorf("tenant %d: too many domains", d.Tenant)
		}
	}
	return nil
}

func (s *State) checkRoutes() error {
	if s.routes.len() > maxRoutes {
		return fmt.Errorf("routes: %d", s.routes.len())
	}
	for i, r := range s.routes.vals {
		if r.Domain != s.routes.keys[i] || r.Domain != "*" && !ValidHost(r.Domain) || !validRouteHost(r.Host) || r.Port == 0 {
			return fmt.Errorf("route %q", r.Domain)
		}
	}
	return nil
}
