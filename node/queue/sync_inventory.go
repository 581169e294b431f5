package queue

import (
	"context"
	"encoding/binary"
	"fmt"

	"postern/tenant"
)

// An inventory says what a store has of a part of a tenant's log: the ids with
// a digest of their items' states, or the states themselves.

const (
	inventoryLimit  = 4 * stepMessages
	inventoryOctets = 4 * stepOctets
)

// inventoryAsk asks for the messages of [from, to).
type inventoryAsk struct {
	from, to ID
	states   bool
}

func (q *inventoryAsk) encode() []byte {
	b := be64(newRecord(nil), uint64(q.from.Tenant))
	b = append(appendPlace(appendPlace(b, q.from), q.to), flagOctet(q.states))
	return seal(b)
}

func decodeInventoryAsk(b []byte) (q inventoryAsk, err error) {
	r, err := unsealPage(b)
	if err != nil {
		return q, err
	}
	if t := r.bytes(8); t != nil {
		at := ID{Tenant: tenant.ID(binary.BigEndian.Uint64(t))}
		q.from, q.to, q.states = r.place(at), r.place(at), r.byte() == 1
	}
	return q, r.done("question")
}

// inventory is the answer: what lives in [from, next).
type inventory struct {
	next   ID
	list   []messageCopy
	digest []uint64 // without states
}

func (v *inventory) encode(states bool) []byte {
	b := appendPlace(newRecord(nil), v.next)
	if states {
		return seal(appendCopies(b, v.list))
	}
	b = binary.AppendUvarint(b, uint64(len(v.list)))
	for i := range v.list {
		b = be64(appendPlace(b, v.list[i].id), digest(v.list[i].items))
	}
	return seal(b)
}

func decodeInventory(q *inventoryAsk, b []byte) (*inventory, error) {
	r, err := unsealPage(b)
	if err != nil {
		return nil, err
	}
	v := &inventory{next: r.place(q.from)}
	if q.states {
		v.list = readCopies(r, q.from)
	} else {
		n := r.count()
		for i := 0; i < n && !r.bad; i++ {
			v.list = append(v.list, messageCopy{id: r.place(q.from)})
			if d := r.bytes(8); d != nil {
				v.digest = append(v.digest, binary.BigEndian.Uint64(d))
			}
		}
	}
	if err := r.done("inventory"); err != nil {
		return nil, err
	}
	last := q.from
	for i := range v.list {
		id := v.list[i].id
		if compareIDs(id, last) < 0 || i > 0 && id == last || compareIDs(id, v.next) >= 0 {
			return nil, fmt.Errorf("read inventory: %w: order", errCorrupt)
		}
		last = id
	}
	if compareIDs(v.next, q.to) > 0 || compareIDs(v.next, q.from) <= 0 {
		return nil, fmt.Errorf("read inventory: %w: end", errCorrupt)
	}
	return v, nil
}

// inventoryOf takes stock of a part of a tenant's log here.
func (s *Store) inventoryOf(q *inventoryAsk) (*inventory, error) {
	list, next, err := s.statesIn(q.from, q.to, inventoryLimit, inventoryOctets)
	if err == nil {
		err = s.hold.mark(q.from.Tenant, list)
	}
	return &inventory{next: next, list: list}, err
}

// mark adds the doubts that only memory knows: of attempts whose start came here
// and whose settlement did not.
func (h *holder) mark(t tenant.ID, list []messageCopy) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	l, err := h.log(t)
	if err != nil || len(l.starts) == 0 {
		return err
	}
	where := make(map[at]int, len(list))
	for i := range list {
		where[at{list[i].id.Epoch, list[i].id.Seq}] = i
	}
	for x := range l.starts {
		if i, ok := where[x.at]; ok {
			list[i].items = markDoubt(list[i].items, x.n, x.rev)
		}
	}
	return nil
}

// addStarts is mark for one message that need not be here.
func (h *holder) addStarts(c *messageCopy) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	l, err := h.log(c.id.Tenant)
	if err != nil {
		return err
	}
	for x := range l.starts {
		if x.at == (at{c.id.Epoch, c.id.Seq}) {
			c.rows = append(c.rows, rowCopy{tab: tabDoubt, n: x.n, rev: x.rev})
		}
	}
	return nil
}

// answerInventory answers one question after the other.
func (s *Store) answerInventory(_ context.Context, c *call) error {
	return c.each(func(b []byte) ([]byte, error) {
		q, err := decodeInventoryAsk(b)
		if err != nil {
			return nil, err
		}
		v := &inventory{next: q.to}
		if compareIDs(q.from, q.to) < 0 {
			if v, err = s.inventoryOf(&q); err != nil {
				return nil, err
			}
		}
		return v.encode(q.states), nil
	})
}

// askInventory puts one question over a call that is open.
func askInventory(c *call, q *inventoryAsk) (*inventory, error) {
	if err := c.send(q.encode()); err != nil {
		return nil, err
	}
	b, err := c.answer()
	if err != nil {
		return nil, fmt.Errorf("ask for inventory: %w", err)
	}
	return decodeInventory(q, b)
}

// copyVerbs adds the calls about copies.
func (s *Store) copyVerbs(m map[byte]verbFunc) {
	m[verbInventory] = s.answerInventory
	m[verbFetch] = s.answerFetch
	m[verbReturn] = s.answerReturn
}
