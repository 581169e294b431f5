package cluster

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"postern/tenant"
)

// peers is how this node speaks with the others, by their names: the peer
// port, or a network in memory in tests.
type peers interface {
	run(ctx context.Context) error
	close()
	listen(proto string) net.Listener
	dial(ctx context.Context, node, proto string) (net.Conn, error)
	call(ctx context.Context, node, verb string, req, resp any) error
	handle(verb string, f callFunc)
	// found writes what the state of a new cluster must begin with.
	found(ctx context.Context, propose proposal) error
	alive(node string) bool
	silent(node string) bool
	rtt(node string) time.Duration
}

// Verbs of the calls between nodes.
const (
	verbPropose = "propose"
	verbLease   = "lease"
	verbRead    = "read"
)

// errNoPeers is the answer of a cluster of one without a peer port.
var errNoPeers = errors.New("this node has no peer port")

// connect opens the peer port when there is to be one.
func (c *Cluster) connect() error {
	switch {
	case c.cfg.peers != nil: // a test's
		c.peers = c.cfg.peers
	case c.cfg.Peering == nil:
		return nil
	default:
		p, err := openPort(*c.cfg.Peering, c.cfg.Name, c.State, c.log)
		if err != nil {
			return err
		}
		p.fresh = c.fresh
		p.propose = c.proposal
		c.peers = p
	}
	c.peers.handle(verbPropose, c.answerPropose)
	c.peers.handle(verbLease, answering(c.answerLease))
	c.peers.handle(verbRead, answering(c.answerRead))
	return nil
}

// fresh says that the state here is the newest for sure, or was less than a
// lease ago.
func (c *Cluster) fresh() bool {
	if c.leads.Load() {
		return true
	}
	l := c.lease.Load()
	return l != nil && c.clocks.now().before(l.until)
}

// proposal is Propose for the peer port.
func (c *Cluster) proposal(ctx context.Context, op tenant.Op) (*tenant.State, error) {
	_, s, err := c.Propose(ctx, tenant.RequestID{}, op)
	return s, err
}

// Listen returns the connections other nodes open for a protocol. The remote
// address of each prints as the node's name, which its certificate proved.
// Without a peer port nobody ever connects.
func (c *Cluster) Listen(proto string) net.Listener {
	if c.peers == nil || ownProto(proto) {
		return &silence{proto: proto, done: make(chan struct{})}
	}
	return c.peers.listen(proto)
}

// Dial opens a connection to a node by name; nobody else can answer it.
func (c *Cluster) Dial(ctx context.Context, node, proto string) (net.Conn, error) {
	if c.peers == nil {
		return nil, errNoPeers
	}
	if ownProto(proto) {
		return nil, errors.New("dial: the protocol " + proto + " is the cluster's own")
	}
	return c.peers.dial(ctx, node, proto)
}

func ownProto(proto string) bool {
	return proto == protoRaft || proto == protoCalls || proto == protoJoin
}

// silence is a listener nobody ever connects to.
type silence struct {
	proto string
	once  sync.Once
	done  chan struct{}
}

// Accept implements net.Listener.
func (s *silence) Accept() (net.Conn, error) { <-s.done; return nil, net.ErrClosed }

// Addr implements net.Listener.
func (s *silence) Addr() net.Addr { return nodeAddr(s.proto) }

// Close implements net.Listener.
func (s *silence) Close() error { s.once.Do(func() { close(s.done) }); return nil }
