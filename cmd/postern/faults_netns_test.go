package main

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// cutRig is a cluster whose nodes can be separated from each other. The
// Internet and the clients reach every node all the time: a node that sends or
// says 250 without a lease would be seen.
type cutRig struct {
	*mailRig
	*spaces
	t *testing.T
}

func newCutRig(t *testing.T) *cutRig {
	t.Helper()
	s := namespaces(t, 3)
	m := newMailRig(t, s.place, 3, 6)
	m.cutOff = true
	return &cutRig{mailRig: m, spaces: s, t: t}
}

// partition is one scenario: how nodes are separated, and whether the node's
// tenants must go elsewhere then.
type partition struct {
	name string
	pick func(m *mailRig) *rigNode
	do   func(c *cutRig, x *rigNode)
	move bool          // all of the node's tenants must send from elsewhere
	long time.Duration // how long it lasts, when nothing must move
}

// TestPartitions separates nodes in network namespaces under load. The side
// without a majority stops sending and accepting within its lease; nothing is
// lost, doubled uncounted, oversold, or sent by two.
func TestPartitions(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes")
	}
	c := newCutRig(t)
	c.settled(time.Minute)
	c.unrest()
	stop := c.load(t.Context(), 100)
	for _, p := range partitions(os.Getenv("POSTERN_SOAK") != "") {
		c.settled(2 * time.Minute)
		c.separate(p)
		if t.Failed() {
			break
		}
	}
	stop()
	c.judge(len(c.chronicle.Faults()))
}

func partitions(all bool) []partition {
	leader, follower, owner := (*mailRig).leader, (*mailRig).follower, (*mailRig).owner
	two := []partition{
		{"leader alone", leader, func(c *cutRig, x *rigNode) { c.alone(x.i) }, true, 0},
		{"a follower hears nobody", follower, func(c *cutRig, x *rigNode) { c.hearsNobody(x.i) }, true, 0},
	}
	if !all {
		return two
	}
	return append(two, []partition{
		{"a follower alone", follower, func(c *cutRig, x *rigNode) { c.alone(x.i) }, true, 0},
		{"nobody hears the leader", leader, func(c *cutRig, x *rigNode) { c.unheard(x.i) }, true, 0},
		{"the leader hears nobody", leader, func(c *cutRig, x *rigNode) { c.hearsNobody(x.i) }, true, 0},
		{"nobody hears a follower", follower, func(c *cutRig, x *rigNode) { c.unheard(x.i) }, true, 0},
		{"leader and one follower apart", leader, func(c *cutRig, x *rigNode) { c.cut(x.i, (x.i+1)%3) }, false, 30 * time.Second},
		{"two followers apart", leader, func(c *cutRig, x *rigNode) { c.cut((x.i+1)%3, (x.i+2)%3) }, false, 30 * time.Second},
		{"all apart", owner, func(c *cutRig, _ *rigNode) { c.alone(0); c.alone(1); c.alone(2) }, false, 20 * time.Second},
		{"flapping", leader, func(c *cutRig, x *rigNode) { c.flap(x.i, 30, time.Second) }, false, time.Second},
		{"flapping slowly", owner, func(c *cutRig, x *rigNode) { c.flap(x.i, 8, 4*time.Second) }, false, time.Second},
		{"one percent lost", owner, func(c *cutRig, _ *rigNode) { c.lossy(0, 1); c.lossy(1, 1); c.lossy(2, 1) }, false, time.Minute},
	}...)
}

// hearsNobody keeps everything of the other nodes from node i; unheard keeps
// what it says from them.
func (c *cutRig) hearsNobody(i int) {
	for other := range c.nodes {
		if other != i {
			c.deaf(i, other)
		}
	}
}

func (c *cutRig) unheard(i int) {
	for other := range c.nodes {
		if other != i {
			c.deaf(other, i)
		}
	}
}

// flap separates a node and brings it back, again and again.
func (c *cutRig) flap(i, times int, each time.Duration) {
	for range times {
		c.alone(i)
		c.pause(each)
		c.heal()
		c.pause(each)
	}
}

// pause lets a fault last.
func (c *cutRig) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.t.Context().Done():
	}
}

// separate plays one scenario and heals it.
func (c *cutRig) separate(p partition) {
	c.t.Helper()
	x := p.pick(c.mailRig)
	if !p.move {
		ended := c.chronicle.Began("cut", "")
		p.do(c, x)
		c.pause(p.long)
		c.heal()
		ended()
		c.t.Logf("%s (%s): healed", p.name, x.name)
		return
	}
	_, ended := c.strike(x, "cut", func() { p.do(c, x) })
	c.heal()
	ended()
	c.t.Logf("%s (%s): healed", p.name, x.name)
}

// TestSlowLine: 200 ms there and back between the nodes. Nobody is declared
// down, and the books balance.
func TestSlowLine(t *testing.T) {
	if os.Getenv("POSTERN_SOAK") == "" {
		t.Skip("a long proof: POSTERN_SOAK=1")
	}
	p := loopback(t)
	p.advertise = map[string]string{}
	for i := range 3 {
		at := fmt.Sprintf("%s:%d", p.lab(), 9001+i)
		newSlowWay(t, at, p.at(i, portPeer), 100*time.Millisecond)
		p.advertise[fmt.Sprintf("n%d", i+1)] = at
	}
	m := newMailRig(t, p, 3, 6)
	m.settled(2 * time.Minute)
	m.unrest()
	stop := m.load(t.Context(), 60)
	began := time.Now()
	for time.Since(began) < time.Minute && !t.Failed() {
		m.settled(30 * time.Second) // and stays so
		time.Sleep(time.Second)
	}
	all := []recovery{m.killNode(m.follower())}
	m.settled(2 * time.Minute)
	all = append(all, m.killNode(m.leader()))
	stop()
	m.tellRecovery(all)
	m.judge(len(m.chronicle.Faults()))
}
