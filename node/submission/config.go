package submission

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postern/node/bounce"
	"postern/node/queue"
	"postern/tenant"
)

// Config of a Server. Zero values mean the default in brackets.
type Config struct {
	Hostname string // greeting; neutral, the node's submission name
	State    func() *tenant.State
	Node     func() tenant.NodeID // this node; 0 until it is registered
	Queue    *queue.Store
	Quota    Quota
	// MayAnswer says whether this node may say 250 for the tenant under the
	// epoch now; it waits up to 20 s for its lease. Its error becomes 451 4.3.0.
	MayAnswer func(ctx context.Context, t tenant.ID, epoch uint64) error
	// Ready says whether to greet at all; its error becomes 421 4.3.2.
	Ready  func() error
	Signer Signer
	// Reference makes the header by which a report about a message is known for
	// ours; nil: messages carry none.
	Reference *bounce.Signer
	// LoggedIn, if set, is told of every login. It must not block.
	LoggedIn func(a tenant.AccountID, client netip.Addr)
	Peers    *Peers // nil: a cluster of one
	// Alike gives a name the same number at each node and time: by it a login under
	// a name that is nobody's costs what one of the accounts costs [by a key of the
	// process].
	Alike func(username string) uint64
	// ProxyFrom are balancers: every connection from there begins with a PROXY
	// header, and its client's address counts. From elsewhere none is taken.
	ProxyFrom  []netip.Prefix
	TLS        func() *tls.Config             // current certificate; nil: no TLS offered
	Idle       time.Duration                  // rolling wait for the next command or bytes [5 min]
	Grace      time.Duration                  // what a message in its body gets at shutdown [30 s]
	Lifetime   map[tenant.Class]time.Duration // expiry of queued mail [48 h transactional, 5 d bulk]
	Limits     Limits
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Peers connect a node with the others, which pass their clients' messages to
// the owner of the tenant.
type Peers struct {
	// Listener takes what other nodes dial. The remote address of a connection
	// prints as the node's name, which the peer port has proved. Run closes it.
	Listener net.Listener
	Dial     func(ctx context.Context, node string) (net.Conn, error)
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

// Signer finds the DKIM key of a domain; nil key means unsigned.
type Signer interface {
	Key(domain string) (selector string, key crypto.Signer, err error)
}

// withDefaults checks the required fields and fills in the others.
func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Hostname == "":
		return c, errors.New("configure submission: Hostname is missing")
	case c.State == nil:
		return c, errors.New("configure submission: State is missing")
	case c.Quota == nil:
		return c, errors.New("configure submission: Quota is missing")
	}
	if c.Peers != nil && (c.Peers.Listener == nil || c.Peers.Dial == nil) {
		return c, errors.New("configure submission: Peers need a Listener and Dial")
	}
	if c.Node == nil {
		return c, errors.New("configure submission: Node is missing")
	}
	if c.MayAnswer == nil {
		return c, errors.New("configure submission: MayAnswer is missing")
	}
	if c.Ready == nil {
		c.Ready = func() error { return nil }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Registerer == nil {
		c.Registerer = prometheus.NewRegistry()
	}
	setDefault(&c.Idle, 5*time.Minute)
	setDefault(&c.Grace, 30*time.Second)
	life := map[tenant.Class]time.Duration{tenant.Transactional: 48 * time.Hour, tenant.Bulk: 5 * 24 * time.Hour}
	for class, d := range c.Lifetime {
		life[class] = d
	}
	c.Lifetime = life
	l := &c.Limits
	setDefault(&l.Conns, 2000)
	setDefault(&l.ConnsPerIP, 50)
	setDefault(&l.ConnsPerAccount, 100)
	setDefault(&l.AuthFailures, 5)
	setDefault(&l.AuthWindow, 10*time.Minute)
	setDefault(&l.Commands, 1000)
	setDefault(&l.HeaderBytes, 1_000_000)
	setDefault(&l.MaxSize, 500_000_000)
	return c, nil
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}
