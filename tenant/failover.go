package tenant

import (
	"cmp"
	"slices"
	"time"
)

// nodesDown records nodes without a lease, and gives what they own to others in
// the same command: there is no moment in which nobody may take a tenant over.
func (d *draft) nodesDown(c NodesDown) error {
	for _, id := range c.Nodes {
		n := d.nodes.get(id)
		if n == nil || !n.Down.IsZero() {
			continue
		}
		down := *n
		down.Down = d.Now()
		put(d, &d.nodes, id, &down)
		d.names = true // who is up has a say
		d.emit(NodeDown{id})
		d.forgetHandovers(id)
	}
	for _, id := range d.rescue() {
		d.emit(Stranded{id})
	}
	d.judgeAll()
	return nil
}

// nodesUp records nodes that have leases again. What is still owned by a node
// that is down may go to them.
func (d *draft) nodesUp(c NodesUp) error {
	for _, id := range c.Nodes {
		n := d.nodes.get(id)
		if n == nil || n.Down.IsZero() {
			continue
		}
		up := *n
		up.Down, up.Up = time.Time{}, d.Now()
		put(d, &d.nodes, id, &up)
		d.names = true
		d.emit(NodeUp{id})
	}
	d.rescue()
	d.judgeAll()
	return nil
}

// rescue gives every tenant whose owner is down to a node that is usable: its
// other place, else the least loaded one. Those that have a place to go to go
// first, so that nobody takes its room. Where nothing is usable, nothing moves:
// those come back.
func (d *draft) rescue() (stranded []ID) {
	var stray []ID
	for _, t := range d.tenants.vals {
		if d.alive(t.Owner) || t.restoring() {
			continue
		}
		if to := d.prepared(t); to != 0 {
			d.give(t.ID, to)
		} else {
			stray = append(stray, t.ID)
		}
	}
	for _, id := range stray {
		if to := d.emptiest(); to != 0 {
			d.give(id, to)
		} else {
			stranded = append(stranded, id)
		}
	}
	return stranded
}

func (s *State) alive(id NodeID) bool { return s.nodes.get(id).Down.IsZero() }

// prepared is the place of a tenant that could own it now instead of its owner,
// home first; 0 when there is none.
func (d *draft) prepared(t *Tenant) NodeID {
	var listed NodeID // better than nowhere: there its mail waits
	for _, p := range [2]Place{t.Home, t.Backup} {
		if n := d.nodes.get(p.Node); n != nil && n.ID != t.Owner && n.Usable() && d.owned(n.ID) < NodeTenants {
			if d.sends(t, p) {
				return n.ID
			}
			listed = n.ID
		}
	}
	return listed
}

// emptiest is the usable node that owns the fewest tenants, or 0.
func (s *State) emptiest() NodeID {
	var best NodeID
	least := NodeTenants
	for n := range s.nodes.all() {
		if owned := s.owned(n.ID); n.Usable() && owned < least {
			best, least = n.ID, owned
		}
	}
	return best
}

// owned counts the tenants of a node.
func (s *State) owned(n NodeID) int {
	count := 0
	for t := range s.tenants.all() {
		if t.Owner == n {
			count++
		}
	}
	return count
}

// give makes a node the owner under the next epoch. Live grants of older epochs
// stay as they are until the new owner's Own settles them. Who wrote the log so
// far is noted at once: its own copy is complete, should it come back first.
func (d *draft) give(id ID, to NodeID) {
	d.givenAway(id, to)
	d.changeTenant(id, func(t *Tenant) {
		t.addEnds(End{Epoch: t.Epoch, Node: t.Owner})
		t.Owner, t.To, t.Waiting = to, 0, nil
		t.Epoch++
	})
	t := d.tenants.get(id)
	d.emit(Owned{Tenant: id, Node: to, Epoch: t.Epoch})
}

// forgetHandovers takes back what is to be handed over to a node that cannot
// take it any more.
func (d *draft) forgetHandovers(n NodeID) {
	for _, t := range slices.Clone(d.tenants.vals) {
		if t.To == n {
			d.changeTenant(t.ID, func(t *Tenant) { t.To = 0 })
			d.emit(TenantChanged{t.ID})
		}
	}
}

// forgetNode takes every trace of a node from a tenant. When its newest copy was
// there, a generation without one begins: what that copy alone had is now with
// its writer only, and the owner learns to send its log elsewhere.
func (d *draft) forgetNode(old *Tenant, n NodeID) {
	d.changeTenant(old.ID, func(t *Tenant) {
		t.Copies = without(t.Copies, func(v Copy) bool { return v.Node == n })
		if old.Mirror() == n {
			t.Generation++
			if t.Mirror() != 0 {
				t.Copies = append(t.Copies, Copy{Generation: t.Generation, Epoch: old.Copies[len(old.Copies)-1].Epoch, First: 1})
			}
		}
		t.Awaited = without(t.Awaited, func(x NodeID) bool { return x == n })
		if t.To == n {
			t.To = 0
		}
	})
	d.restored(old.ID)
	d.emit(TenantChanged{old.ID})
}

// without gives what is left of a shared slice; nil when nothing is.
func without[T any](xs []T, gone func(T) bool) []T {
	var out []T
	for _, x := range xs {
		if !gone(x) {
			out = append(out, x)
		}
	}
	return out
}

// addEnds adds how far logs of past epochs were taken in: per epoch the larger
// Last counts. Of too many those go first that nobody asks for: of a log that
// was taken in whole, and that no open copy is of. An owner that starts again
// and again must not make the cluster forget what another has still to return.
// The receiver must be a draft's own copy.
func (t *Tenant) addEnds(more ...End) {
	out := slices.Clone(t.Ends)
	for _, e := range more {
		i, ok := slices.BinarySearchFunc(out, e.Epoch, func(x End, epoch uint64) int { return cmp.Compare(x.Epoch, epoch) })
		switch {
		case !ok:
			out = slices.Insert(out, i, e)
		case e.Last > out[i].Last:
			out[i] = e
		}
	}
	for len(out) > maxEnds {
		i := slices.IndexFunc(out[:len(out)-1], func(e End) bool {
			return e.Last >= allOf && !slices.ContainsFunc(t.Copies, func(c Copy) bool { return c.Epoch == e.Epoch })
		})
		out = slices.Delete(out, max(i, 0), max(i, 0)+1)
	}
	t.Ends = slices.Clip(out)
}
