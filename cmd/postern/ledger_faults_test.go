package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"postern/node/admin"
)

// owners says who owns each tenant: of what the nodes tell the newest. A node
// that was away may know less for a moment.
func (m *mailRig) owners() map[string]string {
	m.t.Helper()
	newest := map[string]admin.Tenant{}
	eventually(m.t, time.Minute, "node that tells the owners", func() bool {
		for _, x := range m.nodes {
			if !x.running() {
				continue
			}
			ctx, cancel := context.WithTimeout(m.t.Context(), 3*time.Second)
			page, err := x.api.Tenants(ctx, admin.List{Limit: 100})
			cancel()
			if err != nil {
				continue
			}
			for _, t := range page.Items {
				if t.Epoch >= newest[t.Name].Epoch {
					newest[t.Name] = t
				}
			}
		}
		return len(newest) > 0
	})
	all := map[string]string{}
	for name, t := range newest {
		all[name] = t.Owner
	}
	return all
}

// leader is the node that leads, by the word of any.
func (m *mailRig) leader() *rigNode {
	m.t.Helper()
	var found *rigNode
	eventually(m.t, time.Minute, "leader", func() bool {
		for _, x := range m.nodes {
			if !x.running() {
				continue
			}
			ctx, cancel := context.WithTimeout(m.t.Context(), 3*time.Second)
			page, err := x.api.Nodes(ctx, admin.List{})
			cancel()
			if err != nil {
				continue
			}
			for _, n := range page.Items {
				if n.Role == "leader" {
					found = m.node(n.Name)
					return found != nil && found.running()
				}
			}
		}
		return false
	})
	return found
}

func (m *mailRig) node(name string) *rigNode {
	if i := slices.IndexFunc(m.nodes, func(x *rigNode) bool { return x.name == name }); i >= 0 {
		return m.nodes[i]
	}
	return nil
}

// other is a node beside x.
func (m *mailRig) other(x *rigNode) *rigNode { return m.nodes[(x.i+1)%len(m.nodes)] }

// follower is the node that owns most tenants of those that do not lead; owner
// that of all.
func (m *mailRig) follower() *rigNode { return m.richest(m.leader()) }
func (m *mailRig) owner() *rigNode    { return m.richest(nil) }

func (m *mailRig) richest(not *rigNode) *rigNode {
	m.t.Helper()
	owned := map[string]int{}
	for _, o := range m.owners() {
		owned[o]++
	}
	var best *rigNode
	for _, x := range m.nodes {
		if x != not && (best == nil || owned[x.name] > owned[best.name]) {
			best = x
		}
	}
	return best
}

// silent says which nodes do not vote, or are not up, as each of them sees it.
func (m *mailRig) silent() (open []string) {
	for _, x := range m.nodes {
		page, err := x.api.Nodes(m.t.Context(), admin.List{})
		if err != nil {
			return append(open, fmt.Sprintf("nodes by %s: %v", x.name, err))
		}
		for _, n := range page.Items {
			if n.Role != "leader" && n.Role != "voter" || n.State != "up" {
				open = append(open, fmt.Sprintf("%s is %s and %s by %s", n.Name, n.Role, n.State, x.name))
			}
		}
	}
	return open
}

// settled waits until every node votes, and every tenant has an owner that
// answers and a second copy that is complete: the state in which a fault may come.
func (m *mailRig) settled(within time.Duration) {
	m.t.Helper()
	var last string
	deadline := time.Now().Add(within)
	for {
		page, err := m.other(m.nodes[0]).api.Tenants(m.t.Context(), admin.List{Limit: 100})
		last = fmt.Sprint(err)
		if err == nil {
			open := m.silent()
			for _, x := range page.Items {
				if x.Mirror == nil || !x.Mirror.Known || !x.Mirror.Synced || x.Mirror.Node == "" || x.Mirror.BrokenMS > 0 {
					open = append(open, fmt.Sprintf("%s at %s epoch %d mirror %+v", x.Name, x.Owner, x.Epoch, x.Mirror))
				}
			}
			if len(open) == 0 && len(page.Items) == len(m.tenants) {
				return
			}
			last = strings.Join(open, "; ")
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("not settled after %v: %s", within, last)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// recovery is how long the tenants of a node waited for the first delivery
// from another one.
type recovery struct {
	leader bool
	what   string
	each   []time.Duration
}

func (r recovery) slowest() time.Duration { return slices.Max(r.each) }

// strike does something to a node and measures how long its tenants take to
// send again from elsewhere.
func (m *mailRig) strike(x *rigNode, what string, do func()) (recovery, func()) {
	m.t.Helper()
	leads := m.leader() == x
	before := m.owners()
	ended := m.chronicle.Began(what, x.name)
	at := time.Now()
	do()
	waiting := map[string]bool{}
	for tenant, owner := range before {
		if owner == x.name {
			waiting[tenant] = true
		}
	}
	r := recovery{leader: leads, what: what}
	deadline := time.Now().Add(2 * time.Minute)
	for len(waiting) > 0 {
		for tenant := range maps.Clone(waiting) {
			if first := m.chronicle.FirstFrom(tenant, x.name, at); !first.IsZero() {
				r.each = append(r.each, first.Sub(at))
				delete(waiting, tenant)
			}
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("%s of %s (leads: %v): %v did not send from another node within 2 minutes", what, x.name, leads, slices.Collect(maps.Keys(waiting)))
		}
		time.Sleep(20 * time.Millisecond)
	}
	if len(r.each) > 0 {
		m.t.Logf("%s of %s (leads: %v, %d tenants): all send again after %v", what, x.name, leads, len(r.each), r.slowest().Round(time.Millisecond))
	}
	return r, ended
}

// killNode kills a node, waits until its tenants send from elsewhere, and
// starts it again.
func (m *mailRig) killNode(x *rigNode) recovery {
	m.t.Helper()
	m.keepCounts(x)
	r, ended := m.strike(x, "kill", func() { m.kill(x) })
	m.start(x)
	m.ready(x)
	ended()
	return r
}

// freezeNode stops a node's process for a time. Whether its tenants move
// meanwhile depends on the time.
func (m *mailRig) freezeNode(x *rigNode, long time.Duration) {
	m.t.Helper()
	ended := m.chronicle.Began("freeze", x.name)
	m.signal(x, syscall.SIGSTOP)
	select {
	case <-time.After(long):
	case <-m.t.Context().Done():
	}
	m.signal(x, syscall.SIGCONT)
	ended()
	m.ready(x)
}

// restartNode ends a node in good order and starts it at once. Whether its
// tenants move is not asked.
func (m *mailRig) restartNode(x *rigNode) {
	m.t.Helper()
	m.keepCounts(x)
	ended := m.chronicle.Began("restart", x.name)
	m.end(x)
	m.start(x)
	m.ready(x)
	ended()
}

// tellRecovery prints the figures of kills, leaders and followers apart.
func (m *mailRig) tellRecovery(all []recovery) {
	for _, leads := range []bool{true, false} {
		var kills, tenants []time.Duration
		for _, r := range all {
			if r.leader == leads && r.what == "kill" && len(r.each) > 0 {
				kills = append(kills, r.slowest())
				tenants = append(tenants, r.each...)
			}
		}
		if len(kills) == 0 {
			continue
		}
		m.t.Logf("recovery after kills, leader %v: %d kills, the last tenant of each: median %v, p95 %v; %d tenants: median %v, p95 %v", leads,
			len(kills), part(kills, 0.5), part(kills, 0.95), len(tenants), part(tenants, 0.5), part(tenants, 0.95))
	}
}

// part is a quantile, rounded for reading.
func part(d []time.Duration, q float64) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[min(len(d)-1, int(q*float64(len(d))))].Round(10 * time.Millisecond)
}
