package tenant

import "slices"

// Mirror is the node that holds the newest copy of the tenant's log, or 0 when
// there is one copy only.
func (t *Tenant) Mirror() NodeID {
	if n := len(t.Copies); n > 0 {
		return t.Copies[n-1].Node
	}
	return 0
}

// mirrorTo begins a generation. The first one after a time with one copy is not
// the only open one: until its holder has everything, the owner's own log is the
// complete one, and stands in the list under node 0. The receiver must be a
// draft's own copy.
func (t *Tenant) mirrorTo(node NodeID, first uint64) {
	if len(t.Copies) == 0 {
		if node == 0 {
			return // one copy, as before
		}
		t.Copies = []Copy{{Generation: t.Generation, Epoch: t.Epoch, First: 1}}
	}
	t.Generation++
	open := append(t.fewer(), Copy{Generation: t.Generation, Node: node, Epoch: t.Epoch, First: max(first, 1)})
	t.Copies = open
}

// fewer gives copies room for one more. Several generations of one node, under
// epochs that one node wrote, lie in one log there: the oldest says from when on
// the node has something. What another wrote stands for itself as long as there
// is room: who wrote the one does not need the copy of it, but that of the other.
func (t *Tenant) fewer() []Copy {
	if len(t.Copies) < maxCopies {
		return slices.Clone(t.Copies)
	}
	type log struct{ node, writer NodeID }
	out := distinct(t.Copies, func(c Copy) log { return log{c.Node, t.writer(c.Epoch)} })
	if len(out) >= maxCopies {
		out = distinct(out, func(c Copy) log { return log{node: c.Node} })
	}
	return out
}

// distinct keeps the first copy of each key.
func distinct[K comparable](copies []Copy, key func(Copy) K) (out []Copy) {
	seen := make(map[K]bool, len(copies))
	for _, c := range copies {
		if k := key(c); !seen[k] {
			seen[k] = true
			out = append(out, c)
		}
	}
	return out
}

// mirrorable says whether one more generation fits.
func (t *Tenant) mirrorable() bool { return len(t.fewer()) < maxCopies }

// fresh reports whether a change speaks of the present epoch and generation.
func (d *draft) fresh(m MirrorChange) *Tenant {
	t := d.tenants.get(m.Tenant)
	if t == nil || t.Epoch != m.Epoch || t.Generation != m.Generation {
		return nil
	}
	return t
}

func (d *draft) setMirrors(c SetMirrors) error {
	if len(c.Changes) > MaxChanges {
		return refuse("more than %d changes in one command", MaxChanges)
	}
	for _, m := range c.Changes {
		t := d.fresh(m)
		switch {
		case t == nil, m.Node == t.Owner, m.Node != 0 && !d.nodes.has(m.Node), !t.mirrorable(),
			m.Node == 0 && t.Mirror() == 0:
			continue
		}
		d.changeTenant(t.ID, func(t *Tenant) { t.mirrorTo(m.Node, m.First) })
		d.emit(CopiesChanged{Tenant: t.ID, Generation: d.tenants.get(t.ID).Generation})
	}
	return nil
}

func (d *draft) closeMirrors(c CloseMirrors) error {
	if len(c.Changes) > MaxChanges {
		return refuse("more than %d changes in one command", MaxChanges)
	}
	for _, m := range c.Changes {
		t := d.fresh(m)
		if t == nil || len(t.Copies) == 0 {
			continue
		}
		last := t.Copies[len(t.Copies)-1]
		if last.Epoch != t.Epoch || len(t.Copies) == 1 && last.Node != 0 {
			continue
		}
		d.changeTenant(t.ID, func(t *Tenant) {
			t.Copies = nil
			if last.Node != 0 {
				t.Copies = []Copy{last}
			}
		})
		d.emit(CopiesChanged{Tenant: t.ID, Generation: t.Generation})
	}
	return nil
}
