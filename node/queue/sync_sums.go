package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"postern/tenant"
)

// sumsPage is how many sums one step or page holds: they are read under the
// store's lock.
const sumsPage = 512

// addSum adds to the row of a key, which stays in order.
func addSum(rows []sumRow, key []byte, v sum) []sumRow {
	i, have := slices.BinarySearchFunc(rows, key, func(r sumRow, k []byte) int { return bytes.Compare(r.key, k) })
	if have {
		rows[i].v.a, rows[i].v.b = rows[i].v.a+v.a, rows[i].v.b+v.b
		return rows
	}
	return slices.Insert(rows, i, sumRow{bytes.Clone(key), v})
}

// snapshot is the store as it is now; it ends with closeSnapshot.
func (s *Store) snapshot() (*pebble.Snapshot, error) {
	if err := s.gate.enter(); err != nil {
		return nil, err
	}
	return s.db.NewSnapshot(), nil
}

func (s *Store) closeSnapshot(snap *pebble.Snapshot) {
	defer s.gate.leave()
	if err := snap.Close(); err != nil {
		s.cfg.Log.Error("snapshot not closed", "err", err)
	}
}

func visible(r pebble.Reader, key []byte) (bool, error) {
	_, c, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up key: %w", err)
	}
	return true, c.Close()
}

// dayMarksOf reads one tenant's day marks.
func (s *Store) dayMarksOf(t tenant.ID) (marks []dayMark, err error) {
	prefix := tenantPrefix(nil, tabDay, t)
	err = s.each(prefix, after(prefix), func(k, p []byte) (bool, error) {
		if len(k) != 1+8+8+4 || len(p) != 8 {
			return false, errCorrupt
		}
		marks = append(marks, dayMark{tenant: t, epoch: binary.BigEndian.Uint64(k[9:]),
			day: binary.BigEndian.Uint32(k[17:]), seq: binary.BigEndian.Uint64(p)})
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read day marks: %w", err)
	}
	return marks, nil
}
