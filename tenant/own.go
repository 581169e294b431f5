package tenant

import "slices"

func (d *draft) own(c Own) error {
	t := d.tenants.get(c.Tenant)
	if t == nil {
		return refuse("tenant %d is not known", c.Tenant)
	}
	if err := d.ownable(t, c); err != nil {
		return err
	}
	if t.Epoch != c.Expect {
		return refuse("tenant %q is at epoch %d, not %d", t.Name, t.Epoch, c.Expect)
	}
	if err := d.room(c.Node, t.ID); err != nil {
		return err
	}
	epoch := t.Epoch + 1
	facts, err := d.facts(t, epoch, c.Spent)
	if err != nil {
		return err
	}
	for _, a := range d.lookup.accounts[t.ID] {
		d.endGrants(a, facts[a], func(epoch uint64) bool { return t.unread(c, epoch) })
	}
	d.changeTenant(t.ID, func(t *Tenant) { t.begin(c, epoch) })
	d.emit(Owned{Tenant: t.ID, Node: c.Node, Epoch: epoch})
	d.arrived(d.tenants.get(t.ID))
	d.restored(t.ID)
	return nil
}

// ownable judges who owns, and who is to hold the second copy.
func (d *draft) ownable(t *Tenant, c Own) error {
	n := d.nodes.get(c.Node)
	switch {
	case n == nil:
		return refuse("node %d is not known", c.Node)
	case n.Witness:
		return refuse("node %q is a witness and owns nothing", n.Name)
	case c.Node != t.Owner && !n.Down.IsZero():
		return refuse("node %q is down", n.Name)
	case c.Mirror == c.Node:
		return refuse("node %q cannot hold both copies", n.Name)
	case c.Mirror != 0 && !d.nodes.has(c.Mirror):
		return refuse("node %d is not known", c.Mirror)
	case c.Mirror != 0 && !c.Read && !t.mirrorable():
		return refuse("tenant %q has %d open copies that nobody has read", t.Name, len(t.Copies))
	case len(c.Ends) > maxEnds:
		return refuse("more than %d ends in one command", maxEnds)
	}
	for _, e := range c.Ends {
		if e.Epoch == 0 || e.Epoch > c.Expect || e.Node == 0 || e.Node > d.lastNode {
			return refuse("the end of epoch %d is not that of an older log", e.Epoch)
		}
	}
	return nil
}

// unread reports whether the new owner takes over without the whole log of an
// epoch: it neither wrote it nor read it to its end.
func (t *Tenant) unread(c Own, epoch uint64) bool {
	if c.Read || slices.ContainsFunc(c.Ends, func(e End) bool { return e.Epoch == epoch }) {
		return false
	}
	writer := t.Owner // nobody else since
	for _, e := range t.Ends {
		if e.Epoch == epoch {
			writer = e.Node
		}
	}
	return writer != c.Node
}

// begin starts an epoch. The receiver must be a draft's own copy.
func (t *Tenant) begin(c Own, epoch uint64) {
	// Who was released to knows which dots of the other's had no reply; an owner
	// that starts again has only its log to go by.
	if n := len(t.Ends); t.Owner != c.Node || n == 0 || t.Ends[n-1].Epoch != t.Epoch-1 {
		t.Waiting = nil
	}
	if t.Owner != c.Node {
		t.To = 0
	}
	// The only copy is on its writer's disk, and stays open until it is read.
	if w := t.writer(t.Epoch - 1); len(t.Copies) == 0 && w != 0 && t.unread(c, t.Epoch-1) {
		t.Copies = []Copy{{Generation: t.Generation, Epoch: t.Epoch - 1, First: 1}}
	}
	t.Owner, t.Epoch = c.Node, epoch
	// After a restore: what its log holds was just said.
	t.Awaited = without(t.Awaited, func(n NodeID) bool { return n == c.Node })
	t.addEnds(c.Ends...)
	if c.Read {
		t.Copies = nil
	}
	t.mirrorTo(c.Mirror, 1)
}

// facts sorts what old epochs spent by account. Accounts that are gone and
// windows out of keeping have nobody to be charged to.
func (d *draft) facts(t *Tenant, epoch uint64, spent []Spent) (map[AccountID][]Spent, error) {
	if len(spent) > maxSpent {
		return nil, refuse("more than %d spendings in one command", maxSpent)
	}
	facts := make(map[AccountID][]Spent)
	for _, sp := range spent {
		if sp.Epoch >= epoch {
			return nil, refuse("spending of epoch %d is not below epoch %d", sp.Epoch, epoch)
		}
		if !sp.Window.Valid() || !d.begun(sp.Window) {
			return nil, refuse("spending names no window of account %d", sp.Account)
		}
		a := d.accounts.get(sp.Account)
		if a == nil || !sp.Window.kept().After(d.Now()) {
			continue
		}
		if a.Tenant != t.ID {
			return nil, refuse("spending names an account of another tenant")
		}
		facts[sp.Account] = append(facts[sp.Account], sp)
	}
	return facts, nil
}

// takeFacts takes in what old epochs of the account spent.
func (d *draft) takeFacts(a AccountID, facts []Spent) {
	for _, f := range facts {
		d.edit(a, f.Window, func(q *quota) bool {
			before := q.used
			live := q.live
			q.report(f.Epoch, f.Amount)
			return q.used != before || q.live != live
		})
	}
}

// endGrants takes in the facts and ends every live grant of the account. One
// whose log nobody has read stays charged in full.
func (d *draft) endGrants(a AccountID, facts []Spent, unread func(epoch uint64) bool) {
	d.takeFacts(a, facts)
	b := d.open.get(a)
	if b == nil || !slices.ContainsFunc(b.quotas, func(q quota) bool { return q.live.ID != 0 }) {
		return
	}
	ended := book{account: a, quotas: slices.Clone(b.quotas)}
	for i := range ended.quotas {
		q := &ended.quotas[i]
		if q.live.ID != 0 && unread(q.live.Epoch) {
			q.live.spent = q.live.spent.Max(q.live.Given)
		}
		q.end()
	}
	put(d, &d.open, a, &ended)
	d.touch(a)
}
