package cluster

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

// Protocols other parts may carry over the peer port (ALPN). raft and the
// cluster's own calls have protocols of their own, which Listen and Dial refuse.
const (
	ProtoMirror = "postern-mirror/1"
	ProtoSubmit = "postern-submit/1"
	ProtoAdmin  = "postern-admin/1"
)

// Peering is a node's place among others; nil in Config means a cluster of one
// without a peer port.
type Peering struct {
	Listener  net.Listener // of the peer port, TCP
	Advertise string       // host:port the others dial
	Gossip    string       // host:port memberlist binds, TCP and UDP; "": no hints
	PKI       string       // directory of certificates (Found, Join)
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

// Status is what this node knows of the cluster right now.
type Status struct {
	Leader  string // "" when none is known
	Term    uint64
	Applied uint64
	Lease   time.Time // until when this node may act; zero: it may not
	Voters  []string
	Joining []string // non-voters
	Nodes   []NodeStatus
	// Mismatches counts reports of a state that differs at the same index.
	Mismatches uint64
}

// NodeStatus is another node as this one sees it: hints, but for Lapsed.
type NodeStatus struct {
	Name    string
	Alive   bool          // by gossip or an open connection
	RTT     time.Duration // of the last call; 0 unknown
	Applied uint64        // the leader knows
	Lapsed  bool          // the leader's: its lease has run out for sure
	Leased  bool          // the leader's: it was answered within a lease's time
}

// Listen returns the connections other nodes open for a protocol. The remote
// address of each prints as the node's name, which its certificate proved.
func (c *Cluster) Listen(proto string) net.Listener { panic("not built") }

// Dial opens a connection to a node by name; nobody else can answer it.
func (c *Cluster) Dial(ctx context.Context, node, proto string) (net.Conn, error) {
	return nil, errors.New("not built")
}

// Read returns a state that has everything committed before the call: a
// linearizable read, also on a node that does not lead.
func (c *Cluster) Read(ctx context.Context) (*tenant.State, error) { return c.State(), nil }

// Leads says whether this node leads and has applied all older entries.
func (c *Cluster) Leads() bool { return c.leads.Load() }

// Lapsed lists nodes whose lease has run out for sure, as the leader counts:
// a new leader lists nobody before a whole lease has passed. Empty elsewhere.
func (c *Cluster) Lapsed() []string { return nil }

// Status tells what is known now; free to call.
func (c *Cluster) Status() Status { return Status{} }

// Latest reads the newest state a stopped node's directory holds, committed or
// not: for recovery from a lost majority.
func Latest(fs vfs.FS, dir string) (*tenant.State, error) { return nil, errors.New("not built") }

// Refound makes dir the first node of a cluster that goes on from s. The
// directory must hold no cluster; what was there is moved aside by the caller.
func Refound(fs vfs.FS, dir, name string, s *tenant.State) error { return errors.New("not built") }
