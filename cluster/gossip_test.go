package cluster

import (
	"context"
	"errors"
	"log"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"postern/tenant"
)

// wall is memberlist's network with a switch: while it is up, nothing that this
// node sends gets out.
type wall struct {
	*memberlist.NetTransport
	up *atomic.Bool
}

var errWall = errors.New("no way out")

func (w wall) WriteTo(b []byte, addr string) (time.Time, error) {
	if w.up.Load() {
		return time.Now(), nil
	}
	return w.NetTransport.WriteTo(b, addr)
}

func (w wall) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return w.WriteTo(b, a.Addr)
}

func (w wall) DialTimeout(addr string, d time.Duration) (net.Conn, error) {
	if w.up.Load() {
		return nil, errWall
	}
	return w.NetTransport.DialTimeout(addr, d)
}

func (w wall) DialAddressTimeout(a memberlist.Address, d time.Duration) (net.Conn, error) {
	return w.DialTimeout(a.Addr, d)
}

// freeTransport takes a port that is free for TCP and UDP. memberlist chooses it
// by TCP alone; that of UDP may be another's.
func freeTransport(to *log.Logger) (t *memberlist.NetTransport, err error) {
	for range 20 {
		t, err = memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{"127.0.0.1"}, Logger: to})
		if err == nil {
			return t, nil
		}
	}
	return nil, err
}

// gossips makes a node gossip quickly behind a wall.
func gossips(t *testing.T, up *atomic.Bool, edit func(*memberlist.Config)) func(*port) {
	return func(p *port) {
		p.peering.Gossip = "127.0.0.1:0"
		p.pace.gossip = gossipPace{
			probe: 50 * time.Millisecond, timeout: 40 * time.Millisecond, toDead: 100 * time.Millisecond,
			first: 10 * time.Millisecond, rejoin: 100 * time.Millisecond,
			adjust: func(c *memberlist.Config) {
				c.SuspicionMult, c.GossipInterval = 2, 10*time.Millisecond
				net, err := freeTransport(c.Logger)
				if err != nil {
					t.Error(err)
					return
				}
				c.BindPort, c.AdvertisePort = net.GetAutoBindPort(), net.GetAutoBindPort()
				c.Transport = wall{net, up}
				if edit != nil {
					edit(c)
				}
			},
		}
	}
}

// gossiping is a tribe of three whose nodes gossip, each behind its own wall.
func gossiping(t *testing.T, edits map[string]func(*memberlist.Config)) (*tribe, []*seat, []*atomic.Bool) {
	r := newTribe(t)
	a, b, c := r.three()
	var seats []*seat
	var walls []*atomic.Bool
	for _, s := range []*seat{a, b, c} {
		s.stop()
		up := new(atomic.Bool)
		again := r.open(s.name, s.dir, bind(t), gossips(t, up, edits[s.name]))
		r.moved(again)
		seats, walls = append(seats, again), append(walls, up)
	}
	for _, s := range seats {
		r.run(s)
	}
	return r, seats, walls
}

// sees waits until a node's gossip shows exactly these others.
func sees(t *testing.T, s *seat, names ...string) {
	t.Helper()
	eventually(t, patience, s.name+" sees the others", func() bool {
		for _, n := range []string{"a", "b", "c"} {
			if n != s.name && s.port.hints.alive(n) != slices.Contains(names, n) {
				return false
			}
		}
		return true
	})
}

// TestGossip: all are seen, one that ends is not, and one that comes back is.
func TestGossip(t *testing.T) {
	t.Parallel() // it mostly waits
	r, n, _ := gossiping(t, nil)
	sees(t, n[0], "b", "c")
	sees(t, n[1], "a", "c")
	sees(t, n[2], "a", "b")
	if !n[0].port.alive("c") {
		t.Error("a node that gossips is not alive")
	}
	n[2].stop()
	sees(t, n[0], "b")
	// It comes back at another place.
	back := r.open("c", n[2].dir, bind(t), gossips(t, new(atomic.Bool), nil))
	r.moved(back)
	r.run(back)
	sees(t, n[0], "b", "c")
	sees(t, back, "a", "b")
}

// TestGossipPartition: after a partition that lasts longer than memberlist
// remembers its dead, the nodes find each other again.
func TestGossipPartition(t *testing.T) {
	t.Parallel() // it mostly waits
	_, n, walls := gossiping(t, nil)
	for _, s := range n {
		others := slices.DeleteFunc([]string{"a", "b", "c"}, func(o string) bool { return o == s.name })
		sees(t, s, others...)
	}
	for _, w := range walls {
		w.Store(true)
	}
	for _, s := range n {
		sees(t, s)
	}
	// Ten times as long as the dead are told of, attempts to join go on.
	limit := time.NewTimer(10 * n[0].port.pace.gossip.toDead)
	<-limit.C
	for _, w := range walls {
		w.Store(false)
	}
	for _, s := range n {
		others := slices.DeleteFunc([]string{"a", "b", "c"}, func(o string) bool { return o == s.name })
		sees(t, s, others...)
	}
}

// TestGossipStrangers: without the key, or with another cluster's label, nobody
// comes in; the others do not mind.
func TestGossipStrangers(t *testing.T) {
	t.Parallel() // it mostly waits
	for name, edit := range map[string]func(*memberlist.Config){
		"key":   func(c *memberlist.Config) { c.SecretKey = make([]byte, gossipKeySize) },
		"plain": func(c *memberlist.Config) { c.SecretKey = nil },
		"label": func(c *memberlist.Config) { c.Label = "another" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, n, _ := gossiping(t, map[string]func(*memberlist.Config){"c": edit})
			sees(t, n[0], "b")
			sees(t, n[1], "a")
			tried := make(chan struct{})
			// c asks where the others gossip before each attempt.
			var count atomic.Int32
			answer := n[0].port.answerGossip
			n[0].port.handle(verbGossip, func(ctx context.Context, from string, req []byte) ([]byte, error) {
				if from == "c" {
					if count.Add(1) == 4 {
						close(tried)
					}
				}
				return answer(ctx, from, req)
			})
			select {
			case <-tried:
			case <-time.After(patience):
				t.Fatal("the stranger did not try")
			}
			if n[0].port.hints.alive("c") || n[2].port.hints.alive("a") {
				t.Error("a stranger came in")
			}
		})
	}
}

// TestGossipConfig: gossip is keyed and labelled, and its settings are those
// that three nodes need.
func TestGossipConfig(t *testing.T) {
	r := newTribe(t)
	a, _ := r.found("a")
	a.stop()
	a.port.peering.Gossip = "127.0.0.1:7946"
	state := r.state.Load()
	key, err := flip(sealGossip, state.Authority().SealedGossip)
	if err != nil {
		t.Fatal(err)
	}
	a.port.pace.gossip = lanPace()
	c, err := a.port.gossipConfig(soon(t), state.Authority(), key, make(chan struct{}, 1))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.SecretKey) != 32 || len(c.Label) != 32 || c.SkipInboundLabelCheck || !c.GossipVerifyIncoming || !c.GossipVerifyOutgoing {
		t.Error("gossip is open to strangers")
	}
	if c.SuspicionMult != 8 || c.ProbeTimeout != time.Second || c.DeadNodeReclaimTime != 30*time.Second || c.DisableTcpPings {
		t.Errorf("settings %+v", c)
	}
	if c.Name != "a" || c.BindPort != 7946 || c.AdvertiseAddr != "127.0.0.1" || c.AdvertisePort != 7946 || c.CIDRsAllowed != nil {
		t.Errorf("place %+v", c)
	}
	if meta := c.Delegate.NodeMeta(memberlist.MetaMaxSize); len(meta) == 0 || len(meta) > memberlist.MetaMaxSize {
		t.Errorf("%d octets of meta", len(meta))
	}
	if c.Delegate.NodeMeta(3) != nil {
		t.Error("meta over the limit ends the process")
	}
	events := gossipEvents{make(chan struct{}, 1)}
	for range 100 {
		events.NotifyJoin(nil) // never waits: it is called under locks
	}
}

// TestGossipWaits: before the state has a key there is no gossip, and then
// there is.
func TestGossipWaits(t *testing.T) {
	r := newTribe(t)
	a, _ := r.found("a")
	a.stop()
	s := r.open("a", a.dir, bind(t), gossips(t, new(atomic.Bool), nil))
	s.view.Store(tenant.New())
	r.run(s)
	if got := s.port.hints.addr.Load(); got != nil {
		t.Errorf("gossips at %s without a key", *got)
	}
	s.view.Store(nil)
	eventually(t, patience, "gossip starts", func() bool { return s.port.hints.addr.Load() != nil })
}
