package delivery

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postern/node/bounce"
	"postern/node/queue"
	"postern/tenant"
)

// Config of a Sender. Zero values mean the default in brackets.
type Config struct {
	Node  func() tenant.NodeID // this node; 0 until it is registered
	State func() *tenant.State
	// Watch returns a channel that is closed once a state newer than index is
	// applied [State is looked at four times a second].
	Watch     func(index uint64) <-chan struct{}
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
	// Backoff is how long a destination that cannot be reached is left alone,
	// by the failures in a row; the last one repeats [5m 10m 20m 30m 1h, or
	// Retry when that starts sooner].
	Backoff    []time.Duration
	Idle       time.Duration // how long an open session waits for the next message [5 s]
	DelayAfter time.Duration // age at which the sender is told of a delay [4 h]
	MaxConns   int           // open connections of the whole node [2000]
	Shaping    *Shaping      // provider table [DefaultShaping]
	// Returns makes return paths for sender domains with a bounce subdomain [mail
	// leaves with its sender's own address].
	Returns    *bounce.Signer
	Log        *slog.Logger
	Registerer prometheus.Registerer
	// Before, if set, is shown what is about to be sent, over a session that is
	// open. It must not wait for anything but the message itself.
	Before func(*queue.Item)
	// Observe, if set, is told of every settled attempt once it is durable
	// (demo footer, tests). It must not block.
	Observe func(Event)
}

// Event is one settled attempt of one item.
type Event struct {
	Item     *queue.Item
	Attempt  queue.Attempt
	Outcomes []queue.Outcome
}

// endDots bounds how long open transactions may take once Run's context ended.
const endDots = 30 * time.Second

// withDefaults fills what was left out and refuses what cannot work.
func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Node == nil:
		return c, errors.New("configure delivery: no node")
	case c.State == nil:
		return c, errors.New("configure delivery: no state")
	case c.MayDot == nil:
		return c, errors.New("configure delivery: nothing to ask before the final dot")
	}
	if c.Port == 0 {
		c.Port = 25
	}
	if len(c.Backoff) == 0 {
		c.Backoff = defaultBackoff
		if len(c.Retry) > 0 && c.Retry[0] < defaultBackoff[0] {
			c.Backoff = c.Retry
		}
	}
	if c.Idle <= 0 {
		c.Idle = 5 * time.Second
	}
	if c.DelayAfter <= 0 {
		c.DelayAfter = 4 * time.Hour
	}
	if c.MaxConns <= 0 {
		c.MaxConns = 2000
	}
	if c.Shaping == nil {
		c.Shaping = DefaultShaping()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Sender is the outgoing half of a node. New starts nothing; Run blocks until
// ctx ends, then lets open dots finish (bounded by 30 s) and settles them.
type Sender struct {
	s          *scheduler
	setServers func([]netip.AddrPort)
}

// New makes a Sender from cfg. It starts nothing.
func New(cfg Config) (*Sender, error) {
	if cfg.Queue == nil {
		return nil, errors.New("configure delivery: no queue")
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	find, dial := newProtocol(cfg)
	s, err := newScheduler(cfg, cfg.Queue, cfg.Queue, find, dial, rand.Float64)
	if err != nil {
		return nil, err
	}
	return &Sender{s: s, setServers: find.dns.setServers}, nil
}

// Run sends until ctx ends. It returns once every session is closed and every
// outcome is on its way to the disk or durable.
func (s *Sender) Run(ctx context.Context) error { return s.s.run(ctx) }

// SetRetry changes the waits after an attempt, for attempts from now on; none
// means the built-in ones. What waits already keeps its time, and how long a
// destination out of reach is left alone stays as New was told.
func (s *Sender) SetRetry(waits []time.Duration) {
	waits = slices.Clone(waits)
	s.s.waits.Store(&waits)
}

// SetResolvers changes who is asked for MX and addresses, from the next question
// on. What is known stays for its time.
func (s *Sender) SetResolvers(servers []netip.AddrPort) { s.setServers(servers) }

func (s *scheduler) retry() []time.Duration {
	if w := s.waits.Load(); w != nil {
		return *w
	}
	return s.cfg.Retry
}

// Evidence gives what the world told each source of itself within the window (a
// second at least), in order of source: for the node to report when it changed.
// Sources without an attempt in it are left out. Another window than the last
// one begins anew.
func (s *Sender) Evidence(window time.Duration) []Evidence {
	s.s.evidence.within(window)
	now := time.Now()
	return s.s.evidence.read(now, s.s.behind(now))
}
