package cluster

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

// peered is a whole node with a real peer port.
type peered struct {
	*Cluster
	t    *testing.T
	name string
	fs   vfs.FS
	pki  string
	stop func()
}

// start opens the node at a listener and runs it until the test ends.
func (p *peered) start(l net.Listener, bootstrap bool) {
	p.t.Helper()
	c, err := New(Config{
		Dir: "raft", FS: p.fs, Name: p.name, Bootstrap: bootstrap, Log: quiet(),
		Fatal: func(err error) { p.t.Errorf("fatal: %v", err) },
		Peering: &Peering{
			Listener: l, Advertise: l.Addr().String(), Gossip: "127.0.0.1:0", PKI: p.pki,
			Seal: flip, Open: flip,
			Secret:  func() ([]byte, error) { return []byte("secret"), nil },
			Durable: func() error { return nil },
		},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.Cluster = c
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			p.t.Errorf("run %s: %v", p.name, err)
		}
	})
	p.t.Cleanup(p.stop)
}

// propose tries until the deadline, also through the loss of a leader.
func (p *peered) must(op tenant.Op) *tenant.State {
	p.t.Helper()
	_, s, err := p.Propose(soon(p.t), tenant.RequestID{}, op)
	if err != nil {
		p.t.Fatalf("propose %T at %s: %v", op, p.name, err)
	}
	return s
}

func address(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)}) }

// TestThreePeeredNodes: founded, joined, voting, over real ports and with
// their real certificates; each answers proposals; one that moved comes back;
// one that was removed is shut out.
func TestThreePeeredNodes(t *testing.T) {
	t.Parallel() // it mostly waits
	node := func(name string) *peered {
		return &peered{t: t, name: name, fs: vfs.NewMem(), pki: filepath.Join(t.TempDir(), "pki")}
	}
	a, b, c := node("a"), node("b"), node("c")
	l := bind(t)
	text, err := Found(a.pki, "a", l.Addr().String(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	a.start(l, true)
	for _, n := range []*peered{b, c} {
		l := bind(t)
		joined, err := Join(soon(t), JoinRequest{Token: text, Name: n.name, Advertise: l.Addr().String(), PKI: n.pki})
		if err != nil {
			t.Fatal(err)
		}
		if string(joined.Secret) != "secret" || len(joined.Peers) == 0 {
			t.Errorf("%s was given %+v", n.name, joined)
		}
		n.start(l, false)
	}
	all := []*peered{a, b, c}
	for _, n := range all {
		eventually(t, 2*patience, n.name+" is one of three voters with a lease", func() bool {
			st := n.Status()
			return len(st.Voters) == 3 && !st.Lease.IsZero()
		})
	}
	for i, n := range all {
		n.must(tenant.AddSource{Node: n.State().NodeByName("a").ID, Addr: address(i), EHLO: numbered("out", i) + ".example"})
	}
	eventually(t, patience, "all see all alive", func() bool {
		for _, n := range all {
			for _, other := range n.Status().Nodes {
				if !other.Alive {
					return false
				}
			}
		}
		return len(a.Status().Nodes) == 3
	})

	// The leader goes away and comes back at another place.
	var leader *peered
	eventually(t, patience, "a leader", func() bool {
		for _, n := range all {
			if n.Leads() {
				leader = n
			}
		}
		return leader != nil
	})
	leader.stop()
	for _, n := range all {
		if n != leader {
			n.must(tenant.SetNode{Node: n.State().NodeByName(leader.name).ID, Draining: new(bool)})
		}
	}
	moved := bind(t)
	leader.start(moved, false)
	eventually(t, 2*patience, "it tells where it is", func() bool {
		for _, n := range all {
			known := n.State().NodeByName(leader.name) // none while it reads its log
			if known == nil || known.Peer != moved.Addr().String() {
				return false
			}
		}
		return true
	})

	// A removed node is nobody any more.
	gone, stays := c, b
	eventually(t, 2*patience, "the cluster agrees again", func() bool {
		st := stays.Status()
		return len(st.Voters) == 3 && !st.Lease.IsZero() && st.Leader != ""
	})
	if stays.Leads() {
		gone, stays = stays, gone
	}
	stays.must(tenant.RemoveNode{Node: stays.State().NodeByName(gone.name).ID})
	eventually(t, 2*patience, "raft has two members", func() bool { return len(stays.Status().Voters) == 2 })
	stays.must(tenant.RemoveSource{Source: stays.State().SourceByAddr(address(0)).ID})
	if _, err := gone.Dial(soon(t), stays.name, ProtoAdmin); !errors.Is(err, errUnreached) {
		t.Errorf("the removed node reached another: %v", err)
	}
}
