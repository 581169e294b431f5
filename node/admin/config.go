package admin

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postern/tenant"
)

// Errors of the backends. Adapters translate their own into these; anything
// else is answered as an internal fault with a logged id.
var (
	// ErrNotFound means there is no such message here.
	ErrNotFound = errors.New("no such message")
	// ErrBusy means an attempt of the message is running.
	ErrBusy = errors.New("message is being attempted")
	// ErrOlder means that a node runs a program that does not know what was asked.
	ErrOlder = errors.New("a node runs an older program")
	// ErrUnavailable means the cluster cannot decide now; nothing was done.
	ErrUnavailable = errors.New("no leader")
	// ErrUnknown means the change may or may not have been applied.
	ErrUnknown = errors.New("outcome is unknown")
)

// Config of a Server. State, Propose and OperatorToken are required.
type Config struct {
	// Addr is host:port of the API; Listener, when set, is used instead.
	Addr     string
	Listener net.Listener
	// MetricsAddr is host:port of /metrics without a token; "" serves it only
	// beside the API, with the operator's token. MetricsListener as Listener.
	MetricsAddr     string
	MetricsListener net.Listener
	// TLS, when set, is used on the API's port (not on that of the metrics).
	TLS *tls.Config

	// Node is this node's name.
	Node    string
	Version string
	// OperatorToken is the SHA-256 of the operator's token; see TokenHash.
	OperatorToken [sha256.Size]byte

	State   func() *tenant.State
	Propose func(ctx context.Context, req tenant.RequestID, op tenant.Op) ([]tenant.Event, *tenant.State, error)
	// Ready lists what stops this node from saying 250, or needs care; nil: fine.
	Ready func() []Reason
	// Seal encrypts a DKIM key for the replicated state; nil refuses keys.
	Seal func(domain, selector string, pem []byte) (Sealed, error)
	// Used is the exact use of a window where this node knows it better than
	// the settled use in State; nil: State's.
	Used func(tenant.AccountID, tenant.Window) tenant.Amount

	// ReadZones reads the text of a zones file, or says what is wrong with it,
	// each fault on a line; nil refuses zones files.
	ReadZones func(text string) (tenant.SetLists, []string)

	// WriteZones writes DNS lists as a zones file, whose reading gives them again;
	// nil: they are not exported.
	WriteZones func(tenant.SetLists) string

	// SealsKey and SealsText say whether that is what is sealed; nil: never known.
	SealsKey  func(domain, selector string, sealed, pem []byte) bool
	SealsText func(name string, sealed, plain []byte) bool
	// OpenKey gives a sealed DKIM key as PEM, for an export; nil: never.
	OpenKey func(domain, selector string, sealed []byte) ([]byte, error)

	// SealText encrypts a secret for the replicated state, bound to a name; nil
	// refuses secrets.
	SealText func(name string, plain []byte) ([]byte, error)
	// Delist says how a zone takes an address off that it answers these codes for,
	// how long after a request it takes the next, and whether there is somebody to
	// ask; nil: nothing but the link.
	Delist func(zone string, codes []netip.Addr) (how string, again time.Duration, ask bool)
	// Mark makes the keyed hash that bans know a thing by; nil refuses bans.
	Mark func(kind tenant.MarkKind, text string) tenant.Mark
	// Incident writes what to answer to whoever reported a listing, and what to
	// do next; nil: nothing.
	Incident func(st *tenant.State, c *tenant.Case) (answer string, next []string)

	Messages Messages
	Mail     Mail
	// Suppressions may be nil: then this node keeps none.
	Suppressions Suppressions
	// Archive has the journal's entries that the state keeps no more; nil: nobody.
	Archive Archive
	// Data reads what this node's files have of a tenant; nil: nothing.
	Data TenantData
	// Kept tells how old personal data on this node is; nil: not known.
	Kept Kept
	// Doctor tells and checks what is in the DNS; nil: this node cannot.
	Doctor Doctor

	// Healthy says whether the node's own disk and loops work; nil: they do.
	Healthy func() error
	// Running changes how the node runs; nil: nothing of it can be changed.
	Running Running
	// Cluster tells what this node knows of the others; nil: a cluster of one.
	Cluster func() ClusterStatus
	// Mirrors tells how the second copies of the tenants owned here stand; nil:
	// there are none.
	Mirrors func() map[tenant.ID]MirrorStatus
	// Adopted says whether this node has taken over the tenant's queue, which the
	// state says it owns; nil: it has.
	Adopted func(tenant.ID) bool
	// Read returns a state that has everything committed before the call; nil:
	// State has.
	Read func(ctx context.Context) (*tenant.State, error)
	// JoinToken makes a token for nodes of st's cluster, and the hash that the
	// state keeps of it; nil refuses tokens.
	JoinToken func(st *tenant.State) (token string, hash [32]byte, err error)
	// DialNode opens a connection to another node's API over the peer port; nil:
	// there is no other.
	DialNode func(ctx context.Context, node string) (net.Conn, error)
	// PeerListener, when set, is where other nodes ask this API. Who may connect
	// there is the peer port's to say; each request still needs its caller's token.
	PeerListener net.Listener

	Gatherer prometheus.Gatherer
	Log      *slog.Logger
}

// ClusterStatus is what this node knows of the cluster right now.
type ClusterStatus struct {
	Leader string // "" when none is known
	Term   uint64
	// Lease is until when this node may act; zero: it may not.
	Lease time.Time
	// Current is when this node's state last had all that was committed; zero:
	// not known to have been so yet.
	Current time.Time
	Nodes   []NodeCondition
	// Mismatches counts reports of a state that differs at the same index.
	Mismatches uint64
	// Skew is how far this node's clock is from the median of the nodes'; 0 when
	// it is near or unknown.
	Skew time.Duration
}

// NodeCondition is one node as this one sees it.
type NodeCondition struct {
	Name    string
	Voter   bool
	Alive   bool          // by gossip or an open connection: a hint
	RTT     time.Duration // 0: unknown
	Applied uint64        // the leader knows; 0: unknown
	Lapsed  bool          // the leader knows that its lease has run out
}

// MirrorStatus is the second copy of one tenant's log.
type MirrorStatus struct {
	Generation uint64
	Node       string        // "": one copy
	Behind     time.Duration // how long the oldest record without the holder's word waits
	Broken     time.Duration // how long the holder cannot be reached
	Synced     bool          // everything older is there, too
	Left       int           // messages still to be compared or copied
}

// Sealed is an encrypted DKIM key with what the operator must know of it.
type Sealed struct {
	Bytes    []byte
	Record   string   // the TXT record to publish
	Warnings []string // such as a short key
}

// Filter narrows a list; zero fields match all.
type Filter struct {
	Tenant  tenant.ID
	Account tenant.AccountID
	Domain  string
	Limit   int
	After   string // a message id
}

// Messages is what the queue shows. Ids are opaque text here; a text that is
// none gives ErrNotFound.
type Messages interface {
	List(ctx context.Context, f Filter) ([]Message, error)
	Show(ctx context.Context, id string) (*Message, error)
	Trace(ctx context.Context, id string) (*Trace, error)
	Counts() map[tenant.ID]Counts
}

// Mail is what may be done to the queue.
type Mail interface {
	Flush(ctx context.Context, f Filter) (int, error)
	Cancel(ctx context.Context, id string) error
	Purge(ctx context.Context, f Filter) (int, error)
}

func (c Config) validate() error {
	switch {
	case c.Addr == "" && c.Listener == nil:
		return errors.New("configure admin: no address")
	case c.State == nil || c.Propose == nil:
		return errors.New("configure admin: no state or no way to change it")
	case c.OperatorToken == [sha256.Size]byte{}:
		return errors.New("configure admin: no operator token")
	case c.Messages == nil || c.Mail == nil:
		return errors.New("configure admin: no queue")
	}
	return nil
}
