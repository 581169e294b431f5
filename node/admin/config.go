package admin

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"postern/tenant"
)

// Errors of the backends. Adapters translate their own into these; anything
// else is answered as an internal fault with a logged id.
var (
	// ErrNotFound means there is no such message here.
	ErrNotFound = errors.New("no such message")
	// ErrBusy means an attempt of the message is running.
	ErrBusy = errors.New("message is being attempted")
	// ErrUnavailable means the cluster cannot decide now; nothing was done.
	ErrUnavailable = errors.New("no leader")
	// ErrUnknown means the change may or may not have been applied.
	ErrUnknown = errors.New("outcome is unknown")
)

// Config of a Server. State, Propose and OperatorToken are required.
type Config struct {
	// Addr is host:port of the API; Listener, when set, is used instead.
	Addr     string
	Listener net.Listener
	// MetricsAddr is host:port of /metrics without a token; "" serves it only
	// beside the API, with the operator's token. MetricsListener as Listener.
	MetricsAddr     string
	MetricsListener net.Listener
	// TLS, when set, is used on the API's port (not on that of the metrics).
	TLS *tls.Config

	// Node is this node's name.
	Node    string
	Version string
	// OperatorToken is the SHA-256 of the operator's token; see TokenHash.
	OperatorToken [sha256.Size]byte

	State   func() *tenant.State
	Propose func(ctx context.Context, req tenant.RequestID, op tenant.Op) ([]tenant.Event, *tenant.State, error)
	// Ready lists what stops this node from saying 250, or needs care; nil: fine.
	Ready func() []Reason
	// Seal encrypts a DKIM key for the replicated state; nil refuses keys.
	Seal func(domain, selector string, pem []byte) (Sealed, error)
	// Used is the exact use of a window where this node knows it better than
	// the settled use in State; nil: State's.
	Used func(tenant.AccountID, tenant.Window) tenant.Amount

	Messages Messages
	Mail     Mail

	Gatherer prometheus.Gatherer
	Log      *slog.Logger
}

// Sealed is an encrypted DKIM key with what the operator must know of it.
type Sealed struct {
	Bytes    []byte
	Record   string   // the TXT record to publish
	Warnings []string // such as a short key
}

// Filter narrows a list; zero fields match all.
type Filter struct {
	Tenant  tenant.ID
	Account tenant.AccountID
	Domain  string
	Limit   int
	After   string // a message id
}

// Messages is what the queue shows. Ids are opaque text here; a text that is
// none gives ErrNotFound.
type Messages interface {
	List(ctx context.Context, f Filter) ([]Message, error)
	Show(ctx context.Context, id string) (*Message, error)
	Trace(ctx context.Context, id string) (*Trace, error)
	Counts() map[tenant.ID]Counts
}

// Mail is what may be done to the queue.
type Mail interface {
	Flush(ctx context.Context, f Filter) (int, error)
	Cancel(ctx context.Context, id string) error
	Purge(ctx context.Context, f Filter) (int, error)
}

func (c Config) validate() error {
	switch {
	case c.Addr == "" && c.Listener == nil:
		return errors.New("configure admin: no address")
	case c.State == nil || c.Propose == nil:
		return errors.New("configure admin: no state or no way to change it")
	case c.OperatorToken == [sha256.Size]byte{}:
		return errors.New("configure admin: no operator token")
	case c.Messages == nil || c.Mail == nil:
		return errors.New("configure admin: no queue")
	}
	return nil
}
