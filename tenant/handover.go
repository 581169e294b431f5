package tenant

func (d *draft) handover(c Handover) error {
	t := d.tenants.get(c.Tenant)
	if t == nil {
		return refuse("tenant %d is not known", c.Tenant)
	}
	if t.Epoch != c.Expect {
		return refuse("tenant %q is at epoch %d, not %d", t.Name, t.Epoch, c.Expect)
	}
	if c.To != 0 {
		if t.To != 0 && t.To != c.To {
			return refuse("tenant %q is being handed over to node %q", t.Name, d.Node(t.To).Name)
		}
		if err := d.takes(t, c.To); err != nil {
			return err
		}
	}
	if t.To != c.To {
		d.changeTenant(t.ID, func(t *Tenant) { t.To = c.To })
		d.emit(TenantChanged{t.ID})
	}
	return nil
}

// takes judges whether a node can take a tenant from its owner now.
func (d *draft) takes(t *Tenant, to NodeID) error {
	if err := d.fits(t, to); err != nil {
		return err
	}
	d.from(roomVersion)
	if coming := d.comes(to, t.ID); coming >= NodeTenants {
		return refuse("node %q owns or is to own %d tenants already", d.nodes.get(to).Name, coming)
	}
	return nil
}

// fits is takes without the question for room. It must be one of the tenant's
// places: elsewhere it could not send.
func (d *draft) fits(t *Tenant, to NodeID) error {
	n := d.nodes.get(to)
	switch {
	case n == nil:
		return refuse("node %d is not known", to)
	case to == t.Owner:
		return refuse("node %q owns tenant %q already", n.Name, t.Name)
	case !n.Usable():
		return refuse("node %q takes no tenants: it is down, draining or a witness", n.Name)
	case to != t.Home.Node && to != t.Backup.Node:
		return refuse("node %q is no place of tenant %q", n.Name, t.Name)
	case !d.sends(t, t.at(to)):
		return refuse("what tenant %q leaves node %q by is listed", t.Name, n.Name)
	}
	return nil
}

// release gives a tenant to the node it is handed over to.
func (d *draft) release(c Release) error {
	t := d.tenants.get(c.Tenant)
	if t == nil {
		return refuse("tenant %d is not known", c.Tenant)
	}
	if t.Epoch != c.Expect {
		return refuse("tenant %q is at epoch %d, not %d", t.Name, t.Epoch, c.Expect)
	}
	if t.To == 0 {
		return refuse("tenant %q is not being handed over", t.Name)
	}
	if err := d.fits(t, t.To); err != nil {
		return err
	}
	if !d.from(roomVersion) {
		if err := d.takes(t, t.To); err != nil {
			return err
		}
	}
	along := d.along(t)
	if along == nil {
		return refuse("node %q owns %d tenants until others have left", d.nodes.get(t.To).Name, NodeTenants)
	}
	if len(c.Waiting) > maxWaiting {
		return refuse("more than %d messages await a reply", maxWaiting)
	}
	for i, x := range c.Waiting {
		if x == 0 || x > c.Last || i > 0 && x <= c.Waiting[i-1] {
			return refuse("the messages that await a reply are out of order")
		}
	}
	for _, x := range along {
		// It has not said where its log ends: its new owner reads it, as after a loss.
		d.give(x.ID, x.To)
	}
	end := End{Epoch: t.Epoch, Node: t.Owner, Last: c.Last}
	to := t.To
	d.give(t.ID, to)
	d.changeTenant(t.ID, func(t *Tenant) {
		t.addEnds(end)
		t.Waiting = append([]uint64(nil), c.Waiting...)
	})
	return nil
}
