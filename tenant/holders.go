package tenant

import "slices"

// allOf is the end of a log that was taken in whole.
const allOf = 1 << 62

// Holders lists the nodes whose copies of the tenant's log a new owner needs,
// oldest generation first, and says whether any of the copies is its own. What
// a node wrote itself is on its own disk, as far as it got a 250, because a 250
// waits for both.
func (t *Tenant) Holders(owner NodeID) (others []NodeID, here bool) {
	need := func(n NodeID) {
		switch {
		case n == owner:
			here = true
		case n != 0:
			others = append(slices.DeleteFunc(others, func(x NodeID) bool { return x == n }), n)
		}
	}
	for _, c := range t.Copies {
		switch {
		case t.wrote(c.Epoch, owner):
			here = true
		case c.Node == 0:
			need(t.writer(c.Epoch))
		default:
			need(c.Node)
		}
	}
	if len(t.Copies) == 0 { // one copy, with the last owner
		need(t.writer(t.Epoch - 1))
	}
	return others, here
}

// EndsAt tells how far the logs since the last Own were taken in by a new owner
// that read the newest of them up to last. What their writers have beyond that
// comes back later; nothing is said of logs that were not read whole.
func (t *Tenant) EndsAt(owner NodeID, last End, complete bool) []End {
	if w := t.writer(t.Epoch - 1); w == 0 || w == owner { // it goes on with its own log
		return []End{{Epoch: t.Epoch, Node: owner, Last: allOf}}
	}
	if !complete {
		return nil
	}
	out := slices.Clone(t.Ends)
	for i := range out {
		switch e := &out[i]; {
		case e.Node == owner:
			e.Last = allOf
		case e.Epoch == last.Epoch:
			e.Last = max(e.Last, last.Last)
		}
	}
	return out
}

// wrote reports whether a node wrote the tenant's log of an epoch.
func (t *Tenant) wrote(epoch uint64, node NodeID) bool {
	if w := t.writer(epoch); w != 0 {
		return w == node
	}
	// The list keeps the newest ends only.
	return t.Owner == node && !slices.ContainsFunc(t.Ends, func(e End) bool { return e.Epoch >= epoch && e.Node != node })
}

// writer is the node that wrote the tenant's log of an epoch, or 0: nobody else
// has owned the tenant since.
func (t *Tenant) writer(epoch uint64) NodeID {
	for _, e := range t.Ends {
		if e.Epoch == epoch {
			return e.Node
		}
	}
	return 0
}
