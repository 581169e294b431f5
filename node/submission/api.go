package submission

import (
	"context"
	"crypto"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postern/node/queue"
	"postern/tenant"
)

// Config of a Server. Zero values mean the default in brackets.
type Config struct {
	Hostname string // greeting; neutral, the node's submission name
	State    func() *tenant.State
	Node     tenant.NodeID
	Queue    *queue.Store
	Quota    Quota
	// MayAnswer says whether this node may say 250 for the tenant under the
	// epoch now; it waits up to 20 s for its lease. Its error becomes 451 4.3.0.
	MayAnswer func(ctx context.Context, t tenant.ID, epoch uint64) error
	// Ready says whether to greet at all; its error becomes 421 4.3.2.
	Ready      func() error
	Signer     Signer
	TLS        func() *tls.Config             // current certificate; nil: no TLS offered
	Idle       time.Duration                  // rolling wait for the next command or bytes [5 min]
	Lifetime   map[tenant.Class]time.Duration // expiry of queued mail [48 h transactional, 5 d bulk]
	Limits     Limits
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Limits against abuse. Loopback clients are outside the per-IP ones.
type Limits struct {
	Conns           int           // open connections in all [2000]
	ConnsPerIP      int           // IPv6: per /64 [50]
	ConnsPerAccount int           // [100]
	AuthFailures    int           // per IP and per account in AuthWindow, then 421 4.7.0 [5]
	AuthWindow      time.Duration // [10 min]
	Commands        int           // without a message, per connection [1000]
	HeaderBytes     int           // [1 MB]
	MaxSize         int64         // octets of one message where the plan sets none [500 MB]
}

// Quota reserves what a message will spend. Implemented by node over grants.
type Quota interface {
	// Reserve takes mails e-mails and their bytes (size x recipients) of the
	// account's windows. Errors: *OverLimit, or anything else for 451 4.3.0.
	Reserve(ctx context.Context, a tenant.AccountID, need tenant.Amount) (Reservation, error)
}

// Reservation is one transaction's share of the grants. It grows as recipients
// and bytes come in; exactly one of Spend and Release ends it.
type Reservation interface {
	Grow(ctx context.Context, need tenant.Amount) error
	// Spend settles it at what was really used and says what to store with the
	// message. Call it right before Put; if Put fails call Release.
	Spend(used tenant.Amount) []queue.Spend
	Release()
}

// OverLimit is a quota or rate limit that is reached.
type OverLimit struct {
	Window tenant.WindowKind
	Limit  uint64
	Bytes  bool      // the limit is in octets, else in e-mails
	Resets time.Time // when the next window starts
}

func (e *OverLimit) Error() string { return "limit reached" }

// Signer finds the DKIM key of a domain; nil key means unsigned.
type Signer interface {
	Key(domain string) (selector string, key crypto.Signer, err error)
}

// Server serves submission on the listeners it is given.
type Server struct{ cfg Config }

func New(cfg Config) (*Server, error) { panic("unwritten") }

// Listener is one port. Implicit means TLS from the first byte (465).
type Listener struct {
	net.Listener
	Implicit bool
}

// Run serves until ctx ends; then every client is told 421 and transactions in
// their final phase get up to 30 s.
func (s *Server) Run(ctx context.Context, ls ...Listener) error { panic("unwritten") }

// NewPassword makes a machine password of 160 bits and its stored form.
// CheckPassword compares in constant time.

var _ = netip.Addr{}
