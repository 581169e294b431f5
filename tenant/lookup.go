package tenant

import (
	"cmp"
	"net/netip"
	"slices"
)

// lookup finds records by what else names them. It is made from the tables
// after a command that changed names, and shared until the next one.
type lookup struct {
	nodes     map[string]NodeID
	sources   map[netip.Addr]SourceID
	pools     map[NodeID][]*Source
	tenants   map[string]ID
	tokens    map[[32]byte]ID
	usernames map[string]AccountID
	accounts  map[ID][]AccountID
	networks  map[netip.Prefix]AccountID
	lengths   [2][]int // prefix lengths in use for IPv4 and IPv6, longest first
	faults    faults
	ranges    []netip.Prefix // that are listed as such
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

func buildIndex(s *State) *lookup {
	x := &lookup{
		nodes:     make(map[string]NodeID, s.nodes.len()),
		sources:   make(map[netip.Addr]SourceID, s.sources.len()),
		pools:     make(map[NodeID][]*Source),
		tenants:   make(map[string]ID, s.tenants.len()),
		tokens:    make(map[[32]byte]ID),
		usernames: make(map[string]AccountID, s.accounts.len()),
		accounts:  make(map[ID][]AccountID, s.tenants.len()),
		networks:  make(map[netip.Prefix]AccountID),
	}
	for n := range s.nodes.all() {
		x.nodes[n.Name] = n.ID
	}
	for src := range s.sources.all() {
		x.sources[src.Addr] = src.ID
		if src.Shared {
			x.pools[src.Node] = append(x.pools[src.Node], src)
		}
	}
	for t := range s.tenants.all() {
		x.tenants[t.Name] = t.ID
		if t.Token != ([32]byte{}) {
			x.tokens[t.Token] = t.ID
		}
	}
	for a := range s.accounts.all() {
		x.usernames[a.Username] = a.ID
		x.accounts[a.Tenant] = append(x.accounts[a.Tenant], a.ID)
		for _, p := range a.Networks {
			x.networks[p] = a.ID
			f := family(p.Addr())
			if i, ok := slices.BinarySearchFunc(x.lengths[f], p.Bits(), func(e, t int) int { return cmp.Compare(t, e) }); !ok {
				x.lengths[f] = slices.Insert(x.lengths[f], i, p.Bits())
			}
		}
	}
	x.faults = findFaults(s)
	x.ranges = findRanges(s)
	return x
}
