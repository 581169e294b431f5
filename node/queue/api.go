package queue

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"postern/tenant"
)

// Errors of the store. Callers compare with errors.Is.
var (
	ErrNotFound = errors.New("no such message")
	ErrFull     = errors.New("queue disk below its free-space floor")
	ErrStale    = errors.New("epoch is not the tenant's current one here")
	ErrFailed   = errors.New("queue store failed")
	ErrLeased   = errors.New("message is being attempted")
)

// Config of a Store. Zero values mean the default in brackets.
type Config struct {
	Dir        string
	FS         vfs.FS        // pebble's default; tests pass a crashable one
	FreeFloor  uint64        // octets that must stay free on the disk [1 GB or 5 %, the smaller]
	InlineMax  int           // largest body kept inside pebble [256 KB]
	KeepRcpts  time.Duration // recipients of ended messages [30 days]
	KeepTalk   time.Duration // SMTP dialogues [7 days]
	Now        func() time.Time
	Fatal      func(error) // the store's only way out when a sync failed; must not return
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Store is the node's spool.
type Store struct{}

// New opens or creates the store in cfg.Dir and recovers it. It starts nothing
// that outlives Close.
func New(cfg Config) (*Store, error) { panic("unwritten") }

// Run keeps retention and the free-space watch going until ctx ends.
func (s *Store) Run(ctx context.Context) error { panic("unwritten") }

// Close ends the store after outstanding writes are durable.
func (s *Store) Close() error { panic("unwritten") }

// Full reports ErrFull when a new message may not be taken (452 4.3.1).
func (s *Store) Full() error { panic("unwritten") }

// ---- ownership

// Adopt takes over a tenant's log under epoch: from now on Put, Take, Start and
// Settle work for it, older epochs' messages included. It returns what the logs
// of lower epochs spent in total, to be committed before anything is spent.
func (s *Store) Adopt(t tenant.ID, epoch uint64) ([]tenant.Spent, error) { panic("unwritten") }

// Forget drops spending records of epochs below epoch, once committed.
func (s *Store) Forget(t tenant.ID, epoch uint64) error { panic("unwritten") }

// Release stops all work for the tenant; leased items are given back.
func (s *Store) Release(t tenant.ID) error { panic("unwritten") }

// ---- put

// Writer takes the bytes of one message; what exceeds InlineMax streams to a
// chunk file, so memory stays bounded.
type Writer struct{}

// NewMessage starts a message for a tenant this store has adopted.
func (s *Store) NewMessage(t tenant.ID) (*Writer, error) { panic("unwritten") }
func (w *Writer) Write(p []byte) (int, error)            { panic("unwritten") }

// Put makes the message durable: prefix (headers made here, first in the
// message), what was written, envelope, spending and due entries in one synced
// batch. When it returns nil the 250 may be said. The Writer is done either way.
func (w *Writer) Put(ctx context.Context, prefix []byte, e *Envelope, spend []Spend) (ID, error) {
	panic("unwritten")
}

// Discard drops an unfinished message; harmless after Put.
func (w *Writer) Discard() { panic("unwritten") }

// ---- due, start, settle

// Wait blocks until some lane has mail due now or until ctx ends, and returns
// lanes not returned before that became due since; each lane is returned once
// until Take reported it drained.
func (s *Store) Wait(ctx context.Context) ([]Lane, error) { panic("unwritten") }

// Take leases up to max due items of a lane, oldest due first. more says that
// further items are due now. When more is false the lane is drained: Wait
// returns it again as soon as something in it falls due.
func (s *Store) Take(l Lane, max int) (items []*Item, more bool, err error) { panic("unwritten") }

// Park puts a lane aside until t: Wait does not return it before. For a
// destination that does not answer; costs the same for one message or a million.
func (s *Store) Park(l Lane, until time.Time) { panic("unwritten") }

// GiveBack ends the lease of items that were not attempted; they stay due.
func (s *Store) GiveBack(items ...*Item) { panic("unwritten") }

// Body opens the message's bytes as they go out.
func (s *Store) Body(id ID) (Body, error) { panic("unwritten") }

// Body is a message's bytes. Bytes returns them when they are in memory, else nil.
type Body interface {
	io.ReadCloser
	Bytes() []byte
	Size() int64
}

// Start records, unsynced, that the final dot is about to be sent.
func (s *Store) Start(it *Item) error { panic("unwritten") }

// Settle makes the outcomes durable in one batch (grouped with others within
// 20 ms) and ends the item's lease. done, if not nil, is called once with the
// result after the sync; Settle itself does not wait for it.
func (s *Store) Settle(x Settlement, done func(error)) { panic("unwritten") }

// ---- looking and operating

// Summary is one message as a list shows it.
type Summary struct {
	ID       ID
	Envelope *Envelope
	Items    []ItemState
}

// ItemState is one item as a list shows it.
type ItemState struct {
	Domain   string
	Rcpts    []string
	Attempts int
	Due      time.Time
	Leased   bool
	Last     Reply
}

// Filter narrows List; zero fields match all.
type Filter struct {
	Tenant  tenant.ID
	Account tenant.AccountID
	Domain  string // recipient domain
	Limit   int    // [100, at most 1000]
	After   ID     // continue behind this one
}

func (s *Store) List(f Filter) ([]Summary, error) { panic("unwritten") }
func (s *Store) Show(id ID) (Summary, error)      { panic("unwritten") }

// Flush makes matching items due now and unparks their lanes; it returns how many.
func (s *Store) Flush(f Filter) (int, error) { panic("unwritten") }

// Cancel ends one message without notices. ErrLeased while an attempt runs.
func (s *Store) Cancel(id ID) error { panic("unwritten") }

// Purge cancels all matching messages; it returns how many.
func (s *Store) Purge(f Filter) (int, error) { panic("unwritten") }

// Trace is everything known of a message, also after it ended.
type Trace struct {
	Summary
	Ended    bool
	Outcomes []Ending
	Attempts []TracedAttempt
}

// Ending is one recipient's end.
type Ending struct {
	Rcpt   string
	Result Result
	Reply  Reply
	At     time.Time
}

// TracedAttempt is one attempt with what it gave.
type TracedAttempt struct {
	Attempt
	Domain   string
	Outcomes []Outcome
}

func (s *Store) Trace(id ID) (Trace, error) { panic("unwritten") }

// Counts are a tenant's numbers, kept up to date, free to read.
type Counts struct {
	Queued   int // recipients without an outcome
	Messages int
	InDoubt  int
}

// Count returns the numbers of each adopted tenant.
func (s *Store) Count() map[tenant.ID]Counts { panic("unwritten") }
