package tenant

import (
	"iter"
	"net/netip"
	"time"
)

// State is one immutable version of everything the cluster agreed on. Reading
// it takes no lock; Apply returns the next version. What the accessors return
// is shared and must not be changed.
type State struct{}

// Refused is the error of a command whose rule forbids it; the same on every
// node. Reason is a lower-case sentence for the operator.
type Refused struct{ Reason string }

func (r *Refused) Error() string { return r.Reason }

// Event is what a command made happen; one of the event types.
type Event interface{ event() }

// New returns the empty state.
func New() *State { panic("unwritten") }

// Apply carries out c as log entry index and returns the next state. s never
// changes. A *Refused error comes with the state that remembers the refusal.
func Apply(s *State, index uint64, c Command) (*State, []Event, error) { panic("unwritten") }

// Check reports the first broken invariant.
func (s *State) Check() error { panic("unwritten") }

// Reads. Iterators go in ascending id (or name) order.
func (s *State) Index() uint64                   { panic("unwritten") }
func (s *State) Now() time.Time                  { panic("unwritten") }
func (s *State) Digest() [32]byte                { panic("unwritten") }
func (s *State) Node(NodeID) *Node               { panic("unwritten") }
func (s *State) NodeByName(string) *Node         { panic("unwritten") }
func (s *State) Nodes() iter.Seq[*Node]          { panic("unwritten") }
func (s *State) Source(SourceID) *Source         { panic("unwritten") }
func (s *State) SourceByAddr(netip.Addr) *Source { panic("unwritten") }
func (s *State) Sources() iter.Seq[*Source]      { panic("unwritten") }

// SourcesAt lists what a place leaves by: its dedicated source, or the node's pool.
func (s *State) SourcesAt(Place) []*Source         { panic("unwritten") }
func (s *State) Tenant(ID) *Tenant                 { panic("unwritten") }
func (s *State) TenantByName(string) *Tenant       { panic("unwritten") }
func (s *State) Tenants() iter.Seq[*Tenant]        { panic("unwritten") }
func (s *State) Account(AccountID) *Account        { panic("unwritten") }
func (s *State) AccountByUsername(string) *Account { panic("unwritten") }

// AccountByNetwork finds the account allowed to send without AUTH from addr (longest prefix).
func (s *State) AccountByNetwork(netip.Addr) *Account { panic("unwritten") }
func (s *State) AccountsOf(ID) iter.Seq[*Account]     { panic("unwritten") }
func (s *State) Domain(string) *Domain                { panic("unwritten") }
func (s *State) DomainsOf(ID) iter.Seq[*Domain]       { panic("unwritten") }

// MaySendAs reports whether a sender domain is proved for the tenant.
func (s *State) MaySendAs(ID, string) bool { panic("unwritten") }

// RouteFor finds the route of a recipient domain, or that of "*", or nil.
func (s *State) RouteFor(string) *Route         { panic("unwritten") }
func (s *State) Routes() iter.Seq[*Route]       { panic("unwritten") }
func (s *State) Grant(AccountID, Window) *Grant { panic("unwritten") }

// UsageOf is the settled use (live grants not included).
func (s *State) UsageOf(AccountID, Window) Amount { panic("unwritten") }

// Limit is the account's limit for windows of that kind; 0 fields mean none.
func (s *State) Limit(AccountID, WindowKind) Amount { panic("unwritten") }

// WindowsOf lists the windows an account's message spends in at t.
func (s *State) WindowsOf(AccountID, time.Time) []Window { panic("unwritten") }

// Stopped says why a message of the account may not be attempted now, or "".
func (s *State) Stopped(AccountID) string { panic("unwritten") }

// StoodStill is how long the account or its tenant stood still since t; message expiry is later by that much.
func (s *State) StoodStill(AccountID, time.Time) time.Duration { panic("unwritten") }

// Encode gives the canonical bytes (snapshot); Decode reads them back. Decode
// never panics and bounds what it allocates by the length of the input.
func (s *State) Encode() []byte             { panic("unwritten") }
func Decode([]byte) (*State, error)         { panic("unwritten") }
func EncodeCommand(Command) ([]byte, error) { panic("unwritten") }
func DecodeCommand([]byte) (Command, error) { panic("unwritten") }
