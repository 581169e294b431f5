package tenant

import "slices"

// ReasonRestored is why tenants are paused after a restore, until those who may
// hold more of their logs than the restored state knows have said so.
const ReasonRestored = "the cluster's state was restored"

// maxReports is the most tenants of one Reported.
const maxReports = 1024

// Reported says what a node's logs hold of tenants after a restore. The state
// takes the larger of each.
type Reported struct {
	Node    NodeID
	Tenants []Report
}

// Report is one tenant's part of Reported.
type Report struct {
	Tenant ID
	Epoch  uint64  // the highest found in its log; 0: there is none
	Spent  []Spent // what the log says was spent, per account, window and epoch
}

func (Reported) op() {}

// Incarnation is how many times the cluster's state was restored. It is in the
// high 16 bits of every epoch.
func (s *State) Incarnation() uint64 { return s.incarnation }

const (
	incarnationShift = 48
	lowBits          = uint64(1)<<incarnationShift - 1
)

// restoring reports whether the owner has still to say what its log holds: the
// tenant is not given to anybody else meanwhile.
func (t *Tenant) restoring() bool { return awaits(t, t.Owner) }

func awaits(t *Tenant, n NodeID) bool { return slices.Contains(t.Awaited, n) }

// restored lifts the pause of a restore when nobody is awaited any more.
func (d *draft) restored(id ID) {
	t := d.tenants.get(id)
	if len(t.Awaited) > 0 || t.Paused != ReasonRestored {
		return
	}
	d.changeTenant(id, func(t *Tenant) {
		t.Paused = ""
		t.Stopped = mark(t.Stopped, t.Held != "", d.Now())
	})
	d.emit(TenantChanged{id})
}

func (d *draft) reported(c Reported) error {
	if !d.nodes.has(c.Node) {
		return refuse("node %d is not known", c.Node)
	}
	if len(c.Tenants) > maxReports {
		return refuse("more than %d tenants in one command", maxReports)
	}
	for _, r := range c.Tenants {
		t := d.tenants.get(r.Tenant)
		if t == nil {
			continue // added after the backup was made: nobody knows it any more
		}
		if err := d.report(t, c.Node, r); err != nil {
			return err
		}
	}
	d.rescue()
	return nil
}

func (d *draft) report(t *Tenant, node NodeID, r Report) error {
	if r.Epoch >= maxCounter>>1 {
		return refuse("epoch %d is out of bounds", r.Epoch)
	}
	epoch := max(t.Epoch, r.Epoch+1)
	facts, err := d.facts(t, epoch, r.Spent)
	if err != nil {
		return err
	}
	d.incarnation = max(d.incarnation, epoch>>incarnationShift)
	d.changeTenant(t.ID, func(t *Tenant) {
		t.Epoch = epoch
		t.Generation = max(t.Generation, epoch&^lowBits|t.Generation&lowBits)
		t.Awaited = without(t.Awaited, func(n NodeID) bool { return n == node })
	})
	for _, a := range d.lookup.accounts[t.ID] {
		d.takeFacts(a, facts[a])
	}
	if epoch != t.Epoch {
		d.emit(Owned{Tenant: t.ID, Node: t.Owner, Epoch: epoch})
	}
	d.restored(t.ID)
	return nil
}

// Reincarnate makes the state of a cluster that goes on from a backup or from
// what one node has. Nothing that the old cluster may still do counts any more:
// every epoch is above those it can have given, no node but keep is believed
// before it joins again, and nothing is sent for a tenant before those who may
// hold its log have reported. Nobody's tenants move. The node that keeps its
// key is the one that goes on; "" is nobody.
func Reincarnate(s *State, keep string) *State {
	d := s.draft()
	d.names = true // who is up has a say in what is looked up
	d.incarnation++
	high := d.incarnation << incarnationShift
	// What was made after the backup has ids that must not come back.
	const ids = 10_000
	d.lastNode += ids
	d.lastSource += ids
	d.lastTenant += ids
	d.lastAccount += ids
	d.lastGrant += 1 << 32
	for _, k := range slices.Clone(d.tokens.keys) {
		remove(d, &d.tokens, k)
	}
	for _, n := range slices.Clone(d.nodes.vals) {
		if n.Name == keep {
			continue
		}
		x := *n
		x.Key = [32]byte{}
		if x.Down.IsZero() {
			x.Down = d.Now()
		}
		put(d, &d.nodes, x.ID, &x)
	}
	for _, t := range slices.Clone(d.tenants.vals) {
		d.changeTenant(t.ID, func(t *Tenant) {
			t.Epoch = high | t.Epoch&lowBits
			t.Generation = high | t.Generation&lowBits
			t.To, t.Waiting = 0, nil
			t.Awaited = d.holders(t)
			if t.Paused == "" {
				t.Paused = ReasonRestored
			}
			t.Stopped = mark(t.Stopped, true, d.Now())
		})
	}
	return d.publish()
}

// holders lists the nodes that may have a log of the tenant, ascending.
func (d *draft) holders(t *Tenant) []NodeID {
	ids := []NodeID{t.Owner, t.Home.Node, t.Backup.Node}
	for _, v := range t.Copies {
		ids = append(ids, v.Node)
	}
	slices.Sort(ids)
	return without(slices.Compact(ids), func(n NodeID) bool { return !d.nodes.has(n) })
}
