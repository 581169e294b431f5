package delivery

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postern/node/queue"
	"postern/tenant"
)

// Config of a Sender. Zero values mean the default in brackets.
type Config struct {
	Node       tenant.NodeID
	State      func() *tenant.State
	Queue      *queue.Store
	MayDot     func(ctx context.Context, t tenant.ID, epoch uint64) error // lease and epoch, right before the final dot
	Hostname   string                                                     // Reporting-MTA when the tenant has no host name of its own
	Resolvers  []netip.AddrPort                                           // own recursive resolvers, asked in turn
	Port       uint16                                                     // SMTP port of MX hosts [25]
	Own        []netip.Addr                                               // our own addresses: an MX there is a loop
	Retry      []time.Duration                                            // waits after each attempt, the last one repeats [5m 15m 30m 1h... 4h]
	MaxConns   int                                                        // open connections of the whole node [2000]
	Shaping    *Shaping                                                   // provider table [built in, from reputation.md §5]
	Log        *slog.Logger
	Registerer prometheus.Registerer
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

// ======== between scheduler (scheduler.go, ready.go, shaping.go, settle.go, notice.go)
// ======== and protocol (resolve.go, dns.go, client.go, reply.go, tls.go)

// host is one place to try: an MX host and its addresses, IPv6 first.
type host struct {
	Name  string
	Pref  uint16
	Addrs []netip.Addr
	Port  uint16
}

// site is what a recipient domain resolves to; its key names the site (the
// sorted MX host names), so domains with the same MXs share connections.
type site struct {
	Key   string
	Hosts []host    // in order of trial; equal preferences already shuffled
	Until time.Time // cache end
	Route bool      // a static route: no provider limits
}

// resolver finds sites; safe for concurrent use; answers come from a bounded
// cache that honours TTLs (positive and negative).
type resolver interface {
	// Site resolves domain. The error is a *routeError.
	Site(ctx context.Context, domain string) (*site, error)
}

// routeError is why a domain has no site. Permanent: null MX (5.1.10), no such
// domain (5.1.2), MX is ourselves (5.4.6). Otherwise temporary (4.4.3, 4.4.4).
type routeError struct {
	Reply     queue.Reply
	Permanent bool
	Err       error
}

func (e *routeError) Error() string { return e.Reply.Text }

// dialer opens sessions from a source.
type dialer interface {
	// Dial connects from src to one address of h (in order), greets with ehlo
	// and upgrades to TLS where offered. The error is a *hostError.
	Dial(ctx context.Context, src netip.Addr, ehlo string, h host) (session, error)
}

// session is one open SMTP connection. Not safe for concurrent use.
type session interface {
	// Send makes one transaction. before is called right before the final dot;
	// its error ends the transaction without a dot. res is always complete: one
	// reply for each recipient.
	Send(ctx context.Context, m outbound, before func() error) result
	// Alive reports whether another transaction may be tried on it.
	Alive() bool
	Peer() peer
	// Close says QUIT within a second and closes.
	Close()
}

// peer describes the far end for trace and log.
type peer struct {
	Host   string
	Addr   netip.AddrPort
	TLS    string // "TLS1.3 TLS_AES_128_GCM_SHA256" or ""
	Banner string
}

// outbound is one message for one transaction.
type outbound struct {
	From     string
	Rcpts    []queue.Rcpt
	Body     queue.Body
	EightBit bool
	UTF8     bool
	Ret      string
	EnvID    string
}

// stage is how far a transaction came.
type stage uint8

const (
	stageConnect stage = iota + 1
	stageBanner
	stageEHLO
	stageTLS
	stageMail
	stageRcpt
	stageData
	stageBody
	stageDot // the final dot was written, wholly or in part: outcome may be unknown
)

// result is what one transaction gave. Replies[i] belongs to Rcpts[i]; a 2xx
// there is a delivery. A broken connection gives Code 0 with our diagnosis.
type result struct {
	Stage    stage
	DotSent  bool // at least one octet of the final dot may have left
	Replies  []queue.Reply
	Err      error // I/O fault, nil when every reply was read
	Dialogue string
	DSN      bool // next hop took over DSN duties (it offers DSN)
}

// hostError is why no session came about.
type hostError struct {
	Stage stage
	Reply queue.Reply // the far end's words (banner 554, EHLO refused) or our diagnosis
	// Ours: the source address is not on this machine or we are out of
	// descriptors. Never bounce, never try another source.
	Ours     bool
	Dialogue string
	Peer     peer
	Err      error
}

func (e *hostError) Error() string { return e.Reply.Text }

var _ = net.Dialer{}
