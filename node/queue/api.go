package queue

import (
	"context"
	"errors"
	"net"
	"time"

	"postern/tenant"
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

// LogState is what a holder has of a tenant's log.
type LogState struct {
	Epoch      uint64
	Generation uint64
	Last       uint64 // of that epoch: last record durable there
}

// Held is a tenant whose log lies here.
type Held struct {
	Tenant tenant.ID
	LogState
	Adopted  bool // by this process
	Messages int
}

// Mirror sends the tenant's log to node from now on, under a generation the
// cluster has agreed on; "" keeps one copy. Records nobody else has gone
// before are sent again; older messages are compared and copied meanwhile.
// First is the first sequence the new holder gets live: see NextFirst.
func (s *Store) Mirror(t tenant.ID, epoch, generation uint64, node string) error {
	return errors.New("not built")
}

// NextFirst is the first sequence a new holder would get live.
func (s *Store) NextFirst(t tenant.ID) uint64 { return 0 }

// Mirrors tells how the copies of all adopted tenants stand.
func (s *Store) Mirrors() map[tenant.ID]MirrorStatus { return nil }

// MirrorsChanged returns a channel that is closed at the next change of a
// Broken, Synced or long Behind.
func (s *Store) MirrorsChanged() <-chan struct{} { return nil }

// Fence makes a node ("" is this one) refuse the tenant's records of lower
// epochs from now on, durably, and tells what it has.
func (s *Store) Fence(ctx context.Context, node string, t tenant.ID, epoch uint64) (LogState, error) {
	return LogState{}, errors.New("not built")
}

// Fetch makes this store's copy of a tenant equal to that of a node, which was
// fenced. With merge it takes in what only the other has, and keeps the rest.
func (s *Store) Fetch(ctx context.Context, node string, t tenant.ID, merge bool) error {
	return errors.New("not built")
}

// Held lists all tenants whose log lies here.
func (s *Store) Held() ([]Held, error) { return nil, nil }

// Return hands over to the owner what this store has beyond the ends of a log
// it wrote once, and returns how many messages and outcomes that were.
func (s *Store) Return(ctx context.Context, owner string, t tenant.ID, ends []tenant.End) (int, error) {
	return 0, errors.New("not built")
}

// Erase forgets a tenant's log: nobody needs this copy any more.
func (s *Store) Erase(t tenant.ID) error { return errors.New("not built") }

// Quiesce stops Take and Put for a tenant, waits until ctx ends for attempts
// under way, and until the mirror has everything. It returns the last sequence
// and the sequences of messages whose dot still has no reply. Resume, Release
// or the end of the process end it.
func (s *Store) Quiesce(ctx context.Context, t tenant.ID) (last uint64, waiting []uint64, err error) {
	return 0, nil, errors.New("not built")
}

// Resume takes a Quiesce back.
func (s *Store) Resume(t tenant.ID) error { return errors.New("not built") }

// Find tells which message a transaction became, of those put within the last
// hour at least; ErrNotFound when it became none.
func (s *Store) Find(t tenant.ID, transaction [16]byte) (ID, error) { return ID{}, ErrNotFound }

// Durable reports an error when no sync was completed within 5 s; an idle
// store writes to find out.
func (s *Store) Durable() error { return nil }
