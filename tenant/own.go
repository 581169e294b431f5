package tenant

import "slices"

func (d *draft) own(c Own) error {
	t := d.tenants.get(c.Tenant)
	if t == nil {
		return refuse("tenant %d is not known", c.Tenant)
	}
	if !d.nodes.has(c.Node) {
		return refuse("node %d is not known", c.Node)
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
		d.endGrants(a, facts[a])
	}
	d.changeTenant(t.ID, func(t *Tenant) { t.Owner, t.Epoch = c.Node, epoch })
	d.emit(Owned{Tenant: t.ID, Node: c.Node, Epoch: epoch})
	return nil
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
		if !sp.Window.Valid() || !slices.Contains(counted(), sp.Window.Kind) || sp.Window.Start > d.Now().Unix() {
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

// endGrants takes in the facts and ends every live grant of the account.
func (d *draft) endGrants(a AccountID, facts []Spent) {
	for _, f := range facts {
		d.edit(a, f.Window, func(q *quota) bool {
			before := q.used
			live := q.live
			q.report(f.Epoch, f.Amount)
			return q.used != before || q.live != live
		})
	}
	d.touch(a) // the epoch changes: nothing live may be left
	b := d.open.get(a)
	if b == nil {
		return
	}
	for _, q := range slices.Clone(b.quotas) {
		if q.live.ID != 0 {
			d.edit(a, q.window, func(q *quota) bool { q.end(); return true })
		}
	}
}
