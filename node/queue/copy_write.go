package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"postern/tenant"
)

// intake takes copies into one batch. The store must hold still meanwhile: what
// it reads of the tenant is the state without the batch.
//
// It deletes with plain tombstones, and lays one below what may have been here
// before: a key may come back (a message that was dropped and is copied again,
// a state that another history gave the same rev), and then a SingleDelete could
// bring up what lies below.
type intake struct {
	s      *Store
	b      *pebble.Batch
	t      tenant.ID
	counts sum         // what changed
	files  []chunkName // nobody needs them once the batch is durable
	moved  int         // messages that changed
	doubts []placed    // items in doubt of messages that were added
	absent []ID        // not taken in: unknown here and named without content, or without their file
}

// finish notes what the batch changes in the tenant's counts.
func (w *intake) finish() {
	if w.counts != (sum{}) {
		_ = w.b.Merge(tenantPrefix(nil, tabCount, w.t), w.counts.append(nil), nil)
	}
}

// rangeOf makes the messages of [from, to) what want says. Those not named are
// dropped, unless keep holds them.
func (w *intake) rangeOf(from, to ID, want []messageCopy, keep func(ID) bool) error {
	for i := 0; ; {
		have, next, err := w.s.statesIn(from, to, stepMessages, stepOctets)
		if err != nil {
			return err
		}
		for j := range have {
			h := &have[j]
			for ; i < len(want) && compareIDs(want[i].id, h.id) < 0; i++ {
				if err := w.add(&want[i]); err != nil {
					return err
				}
			}
			if i < len(want) && want[i].id == h.id {
				err = w.change(h, &want[i])
				i++
			} else if keep == nil || !keep(h.id) {
				err = w.drop(h)
			}
			if err != nil {
				return err
			}
		}
		if next == to {
			for ; i < len(want); i++ {
				if err := w.add(&want[i]); err != nil {
					return err
				}
			}
			return nil
		}
		from = next
	}
}

// add takes in a message that is not here.
func (w *intake) add(c *messageCopy) error {
	if c.message == nil {
		w.absent = append(w.absent, c.id)
		return nil
	}
	h, err := checkCopy(c)
	if err != nil {
		return err
	}
	if h.place == bodyChunk {
		if whole, err := w.s.chunkWhole(h); err != nil {
			return err
		} else if !whole {
			w.absent = append(w.absent, c.id)
			return nil
		}
	}
	before, err := w.s.knew(c.id)
	if err != nil {
		return err
	}
	if before {
		w.clear(c.id, h)
	}
	setFramed(w.b, messageKey(nil, tabMessage, c.id), c.message, nil)
	switch h.place {
	case bodyApart:
		setFramed(w.b, messageKey(nil, tabBody, c.id), c.body, nil)
	case bodyChunk:
		setFramed(w.b, chunkKey(nil, h.chunk), messageKey(nil, tabMessage, c.id), nil)
	}
	if err := w.addTransaction(c.id, h.env); err != nil {
		return err
	}
	w.counts.a++
	w.moved++
	for n := range h.domains {
		st, err := stateOf(h, c.items, uint16(n))
		if err != nil {
			return fmt.Errorf("take in copy of %s: %w", c.id, err)
		}
		w.counts.b += st.rcpts
		if before {
			w.unset(c.id, h, st)
		}
		w.set(c.id, h, st)
		if st.doubt {
			w.doubts = append(w.doubts, st)
		}
	}
	return w.addRows(c)
}

// knew reports whether anything of a message was attempted here before.
func (s *Store) knew(id ID) (known bool, err error) {
	prefix := messageKey(nil, tabOutcome, id)
	err = s.each(prefix, after(prefix), func(_, _ []byte) (bool, error) {
		known = true
		return false, nil
	})
	return known, err
}

// clear lays a tombstone below a message's own records.
func (w *intake) clear(id ID, h *head) {
	_ = w.b.Delete(messageKey(nil, tabMessage, id), nil)
	switch h.place {
	case bodyApart:
		_ = w.b.Delete(messageKey(nil, tabBody, id), nil)
	case bodyChunk:
		_ = w.b.Delete(chunkKey(nil, h.chunk), nil)
	}
}

// checkCopy refuses a whole copy whose parts do not belong together.
func checkCopy(c *messageCopy) (*head, error) {
	h, _, err := splitMessage(c.message)
	if err != nil {
		return nil, err
	}
	if (h.place == bodyApart) != (c.body != nil) || len(h.domains) == 0 {
		return nil, fmt.Errorf("read copy of %s: %w: body", c.id, errCorrupt)
	}
	if err := checkEnvelope(h.env); err != nil {
		return nil, fmt.Errorf("read copy of %s: %w", c.id, err)
	}
	for _, d := range h.domains {
		if l, err := laneDomain("@" + d); err != nil || l != d {
			return nil, fmt.Errorf("read copy of %s: %w: domain", c.id, errCorrupt)
		}
	}
	return h, nil
}

// change gives a message that is here the states another copy has.
func (w *intake) change(have, want *messageCopy) error {
	if want.same || digest(have.items) == digest(want.items) {
		return nil
	}
	h, _, err := w.s.readMessage(have.id, false)
	if err != nil {
		return err
	}
	for n := range h.domains {
		old, err := stateOf(h, have.items, uint16(n))
		if err != nil {
			return fmt.Errorf("read item of %s: %w", have.id, err)
		}
		st, err := stateOf(h, want.items, uint16(n))
		if err != nil {
			return fmt.Errorf("take in item of %s: %w", have.id, err)
		}
		if old.same(st) {
			continue
		}
		w.unset(have.id, h, old)
		w.unset(have.id, h, st)
		w.set(have.id, h, st)
		w.counts.b += st.rcpts - old.rcpts
	}
	w.moved++
	return w.addRows(want)
}

// drop forgets a message with all its keys but its history and the note of its
// transaction, which outlive it anyway.
func (w *intake) drop(have *messageCopy) error {
	h, _, err := w.s.readMessage(have.id, false)
	if err != nil {
		return err
	}
	for n := range h.domains {
		st, err := stateOf(h, have.items, uint16(n))
		if err != nil {
			return fmt.Errorf("read item of %s: %w", have.id, err)
		}
		w.unset(have.id, h, st)
		w.counts.b -= st.rcpts
	}
	w.clear(have.id, h)
	if h.place == bodyChunk {
		w.files = append(w.files, h.chunk)
	}
	w.counts.a--
	w.moved++
	return nil
}

// placed is an item's state and the keys it has.
type placed struct {
	itemCopy
	at      dueAt
	written int64
	ended   bool
	rcpts   int64
}

func (p placed) same(o placed) bool {
	return p.rev == o.rev && p.doubt == o.doubt && slices.Equal(p.share, o.share)
}

// stateOf finds the state of item n among those that were attempted.
func stateOf(h *head, items []itemCopy, n uint16) (placed, error) {
	for i := range items {
		if int(items[i].n) >= len(h.domains) {
			return placed{}, fmt.Errorf("%w: no share %d", errCorrupt, items[i].n)
		}
	}
	p := placed{itemCopy: itemCopy{n: n}, at: dueAt{due: h.due0, n: n}, written: h.due0}
	if i := slices.IndexFunc(items, func(it itemCopy) bool { return it.n == n }); i >= 0 {
		p.itemCopy = items[i]
	}
	if p.rev == 0 {
		p.rcpts = int64(len(h.rcptsOf(n)))
		return p, nil
	}
	sh, err := readShare(p.share)
	if err != nil {
		return p, err
	}
	for _, r := range sh.rcpts {
		if r >= len(h.of) || h.of[r] != n {
			return p, fmt.Errorf("%w: recipient %d", errCorrupt, r)
		}
	}
	p.at.due, p.at.rev, p.written = sh.due, p.rev, sh.at
	p.ended, p.rcpts = sh.ended, int64(len(sh.rcpts))
	return p, nil
}

func (w *intake) lane(h *head, n uint16) Lane {
	return Lane{w.t, h.env.Account, h.env.Class, h.domains[n]}
}

func (w *intake) set(id ID, h *head, p placed) {
	if !p.ended {
		p.at.epoch, p.at.seq = id.Epoch, id.Seq
		l := lane{prefix: lanePrefix(nil, w.lane(h, p.n))}
		setDue(w.b, &l, p.at, p.written)
	}
	if p.rev > 0 {
		setFramed(w.b, revKey(nil, tabShare, id, p.n, p.rev), p.share, nil)
	}
	if p.doubt {
		setFramed(w.b, revKey(nil, tabDoubt, id, p.n, p.rev), nil, nil)
	}
}

func (w *intake) unset(id ID, h *head, p placed) {
	if !p.ended {
		p.at.epoch, p.at.seq = id.Epoch, id.Seq
		_ = w.b.Delete(dueKey(nil, w.lane(h, p.n), p.at), nil)
	}
	if p.rev > 0 {
		_ = w.b.Delete(revKey(nil, tabShare, id, p.n, p.rev), nil)
	}
	if p.doubt {
		_ = w.b.Delete(revKey(nil, tabDoubt, id, p.n, p.rev), nil)
	}
}

// addRows takes in the history that is not here.
func (w *intake) addRows(c *messageCopy) error {
	for _, r := range c.rows {
		if r.tab == tabDoubt {
			continue // said with the states
		}
		key := revKey(nil, r.tab, c.id, r.n, r.rev)
		err := w.s.get(key, func([]byte) error { return nil })
		if err == nil {
			continue
		}
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		if r.tab == tabOutcome {
			if _, err := readTraced(r.payload); err != nil {
				return err
			}
		}
		setFramed(w.b, key, r.payload, nil)
	}
	return nil
}

// chunkWhole reports whether a message's chunk file is here in full.
func (s *Store) chunkWhole(h *head) (bool, error) {
	st, err := s.fs.Stat(s.fs.PathJoin(s.chunks, h.chunk.file()))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up chunk file: %w", err)
	}
	return st.Size() == h.env.Size-int64(h.prefix), nil
}
