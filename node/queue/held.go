package queue

import (
	"fmt"
	"slices"

	"postern/tenant"
)

// LogState is what a holder has of a tenant's log.
type LogState struct {
	Epoch      uint64
	Generation uint64
	Last       uint64 // of that epoch: last record durable there
}

// Held is a tenant whose log lies here.
type Held struct {
	Tenant tenant.ID
	LogState
	Adopted  bool // by this process
	Messages int
}

// logState tells what is here of a tenant's log: kept for another node, or
// written here, whichever is newer.
func (s *Store) logState(t tenant.ID) (LogState, error) {
	s.mu.Lock()
	g := s.index.logs[t]
	if g == nil {
		g = s.index.past[t]
	}
	var own LogState
	if g != nil && (g.seq > 0 || s.index.logs[t] != nil) {
		own = LogState{Epoch: g.epoch, Last: g.seq}
		if g.out != nil {
			s.ship.mu.Lock()
			own.Generation = g.out.generation
			s.ship.mu.Unlock()
		}
	}
	s.mu.Unlock()
	if own.Epoch == 0 {
		var err error
		if own, err = s.writtenBefore(t); err != nil {
			return own, err
		}
	}
	s.hold.mu.Lock()
	defer s.hold.mu.Unlock()
	l, err := s.hold.log(t)
	if err != nil {
		return own, err
	}
	if l.known && l.pos.epoch > own.Epoch {
		return LogState{l.pos.epoch, l.pos.generation, l.pos.last}, nil
	}
	return own, nil
}

// writtenBefore tells of a log that an earlier process of this node wrote: its
// numbers are gone, so Last is that of the newest message it left a trace of.
func (s *Store) writtenBefore(t tenant.ID) (LogState, error) {
	fences, err := s.fences(t)
	if err != nil || len(fences) == 0 {
		return LogState{}, err
	}
	st := LogState{Epoch: slices.Max(fences)}
	for _, tab := range []byte{tabMessage, tabOutcome} {
		from := be64(tenantPrefix(nil, tab, t), st.Epoch)
		it, err := s.newIter(from, after(from))
		if err != nil {
			return st, err
		}
		if it.Last() {
			id, _ := idOfKey(it.Key())
			st.Last = max(st.Last, id.Seq)
		}
		if err := it.Close(); err != nil {
			return st, fmt.Errorf("read end of log: %w", err)
		}
	}
	return st, nil
}

// Held lists all tenants of whose logs something lies here.
func (s *Store) Held() ([]Held, error) {
	if err := s.broken(); err != nil {
		return nil, err
	}
	found := map[tenant.ID]bool{}
	for _, tab := range []byte{tabHeld, tabCount} {
		ts, err := s.tenantsOf(tab)
		if err != nil {
			return nil, err
		}
		for _, t := range ts {
			found[t] = true
		}
	}
	s.mu.Lock()
	for t := range s.index.logs {
		found[t] = true
	}
	s.mu.Unlock()
	var list []Held
	for t := range found {
		st, err := s.logState(t)
		if err != nil {
			return nil, err
		}
		x := Held{Tenant: t, LogState: st}
		s.mu.Lock()
		if g := s.index.logs[t]; g != nil {
			x.Adopted, x.Messages = true, g.counts.Messages
		}
		s.mu.Unlock()
		if !x.Adopted {
			k := tenantPrefix(nil, tabCount, t)
			if err := s.eachSum(k, after(k), func(_ []byte, v sum) { x.Messages = int(max(v.a, 0)) }); err != nil {
				return nil, err
			}
		}
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b Held) int { return compareTenants(a.Tenant, b.Tenant) })
	return list, nil
}

func compareTenants(a, b tenant.ID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
