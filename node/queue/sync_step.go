package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"postern/tenant"
)

// syncStep is one step of making a holder's older part equal to the owner's: a
// record of the log, true of the moment its sequence stands for.
type syncStep struct {
	syncState               // where the holder is when it has taken the step in
	from      ID            // the step says all of [from, pos)
	copies    []messageCopy // what lives there; the rest is dropped
	ends      []tenant.End  // how far the owner took older logs in
	marks     []dayMark     // all of older epochs, with the first step
	denials   []denial      // all, with the first step
	sums      bool          // spent holds all of [spentFrom, spentTo)
	spentFrom []byte        // whole keys
	spentTo   []byte
	spent     []sumRow
	counts    *sum // of the whole tenant, with the last step
}

// syncState says how far a holder's copy is like the owner's log.
type syncState struct {
	epoch, generation uint64
	first             uint64 // sequence of epoch from which on it gets all live
	pos               ID     // up to here it was made equal
	done              bool   // all of it is
	summed            bool   // its sums are the owner's; before, of epoch they are only what came live
	// The sums of the copy that was fetched last are in the sums here.
	addedEpoch, addedGeneration uint64
	// A whole copy that was fetched, and is here, went up to this message.
	fetched ID
	// The owner has not read all that is older than this epoch: of that the copy
	// has what it had before.
	since uint64
}

// covers reports whether the copy is equal to the owner's at id.
func (st *syncState) covers(id ID) bool {
	return id.Epoch >= st.since && (st.done || compareIDs(id, st.pos) < 0) ||
		compareIDs(id, ID{id.Tenant, st.epoch, st.first}) >= 0
}

func (st *syncState) append(b []byte) []byte {
	b = binary.AppendUvarint(binary.AppendUvarint(b, st.epoch), st.generation)
	b = appendPlace(binary.AppendUvarint(b, st.first), st.pos)
	b = append(b, flagOctet(st.done), flagOctet(st.summed))
	b = binary.AppendUvarint(binary.AppendUvarint(b, st.addedEpoch), st.addedGeneration)
	return binary.AppendUvarint(appendPlace(b, st.fetched), st.since)
}

func (r *reader) syncState(t ID) syncState {
	return syncState{epoch: r.uint(), generation: r.uint(), first: r.uint(), pos: r.place(t), done: r.byte() == 1,
		summed: r.byte() == 1, addedEpoch: r.uint(), addedGeneration: r.uint(), fetched: r.place(t), since: r.uint()}
}

func (x *syncStep) encode() []byte {
	b := x.syncState.append(newRecord(make([]byte, 0, 4096)))
	b = appendPlace(b, x.from)
	b = appendCopies(b, x.copies)
	b = appendEnds(b, x.ends)
	b = appendDenials(appendMarks(b, x.marks), x.denials)
	b = append(b, flagOctet(x.sums))
	if x.sums {
		b = putBytes(putBytes(b, x.spentFrom), x.spentTo)
		b = appendSums(b, x.spent)
	}
	b = append(b, flagOctet(x.counts != nil))
	if x.counts != nil {
		b = binary.AppendVarint(binary.AppendVarint(b, x.counts.a), x.counts.b)
	}
	return seal(b)
}

func decodeStep(t tenant.ID, b []byte) (*syncStep, error) {
	r, err := unsealPage(b)
	if err != nil {
		return nil, err
	}
	at := ID{Tenant: t}
	x := &syncStep{syncState: r.syncState(at)}
	x.from = r.place(at)
	x.copies = readCopies(r, at)
	x.ends = readEnds(r)
	x.marks, x.denials = readMarks(r, t), readDenials(r, t)
	if x.sums = r.byte() == 1; x.sums {
		x.spentFrom, x.spentTo = r.part(), r.part()
		x.spent = readSums(r, tenantPrefix(nil, tabSpend, t), x.spentFrom, x.spentTo)
	}
	if r.byte() == 1 {
		x.counts = &sum{r.int(), r.int()}
	}
	if err := r.done("step"); err != nil {
		return nil, err
	}
	n := len(x.copies)
	if n > 0 && (compareIDs(x.copies[0].id, x.from) < 0 || compareIDs(x.copies[n-1].id, x.pos) >= 0) {
		return nil, fmt.Errorf("read step: %w: message outside its range", errCorrupt)
	}
	return x, nil
}

func appendMarks(b []byte, ms []dayMark) []byte {
	b = binary.AppendUvarint(b, uint64(len(ms)))
	for _, m := range ms {
		b = binary.AppendUvarint(b, m.epoch)
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(m.day)), m.seq)
	}
	return b
}

func readMarks(r *reader, t tenant.ID) (ms []dayMark) {
	n := r.count()
	for i := 0; i < n && !r.bad; i++ {
		ms = append(ms, dayMark{tenant: t, epoch: r.uint(), day: r.uint32(), seq: r.uint()})
	}
	return ms
}

func appendSums(b []byte, rows []sumRow) []byte {
	b = binary.AppendUvarint(b, uint64(len(rows)))
	for _, x := range rows {
		b = putBytes(b, x.key)
		b = binary.AppendVarint(binary.AppendVarint(b, x.v.a), x.v.b)
	}
	return b
}

// readSums reads rows of one tenant's range, in the order of their keys.
func readSums(r *reader, prefix, from, to []byte) (rows []sumRow) {
	n := r.count()
	if !bytes.HasPrefix(from, prefix) || bytes.Compare(to, after(prefix)) > 0 {
		r.fail()
	}
	for i := 0; i < n && !r.bad; i++ {
		x := sumRow{key: r.part(), v: sum{r.int(), r.int()}}
		if _, _, _, ok := parseSpendKey(x.key); !ok || bytes.Compare(x.key, from) < 0 || bytes.Compare(x.key, to) >= 0 ||
			i > 0 && bytes.Compare(rows[i-1].key, x.key) >= 0 {
			r.fail()
		}
		rows = append(rows, x)
	}
	return rows
}

func syncKey(b []byte, t tenant.ID) []byte { return tenantPrefix(b, tabSync, t) }

// syncStateOf reads how far the tenant's copy here is; ok is false when it was
// never a copy.
func (s *Store) syncStateOf(t tenant.ID) (st syncState, ok bool, err error) {
	err = s.get(syncKey(nil, t), func(p []byte) error {
		r := &reader{b: p}
		st = r.syncState(ID{Tenant: t})
		return r.done("state of copy")
	})
	if errors.Is(err, ErrNotFound) {
		return st, false, nil
	}
	return st, err == nil, err
}

func setSyncState(b *pebble.Batch, t tenant.ID, st *syncState) {
	setFramed(b, syncKey(nil, t), st.append(nil), nil)
}

// applySync takes a step in at the holder. The batch holds nothing else of this
// tenant, and all before it is visible: what is read here must be true. The
// files are no longer needed once the batch is durable.
func (s *Store) applySync(b *pebble.Batch, t tenant.ID, payload []byte) (files []chunkName, err error) {
	x, err := decodeStep(t, payload)
	if err != nil {
		return nil, err
	}
	w := &intake{s: s, b: b, t: t}
	open, err := s.toReturn(t)
	if err != nil {
		return nil, err
	}
	keep := func(id ID) bool { return open != nil && open(id) && unread(x.ends, id) }
	if err := w.rangeOf(x.from, x.pos, x.copies, keep); err != nil {
		return nil, fmt.Errorf("take in step: %w", err)
	}
	if len(w.absent) > 0 {
		s.cfg.Log.Warn("copies left out of a step", "tenant", t, "messages", len(w.absent), "first", w.absent[0].String())
		x.done = false
	}
	if x.counts == nil {
		w.finish()
	}
	for _, m := range x.marks {
		if err := w.addMark(m); err != nil {
			return nil, err
		}
	}
	if err := w.addDenials(x.denials); err != nil {
		return nil, err
	}
	if x.sums {
		if err := w.setSums(x.spentFrom, x.spentTo, x.spent); err != nil {
			return nil, err
		}
	}
	if x.counts != nil {
		if err := w.setCounts(*x.counts); err != nil {
			return nil, err
		}
	}
	setSyncState(b, t, &x.syncState)
	return w.files, nil
}

// setCounts makes the tenant's counts what the owner says. Until then they are
// off by what ended at the owner and was not here yet.
func (w *intake) setCounts(v sum) error {
	key := tenantPrefix(nil, tabCount, w.t)
	have, _, err := w.s.sumsIn(w.s.db, key, after(key), 1)
	if err != nil {
		return err
	}
	if len(have) > 0 {
		v = sum{v.a - have[0].v.a, v.b - have[0].v.b}
	}
	if v != (sum{}) {
		_ = w.b.Merge(key, v.append(nil), nil)
	}
	return nil
}

// addMark notes the day of an older epoch that is not known here.
func (w *intake) addMark(m dayMark) error {
	key := dayKey(nil, w.t, m.epoch, m.day)
	err := w.s.get(key, func([]byte) error { return nil })
	if errors.Is(err, ErrNotFound) {
		setFramed(w.b, key, be64(nil, m.seq), nil)
		return nil
	}
	return err
}

// setSums makes the sums of [from, to) what rows say.
func (w *intake) setSums(from, to []byte, rows []sumRow) error {
	for i := 0; ; {
		have, next, err := w.s.sumsIn(w.s.db, from, to, sumsPage)
		if err != nil {
			return err
		}
		for _, h := range have {
			for ; i < len(rows) && bytes.Compare(rows[i].key, h.key) < 0; i++ {
				_ = w.b.Merge(rows[i].key, rows[i].v.append(nil), nil)
			}
			if i < len(rows) && bytes.Equal(rows[i].key, h.key) {
				if d := (sum{rows[i].v.a - h.v.a, rows[i].v.b - h.v.b}); d != (sum{}) {
					_ = w.b.Merge(h.key, d.append(nil), nil)
				}
				i++
			} else {
				_ = w.b.Delete(h.key, nil)
			}
		}
		if bytes.Equal(next, to) {
			for ; i < len(rows); i++ {
				_ = w.b.Merge(rows[i].key, rows[i].v.append(nil), nil)
			}
			return nil
		}
		from = next
	}
}
