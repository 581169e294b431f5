package queue

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"postern/tenant"
)

// returning hands over what only this store knows of a log that went on
// elsewhere.
type returning struct {
	s     *Store
	t     tenant.ID
	owner string
	ends  []tenant.End
	call  *call
	held  bool // a copy is held here: what was returned stays, as the owner's
	n     int
}

// Return hands over to the owner what this store has beyond the ends of a log
// it wrote once, and returns how many messages and outcomes that were.
//
// Messages that still live go first, then outcomes of messages the owner still
// has, then what was spent. The owner answers each part when it is durable there
// and at its holder, and ignores what it knows; only after all of it are the
// messages dropped here. So a Return may be cut off and repeated at any point.
func (s *Store) Return(ctx context.Context, owner string, t tenant.ID, ends []tenant.End) (int, error) {
	if err := s.broken(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	adopted := s.index.logs[t] != nil
	s.mu.Unlock()
	if adopted {
		return 0, fmt.Errorf("return log: %w", ErrBusy)
	}
	held, done, err := s.holds(t)
	if err != nil || done {
		return 0, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if !held {
		// The owner may want this very node for its second copy, and answers
		// only when that has what was handed over.
		leave, err := s.beginCopying(t, func() { cancel(ErrBusy) })
		if err != nil {
			return 0, err
		}
		defer leave()
		if held, _, err = s.holds(t); err != nil {
			return 0, err
		}
		if held { // it began to be one in between
			return 0, fmt.Errorf("return log: %w", ErrBusy)
		}
	}
	ends = slices.Clone(ends)
	slices.SortFunc(ends, func(a, b tenant.End) int { return compareIDs(ID{0, a.Epoch, a.Last}, ID{0, b.Epoch, b.Last}) })
	r := &returning{s: s, t: t, owner: owner, ends: ends, held: held}
	if r.call, err = s.ask(ctx, owner, verbReturn); err != nil {
		return 0, fmt.Errorf("return log: %w", err)
	}
	defer r.call.close()
	err = r.all(ctx)
	if errors.Is(context.Cause(ctx), ErrBusy) {
		err = ErrBusy
	}
	if err != nil {
		return r.n, fmt.Errorf("return log: %w", err)
	}
	return r.n, nil
}

// holds reports whether a copy is held here for a later owner. done says that
// there is nothing to return then.
func (s *Store) holds(t tenant.ID) (held, done bool, err error) {
	a, err := s.aboutOf(t)
	if err != nil || a.written || a.epoch == 0 {
		return false, false, err
	}
	open, err := s.toReturn(t)
	return true, open == nil, err
}

func (r *returning) all(ctx context.Context) error {
	for _, e := range r.ends {
		if err := r.messages(ctx, e); err != nil {
			return err
		}
	}
	if err := r.outcomes(ctx); err != nil {
		return err
	}
	if err := r.sums(); err != nil {
		return err
	}
	for _, e := range r.ends {
		drop := r.drop
		if r.held {
			drop = r.dropEnded
		}
		if err := drop(ctx, e); err != nil {
			return err
		}
	}
	r.s.cfg.Log.Info("log returned", "tenant", r.t, "node", r.owner, "handed_over", r.n)
	return r.returned()
}

// beyondOf is the range of an epoch's messages behind its end.
func (r *returning) beyondOf(e tenant.End) (from, to ID) {
	return ID{r.t, e.Epoch, e.Last + 1}, ID{r.t, e.Epoch + 1, 0}
}

// messages hands over what lives beyond an end.
func (r *returning) messages(ctx context.Context, e tenant.End) error {
	from, end := r.beyondOf(e)
	for from != end {
		list, next, err := r.s.statesIn(from, end, stepMessages, stepOctets)
		if err != nil {
			return err
		}
		for len(list) > 0 {
			n, size := 0, 0
			for n < len(list) && (n == 0 || size < stepOctets) {
				c := &list[n]
				h, err := r.s.readContent(c)
				if err != nil {
					return err
				}
				if err := r.s.readRows(c, tabOutcome, tabTalk); err != nil {
					return err
				}
				if n > 0 && size+c.octets() > maxPage/2 {
					break
				}
				if h.place == bodyChunk {
					if err := r.s.sendChunk(ctx, r.owner, r.t, h.chunk); err != nil {
						return err
					}
				}
				size += c.octets()
				n++
			}
			if err := r.send(&returnPart{what: returnCopies, copies: list[:n]}); err != nil {
				return err
			}
			list = list[n:]
		}
		from = next
	}
	return nil
}

// outcomes hands over how items ended here that still live at the owner.
func (r *returning) outcomes(ctx context.Context) error {
	c, err := r.s.ask(ctx, r.owner, verbInventory)
	if err != nil {
		return err
	}
	defer c.close()
	for from, end := (ID{Tenant: r.t}), lastID(r.t); from != end; {
		v, err := askInventory(c, &inventoryAsk{from: from, to: end, states: true})
		if err != nil {
			return err
		}
		var list []messageCopy
		size := 0
		for i := range v.list {
			x := messageCopy{id: v.list[i].id}
			if err := r.s.readRows(&x, tabOutcome); err != nil {
				return err
			}
			if x.rows = unknown(v.list[i].items, x.rows); len(x.rows) == 0 {
				continue
			}
			have, _, err := r.s.statesIn(x.id, ID{r.t, x.id.Epoch, x.id.Seq + 1}, 1, stepOctets)
			if err != nil {
				return err
			}
			if len(have) > 0 {
				x.items = have[0].items
			}
			list = append(list, x)
			if size += x.octets(); size > stepOctets {
				if err := r.send(&returnPart{what: returnOutcomes, copies: list}); err != nil {
					return err
				}
				list, size = nil, 0
			}
		}
		if len(list) > 0 {
			if err := r.send(&returnPart{what: returnOutcomes, copies: list}); err != nil {
				return err
			}
		}
		from = v.next
	}
	return nil
}

// unknown keeps the outcomes that items do not have behind them.
func unknown(items []itemCopy, rows []rowCopy) []rowCopy {
	return slices.DeleteFunc(rows, func(x rowCopy) bool {
		i := slices.IndexFunc(items, func(it itemCopy) bool { return it.n == x.n })
		return i >= 0 && x.rev <= items[i].rev
	})
}

// sums hands over what the epochs spent in total; the owner keeps the greater.
func (r *returning) sums() error {
	for _, e := range r.ends {
		from := be64(tenantPrefix(nil, tabSpend, r.t), e.Epoch)
		for end := after(from); !bytes.Equal(from, end); {
			rows, next, err := r.s.sumsIn(r.s.db, from, end, 8*sumsPage)
			if err != nil {
				return err
			}
			if len(rows) > 0 {
				if err := r.send(&returnPart{what: returnSums, sums: rows}); err != nil {
					return err
				}
			}
			from = next
		}
	}
	return nil
}

// send hands over a part and waits until it is safe.
func (r *returning) send(q *returnPart) error {
	q.tenant, q.ends = r.t, r.ends
	if err := r.call.send(q.encode()); err != nil {
		return err
	}
	b, err := r.call.answer()
	if err != nil {
		return err
	}
	if len(b) != 4 {
		return fmt.Errorf("read answer: %w", errCorrupt)
	}
	r.n += int(binary.BigEndian.Uint32(b))
	return nil
}
