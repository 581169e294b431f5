package queue

import "postern/tenant"

// catchUp moves what lies here of a copy that the walk had not passed yet
// forward by the outcomes that came meanwhile, before it is adopted: under each
// epoch of its owner a holder is made equal anew, and hears only how attempts at
// older messages ended until then.
func (s *Store) catchUp(t tenant.ID, epoch uint64) error {
	_, copied, err := s.syncStateOf(t)
	if err != nil || !copied {
		return err
	}
	a, err := s.aboutOf(t)
	if err != nil || a.whole() {
		return err
	}
	if err := s.hold.raise(t, epoch); err != nil { // nothing more comes
		return err
	}
	f := &fetching{s: s, t: t}
	for from, end := (ID{Tenant: t}), lastID(t); from != end; {
		list, next, err := s.statesIn(from, end, stepMessages, stepOctets)
		if err != nil {
			return err
		}
		want, moved := make([]messageCopy, 0, len(list)), false
		for i := range list {
			c := &list[i]
			if !a.covers(c.id) {
				if c, err = f.moveOn(c, nil, nil); err != nil {
					return err
				}
				moved = moved || c == nil || digest(c.items) != digest(list[i].items)
			}
			if c != nil {
				want = append(want, *c)
			}
		}
		if moved {
			if err := s.commitRange(t, from, next, want); err != nil {
				return err
			}
		}
		from = next
	}
	return nil
}

// partSince is the lowest epoch of which all is here when a log is adopted in
// part: that of the first time.
func (s *Store) partSince(t tenant.ID, epoch uint64, fences []uint64) (uint64, error) {
	if n := len(fences); n > 0 {
		if since, err := s.sinceOf(t, fences[n-1]); err != nil || since != 0 {
			return since, err
		}
	}
	return epoch, nil
}
