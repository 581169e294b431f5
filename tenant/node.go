package tenant

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Usable reports whether the node may be given tenants: it is up, stays, and is
// no witness.
func (n *Node) Usable() bool { return !n.Witness && !n.Draining && n.Down.IsZero() }

// ValidPeer reports whether s is an address other nodes can dial: a host name or
// an address without a zone, a colon, and a port.
func ValidPeer(s string) bool {
	if len(s) > maxPeer {
		return false
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return false
	}
	port, err := strconv.ParseUint(s[i+1:], 10, 16)
	if err != nil || port == 0 || s[i+1] == '0' {
		return false
	}
	host := s[:i]
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		a, err := netip.ParseAddr(inner)
		return ok && err == nil && a.Is6() && a.Zone() == ""
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Is4()
	}
	return ValidHost(host)
}

// join registers a node, or gives a registered name a new key.
func (d *draft) join(c Join) error {
	token := d.JoinToken(c.Token)
	switch {
	case token == nil:
		return refuse("the join token is not known or expired")
	case !ValidName(c.Name):
		return refuse("node name %q is not valid", clip(c.Name))
	case token.Node != "" && token.Node != c.Name:
		return refuse("the join token is for node %q", token.Node)
	case token.Witness != c.Witness:
		return refuse("the join token is for %s", map[bool]string{true: "a witness", false: "a node, not a witness"}[token.Witness])
	case !ValidPeer(c.Peer):
		return refuse("peer address %q is not HOST:PORT", clip(c.Peer))
	}
	old := d.NodeByName(c.Name)
	n := Node{Name: c.Name}
	if old != nil {
		n = *old
	}
	if err := d.key(n.ID, c.Key); err != nil {
		return err
	}
	if err := d.speaks(c.Version); err != nil {
		return err
	}
	if old != nil && old.Key != c.Key && !replaceable(old) && token.Node != c.Name {
		return refuse("node %q is up: only a token for that name may replace it", c.Name)
	}
	if old != nil && c.Witness && !old.Witness && d.carries(n.ID) != "" {
		return refuse("node %q cannot become a witness: it %s", c.Name, d.carries(n.ID))
	}
	n.Peer, n.Key, n.Witness, n.Version = c.Peer, c.Key, c.Witness, c.Version
	if old != nil {
		put(d, &d.nodes, n.ID, &n)
		d.emit(NodeChanged{n.ID})
		return nil
	}
	if d.nodes.len() >= maxNodes {
		return refuse("a cluster has at most %d nodes", maxNodes)
	}
	d.lastNode++
	n.ID, n.Up = d.lastNode, d.Now()
	put(d, &d.nodes, n.ID, &n)
	d.names = true
	d.emit(NodeAdded{n.ID})
	return nil
}

// replaceable reports whether any token may give the node's name to a new key:
// nobody acts under the old one.
func replaceable(n *Node) bool {
	return n.Key == [32]byte{} || !n.Down.IsZero() || n.Draining
}

// key judges a public key's hash for a node (0: a new one).
func (d *draft) key(id NodeID, key [32]byte) error {
	if key == ([32]byte{}) {
		return refuse("a node needs a key")
	}
	for n := range d.nodes.all() {
		if n.Key == key && n.ID != id {
			return refuse("the key is that of node %q", n.Name)
		}
	}
	return nil
}

// MaxAway is the longest maintenance window. Clients wait that long for the
// tenants of a node that restarts.
const MaxAway = 30 * time.Second

func (d *draft) setNode(c SetNode) error {
	old := d.nodes.get(c.Node)
	if old == nil {
		return refuse("node %d is not known", c.Node)
	}
	n := *old
	if c.Peer != nil {
		if !ValidPeer(*c.Peer) {
			return refuse("peer address %q is not HOST:PORT", clip(*c.Peer))
		}
		n.Peer = *c.Peer
	}
	if c.Key != nil {
		if err := d.key(n.ID, *c.Key); err != nil {
			return err
		}
		n.Key = *c.Key
	}
	if c.Version != nil {
		if err := d.speaks(*c.Version); err != nil {
			return err
		}
		n.Version = *c.Version
	}
	if c.Draining != nil {
		n.Draining = *c.Draining
	}
	if c.Away != nil {
		if c.Away.After(d.Now().Add(MaxAway)) {
			return refuse("a maintenance window lasts %s at most", MaxAway)
		}
		n.Away = *c.Away
		if !n.Away.After(d.Now()) {
			n.Away = time.Time{}
		}
	}
	put(d, &d.nodes, n.ID, &n)
	if n.Draining && !old.Draining {
		d.forgetHandovers(n.ID)
	}
	d.emit(NodeChanged{n.ID})
	return nil
}

func (d *draft) removeNode(c RemoveNode) error {
	n := d.nodes.get(c.Node)
	if n == nil {
		return refuse("node %d is not known", c.Node)
	}
	if why := d.carries(n.ID); why != "" {
		return refuse("node %q %s", n.Name, why)
	}
	if c.Lost && n.Down.IsZero() {
		return refuse("node %q is up and not lost", n.Name)
	}
	for _, t := range d.tenants.vals {
		holds := false
		for _, v := range t.Copies {
			holds = holds || v.Node == n.ID
		}
		if holds && !c.Lost {
			return refuse("node %q holds a copy of tenant %q", n.Name, t.Name)
		}
		if holds || t.To == n.ID || awaits(t, n.ID) {
			d.forgetNode(t, n.ID)
		}
	}
	d.forgetErasing(n.ID)
	remove(d, &d.nodes, n.ID)
	d.forgetWatcher(n.ID)
	d.names = true
	d.emit(NodeRemoved{n.ID})
	return nil
}

// carries says what keeps a node in the cluster, or "".
func (d *draft) carries(n NodeID) string {
	for t := range d.tenants.all() {
		switch n {
		case t.Owner:
			return "owns tenant " + strconv.Quote(t.Name)
		case t.Home.Node, t.Backup.Node:
			return "is a place of tenant " + strconv.Quote(t.Name)
		}
	}
	for src := range d.sources.all() {
		if src.Node == n {
			return "has source " + src.Addr.String()
		}
	}
	return ""
}
