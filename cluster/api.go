package cluster

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"postern/tenant"
)

// Errors of a proposal. ErrUnknown means: it may or may not have been applied;
// propose again with the same request id to find out.
var (
	ErrNoLeader = errors.New("no leader")
	ErrUnknown  = errors.New("outcome of the proposal is unknown")
	ErrClosed   = errors.New("cluster is closed")
)

// Config of a Cluster.
type Config struct {
	Dir  string
	FS   vfs.FS // pebble's default; tests pass a crashable one
	Name string // this node's name; also its raft server id
	// Bootstrap forms a cluster of one in an empty directory.
	Bootstrap bool
	// HungWrite is how long a log write may take before the node gives up [10 s].
	HungWrite time.Duration
	// Fatal ends the process; it must not return.
	Fatal      func(error)
	Now        func() time.Time
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Cluster is this node's part of the consensus. New opens stores and starts
// nothing; Run starts raft, blocks until ctx ends, and closes everything.
type Cluster struct{}

func New(cfg Config) (*Cluster, error)           { panic("unwritten") }
func (c *Cluster) Run(ctx context.Context) error { panic("unwritten") }

// Propose carries op through the log and returns the events it made and the
// state it led to. A refusal is a *tenant.Refused. The request id makes repeats
// harmless; zero means a fresh one. Any number of calls may run at once.
func (c *Cluster) Propose(ctx context.Context, req tenant.RequestID, op tenant.Op) ([]tenant.Event, *tenant.State, error) {
	panic("unwritten")
}

// State is the newest applied state; never nil; no lock.
func (c *Cluster) State() *tenant.State { panic("unwritten") }

// Watch returns a channel that is closed once a state newer than index is applied.
func (c *Cluster) Watch(index uint64) <-chan struct{}

// Ready is closed once this node has applied everything committed before its
// start and knows a leader.
func (c *Cluster) Ready() <-chan struct{}

// MayAct is the one answer to "may I say 250, may I send the dot": nil while
// this node's lease runs and it owns the tenant under epoch. A cluster of one
// needs no lease. It waits for a lease until ctx ends.
func (c *Cluster) MayAct(ctx context.Context, t tenant.ID, epoch uint64) error { panic("unwritten") }
