package node

import (
	"context"
	"fmt"
	"net"

	"postern/cluster"
	"postern/node/queue"
	"postern/node/submission"
)

// peered says whether this node has a peer port, and so may be one of several.
func (n *Node) peered() bool { return n.cfg.Peer.Listen != "" }

// peering opens the peer port for the cluster; nil when there is none.
func (n *Node) peering() (*cluster.Peering, error) {
	if !n.peered() {
		return nil, nil
	}
	l, err := net.Listen("tcp", n.cfg.Peer.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for peers: %w", err)
	}
	return &cluster.Peering{
		Listener: l, Advertise: n.cfg.Peer.Advertise, Gossip: n.cfg.Peer.Gossip,
		PKI:  n.cfg.pkiDir(),
		Seal: n.seal.sealBytes, Open: n.seal.openBytes,
		Secret: n.cfg.encodeSecret,
		// The store opens after the cluster, and before either runs.
		Durable: func() error { return n.queue.Durable() },
	}, nil
}

// storePeers connects this node's store with the others'.
func (n *Node) storePeers() *queue.Peers {
	if !n.peered() {
		return nil
	}
	return &queue.Peers{
		Node: n.cfg.Name, Listener: n.cluster.Listen(cluster.ProtoMirror), Dial: n.dialer(cluster.ProtoMirror),
	}
}

// submissionPeers lets clients use any node.
func (n *Node) submissionPeers() *submission.Peers {
	if !n.peered() {
		return nil
	}
	return &submission.Peers{Listener: n.cluster.Listen(cluster.ProtoSubmit), Dial: n.dialer(cluster.ProtoSubmit)}
}

func (n *Node) dialer(proto string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, node string) (net.Conn, error) { return n.cluster.Dial(ctx, node, proto) }
}
