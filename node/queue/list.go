package queue

import (
	"errors"
	"time"

	"postern/tenant"
)

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

var errLater = errors.New("not built yet")

func (s *Store) List(f Filter) ([]Summary, error) { return nil, errLater }
func (s *Store) Show(id ID) (Summary, error)      { return Summary{}, errLater }

// Flush makes matching items due now and unparks their lanes; it returns how many.
func (s *Store) Flush(f Filter) (int, error) { return 0, errLater }

// Cancel ends one message without notices. ErrLeased while an attempt runs.
func (s *Store) Cancel(id ID) error { return errLater }

// Purge cancels all matching messages; it returns how many.
func (s *Store) Purge(f Filter) (int, error) { return 0, errLater }

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

func (s *Store) Trace(id ID) (Trace, error) { return Trace{}, errLater }

// flushing is a lane's flush under way.
type flushing struct{}

// Counts are a tenant's numbers, kept up to date, free to read.
type Counts struct {
	Queued   int // recipients without an outcome
	Messages int
	InDoubt  int
}

// Count returns the numbers of each adopted tenant.
func (s *Store) Count() map[tenant.ID]Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := make(map[tenant.ID]Counts, len(s.index.logs))
	for t, g := range s.index.logs {
		m[t] = g.counts
	}
	return m
}
