package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"postern/tenant"
)

// Whoever asked for a transaction and was told that it is not kept has told its
// client so. That is noted, goes with the log wherever it goes, and holds against
// what an earlier owner has of it on its disk.

// keepDenials is longer than any message lives.
const keepDenials = 7 * 24 * time.Hour

// maxDenials bounds the denials that go with a log: the newest ones.
const maxDenials = 1 << 14

// ErrDenied says that somebody was told already that the message is not kept.
var ErrDenied = errors.New("message was denied")

// denial is a transaction that may not become a message any more.
type denial struct {
	transaction [16]byte
	place       ID // where its message would be, if who asked knew; Epoch 0: not known
}

func deniedKey(b []byte, t tenant.ID, transaction [16]byte) []byte {
	return append(tenantPrefix(b, tabDenied, t), transaction[:]...)
}

const deniedKeyLen = 1 + 8 + 16

func setDenial(b *pebble.Batch, t tenant.ID, d denial) {
	setFramed(b, deniedKey(nil, t, d.transaction), be64(be64(nil, d.place.Epoch), d.place.Seq), nil)
}

// denied reports whether a transaction may not become a message any more.
func (s *Store) denied(t tenant.ID, transaction [16]byte) (bool, error) {
	err := s.get(deniedKey(nil, t, transaction), func([]byte) error { return nil })
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Deny forbids a transaction to become a message, durably here and at the
// holder: who asked for it is told that it is not kept, and the client comes
// again. place is where it was put, if who asks knows. It does nothing to one
// that is a message already; Find tells. No Put of it may be under way.
func (s *Store) Deny(ctx context.Context, t tenant.ID, transaction [16]byte, place ID) error {
	if err := s.broken(); err != nil {
		return err
	}
	s.mu.Lock()
	g := s.index.logs[t]
	s.mu.Unlock()
	if g == nil {
		return ErrStale
	}
	if err := s.openEpoch(g); err != nil {
		return err
	}
	_, err := s.writeOps(ctx, g, func(b *pebble.Batch) (*chunkName, error) {
		no, err := s.denied(t, transaction)
		if err != nil || no {
			return nil, err
		}
		_, err = s.became(t, transaction, place)
		if errors.Is(err, ErrNotFound) {
			setDenial(b, t, denial{transaction, place})
			return nil, nil
		}
		return nil, err
	}, true) // one that was denied before waits for the holder, too
	if err != nil {
		return fmt.Errorf("deny transaction: %w", err)
	}
	return nil
}

// denials lists what was denied, the newest last.
func (s *Store) denials(t tenant.ID) (list []denial, err error) {
	prefix := tenantPrefix(nil, tabDenied, t)
	err = s.each(prefix, after(prefix), func(k, p []byte) (bool, error) {
		if len(k) != deniedKeyLen || len(p) != 16 {
			return false, errCorrupt
		}
		d := denial{place: ID{t, binary.BigEndian.Uint64(p), binary.BigEndian.Uint64(p[8:])}}
		copy(d.transaction[:], k[9:])
		list = append(list, d)
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read denials: %w", err)
	}
	return list[max(0, len(list)-maxDenials):], nil
}

// addDenials takes in those of another copy that are not here.
func (w *intake) addDenials(list []denial) error {
	for _, d := range list {
		no, err := w.s.denied(w.t, d.transaction)
		if err != nil {
			return err
		}
		if !no {
			setDenial(w.b, w.t, d)
		}
	}
	return nil
}

// dropDenied forgets what lives here and was denied by a later owner: this store
// wrote it, and became the owner again before it could return it.
func (s *Store) dropDenied(t tenant.ID) error {
	list, err := s.denials(t)
	if err != nil {
		return err
	}
	for _, d := range list {
		id := d.place
		if id.Epoch == 0 {
			if id, err = s.noted(t, d.transaction); errors.Is(err, ErrNotFound) {
				continue
			} else if err != nil {
				return err
			}
		}
		if err := s.commitRange(t, id, ID{t, id.Epoch, id.Seq + 1}, nil); err != nil {
			return fmt.Errorf("drop denied message %s: %w", id, err)
		}
	}
	return nil
}

func appendDenials(b []byte, list []denial) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, d := range list {
		b = append(b, d.transaction[:]...)
		b = binary.AppendUvarint(binary.AppendUvarint(b, d.place.Epoch), d.place.Seq)
	}
	return b
}

func readDenials(r *reader, t tenant.ID) (list []denial) {
	n := r.count()
	if n > maxDenials {
		r.fail()
	}
	for i := 0; i < n && !r.bad; i++ {
		var d denial
		copy(d.transaction[:], r.bytes(len(d.transaction)))
		d.place = ID{t, r.uint(), r.uint()}
		list = append(list, d)
	}
	return list
}
