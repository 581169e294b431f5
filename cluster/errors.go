package cluster

import "errors"

// Errors of a proposal. ErrUnknown means: it may or may not have been applied;
// propose again with the same request id to find out.
var (
	ErrNoLeader = errors.New("no leader")
	ErrUnknown  = errors.New("outcome of the proposal is unknown")
	ErrClosed   = errors.New("cluster is closed")
	// ErrTooLarge refuses a command whose encoding is over MaxCommand octets.
	// It never entered the log; split it.
	ErrTooLarge = errors.New("command is too large for the log")
	// ErrNotOwner is MayAct's no: another node or another epoch owns the tenant.
	ErrNotOwner = errors.New("not the owner")
	// ErrNoLease is MayAct's no when no lease came in time.
	ErrNoLease = errors.New("no lease")
	// ErrForeign is New's no to a directory that is not this node's.
	ErrForeign = errors.New("directory belongs to another node")
	// ErrEmpty is New's no to a directory that holds no cluster.
	ErrEmpty = errors.New("directory holds no cluster")
)

// errStore marks what the log store or the snapshots hold as unreadable.
var errStore = errors.New("stored record is damaged")
