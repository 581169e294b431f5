package cluster

import (
	"context"
	"net"
)

// Protocols other parts may carry over the peer port (ALPN). raft and the
// cluster's own calls have protocols of their own, which Listen and Dial refuse.
const (
	ProtoMirror = "postern-mirror/1"
	ProtoSubmit = "postern-submit/1"
	ProtoAdmin  = "postern-admin/1"
	ProtoLate   = "postern-late/1"
)

// Peering is a node's place among others; nil in Config means a cluster of one
// without a peer port.
type Peering struct {
	Listener  net.Listener // of the peer port, TCP
	Advertise string       // host:port the others dial
	// Dial opens a TCP connection to another node's peer port [net.Dialer].
	Dial   func(ctx context.Context, addr string) (net.Conn, error)
	Gossip string // host:port memberlist binds, TCP and UDP; "": no hints
	PKI    string // directory of certificates (Found, Join)
	// Seal and Open keep the authority's keys as ciphertext in the state.
	Seal func(name string, plain []byte) ([]byte, error)
	Open func(name string, sealed []byte) ([]byte, error)
	// Secret is handed to nodes that join, so that they can open what is sealed.
	Secret func() ([]byte, error)
	// Durable reports an error when the queue store has not completed a sync
	// within 5 s: no lease is asked for then.
	Durable func() error
	Witness bool
}
