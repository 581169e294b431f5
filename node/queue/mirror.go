package queue

import (
	"context"
	"net"
	"time"
)

// Peers connect the stores of the nodes.
type Peers struct {
	Node     string       // this node's name
	Listener net.Listener // the remote address of a connection prints as the node's name
	Dial     func(ctx context.Context, node string) (net.Conn, error)
}

// MirrorStatus is the second copy of one adopted tenant's log.
type MirrorStatus struct {
	Generation uint64
	Node       string // "": one copy
	// Behind is how long the oldest record without the holder's word waits; 0
	// when none does. Broken is how long the holder cannot be reached.
	Behind, Broken time.Duration
	Synced         bool // everything older is there too
	Left           int  // messages still to be compared or copied
}
