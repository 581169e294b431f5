package queue

import (
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"postern/tenant"
)

// lastID stands behind every id of a tenant.
func lastID(t tenant.ID) ID { return ID{t, math.MaxUint64, math.MaxUint64} }

// statesIn reads the live messages of [from, to) in order of their ids with the
// states of their items, not their contents. It stops after limit messages or
// about octets, always behind a whole message: next is where it goes on, or to.
func (s *Store) statesIn(from, to ID, limit, octets int) (list []messageCopy, next ID, err error) {
	msgs, err := s.newIter(messageKey(nil, tabMessage, from), messageKey(nil, tabMessage, to))
	if err != nil {
		return nil, to, fmt.Errorf("read copies: %w", err)
	}
	defer msgs.Close()
	shares, err := s.newIter(messageKey(nil, tabShare, from), messageKey(nil, tabShare, to))
	if err != nil {
		return nil, to, fmt.Errorf("read copies: %w", err)
	}
	defer shares.Close()
	doubts, err := s.newIter(messageKey(nil, tabDoubt, from), messageKey(nil, tabDoubt, to))
	if err != nil {
		return nil, to, fmt.Errorf("read copies: %w", err)
	}
	defer doubts.Close()
	shares.First()
	doubts.First()
	size := 0
	for ok := msgs.First(); ok; ok = msgs.Next() {
		id, good := idOfKey(msgs.Key())
		if !good {
			return nil, to, fmt.Errorf("read copies: %w: message key", errCorrupt)
		}
		if len(list) > 0 && (len(list) == limit || size >= octets) {
			return list, id, nil
		}
		c := messageCopy{id: id}
		if c.items, err = itemsOf(id, shares, doubts); err != nil {
			return nil, to, fmt.Errorf("read copy of %s: %w", id, err)
		}
		size += c.octets()
		list = append(list, c)
	}
	return list, to, msgs.Error()
}

// itemsOf collects the states of one message's items from two iterators that
// stand at or before its keys.
func itemsOf(id ID, shares, doubts *iterator) (items []itemCopy, err error) {
	for ok := toMessage(shares, id); ok; ok = shares.Next() {
		at, n, rev, good := parseRevKey(shares.Key())
		if good && at != id {
			break
		}
		v, err := shares.ValueAndErr()
		if err != nil || !good {
			return nil, errors.Join(err, errCorrupt)
		}
		p, err := unseal(v)
		if err != nil {
			return nil, err
		}
		it := itemCopy{n: n, rev: rev, share: append([]byte(nil), p...)}
		if k := len(items); k > 0 && items[k-1].n == n {
			items[k-1] = it // keys of one item come in order of rev
		} else {
			items = append(items, it)
		}
	}
	if err := shares.Error(); err != nil {
		return nil, err
	}
	for ok := toMessage(doubts, id); ok; ok = doubts.Next() {
		at, n, rev, good := parseRevKey(doubts.Key())
		if !good {
			return nil, errCorrupt
		}
		if at != id {
			break
		}
		items = markDoubt(items, n, rev)
	}
	return items, doubts.Error()
}

// toMessage brings an iterator to the first key at or behind a message's.
func toMessage(it *iterator, id ID) bool {
	for steps := 0; it.Valid(); steps++ {
		at, ok := idOfKey(it.Key())
		if !ok || compareIDs(at, id) >= 0 {
			return true
		}
		if steps < 8 {
			it.Next()
			continue
		}
		it.SeekGE(messageKey(nil, it.table(), id))
	}
	return false
}

func (i *iterator) table() byte { return i.Key()[0] }

// markDoubt notes an attempt behind rev as started; an old one says nothing.
func markDoubt(items []itemCopy, n uint16, rev uint32) []itemCopy {
	i := 0
	for i < len(items) && items[i].n < n {
		i++
	}
	if i < len(items) && items[i].n == n {
		items[i].doubt = items[i].doubt || items[i].rev == rev
		return items
	}
	if rev != 0 {
		return items
	}
	items = append(items, itemCopy{})
	copy(items[i+1:], items[i:])
	items[i] = itemCopy{n: n, doubt: true}
	return items
}

// readContent completes a copy with the message and its body, but not what lies
// in a chunk file.
func (s *Store) readContent(c *messageCopy) (h *head, err error) {
	err = s.get(messageKey(nil, tabMessage, c.id), func(p []byte) error {
		c.message = append([]byte(nil), p...)
		h, _, err = splitMessage(c.message)
		return err
	})
	if err == nil && h.place == bodyApart {
		err = s.get(messageKey(nil, tabBody, c.id), func(p []byte) error {
			c.body = append([]byte{}, p...)
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read copy of %s: %w", c.id, err)
	}
	return h, nil
}

// readRows adds a message's history to its copy, the outcomes first; what goes
// beyond maxRows stays behind.
func (s *Store) readRows(c *messageCopy, tabs ...byte) error {
	size := 0
	for _, tab := range tabs {
		prefix := messageKey(nil, tab, c.id)
		err := s.each(prefix, after(prefix), func(k, p []byte) (bool, error) {
			_, n, rev, ok := parseRevKey(k)
			if !ok {
				return false, errCorrupt
			}
			if size += len(p); size > maxRows {
				return false, nil
			}
			c.rows = append(c.rows, rowCopy{tab, n, rev, append([]byte(nil), p...)})
			return true, nil
		})
		if err != nil {
			return fmt.Errorf("read history of %s: %w", c.id, err)
		}
	}
	return nil
}

// sumsIn reads sums as they stand in r.
func (s *Store) sumsIn(r pebble.Reader, from, to []byte, limit int) (rows []sumRow, next []byte, err error) {
	if err := s.gate.enter(); err != nil {
		return nil, to, err
	}
	defer s.gate.leave()
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return nil, to, fmt.Errorf("read sums: %w", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if len(rows) == limit {
			return rows, append([]byte(nil), it.Key()...), nil
		}
		b, err := it.ValueAndErr()
		if err != nil {
			return nil, to, fmt.Errorf("read sums: %w", err)
		}
		v, err := readSum(b)
		if err != nil {
			return nil, to, err
		}
		rows = append(rows, sumRow{append([]byte(nil), it.Key()...), v})
	}
	return rows, to, it.Error()
}

// sumRow is a sum and its key.
type sumRow struct {
	key []byte
	v   sum
}
