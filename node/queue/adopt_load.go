package queue

import (
	"bytes"
	"container/heap"
	"errors"
	"fmt"

	"postern/tenant"
)

func (s *Store) spentBelow(t tenant.ID, epoch uint64) ([]tenant.Spent, error) {
	prefix := tenantPrefix(nil, tabSpend, t)
	var spent []tenant.Spent
	err := s.eachSum(prefix, be64(bytes.Clone(prefix), epoch), func(k []byte, v sum) {
		if e, a, w, ok := parseSpendKey(k); ok {
			spent = append(spent, tenant.Spent{Account: a, Window: w, Epoch: e,
				Amount: tenant.Amount{Mails: uint64(v.a), Bytes: uint64(v.b)}})
		}
	})
	return spent, err
}

func (s *Store) loadCounts(g *tlog) error {
	k := tenantPrefix(nil, tabCount, g.tenant)
	return s.eachSum(k, after(k), func(_ []byte, v sum) {
		g.counts.Messages, g.counts.Queued = int(v.a), int(v.b)
	})
}

// doubtWaiting makes messages in doubt whose dot had no reply at their former
// owner. Usually their starts are here, and say which item it is. A holder that
// lost its power may have forgotten them: then it is any.
func (s *Store) doubtWaiting(waiting []ID) error {
	k := keep(s.db.NewBatch())
	defer k.release()
	for _, id := range waiting {
		known := false
		from := messageKey(nil, tabDoubt, id)
		err := s.each(from, after(from), func([]byte, []byte) (bool, error) {
			known = true
			return false, nil
		})
		if err != nil {
			return err
		}
		h, _, err := s.readMessage(id, false)
		if known || errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		shares, err := s.readShares(id)
		if err != nil {
			return err
		}
		for n := range h.domains {
			if err := s.doubt(k.b, id, uint16(n), shares[uint16(n)].rev); err != nil {
				return err
			}
		}
	}
	if k.b.Empty() {
		return nil
	}
	return s.commit(k.b)
}

// loadDoubts brings the items in doubt into memory, due after a grace.
func (s *Store) loadDoubts(g *tlog) error {
	prefix := tenantPrefix(nil, tabDoubt, g.tenant)
	due := s.cfg.Now().Add(s.cfg.Grace).UnixMicro()
	return s.each(prefix, after(prefix), func(k, _ []byte) (bool, error) {
		id, n, rev, ok := parseRevKey(k)
		if !ok {
			return false, errCorrupt
		}
		at, open, err := s.attemptOpen(id, n, rev)
		if err != nil || !open {
			return err == nil, err
		}
		h, _, err := s.readMessage(id, false)
		if err != nil {
			return false, err
		}
		l := s.index.laneOf(g, Lane{g.tenant, h.env.Account, h.env.Class, h.domains[n]})
		e := &entry{at: at, due: max(due, at.due), lane: l, inDoubt: true}
		s.index.hold(g, e)
		e.phase = phaseReady
		heap.Push(&l.ready, e)
		g.counts.InDoubt++
		return true, nil
	})
}

// loadLanes finds the lanes that have mail by hopping from one to the next: a
// seek for each lane, however much lies in it.
func (s *Store) loadLanes(g *tlog) error {
	prefix := tenantPrefix(nil, tabDue, g.tenant)
	it, err := s.newIter(prefix, after(prefix))
	if err != nil {
		return fmt.Errorf("read lanes: %w", err)
	}
	defer it.Close()
	for ok := it.First(); ok; {
		key, at, good := parseDueKey(it.Key())
		if !good {
			return fmt.Errorf("read lanes: %w: due key", errCorrupt)
		}
		l := s.index.laneOf(g, key)
		l.cursor, l.disk = at, at.due
		ok = it.SeekGE(after(l.prefix))
	}
	if err := it.Error(); err != nil {
		return fmt.Errorf("read lanes: %w", err)
	}
	return nil
}
