package queue

import "postern/tenant"

// wholeCounts makes a tenant's counts those of what is there, before it is
// adopted. Only a copy that was never whole needs it: the settlements of what
// it did not have yet were counted there too.
func (s *Store) wholeCounts(t tenant.ID) error {
	st, copied, err := s.syncStateOf(t)
	if err != nil || !copied || st.done {
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
