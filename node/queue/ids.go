package queue

import (
	"fmt"

	"postern/tenant"
)

// IDs lists the messages of a tenant of which anything is on this node, waiting
// or ended, owned or kept for another, behind an id in their order.
func (s *Store) IDs(t tenant.ID, behind ID, limit int) ([]ID, error) {
	if err := s.broken(); err != nil {
		return nil, err
	}
	var ids []ID
	for len(ids) < limit {
		var next ID
		for _, tab := range []byte{tabMessage, tabOutcome} {
			id, err := s.idBehind(tab, t, behind)
			if err != nil {
				return nil, fmt.Errorf("list messages: %w", err)
			}
			if !id.IsZero() && (next.IsZero() || compareIDs(id, next) < 0) {
				next = id
			}
		}
		if next.IsZero() {
			break
		}
		ids, behind = append(ids, next), next
	}
	return ids, nil
}

// idBehind is the next message a table has rows of, or zero.
func (s *Store) idBehind(tab byte, t tenant.ID, behind ID) (id ID, err error) {
	prefix := tenantPrefix(nil, tab, t)
	from := prefix
	if !behind.IsZero() {
		from = messageKey(nil, tab, ID{t, behind.Epoch, behind.Seq + 1})
	}
	it, err := s.newIter(from, after(prefix))
	if err != nil {
		return ID{}, err
	}
	if it.First() {
		id, _ = idOfKey(it.Key())
	}
	return id, it.Close()
}
