package queue

import "postern/tenant"

// wholeCounts makes a tenant's counts those of what is there, before it is
// adopted from a copy. A copy's counts are its owner's, and it may be cut off in
// the middle of a group of settlements, whose sums come with the last; and what
// this store alone has, because it has not handed it over yet, is not in them.
func (s *Store) wholeCounts(t tenant.ID) error {
	_, copied, err := s.syncStateOf(t)
	if err != nil || !copied {
		return err
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
