package queue

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

// fetching takes another store's copy of a log in.
type fetching struct {
	s         *Store
	t         tenant.ID
	merge     bool
	here      *about
	there     *about
	inventory *call
	fetch     fetchCall
	moved     int
}

// Fetch makes this store's copy of a tenant equal to that of a node, which was
// fenced. With merge it takes in what only the other has, and keeps the rest.
//
// It goes in order of the ids, in batches that each leave a whole copy of what
// they touch: after an error it may be begun again, or the log be adopted as it
// is.
func (s *Store) Fetch(ctx context.Context, node string, t tenant.ID, merge bool) error {
	if err := s.broken(); err != nil {
		return err
	}
	leave, err := s.beginCopying(t, nil)
	if err != nil {
		return err
	}
	defer leave()
	f := &fetching{s: s, t: t, merge: merge}
	if f.inventory, err = s.ask(ctx, node, verbInventory); err != nil {
		return fmt.Errorf("fetch log: %w", err)
	}
	defer f.inventory.close()
	if f.fetch.call, err = s.ask(ctx, node, verbFetch); err != nil {
		return fmt.Errorf("fetch log: %w", err)
	}
	defer f.fetch.close()
	if err := f.all(ctx); err != nil {
		return fmt.Errorf("fetch log: %w", err)
	}
	s.cfg.Log.Info("log fetched", "tenant", t, "node", node, "merge", merge, "messages", f.moved)
	return nil
}

// beginCopying keeps a log from being adopted, and from being held for another
// node, while a copy is taken in. giveWay, if any, is called when a node wants
// it to be held here.
func (s *Store) beginCopying(t tenant.ID, giveWay func()) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index.logs[t] != nil || s.index.copying[t] != nil {
		return nil, fmt.Errorf("copy log: %w", ErrBusy)
	}
	if giveWay == nil {
		giveWay = func() {}
	}
	s.index.copying[t] = giveWay
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.index.copying, t)
	}, nil
}

func (f *fetching) all(ctx context.Context) (err error) {
	if f.here, err = f.s.aboutOf(f.t); err != nil {
		return err
	}
	_, b, err := f.fetch.ask(&fetchAsk{what: fetchAbout, tenant: f.t})
	if err != nil {
		return err
	}
	if f.there, err = decodeAbout(f.t, b); err != nil {
		return err
	}
	// Spending first: a log adopted after a failure has rather too much of it.
	if err := f.sums(); err != nil {
		return err
	}
	if err := f.suppressions(); err != nil {
		return err
	}
	for from, end := (ID{Tenant: f.t}), lastID(f.t); from != end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if from, err = f.page(from, end); err != nil {
			return err
		}
	}
	if !f.merge && f.there.whole() {
		return f.equal()
	}
	return nil
}

// equal says durably that the copy here is whole.
func (f *fetching) equal() error {
	b := f.s.db.NewBatch()
	defer b.Close()
	w := &intake{s: f.s, b: b, t: f.t}
	if err := w.setCounts(f.there.counts); err != nil {
		return err
	}
	st := f.here.sync
	st.done, st.summed, st.fetched = true, true, f.there.end
	setSyncState(b, f.t, &st)
	return f.s.commit(b)
}

// page takes in the next range.
func (f *fetching) page(from, end ID) (ID, error) {
	v, err := askInventory(f.inventory, &inventoryAsk{from: from, to: end, states: true})
	if err != nil {
		return from, err
	}
	have, to, err := f.s.statesIn(from, v.next, inventoryLimit, inventoryOctets)
	if err != nil {
		return from, err
	}
	theirs := v.list
	if to != v.next {
		i := slices.IndexFunc(theirs, func(c messageCopy) bool { return compareIDs(c.id, to) >= 0 })
		if i >= 0 {
			theirs = theirs[:i]
		}
	}
	want, err := f.judge(have, theirs)
	if err != nil {
		return from, err
	}
	if err := f.take(from, to, have, want); err != nil {
		return from, err
	}
	return to, nil
}

// take makes the range what was judged, in batches of bounded size: as much as
// one answer brings of what is not here.
func (f *fetching) take(from, to ID, have, want []messageCopy) error {
	local := map[ID]bool{}
	for i := range have {
		local[have[i].id] = true
	}
	q := fetchAsk{what: fetchContents, tenant: f.t}
	at := map[ID]*messageCopy{}
	for i := range want {
		if !local[want[i].id] {
			q.ids = append(q.ids, want[i].id)
			at[want[i].id] = &want[i]
		}
	}
	err := f.fetch.copies(q, func(list []messageCopy) error {
		var last ID
		for _, c := range list {
			w := at[c.id]
			if w == nil {
				return fmt.Errorf("read answer: %w: message not asked for", errCorrupt)
			}
			w.message, w.body, w.rows = c.message, c.body, c.rows
			if err := f.file(w); err != nil {
				return err
			}
			last = w.id
		}
		if len(list) == 0 {
			return nil
		}
		last.Seq++ // an id is never the last of all
		n, _ := slices.BinarySearchFunc(want, last, func(c messageCopy, id ID) int { return compareIDs(c.id, id) })
		if err := f.s.commitRange(f.t, from, last, want[:n]); err != nil {
			return err
		}
		from, want = last, want[n:]
		return nil
	})
	if err != nil {
		return err
	}
	f.moved += len(want)
	return f.s.commitRange(f.t, from, to, want)
}

// file brings a message's chunk file here, if it has one.
func (f *fetching) file(c *messageCopy) error {
	h, _, err := splitMessage(c.message)
	if err != nil || h.place != bodyChunk {
		return err
	}
	if whole, err := f.s.chunkWhole(h); err != nil || whole {
		return err
	}
	w, err := f.s.createChunk(h.chunk)
	if err != nil {
		return err
	}
	for left := h.env.Size - int64(h.prefix); left > 0; {
		r, _, err := f.fetch.ask(&fetchAsk{what: fetchChunk, tenant: f.t, chunk: h.chunk, offset: h.env.Size - int64(h.prefix) - left})
		if err == nil && (len(r.b) == 0 || int64(len(r.b)) > left) {
			err = fmt.Errorf("read chunk: %w: %d octets, %d are missing", errCorrupt, len(r.b), left)
		}
		if err == nil {
			left -= int64(len(r.b))
			err = w.write(r.b)
		}
		if err != nil {
			w.discard()
			return err
		}
	}
	if err := w.finish(); err != nil {
		return err
	}
	if w.crc != h.crc {
		f.s.removeChunk(h.chunk)
		return fmt.Errorf("read chunk: %w: checksum", errCorrupt)
	}
	return nil
}

// createChunk writes a chunk file that has its name already.
func (s *Store) createChunk(name chunkName) (*chunkWriter, error) {
	c := &chunkWriter{s: s, name: name, path: s.fs.PathJoin(s.chunks, name.file())}
	file, err := s.fs.Create(c.path, spoolWriting)
	if err != nil {
		return nil, fmt.Errorf("create chunk file: %w", err)
	}
	c.file = vfs.NewSyncingFile(file, vfs.SyncingFileOptions{NoSyncOnClose: true, BytesPerSync: 1 << 20})
	c.buf = s.pool.get(chunkBuffer)
	return c, nil
}

// sums takes in what was spent, and the day marks, in one batch. Of each sum the
// greater is right. But a copy whose walk has just begun has of its epoch only
// what came live since: that and what the one before it has make the sum. What
// came to both counts twice then, which errs on the safe side.
func (f *fetching) sums() error {
	newer := f.there
	if f.here.newer(f.there) {
		newer = f.here
	}
	st := f.here.sync
	add := f.merge && !newer.summed() && (st.addedEpoch != f.there.epoch || st.addedGeneration != f.there.generation)
	b := f.s.db.NewBatch()
	defer b.Close()
	w := &intake{s: f.s, b: b, t: f.t}
	prefix := tenantPrefix(nil, tabSpend, f.t)
	end := after(prefix)
	for from := prefix; !bytes.Equal(from, end); {
		r, _, err := f.fetch.ask(&fetchAsk{what: fetchSums, tenant: f.t, key: from[len(prefix):]})
		if err != nil {
			return err
		}
		next := bytes.Clone(r.part())
		if r.bad || bytes.Compare(next, from) <= 0 || bytes.Compare(next, end) > 0 {
			return fmt.Errorf("read sums: %w", errCorrupt)
		}
		rows := readSums(r, prefix, from, next)
		if err := r.done("sums"); err != nil {
			return err
		}
		for _, x := range rows {
			if e, _, _, _ := parseSpendKey(x.key); add && e == newer.epoch {
				_ = b.Merge(x.key, x.v.append(nil), nil)
			} else if err := w.raiseSum(x); err != nil {
				return err
			}
		}
		from = next
	}
	for _, m := range f.there.marks {
		if err := w.addMark(m); err != nil {
			return err
		}
	}
	if err := w.addDenials(f.there.denials); err != nil {
		return err
	}
	if add {
		st.addedEpoch, st.addedGeneration = f.there.epoch, f.there.generation
		st.summed = st.summed || newer == f.here && f.there.summed()
		setSyncState(b, f.t, &st)
		f.here.sync = st
	}
	if b.Empty() {
		return nil
	}
	return f.s.commit(b)
}

// raiseSum lets no sum be less than its row.
func (w *intake) raiseSum(r sumRow) error {
	have, _, err := w.s.sumsIn(w.s.db, r.key, append(bytes.Clone(r.key), 0), 1)
	if err != nil {
		return err
	}
	d := r.v
	if len(have) > 0 {
		d = sum{max(r.v.a-have[0].v.a, 0), max(r.v.b-have[0].v.b, 0)}
	}
	if d != (sum{}) {
		_ = w.b.Merge(r.key, d.append(nil), nil)
	}
	return nil
}
