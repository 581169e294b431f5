package tenant

import "slices"

// NodeTenants is how many owned tenants one node carries at most: a listing
// then hurts few.
const NodeTenants = 20

func (d *draft) addNode(c AddNode) error {
	if !ValidName(c.Name) {
		return refuse("node name %q is not valid", clip(c.Name))
	}
	if d.NodeByName(c.Name) != nil {
		return refuse("node %q exists", c.Name)
	}
	if d.nodes.len() >= maxNodes {
		return refuse("a cluster has at most %d nodes", maxNodes)
	}
	d.lastNode++
	put(d, &d.nodes, d.lastNode, &Node{ID: d.lastNode, Name: c.Name})
	d.names = true
	d.emit(NodeAdded{d.lastNode})
	return nil
}

func (d *draft) addSource(c AddSource) error {
	addr := c.Addr.Unmap()
	switch {
	case !d.nodes.has(c.Node):
		return refuse("node %d is not known", c.Node)
	case d.nodes.get(c.Node).Witness:
		return refuse("node %q is a witness and has no sources", d.nodes.get(c.Node).Name)
	case !validSource(addr):
		return refuse("source address %s is not a unicast address", clip(c.Addr.String()))
	case d.SourceByAddr(addr) != nil:
		return refuse("source %s exists", addr)
	case !ValidHost(c.EHLO):
		return refuse("EHLO name %q is not a host name", clip(c.EHLO))
	case d.sources.len() >= maxSources:
		return refuse("a cluster has at most %d sources", maxSources)
	}
	d.lastSource++
	put(d, &d.sources, d.lastSource, &Source{ID: d.lastSource, Node: c.Node, Addr: addr, EHLO: c.EHLO, Shared: c.Shared})
	d.names = true
	d.emit(SourceAdded{d.lastSource})
	return nil
}

func (d *draft) removeSource(c RemoveSource) error {
	if err := d.sourceFree(c.Source); err != nil {
		return err
	}
	src := d.sources.get(c.Source)
	remove(d, &d.sources, src.ID)
	d.forgetSource(src.ID)
	d.names = true
	d.emit(SourceRemoved{src.ID})
	return nil
}

// sourceFree refuses when a tenant's place needs a source.
func (d *draft) sourceFree(id SourceID) error {
	src := d.sources.get(id)
	if src == nil {
		return refuse("source %d is not known", id)
	}
	last := src.Shared && len(d.SourcesAt(Place{Node: src.Node})) == 1
	for t := range d.tenants.all() {
		for _, p := range [2]Place{t.Home, t.Backup} {
			if p.Source == src.ID {
				return refuse("source %s is a place of tenant %q", src.Addr, t.Name)
			}
			if last && p == (Place{Node: src.Node}) {
				return refuse("source %s is the last of the pool that tenant %q uses", src.Addr, t.Name)
			}
		}
	}
	return nil
}

// placeable judges an operator's choice of places for tenant id (0: a new one).
func (d *draft) placeable(id ID, home, backup Place) error {
	if home.Node == 0 {
		return refuse("a tenant needs a home node")
	}
	if backup != (Place{}) && backup.Node == home.Node {
		return refuse("home and backup must be on different nodes")
	}
	if err := d.usable(id, home); err != nil {
		return err
	}
	if backup != (Place{}) {
		if err := d.usable(id, backup); err != nil {
			return err
		}
	}
	homes := 0
	for t := range d.tenants.all() {
		if t.ID != id && t.Home.Node == home.Node {
			homes++
		}
	}
	if homes >= NodeTenants {
		return refuse("node %q is home of %d tenants already", d.Node(home.Node).Name, homes)
	}
	return nil
}

// usable judges one place: it exists, something leaves by it, and a dedicated
// source carries one tenant.
func (d *draft) usable(id ID, p Place) error {
	n := d.nodes.get(p.Node)
	if n == nil {
		return refuse("node %d is not known", p.Node)
	}
	if t := d.tenants.get(id); n.Draining && (t == nil || t.Home.Node != p.Node && t.Backup.Node != p.Node) {
		return refuse("node %q is draining", n.Name)
	}
	if p.Source == 0 {
		if len(d.SourcesAt(p)) == 0 {
			return refuse("node %q has no shared source", n.Name)
		}
		return nil
	}
	src := d.sources.get(p.Source)
	switch {
	case src == nil:
		return refuse("source %d is not known", p.Source)
	case src.Node != p.Node:
		return refuse("source %s is not on node %q", src.Addr, n.Name)
	case src.Shared:
		return refuse("source %s is shared and cannot be dedicated to a tenant", src.Addr)
	}
	for t := range d.tenants.all() {
		if t.ID != id && (t.Home.Source == p.Source || t.Backup.Source == p.Source) {
			return refuse("source %s carries tenant %q already", src.Addr, t.Name)
		}
	}
	return nil
}

// Place is what the owner leaves by: the home or backup that is on its node, or
// the zero place when neither is.
func (t *Tenant) Place() Place {
	switch t.Owner {
	case t.Home.Node:
		return t.Home
	case t.Backup.Node:
		return t.Backup
	}
	return Place{}
}

// room refuses to make n the owner of one tenant more than it may carry.
func (d *draft) room(n NodeID, except ID) error {
	owned := 0
	for t := range d.tenants.all() {
		if t.Owner == n && t.ID != except {
			owned++
		}
	}
	if owned >= NodeTenants {
		return refuse("node %q owns %d tenants already", d.Node(n).Name, owned)
	}
	return nil
}

func (d *draft) addTenant(c AddTenant) error {
	if !ValidName(c.Name) {
		return refuse("tenant name %q is not valid", clip(c.Name))
	}
	if d.TenantByName(c.Name) != nil {
		return refuse("tenant %q exists", c.Name)
	}
	if !ValidHost(c.Hostname) {
		return refuse("host name %q is not valid", clip(c.Hostname))
	}
	for t := range d.tenants.all() {
		if t.Hostname == c.Hostname {
			return refuse("host name %q is in use", c.Hostname)
		}
	}
	if c.Home == (Place{}) {
		home, backup, err := Placement(&d.State, c.Home, c.Backup)
		if err != nil {
			return err
		}
		c.Home, c.Backup = home, backup
	}
	if err := d.placeable(0, c.Home, c.Backup); err != nil {
		return err
	}
	if err := d.room(c.Home.Node, 0); err != nil {
		return err
	}
	if err := d.reserved(0, c.Home, c.Backup); err != nil {
		return err
	}
	d.lastTenant++
	t := &Tenant{
		ID: d.lastTenant, Name: c.Name, Hostname: c.Hostname,
		Home: c.Home, Backup: c.Backup, Owner: c.Home.Node, Epoch: d.incarnation<<incarnationShift | 1,
	}
	put(d, &d.tenants, t.ID, t)
	d.names = true
	d.emit(TenantAdded{t.ID})
	d.emit(Owned{Tenant: t.ID, Node: t.Owner, Epoch: t.Epoch})
	return nil
}

func (d *draft) removeTenant(c RemoveTenant) error {
	if !d.tenants.has(c.Tenant) {
		return refuse("tenant %d is not known", c.Tenant)
	}
	for _, a := range slices.Clone(d.lookup.accounts[c.Tenant]) {
		d.dropAccount(a)
	}
	var names []string
	for dom := range d.DomainsOf(c.Tenant) {
		names = append(names, dom.Name)
	}
	for _, n := range names {
		remove(d, &d.domains, n)
		remove(d, &d.outlooks, n)
		remove(d, &d.bounces, n)
		d.emit(DomainChanged{n})
	}
	d.forgetLinkTenant(c.Tenant)
	remove(d, &d.tenants, c.Tenant)
	d.forgetDomains()
	remove(d, &d.plights, c.Tenant)
	d.forgetTenant(c.Tenant)
	remove(d, &d.conducts, c.Tenant)
	d.names = true
	d.emit(TenantRemoved(c))
	return nil
}

// changeTenant puts a changed copy of a tenant.
func (d *draft) changeTenant(id ID, change func(*Tenant)) {
	t := *d.tenants.get(id)
	change(&t)
	put(d, &d.tenants, id, &t)
}

func (d *draft) setToken(c SetToken) error {
	if !d.tenants.has(c.Tenant) {
		return refuse("tenant %d is not known", c.Tenant)
	}
	if c.Hash != ([32]byte{}) {
		if err := d.stillOpen(c.Tenant, 0); err != nil {
			return err
		}
		if t := d.TenantByToken(c.Hash); t != nil && t.ID != c.Tenant {
			return refuse("the token is in use")
		}
	}
	d.changeTenant(c.Tenant, func(t *Tenant) { t.Token = c.Hash })
	d.names = true
	d.emit(TenantChanged{c.Tenant})
	return nil
}

func (d *draft) setPlace(c SetPlace) error {
	t := d.tenants.get(c.Tenant)
	if t == nil {
		return refuse("tenant %d is not known", c.Tenant)
	}
	if err := d.placeable(c.Tenant, c.Home, c.Backup); err != nil {
		return err
	}
	if err := d.reserved(c.Tenant, c.Home, c.Backup); err != nil {
		return err
	}
	// The owner keeps sending until another node owns the tenant.
	if t.Place() != (Place{}) && c.Home.Node != t.Owner && c.Backup.Node != t.Owner {
		return refuse("node %q owns tenant %q and would be no place of it", d.Node(t.Owner).Name, t.Name)
	}
	d.changeTenant(c.Tenant, func(t *Tenant) {
		t.Home, t.Backup = c.Home, c.Backup
		if t.To != c.Home.Node && t.To != c.Backup.Node {
			t.To = 0
		}
	})
	d.emit(TenantChanged{c.Tenant})
	return nil
}
