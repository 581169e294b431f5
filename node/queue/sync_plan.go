package queue

import (
	"context"
	"errors"
)

// plan is what a step was prepared for, before the committer's turn.
type plan struct {
	to      ID
	ids     []ID
	there   map[ID]uint64       // what the holder has
	content map[ID]*messageCopy // what it needs
}

// plan asks the holder what it has of the next range and reads what it lacks.
func (w *walk) plan(ctx context.Context, from ID) (*plan, error) {
	list, to, err := w.s.statesIn(from, w.end, stepMessages, stepOctets)
	if err != nil {
		return nil, err
	}
	v, err := w.inventory(ctx, &inventoryAsk{from: from, to: to})
	if err != nil {
		return nil, err
	}
	p := &plan{to: v.next, there: map[ID]uint64{}, content: map[ID]*messageCopy{}}
	for i := range v.list {
		p.there[v.list[i].id] = v.digest[i]
	}
	size := 0
	for i := range list {
		c := &list[i]
		if compareIDs(c.id, p.to) >= 0 {
			break
		}
		if _, have := p.there[c.id]; !have {
			if size >= stepOctets {
				p.to = c.id
				break
			}
			n, err := w.fill(ctx, c)
			if errors.Is(err, ErrNotFound) {
				continue // it ended meanwhile
			}
			if err != nil {
				return nil, err
			}
			if size += n; size > stepOctets && len(p.content) > 0 {
				p.to = c.id
				break
			}
			p.content[c.id] = c
		}
		p.ids = append(p.ids, c.id)
	}
	return p, nil
}

// fill reads a message that the holder lacks, and sends its file ahead.
func (w *walk) fill(ctx context.Context, c *messageCopy) (octets int, err error) {
	h, err := w.s.readContent(c)
	if err != nil {
		return 0, err
	}
	if err := w.s.readRows(c, tabOutcome, tabTalk); err != nil {
		return 0, err
	}
	if h.place == bodyChunk {
		if err := w.s.sendChunk(ctx, w.node, w.g.tenant, h.chunk); err != nil {
			return 0, err
		}
		w.chunks++
	}
	return c.octets(), nil
}

// inventory asks over one call as long as it works.
func (w *walk) inventory(ctx context.Context, q *inventoryAsk) (v *inventory, err error) {
	if w.call == nil {
		if w.call, err = w.s.ask(ctx, w.node, verbInventory); err != nil {
			return nil, err
		}
	}
	if v, err = askInventory(w.call, q); err != nil {
		w.call.close()
		w.call = nil
	}
	return v, err
}

// moment is what lives in the range now, said as shortly as the holder's
// inventory allows. The committer runs it: no item ends meanwhile.
//
// A message that came into the range since the plan was made, returned by an
// earlier owner, ends the step before it.
func (w *walk) moment(from ID, p *plan) (list []messageCopy, to ID, err error) {
	if list, to, err = w.s.statesIn(from, p.to, inventoryLimit, inventoryOctets); err != nil {
		return nil, to, err
	}
	w.started(list)
	size := 0
	for i := range list {
		c := &list[i]
		if _, known := p.there[c.id]; !known && p.content[c.id] == nil || size > maxPage/2 {
			return list[:i], c.id, nil
		}
		if have, known := p.there[c.id]; known && have == digest(c.items) {
			*c = messageCopy{id: c.id, same: true}
		} else if full := p.content[c.id]; full != nil {
			c.message, c.body, c.rows = full.message, full.body, full.rows
		} else if known {
			if err := w.s.readRows(c, tabOutcome); err != nil {
				return nil, to, err
			}
		}
		size += c.octets()
	}
	return list, to, nil
}

// started adds the doubts that only memory knows: of attempts under way.
func (w *walk) started(list []messageCopy) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	for i := range list {
		c := &list[i]
		m := w.g.msgs[c.id]
		if m == nil {
			continue
		}
		for n := range m.head.domains {
			e := w.g.entries[shareKey{c.id.Epoch, c.id.Seq, uint16(n)}]
			if e != nil && (e.started != nil || e.starting) {
				c.items = markDoubt(c.items, uint16(n), e.at.rev)
			}
		}
	}
}
