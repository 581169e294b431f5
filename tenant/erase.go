package tenant

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// Erasure remembers that a tenant's data is to leave every node, and which have
// not said yet that it did: a node that is away does it when it returns.
type Erasure struct {
	Tenant ID
	Name   string
	At     time.Time
	Left   []NodeID  // ascending
	Done   time.Time // zero while nodes are left
}

// EraseTenant removes a tenant as RemoveTenant does, what else is kept of it
// but for bans, the journal and its use in numbers, and has each node say when
// nothing of it is on its disk any more.
type EraseTenant struct{ Tenant ID }

// Erased tells that a node has nothing of these tenants any more.
type Erased struct {
	Node    NodeID
	Tenants []ID
}

func (EraseTenant) op()           {}
func (Erased) op()                {}
func (EraseTenant) since() uint32 { return customerVersion }
func (Erased) since() uint32      { return customerVersion }

const maxErasures = 1000

// The acts of the two entries that stay of an erased tenant.
const (
	actErase  = "erase"
	actErased = "erased"
)

// Erasure is what is known of a tenant's erasing, or nil.
func (s *State) Erasure(t ID) *Erasure { return s.erasures.get(t) }

// Erasures lists all that are remembered, ascending by tenant.
func (s *State) Erasures() iter.Seq[*Erasure] { return s.erasures.all() }

func (d *draft) eraseTenant(c EraseTenant) error {
	t := d.tenants.get(c.Tenant)
	if t == nil {
		return refuse("tenant %d is not known", c.Tenant)
	}
	if d.erasures.len() >= maxErasures && !d.forgetErasure() {
		return refuse("%d tenants are being erased already: a node that is away for good has to be removed first", maxErasures)
	}
	x := &Erasure{Tenant: t.ID, Name: t.Name, At: d.Now(), Left: slices.Clone(d.nodes.keys)}
	marks, accounts := d.traceMarks(t), slices.Clone(d.lookup.accounts[t.ID])
	if err := d.removeTenant(RemoveTenant(c)); err != nil {
		return err
	}
	for _, n := range slices.Clone(d.outbox.vals) {
		if n.Tenant == x.Tenant {
			remove(d, &d.outbox, n.ID)
		}
	}
	put(d, &d.erasures, x.Tenant, x)
	if d.from(eraseVersion) {
		d.eraseTraces(&traces{tenant: t.ID, name: t.Name, marks: marks}, accounts)
	}
	return nil
}

// forgetErasure makes room: the oldest that is done leaves.
func (d *draft) forgetErasure() bool {
	for _, x := range d.erasures.vals {
		if !x.Done.IsZero() {
			remove(d, &d.erasures, x.Tenant)
			return true
		}
	}
	return false
}

func (d *draft) erased(c Erased) error {
	if len(c.Tenants) > maxErasures {
		return refuse("more than %d tenants in one command", maxErasures)
	}
	for _, t := range c.Tenants {
		d.erasedBy(t, c.Node)
	}
	return nil
}

// erasedBy takes a node off the list of those that may have something left.
func (d *draft) erasedBy(t ID, node NodeID) {
	old := d.erasures.get(t)
	if old == nil || !slices.Contains(old.Left, node) {
		return // it was told again
	}
	x := *old
	x.Left = without(old.Left, func(n NodeID) bool { return n == node })
	if len(x.Left) == 0 {
		x.Left, x.Done = nil, d.Now()
		if d.traces.has(t) {
			remove(d, &d.traces, t)
		}
		d.decided(Entry{Act: actErased, Subject: "tenant " + x.Name, Tenant: t, Why: "no node has anything of it any more"})
	}
	put(d, &d.erasures, t, &x)
}

// eraseText names the nodes that have to do it.
func (s *State) eraseText() string {
	var names []string
	for n := range s.nodes.all() {
		names = append(names, n.Name)
	}
	return "from " + strings.Join(names, ", ")
}

// forgetErasing ends waiting for a node that is removed.
func (d *draft) forgetErasing(node NodeID) {
	for _, x := range slices.Clone(d.erasures.vals) {
		d.erasedBy(x.Tenant, node)
	}
}

func (s *State) checkErasures() error {
	if s.erasures.len() > maxErasures {
		return fmt.Errorf("%d erasures", s.erasures.len())
	}
	for i, x := range s.erasures.vals {
		ok := s.erasures.keys[i] == x.Tenant && s.Removed(x.Tenant) && ValidName(x.Name) && !x.At.After(s.Now()) && !x.Done.After(s.Now()) &&
			x.Done.IsZero() == (len(x.Left) > 0)
		for k, n := range x.Left {
			ok = ok && s.nodes.has(n) && (k == 0 || x.Left[k-1] < n)
		}
		if !ok {
			return fmt.Errorf("erasure of tenant %d", x.Tenant)
		}
	}
	return nil
}

func (*Erasure) kind() recordKind { return kindErasure }

func (x *Erasure) code(c *coder) {
	number(c, &x.Tenant)
	c.str(&x.Name, maxName)
	c.time(&x.At)
	list(c, &x.Left, maxNodes, number[NodeID])
	c.time(&x.Done)
}

func (c *coder) erased(o *Erased) {
	number(c, &o.Node)
	list(c, &o.Tenants, maxErasures, number[ID])
}
