package queue

import "postern/tenant"

// wholeCounts makes a tenant's counts those of what is there, before it is
// adopted from a copy. A copy's counts are its owner's, and it may be cut off in
// the middle of a group of settlements, whose sums come with the last; and what
// this store alone has, because it has not handed it over yet, is not in them.
// None of that is so of a whole copy up to where its owner ended it in peace.
func (s *Store) wholeCounts(t tenant.ID, end ID) error {
	_, copied, err := s.syncStateOf(t)
	if err != nil || !copied {
		return err
	}
	if exact, err := s.exactCopy(t, end); err != nil {
		return err
	} else if exact {
		b := s.db.NewBatch()
		defer b.Close()
		_ = b.Delete(syncKey(nil, t), nil)
		return s.commit(b)
	}
	var v sum
	for from, end := (ID{Tenant: t}), lastID(t); from != end; {
		list, next, err := s.statesIn(from, end, stepMessages, stepOctets)
		if err != nil {
			return err
		}
		for i := range list {
			h, _, err := s.readMessage(list[i].id, false)
			if err != nil {
				return err
			}
			v.a++
			for n := range h.domains {
				p, err := stateOf(h, list[i].items, uint16(n))
				if err != nil {
					return err
				}
				v.b += p.rcpts
			}
		}
		from = next
	}
	b := s.db.NewBatch()
	defer b.Close()
	w := &intake{s: s, b: b, t: t}
	if err := w.setCounts(v); err != nil {
		return err
	}
	_ = b.Delete(syncKey(nil, t), nil) // once is enough
	return s.commit(b)
}

// exactCopy says whether the copy here is all of the log that ended at end, and
// nothing else.
func (s *Store) exactCopy(t tenant.ID, end ID) (bool, error) {
	if end == (ID{}) {
		return false, nil
	}
	a, err := s.aboutOf(t)
	if err != nil || a.written || !a.whole() || a.end != end {
		return false, err
	}
	alone, err := s.toReturn(t)
	return alone == nil, err
}
