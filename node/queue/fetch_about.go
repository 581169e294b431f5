package queue

import (
	"encoding/binary"
	"errors"
	"fmt"

	"postern/tenant"
)

// aboutOf says where the copy here stands.
func (s *Store) aboutOf(t tenant.ID) (*about, error) {
	a := &about{}
	var err error
	if a.marks, err = s.dayMarksOf(t); err != nil {
		return nil, err
	}
	if a.denials, err = s.denials(t); err != nil {
		return nil, err
	}
	if a.sync, _, err = s.syncStateOf(t); err != nil {
		return nil, err
	}
	err = s.get(tenantPrefix(nil, tabHeld, t), func(b []byte) error {
		p, err := readPosition(b)
		a.epoch, a.generation, a.end = p.epoch, p.generation, ID{t, p.epoch, p.last}
		return err
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("read position: %w", err)
	}
	k := tenantPrefix(nil, tabCount, t)
	if err := s.eachSum(k, after(k), func(_ []byte, v sum) { a.counts = v }); err != nil {
		return nil, err
	}
	own, err := s.fences(t)
	if err != nil {
		return nil, err
	}
	if n := len(own); n > 0 && own[n-1] >= a.epoch {
		a.epoch, a.written = own[n-1], true
		if a.end, err = s.lastWritten(t, a.epoch); err != nil {
			return nil, err
		}
		if a.since, err = s.sinceOf(t, a.epoch); err != nil {
			return nil, err
		}
	} else if compareIDs(a.sync.fetched, a.end) > 0 {
		a.end = a.sync.fetched
	}
	return a, nil
}

// lastWritten is the last message of an epoch that this store knows of, queued or
// ended. It may have put more before it died, which its holder has.
func (s *Store) lastWritten(t tenant.ID, epoch uint64) (ID, error) {
	last := ID{t, epoch, 0}
	for _, tab := range []byte{tabMessage, tabOutcome} {
		it, err := s.newIter(messageKey(nil, tab, ID{t, epoch, 0}), messageKey(nil, tab, ID{t, epoch + 1, 0}))
		if err != nil {
			return last, fmt.Errorf("find last message: %w", err)
		}
		if it.Last() {
			if id, ok := idOfKey(it.Key()); ok && compareIDs(id, last) > 0 {
				last = id
			}
		}
		if err := errors.Join(it.Error(), it.Close()); err != nil {
			return last, fmt.Errorf("find last message: %w", err)
		}
	}
	return last, nil
}

// toReturn says which messages this store may have alone: those of an epoch it
// wrote itself and has not handed over yet. nil: none.
func (s *Store) toReturn(t tenant.ID) (func(ID) bool, error) {
	own, err := s.fences(t)
	if err != nil {
		return nil, err
	}
	open := map[uint64]bool{}
	for _, e := range own {
		err := s.get(returnedKey(nil, t, e), func([]byte) error { return nil })
		if errors.Is(err, ErrNotFound) {
			open[e] = true
		} else if err != nil {
			return nil, err
		}
	}
	if len(open) == 0 {
		return nil, nil
	}
	return func(id ID) bool { return open[id.Epoch] }, nil
}

func returnedKey(b []byte, t tenant.ID, epoch uint64) []byte {
	return be64(tenantPrefix(b, tabReturned, t), epoch)
}

// sinceOf reads from which epoch on this store has all of a log it wrote in an
// epoch; 0 when it has what is older, too.
func (s *Store) sinceOf(t tenant.ID, epoch uint64) (since uint64, err error) {
	err = s.get(fenceKey(nil, t, epoch), func(b []byte) error {
		switch len(b) {
		case 0:
		case 8:
			since = binary.BigEndian.Uint64(b)
		default:
			return errCorrupt
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("read first use of epoch: %w", err)
	}
	return since, nil
}
