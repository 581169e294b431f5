package tenant

import "time"

// The cluster's own operations.
type (
	// SetAuthority stores the authority once; refused when there is one.
	SetAuthority struct{ Authority Authority }
	// AddToken lets nodes join; at most 64 live at a time, expired ones go.
	AddToken struct{ Token JoinToken }
	// RemoveToken takes one back.
	RemoveToken struct{ Hash [32]byte }
	// Join registers a node, or gives a registered name a new key and place (a
	// replaced or rejoining node): the old key is refused from then on. The
	// token must be live and fit.
	Join struct {
		Name    string
		Peer    string // host:port of its peer port
		Key     [32]byte
		Witness bool
		Version uint32
		Token   [32]byte // SHA-256 of the secret it showed
	}
	// SetNode records facts of a registered node; nil fields stay.
	SetNode struct {
		Node     NodeID
		Peer     *string
		Key      *[32]byte
		Version  *uint32
		Draining *bool
		Away     *time.Time // at most MaxAway ahead; the past ends the window
	}
	// RemoveNode takes a node out for good: refused while it owns a tenant, is
	// a place of one, has sources, or holds an open copy. Lost gives up the
	// copies of a node that is down and does not come back.
	RemoveNode struct {
		Node NodeID
		Lost bool
	}
	// NodesDown and NodesUp record which nodes have no lease. They are facts,
	// never refused for known nodes. What a down node owned goes to its
	// backup, or to the node Place chooses, in the same command.
	NodesDown struct{ Nodes []NodeID }
	NodesUp   struct{ Nodes []NodeID }
	// SetMirrors names new holders of copies; each change begins a generation.
	// A change whose epoch or expected generation is not the present one is
	// passed over, not refused: the others of the list still count.
	SetMirrors struct{ Changes []MirrorChange }
	// CloseMirrors says that the newest copies are complete: older ones are no
	// longer open. The same rule for stale changes.
	CloseMirrors struct{ Changes []MirrorChange }
	// Handover asks the owner to release a tenant to a node in good order; To
	// 0 takes the request back. At most one at a time a tenant.
	Handover struct {
		Tenant ID
		Expect uint64 // epoch
		To     NodeID
	}
	// Release gives the tenant to the node it is handed over to. The owner sent
	// no dot that has no outcome, but those of Waiting.
	Release struct {
		Tenant  ID
		Expect  uint64
		Last    uint64 // last sequence of the epoch's log
		Waiting []uint64
	}
)

// MirrorChange is one tenant's part of SetMirrors and CloseMirrors.
type MirrorChange struct {
	Tenant     ID
	Epoch      uint64
	Generation uint64 // the present newest one
	Node       NodeID // SetMirrors: the new holder
	First      uint64 // SetMirrors
}

func (SetAuthority) op() {}
func (AddToken) op()     {}
func (RemoveToken) op()  {}
func (Join) op()         {}
func (SetNode) op()      {}
func (RemoveNode) op()   {}
func (NodesDown) op()    {}
func (NodesUp) op()      {}
func (SetMirrors) op()   {}
func (CloseMirrors) op() {}
func (Handover) op()     {}
func (Release) op()      {}
