package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"postern/tenant"
)

// drop forgets what the owner has now.
func (r *returning) drop(_ context.Context, e tenant.End) error {
	for from, end := r.beyondOf(e); from != end; {
		_, next, err := r.s.statesIn(from, end, stepMessages, stepOctets)
		if err != nil {
			return err
		}
		if err := r.s.commitRange(r.t, from, next, nil); err != nil {
			return err
		}
		from = next
	}
	return nil
}

// dropEnded forgets, in a copy that is held here, what does not live at the
// owner: it knows all of it by now, so that has ended there. Nobody would ever
// say so to this copy, if that was before the walk came by.
func (r *returning) dropEnded(ctx context.Context, e tenant.End) error {
	c, err := r.s.ask(ctx, r.owner, verbInventory)
	if err != nil {
		return err
	}
	defer c.close()
	for from, end := r.beyondOf(e); from != end; {
		v, err := askInventory(c, &inventoryAsk{from: from, to: end})
		if err != nil {
			return err
		}
		live := map[ID]bool{}
		for i := range v.list {
			live[v.list[i].id] = true
		}
		err = r.s.hold.between(r.t, func() error { return r.s.dropBut(r.t, from, v.next, live) })
		if err != nil {
			return err
		}
		from = v.next
	}
	return nil
}

// dropBut drops what is not named from a copy. The counts are the owner's, which
// has them without these messages.
func (s *Store) dropBut(t tenant.ID, from, to ID, live map[ID]bool) error {
	b := s.db.NewBatch()
	defer b.Close()
	w := &intake{s: s, b: b, t: t}
	if err := w.rangeOf(from, to, nil, func(id ID) bool { return live[id] }); err != nil {
		return err
	}
	if b.Empty() {
		return nil
	}
	if err := s.commit(b); err != nil {
		return err
	}
	for _, n := range w.files {
		s.removeChunk(n)
	}
	return nil
}

// returned notes that the epochs have nothing left that only this store has.
func (r *returning) returned() error {
	b := r.s.db.NewBatch()
	defer b.Close()
	for _, e := range r.ends {
		if err := r.s.setReturned(b, r.t, e.Epoch); err != nil {
			return err
		}
	}
	if b.Empty() {
		return nil
	}
	return r.s.commit(b)
}

// setReturned notes that this store has nothing alone of an epoch it wrote.
func (s *Store) setReturned(b *pebble.Batch, t tenant.ID, epoch uint64) error {
	key := returnedKey(nil, t, epoch)
	err := s.get(key, func([]byte) error { return nil })
	if errors.Is(err, ErrNotFound) {
		setFramed(b, key, nil, nil)
		return nil
	}
	return err
}

// commitRange makes the messages of a range what want says, in one batch.
func (s *Store) commitRange(t tenant.ID, from, to ID, want []messageCopy) error {
	b := s.db.NewBatch()
	defer b.Close()
	w := &intake{s: s, b: b, t: t}
	if err := w.rangeOf(from, to, want, nil); err != nil {
		return err
	}
	if len(w.absent) > 0 {
		return fmt.Errorf("%w: %d messages are not there any more, first %s", errRemote, len(w.absent), w.absent[0])
	}
	w.finish()
	if b.Empty() {
		return nil
	}
	if err := s.commit(b); err != nil {
		return err
	}
	for _, n := range w.files {
		s.removeChunk(n)
	}
	return nil
}
