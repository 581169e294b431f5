package queue

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"postern/tenant"
)

// A node that streamed a message to the owner and lost the answer asks what
// became of it by the transaction's id. Its first six octets are the time in
// Unix milliseconds, so that the old ones are one range. An owner that lost the
// tenant while it put a message of its own client knows the message's id: no
// note is needed for that.

// keepTransactions is how long an ingress may ask for a transaction.
const keepTransactions = 2 * time.Hour

func transactionKey(b []byte, t tenant.ID, id [16]byte) []byte {
	return append(tenantPrefix(b, tabTransaction, t), id[:]...)
}

// setTransaction notes with a message which transaction it was.
func setTransaction(b *pebble.Batch, id ID, e *Envelope) {
	if e.Remote {
		var v [16]byte
		binary.BigEndian.PutUint64(v[:], id.Epoch)
		binary.BigEndian.PutUint64(v[8:], id.Seq)
		setFramed(b, transactionKey(nil, id.Tenant, e.Transaction), v[:], nil)
	}
}

// dropTransaction takes the note of a withdrawn message back.
func dropTransaction(b *pebble.Batch, id ID, e *Envelope) {
	if e.Remote {
		_ = b.SingleDelete(transactionKey(nil, id.Tenant, e.Transaction), nil)
	}
}

// addTransaction is setTransaction for a message that came as a copy: the note
// may be here already, or too old.
func (w *intake) addTransaction(id ID, e *Envelope) error {
	if !e.Remote {
		return nil
	}
	ms := binary.BigEndian.Uint64(e.Transaction[:8]) >> 16
	if ms < uint64(max(w.s.cfg.Now().Add(-keepTransactions).UnixMilli(), 0)) {
		return nil
	}
	if _, err := w.s.noted(id.Tenant, e.Transaction); !errors.Is(err, ErrNotFound) {
		return err
	}
	setTransaction(w.b, id, e)
	return nil
}

// Find tells which message a transaction became, of those put within the last
// hour at least; ErrNotFound when it became none. place is where it was put, if
// who asks knows: of what came through no other node only the place tells.
func (s *Store) Find(t tenant.ID, transaction [16]byte, place ID) (ID, error) {
	if err := s.broken(); err != nil {
		return ID{}, err
	}
	return s.became(t, transaction, place)
}

// Secured waits until a message of Find, and what it spent, are on two nodes: only
// then may anybody be told that it is kept. What this log's owner put itself was
// there before. What it took over from an older one it may be the only one to
// have: of an owner that died between its two copies, the holder's has more.
// ErrNoCopy says that ctx ended first, ErrStale that the log is not this store's.
func (s *Store) Secured(ctx context.Context, id ID) error {
	for {
		if err := s.broken(); err != nil {
			return err
		}
		secure, changed, err := s.secured(id)
		if err != nil || secure {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrNoCopy, ctx.Err())
		case <-s.dead:
		}
	}
}

func (s *Store) secured(id ID) (secure bool, changed <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.index.logs[id.Tenant]
	if g == nil {
		return false, nil, ErrStale
	}
	if s.ship == nil || g.epoch == id.Epoch {
		return true, nil, nil
	}
	s.ship.mu.Lock()
	defer s.ship.mu.Unlock()
	st := g.out
	return st.set && st.synced && g.since <= id.Epoch, s.ship.changed, nil
}

// became is noted, and looks at the place where there is no note.
func (s *Store) became(t tenant.ID, transaction [16]byte, place ID) (ID, error) {
	id, err := s.noted(t, transaction)
	if !errors.Is(err, ErrNotFound) || place.Epoch == 0 {
		return id, err
	}
	place.Tenant = t
	known, kerr := s.knows(place)
	if kerr != nil {
		return ID{}, kerr
	}
	if known {
		return place, nil
	}
	return ID{}, err
}

// noted reads which message a transaction became.
func (s *Store) noted(t tenant.ID, transaction [16]byte) (ID, error) {
	id := ID{Tenant: t}
	err := s.get(transactionKey(nil, t, transaction), func(p []byte) error {
		if len(p) != 16 {
			return errCorrupt
		}
		id.Epoch, id.Seq = binary.BigEndian.Uint64(p), binary.BigEndian.Uint64(p[8:])
		return nil
	})
	if err != nil {
		return ID{}, err
	}
	return id, nil
}

// expireTransactions drops the old notes and denials of every tenant, hopping
// from one tenant to the next.
func (s *Store) expireTransactions() error {
	for tab, keep := range map[byte]time.Duration{tabTransaction: keepTransactions, tabDenied: keepDenials} {
		var cut [8]byte
		ms := uint64(max(s.cfg.Now().Add(-keep).UnixMilli(), 0))
		binary.BigEndian.PutUint64(cut[:], ms<<16)
		ts, err := s.tenantsOf(tab)
		if err != nil {
			return err
		}
		for _, t := range ts {
			prefix := tenantPrefix(nil, tab, t)
			if err := s.dropRange(prefix, append(bytes.Clone(prefix), cut[:]...)); err != nil {
				return err
			}
		}
	}
	return nil
}

// tenantsOf lists the tenants that have keys in a table: a seek for each.
func (s *Store) tenantsOf(tab byte) (ts []tenant.ID, err error) {
	it, err := s.newIter([]byte{tab}, []byte{tab + 1})
	if err != nil {
		return nil, err
	}
	defer it.Close()
	for ok := it.First(); ok; {
		k := bytes.Clone(it.Key())
		if len(k) < 9 {
			return nil, errCorrupt
		}
		ts = append(ts, tenant.ID(binary.BigEndian.Uint64(k[1:])))
		ok = it.SeekGE(after(k[:9]))
	}
	return ts, it.Error()
}
