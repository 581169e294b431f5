package queue

import (
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
		a.epoch, a.generation = p.epoch, p.generation
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
	}
	return a, nil
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
