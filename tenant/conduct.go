package tenant

import (
	"cmp"
	"slices"
	"strings"
)

// OnListing is what becomes of a tenant when a source it leaves by is listed.
type OnListing uint8

const (
	OnListingMove OnListing = iota + 1 // it goes to its other place
	OnListingWait                      // it waits as long as suspects do, then it goes on by what is clean at its place
	OnListingStay                      // it goes on by what is clean at its place
)

var onListingNames = map[OnListing]string{OnListingMove: "move", OnListingWait: "wait", OnListingStay: "stay"}

func (o OnListing) String() string { return onListingNames[o] }

// ParseOnListing reads "move", "wait" or "stay".
func ParseOnListing(name string) (OnListing, error) {
	for o, n := range onListingNames {
		if n == name {
			return o, nil
		}
	}
	return 0, refuse("on listing a tenant can move, wait or stay, not %q", clip(name))
}

// Conduct is what differs for a tenant from what is usual when something is
// listed. Zero fields are as in the cluster's conduct, and there as ever.
type Conduct struct {
	Tenant ID // 0: the cluster's
	// Automation is no looser than the cluster's: the stricter of both counts.
	Automation Automation
	OnListing  OnListing
	// Probation keeps the tenant to the members of pools that are for it.
	Probation bool
}

// SetConduct sets a tenant's conduct, or with tenant 0 the cluster's, which has
// OnListing alone. What is under way because of the one before goes on.
type SetConduct struct{ Conduct Conduct }

// PoolClass is what a shared source carries.
type PoolClass uint8

const (
	PoolMixed         PoolClass = iota // everything
	PoolTransactional                  // transactional accounts first
	PoolBulk                           // bulk accounts first
	PoolProbation                      // tenants on probation, and nobody else as long as there is another
)

var poolNames = map[PoolClass]string{PoolMixed: "mixed", PoolTransactional: "transactional", PoolBulk: "bulk", PoolProbation: "probation"}

func (p PoolClass) String() string { return poolNames[p] }

// ParsePoolClass reads what String writes.
func ParsePoolClass(name string) (PoolClass, error) {
	for p, n := range poolNames {
		if n == name {
			return p, nil
		}
	}
	return 0, refuse("a pool's source is transactional, bulk, probation or mixed, not %q", clip(name))
}

// SetPool says what a shared source carries.
type SetPool struct {
	Source SourceID
	Class  PoolClass
}

func (SetConduct) op()           {}
func (SetPool) op()              {}
func (SetConduct) since() uint32 { return conductVersion }
func (SetPool) since() uint32    { return conductVersion }

// poolMember is a shared source that does not carry everything.
type poolMember struct {
	source SourceID
	class  PoolClass
}

// Conduct returns a tenant's own conduct, or with 0 the cluster's; without one it
// is zero.
func (s *State) Conduct(t ID) Conduct {
	if p := s.conducts.get(t); p != nil {
		return *p
	}
	return Conduct{Tenant: t}
}

// PoolClass says what a shared source carries.
func (s *State) PoolClass(id SourceID) PoolClass {
	if m := s.pooled.get(id); m != nil {
		return m.class
	}
	return PoolMixed
}

// mode is the automation of a case for one tenant. A drill is an operator's word
// and asks for no leave.
func (s *State) mode(c *Case, t ID) Automation {
	if c.Drill {
		return c.Mode
	}
	return max(c.Mode, s.Conduct(t).Automation)
}

func (s *State) onListing(t ID) OnListing {
	return cmp.Or(s.Conduct(t).OnListing, s.Conduct(0).OnListing, OnListingMove)
}

// exits lists the sources of a place that are for a tenant: of a pool with
// members for those on probation, either these or the others.
func (s *State) exits(t ID, p Place) []*Source {
	all := s.SourcesAt(p)
	if p.Source != 0 || s.pooled.len() == 0 {
		return all
	}
	want := s.Conduct(t).Probation
	not := func(x *Source) bool { return (s.PoolClass(x.ID) == PoolProbation) != want }
	if !slices.ContainsFunc(all, not) {
		return all
	}
	if own := slices.DeleteFunc(slices.Clone(all), not); len(own) > 0 {
		return own
	}
	return all
}

// Prefer picks of the sources a tenant may leave by those for mail of a class:
// its own class's, else those that carry everything, else all. Bulk mail that
// had to leave by transactional members, or the reverse, leaves nevertheless.
func (s *State) Prefer(all []*Source, class Class) []*Source {
	if len(all) < 2 || s.pooled.len() == 0 {
		return all
	}
	own := PoolTransactional
	if class == Bulk {
		own = PoolBulk
	}
	for _, want := range [2]PoolClass{own, PoolMixed} {
		if some := slices.DeleteFunc(slices.Clone(all), func(x *Source) bool { return s.PoolClass(x.ID) != want }); len(some) > 0 {
			return some
		}
	}
	return all
}

// Member picks the source by which a tenant's mail of a day leaves, of those it
// may leave by; nil without any. It depends on nothing else, so that a retry can
// leave by the same one (greylisting), and few tenants share a member's fate. Each
// source is weighed by itself: one that comes or goes moves nobody else.
func Member(all []*Source, t ID, day int64) *Source {
	var best *Source
	var most uint64
	for _, src := range all {
		if w := memberWeight(t, day, src.ID); best == nil || w > most {
			best, most = src, w
		}
	}
	return best
}

// memberWeight is FNV-1a of the three numbers, least significant octet first,
// and mixed, for neighbours differ in little.
func memberWeight(t ID, day int64, src SourceID) uint64 {
	const prime = 1099511628211
	w := uint64(14695981039346656037)
	for _, x := range [3]uint64{uint64(t), uint64(day), uint64(src)} {
		for i := range 8 {
			w = (w ^ x>>(8*i)&0xff) * prime
		}
	}
	w ^= w >> 29
	w *= 0xbf58476d1ce4e5b9
	return w ^ w>>32
}

func (d *draft) setConduct(c SetConduct) error {
	p := c.Conduct
	switch {
	case p.Tenant != 0 && !d.tenants.has(p.Tenant):
		return refuse("tenant %d is not known", p.Tenant)
	case !p.valid():
		return refuse("the conduct has a value that is not known")
	case p.Tenant == 0 && (p.Automation != 0 || p.Probation):
		return refuse("the cluster's conduct says what becomes of tenants on a listing, nothing else")
	}
	if p == (Conduct{Tenant: p.Tenant}) {
		remove(d, &d.conducts, p.Tenant)
	} else {
		put(d, &d.conducts, p.Tenant, &p)
	}
	if p.Tenant == 0 {
		d.emit(ListsChanged{})
	} else {
		d.emit(TenantChanged{p.Tenant})
	}
	return nil
}

// String is "automation on, on listing move, on probation"; "as usual" when
// nothing differs.
func (p Conduct) String() string {
	var parts []string
	if p.Automation != 0 {
		parts = append(parts, "automation "+p.Automation.String())
	}
	if p.OnListing != 0 {
		parts = append(parts, "on listing "+p.OnListing.String())
	}
	if p.Probation {
		parts = append(parts, "on probation")
	}
	if len(parts) == 0 {
		return "as usual"
	}
	return strings.Join(parts, ", ")
}

func (p *Conduct) valid() bool { return p.Automation <= AutomationOff && p.OnListing <= OnListingStay }

func (d *draft) setPool(c SetPool) error {
	src := d.sources.get(c.Source)
	switch {
	case src == nil:
		return refuse("source %d is not known", c.Source)
	case !src.Shared:
		return refuse("source %s is dedicated and in no pool", src.Addr)
	case c.Class > PoolProbation:
		return refuse("class %d of pools is not known", c.Class)
	}
	if c.Class == PoolMixed {
		remove(d, &d.pooled, c.Source)
	} else {
		put(d, &d.pooled, c.Source, &poolMember{c.Source, c.Class})
	}
	d.emit(ListsChanged{})
	return nil
}
