package queue

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"postern/tenant"
)

// An id holds no date, but within an epoch sequences grow with time. So traces
// are keyed by message, a mark a day says where that day's messages begin, and
// a day's traces are one range. Looking a trace up needs no date.

// dayMark says that the messages of an epoch from seq on arrived on day or later.
type dayMark struct {
	tenant tenant.ID
	epoch  uint64
	day    uint32
	seq    uint64
}

// logEnd is where a tenant's log stands.
type logEnd struct {
	epoch, seq uint64
	day        uint32
}

// markSlack is how much longer than anything kept a mark stays: a message that
// ends very late is traced into the range of its old day.
const markSlack = 14

// expire drops what is older than its retention, counted from arrival.
func (s *Store) expire() error {
	if err := s.broken(); err != nil {
		return err
	}
	ends := map[tenant.ID]logEnd{} // read before the marks: later puts lie behind it
	s.mu.Lock()
	for t, g := range s.index.logs {
		ends[t] = logEnd{g.epoch, g.seq, g.day}
	}
	s.mu.Unlock()
	marks, err := s.dayMarks()
	if err != nil {
		return err
	}
	now := s.cfg.Now()
	keep := s.keeping()
	talk := dayOf(now.Add(-keep.talk).UnixMicro())
	rcpts := dayOf(now.Add(-keep.rcpts).UnixMicro())
	for i, m := range marks {
		var next *dayMark
		if i+1 < len(marks) && marks[i+1].tenant == m.tenant && marks[i+1].epoch == m.epoch {
			next = &marks[i+1]
		}
		end, live := ends[m.tenant]
		live = live && end.epoch == m.epoch
		if live && next == nil && end.day != m.day {
			continue // the mark of a new day is on its way
		}
		for _, tab := range []struct {
			tab byte
			day uint32
		}{{tabTalk, talk}, {tabOutcome, rcpts}} {
			if m.day >= tab.day {
				continue // that day was not over at the cutoff
			}
			to := after(be64(tenantPrefix(nil, tab.tab, m.tenant), m.epoch))
			if next != nil {
				to = messageKey(nil, tab.tab, ID{m.tenant, m.epoch, next.seq})
			} else if live {
				to = messageKey(nil, tab.tab, ID{m.tenant, m.epoch, end.seq + 1})
			}
			if err := s.dropRange(messageKey(nil, tab.tab, ID{m.tenant, m.epoch, m.seq}), to); err != nil {
				return err
			}
		}
		if m.day+markSlack < min(talk, rcpts) && (next != nil || !live) {
			if err := s.dropMark(m); err != nil {
				return err
			}
		}
	}
	if err := s.findOldest(); err != nil {
		return err
	}
	if err := s.expireTransactions(); err != nil {
		return err
	}
	if s.tidied, err = s.expireSuppressed(s.tidied); err != nil {
		return fmt.Errorf("expire suppressions: %w", err)
	}
	return s.sweepLoose(looseAge)
}

// dayMarks reads all marks: one a tenant, epoch and day of retention.
func (s *Store) dayMarks() (marks []dayMark, err error) {
	prefix := []byte{tabDay}
	err = s.each(prefix, after(prefix), func(k, p []byte) (bool, error) {
		if len(k) != 1+8+8+4 || len(p) != 8 {
			return false, errCorrupt
		}
		marks = append(marks, dayMark{
			tenant: tenant.ID(binary.BigEndian.Uint64(k[1:])),
			epoch:  binary.BigEndian.Uint64(k[9:]),
			day:    binary.BigEndian.Uint32(k[17:]),
			seq:    binary.BigEndian.Uint64(p),
		})
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read day marks: %w", err)
	}
	return marks, nil
}

// dropRange deletes a range if something is in it: range deletions of nothing,
// repeated every hour, would pile up.
func (s *Store) dropRange(from, to []byte) error {
	it, err := s.newIter(from, to)
	if err != nil {
		return fmt.Errorf("expire traces: %w", err)
	}
	found := it.First()
	var first []byte
	if found {
		first = bytes.Clone(it.Key())
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("expire traces: %w", err)
	}
	if !found {
		return nil
	}
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.DeleteRange(first, to, nil); err != nil {
		return fmt.Errorf("expire traces: %w", err)
	}
	return s.commit(b)
}

func (s *Store) dropMark(m dayMark) error {
	b := s.db.NewBatch()
	defer b.Close()
	_ = b.SingleDelete(dayKey(nil, m.tenant, m.epoch, m.day), nil)
	return s.commit(b)
}
