package tenant

import (
	"net/netip"
	"time"
)

// Numeric ids are never reused; 0 means none.
type (
	// ID names a tenant.
	ID uint64
	// AccountID names an account of a tenant.
	AccountID uint64
	// NodeID names a node of the cluster.
	NodeID uint64
	// SourceID names one outbound IP.
	SourceID uint64
	// GrantID names one grant of quota to an owner.
	GrantID uint64
)

// RequestID makes a proposal idempotent: a command with an id already applied
// changes nothing and yields the first result again.
type RequestID [16]byte

// Class is the class of a message.
type Class uint8

// The classes of mail, most urgent first.
const (
	Transactional Class = iota
	Bulk
)

// Node is one machine of the cluster.
type Node struct {
	ID   NodeID
	Name string
	// Peer is where other nodes reach it, host:port; empty in a cluster of one.
	Peer string
	// Key is the SHA-256 of the public key (SubjectPublicKeyInfo) its
	// certificate must have; zero: it has to join again.
	Key [32]byte
	// Witness votes and may hold copies; it has no sources and owns nothing.
	Witness bool
	// Version is the newest command version the node's program knows.
	Version uint32
	// Draining nodes get no tenants, and theirs are handed over.
	Draining bool
	// Away is until when the node may be without a lease and keeps what it owns:
	// a maintenance window, in which it restarts in place.
	Away time.Time
	// Down since then, as the leader saw it; zero while it has leases. Up is
	// when it last came back.
	Down, Up time.Time
}

// Source is one outbound IP on a node (the field's egress source).
type Source struct {
	ID   SourceID
	Node NodeID
	Addr netip.Addr
	// EHLO is the name the source greets with; its PTR must be the same.
	// Never a tenant's name.
	EHLO string
	// Shared makes the source a member of its node's pool; otherwise it is
	// dedicated and carries one tenant at most.
	Shared bool
}

// Place is a node and what a tenant leaves it by: a dedicated Source, or the
// node's pool when Source is 0.
type Place struct {
	Node   NodeID
	Source SourceID
}

// Tenant is one customer: the unit of placement, isolation and banning.
type Tenant struct {
	ID   ID
	Name string
	// Hostname is the tenant's own name for the relay (tenant.relay.example);
	// trace headers show it and nothing else of us.
	Hostname string
	Home     Place
	Backup   Place // zero when there is none
	Owner    NodeID
	// Epoch grows with every change of owner and every start of the owner.
	Epoch  uint64
	Paused string // reason, empty when not paused: no attempts
	Held   string // reason, empty when not held: no attempts, submissions refused
	// Token is the SHA-256 of the tenant's API token; zero when there is none.
	Token [32]byte
	// Stopped lists the closed and open spans in which the tenant stood still;
	// message expiry does not run in them.
	Stopped []Span
	// Generation is the last one given out; Copies are the open ones, oldest
	// first, and the last of them is the mirror.
	Generation uint64
	Copies     []Copy
	// Ends tells how far past epochs' logs were taken in, newest last.
	Ends []End
	// To is the node the owner is handing the tenant over to; 0 none.
	To NodeID
	// Waiting are sequences of the released log whose dot had no reply yet.
	Waiting []uint64
	// Awaited are the nodes that may hold more of the log than a restored state
	// knows, and have not reported yet; ascending.
	Awaited []NodeID
}

// Span is a stretch of the state's clock; Until is zero while it lasts.
type Span struct{ From, Until time.Time }

// Plan is what an account bought. A zero number means no limit of that kind.
type Plan struct {
	BytesPerMonth uint64 // weight: size x recipients
	MailsPerMonth uint64 // one e-mail is one recipient
	MaxRecipients int    // a message; 0 means DefaultMaxRecipients
	MaxSize       int64  // octets of one message
}

// DefaultMaxRecipients is the most recipients one message may have unless the
// plan says otherwise.
const DefaultMaxRecipients = 50

// Account is one credential of a tenant: the unit of selling and of blocking.
type Account struct {
	ID       AccountID
	Tenant   ID
	Username string // an address, lower case; AUTH name
	// Secret is the SHA-256 of the generated machine password (>= 128 bit), unless
	// State.Hash has the account's: then it is no password's, and only changes when
	// the password does.
	Secret [32]byte
	// Networks lists client networks that may send without AUTH; usually empty.
	Networks  []netip.Prefix
	Reference string // address for reports and notices
	Plan      Plan
	Class     Class
	// Limits are caution limits in short windows; none by default.
	Limits []CautionLimit
	// Gap is the least time between two messages; 0 is none.
	Gap     time.Duration
	Held    string // reason, empty when not held
	Stopped []Span
}

// CautionLimit is a limit of an account in one kind of short window; 0 fields
// mean none.
type CautionLimit struct {
	Kind  WindowKind // Minute, Hour, HalfDay or Day
	Limit Amount
}

// Domain is a sender domain proved for a tenant.
type Domain struct {
	Name   string // A-label, lower case
	Tenant ID
	// DKIM signing with an operator-given key; empty Selector means unsigned.
	Selector string
	// SealedKey is the PKCS #8 private key, as AEAD ciphertext only.
	SealedKey []byte
}

// Route sends mail for a recipient domain to a fixed host instead of its MX.
type Route struct {
	Domain string // A-label, lower case; "*" is every domain without a route
	Host   string // name or address
	Port   uint16
}

// WindowKind is the length of a quota window.
type WindowKind uint8

// The windows quotas are counted in.
const (
	Month WindowKind = iota + 1
	// Minute, Hour, HalfDay and Day are caution limits, settable per account.
	Minute
	Hour
	HalfDay
	Day
)

// Window is one span of quota accounting. Start is UTC.
type Window struct {
	Kind  WindowKind
	Start int64 // Unix seconds
}

// Amount is what a message spends or a grant gives.
type Amount struct {
	Mails uint64
	Bytes uint64
}

// Grant is what an owner may still spend of one account's quota in a window.
// At most one is live per account and window; it belongs to the owner's epoch.
type Grant struct {
	ID      GrantID
	Account AccountID
	Window  Window
	Epoch   uint64
	// Given is the cumulative amount given under this grant.
	Given Amount
}

// Usage is the settled use of one account in one window.
type Usage struct {
	Account AccountID
	Window  Window
	Used    Amount
}
