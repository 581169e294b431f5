package queue

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"postern/tenant"
)

// suppressPage bounds the rows of one record, answer or look around.
const suppressPage = 2000

// suppressRow is a row as it travels.
type suppressRow struct{ key, payload []byte }

// suppressRows reads a page of a tenant's rows from a key on; next is nil at the
// end.
func (s *Store) suppressRows(t tenant.ID, from []byte) (rows []suppressRow, next []byte, err error) {
	prefix := tenantPrefix(nil, tabSuppress, t)
	size := 0
	err = s.each(append(prefix, from...), after(prefix), func(k, p []byte) (bool, error) {
		rows = append(rows, suppressRow{bytes.Clone(k), bytes.Clone(p)})
		if size += len(k) + len(p); len(rows) < suppressPage && size < stepOctets {
			return true, nil
		}
		next = append(bytes.Clone(k[len(prefix):]), 0)
		return false, nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read suppressions: %w", err)
	}
	return rows, next, nil
}

// suppressions says the list in records of the log, page by page, each true of
// its moment. What the new holder has from elsewhere and the owner does not
// stays there: it lapses like any other.
func (w *walk) suppressions(ctx context.Context) error {
	if !w.s.maySuppress() {
		return nil // there is none, and the holder may be of an older program
	}
	for from := []byte{}; from != nil; {
		next, o, err := w.suppressPage(from)
		if err != nil {
			return err
		}
		if o != nil {
			if err := w.s.wait(ctx, o); err != nil {
				return err
			}
		}
		from = next
	}
	return nil
}

func (w *walk) suppressPage(from []byte) (next []byte, o *outgoing, err error) {
	done := make(chan error, 1)
	over := false
	w.s.inCommitter(func(*pebble.Batch) error {
		rows, n, err := w.s.suppressRows(w.g.tenant, from)
		if next = n; err != nil || len(rows) == 0 {
			return err
		}
		b := w.s.db.NewBatch()
		defer b.Close()
		for _, r := range rows {
			setFramed(b, r.key, r.payload, nil)
		}
		ops := slices.Clone(b.Repr()[batchHead:])
		o, err = w.s.appendRecord(w.g, recOps, func(uint64) []byte {
			if over = !w.current(); over {
				return nil
			}
			return ops
		})
		return err
	}, func(err error) { done <- err })
	if err := <-done; err != nil {
		return nil, nil, err
	}
	if over {
		return nil, nil, errWalkOver
	}
	return next, o, nil
}

func appendSuppressRows(b []byte, next []byte, rows []suppressRow, prefix int) []byte {
	b = putBytes(b, next)
	b = binary.AppendUvarint(b, uint64(len(rows)))
	for _, r := range rows {
		b = putBytes(putBytes(b, r.key[prefix:]), r.payload)
	}
	return b
}

// readSuppressRows reads an answer; each row is checked.
func readSuppressRows(r *reader, t tenant.ID) (next []byte, rows []suppressRow, err error) {
	next = bytes.Clone(r.part())
	n := r.count()
	if n > suppressPage {
		r.fail()
	}
	for i := 0; i < n && !r.bad; i++ {
		k := append(tenantPrefix(nil, tabSuppress, t), r.part()...)
		row := suppressRow{k, bytes.Clone(r.part())}
		if _, err := readSuppression(k, row.payload); err != nil {
			return nil, nil, err
		}
		if i > 0 && bytes.Compare(rows[i-1].key, k) >= 0 {
			r.fail()
		}
		rows = append(rows, row)
	}
	return next, rows, r.done("suppressions")
}

// suppressions takes another copy's list in: of each row the newer stays.
func (f *fetching) suppressions() error {
	if !f.s.maySuppress() {
		return nil
	}
	for from := []byte{}; ; {
		r, _, err := f.fetch.ask(&fetchAsk{what: fetchSuppressed, tenant: f.t, key: from})
		if err != nil {
			return err
		}
		next, rows, err := readSuppressRows(r, f.t)
		if err != nil {
			return err
		}
		if err := f.s.mergeSuppressed(f.t, rows); err != nil {
			return err
		}
		if len(next) == 0 {
			return nil
		}
		if bytes.Compare(next, from) <= 0 {
			return fmt.Errorf("read suppressions: %w: they go back", errCorrupt)
		}
		from = next
	}
}

// mergeSuppressed lets the newer of two rows stay.
func (s *Store) mergeSuppressed(t tenant.ID, rows []suppressRow) error {
	b := s.db.NewBatch()
	defer b.Close()
	for _, r := range rows {
		theirs, err := readSuppression(r.key, r.payload)
		if err != nil {
			return err
		}
		mine, err := s.suppression(t, theirs.Addr)
		if err != nil && !errors.Is(err, errCorrupt) {
			return err
		}
		if mine.Count == 0 || theirs.Changed.After(mine.Changed) {
			setFramed(b, r.key, r.payload, nil)
		}
	}
	if b.Empty() {
		return nil
	}
	return s.commit(b)
}

// expireSuppressed forgets rows that are of no use any more. Each time it looks
// at a bounded number, from where it ended the last time: what it costs does not
// grow with the lists.
func (s *Store) expireSuppressed(from []byte) (next []byte, err error) {
	now := s.cfg.Now()
	var gone [][]byte
	read := 0
	start := append([]byte{tabSuppress}, from...)
	err = s.each(start, []byte{tabSuppress + 1}, func(k, p []byte) (bool, error) {
		x, err := readSuppression(k, p)
		if at := x.goneAt(); err != nil || !at.IsZero() && now.After(at) {
			gone = append(gone, bytes.Clone(k)) // what cannot be read stops nothing either
		}
		if read++; read >= 10*suppressPage {
			next = append(bytes.Clone(k[1:]), 0)
			return false, nil
		}
		return true, nil
	})
	if err != nil || len(gone) == 0 {
		return next, err
	}
	done := make(chan error, 1)
	s.inCommitter(func(b *pebble.Batch) error { // no settlement sets one of them meanwhile
		for _, k := range gone {
			err := s.get(k, func(p []byte) error {
				x, err := readSuppression(k, p)
				if at := x.goneAt(); err != nil || !at.IsZero() && now.After(at) {
					_ = b.Delete(k, nil)
				}
				return nil
			})
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
		}
		return nil
	}, func(err error) { done <- err })
	return next, <-done
}
