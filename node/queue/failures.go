package queue

import (
	"errors"
	"fmt"
	"time"

	"postern/tenant"
)

// FailedRcpt is one recipient that ended undelivered.
type FailedRcpt struct {
	Message ID
	Addr    string
	Result  Result
	Reply   Reply
	Host    string // of the attempt, "" when none was reached
	Source  string
	At      time.Time
}

const (
	// failuresPage bounds the rows that are read for one page of failures.
	failuresPage = 5000
	// longestWait is how long before its end a message may have arrived.
	longestWait = 7 * 24 * time.Hour
)

// Failures lists an account's recipients that ended undelivered in [from, to),
// of messages behind an id, in the order of their ids, as far as outcomes are
// kept. A page reads a bounded number of rows, so it may be empty; next is where
// to go on, zero at the end.
func (s *Store) Failures(t tenant.ID, a tenant.AccountID, from, to time.Time, behind ID) (list []FailedRcpt, next ID, err error) {
	if err := s.broken(); err != nil {
		return nil, ID{}, err
	}
	start, err := s.firstOf(t, dayOf(from.Add(-longestWait).UnixMicro()))
	if err != nil {
		return nil, ID{}, err
	}
	if behind.Epoch != 0 && compareIDs(behind, start) >= 0 {
		start = ID{t, behind.Epoch, behind.Seq + 1}
	}
	var last ID
	var account tenant.AccountID
	read := 0
	err = s.each(messageKey(nil, tabOutcome, start), after(tenantPrefix(nil, tabOutcome, t)), func(k, p []byte) (bool, error) {
		id, _, _, ok := parseRevKey(k)
		if !ok {
			return false, errCorrupt
		}
		if id != last {
			if read >= failuresPage {
				next = last
				return false, nil
			}
			last, account = id, 0
		}
		read++
		x, err := readTraced(p)
		if err != nil || x.at.Before(from) || !x.at.Before(to) {
			return err == nil, err
		}
		if x.env != nil {
			account = x.env.Account
		}
		if account == 0 {
			if account, err = s.accountOf(id); err != nil {
				return false, err
			}
		}
		if account == a {
			list = append(list, x.failures(id)...)
		}
		return true, nil
	})
	if err != nil {
		return nil, ID{}, fmt.Errorf("list failures: %w", err)
	}
	return list, next, nil
}

func (x *tracedItem) failures(id ID) (list []FailedRcpt) {
	for i, o := range x.outcomes {
		if o.Result == Bounced || o.Result == Expired || o.Result == Suppressed {
			list = append(list, FailedRcpt{Message: id, Addr: x.rcpts[i], Result: o.Result, Reply: o.Reply,
				Host: x.attempt.Host, Source: x.attempt.Source, At: x.at})
		}
	}
	return list
}

// accountOf finds who sent a message of which a part has ended; 0: unknown.
func (s *Store) accountOf(id ID) (tenant.AccountID, error) {
	tr, err := s.Trace(id)
	if errors.Is(err, ErrNotFound) || err == nil && tr.Envelope == nil {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return tr.Envelope.Account, nil
}

// firstOf is the first message that may have arrived on a day or later.
func (s *Store) firstOf(t tenant.ID, day uint32) (ID, error) {
	marks, err := s.dayMarksOf(t)
	if err != nil {
		return ID{}, err
	}
	first := ID{Tenant: t}
	for _, m := range marks { // by epoch and day; the last one that is too old
		if m.day <= day {
			first = ID{t, m.epoch, m.seq}
		}
	}
	return first, nil
}
