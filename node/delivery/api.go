package delivery

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postern/node/queue"
	"postern/tenant"
)

// Config of a Sender. Zero values mean the default in brackets.
type Config struct {
	Node      tenant.NodeID
	State     func() *tenant.State
	Queue     *queue.Store
	MayDot    func(ctx context.Context, t tenant.ID, epoch uint64) error // lease and epoch, right before the final dot
	Hostname  string                                                     // Reporting-MTA when the tenant has no host name of its own
	Resolvers []netip.AddrPort                                           // own recursive resolvers, asked in turn
	Port      uint16                                                     // SMTP port of MX hosts [25]
	Own       []netip.Addr                                               // our own addresses: an MX there is a loop
	// AllowLoopback lets MX hosts live in 127.0.0.0/8 and ::1, as in the lab.
	// On a real node such an MX is refused like private space.
	AllowLoopback bool
	Retry         []time.Duration // waits after each attempt, the last one repeats [5m 15m 30m 1h... 4h]
	MaxConns      int             // open connections of the whole node [2000]
	Shaping       *Shaping        // provider table [built in, from reputation.md §5]
	Log           *slog.Logger
	Registerer    prometheus.Registerer
	// Observe, if set, is told of every settled attempt (demo footer, tests).
	Observe func(Event)
}

// Event is one settled attempt of one item.
type Event struct {
	Item     *queue.Item
	Attempt  queue.Attempt
	Outcomes []queue.Outcome
}

// Sender is the outgoing half of a node. New starts nothing; Run blocks until
// ctx ends, then lets open dots finish (bounded by 30 s) and settles them.
type Sender struct{ cfg Config }

func New(cfg Config) (*Sender, error)           { panic("unwritten") }
func (s *Sender) Run(ctx context.Context) error { panic("unwritten") }
