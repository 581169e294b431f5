package queue

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// keeping is for how long what expires is kept.
type keeping struct{ rcpts, talk time.Duration }

func (s *Store) keeping() keeping {
	if s.cfg.Keep != nil {
		rcpts, talk := s.cfg.Keep()
		return keeping{rcpts, talk}
	}
	return keeping{s.cfg.KeepRcpts, s.cfg.KeepTalk}
}

// Oldest is the day of the oldest rows that the last clean-up left, by their
// messages' arrival; zero when there are none.
type Oldest struct{ Recipients, Dialogues time.Time }

type oldestKept struct {
	mu sync.Mutex
	v  Oldest
}

// Oldest tells what the last clean-up left; it reads nothing.
func (s *Store) Oldest() Oldest {
	s.kept.mu.Lock()
	defer s.kept.mu.Unlock()
	return s.kept.v
}

// findOldest looks for the first day that has rows, from the oldest mark on: a
// seek a mark, and as a rule the first one has some.
func (s *Store) findOldest() error {
	marks, err := s.dayMarks()
	if err != nil {
		return err
	}
	byDay := make([]int, len(marks))
	for i := range byDay {
		byDay[i] = i
	}
	slices.SortStableFunc(byDay, func(a, b int) int { return int(marks[a].day) - int(marks[b].day) })
	var v Oldest
	for tab, at := range map[byte]*time.Time{tabOutcome: &v.Recipients, tabTalk: &v.Dialogues} {
		for _, i := range byDay {
			found, err := s.hasRows(tab, i, marks)
			if err != nil {
				return err
			}
			if found {
				*at = time.Unix(int64(marks[i].day)*86400, 0).UTC()
				break
			}
		}
	}
	s.kept.mu.Lock()
	s.kept.v = v
	s.kept.mu.Unlock()
	return nil
}

// hasRows says whether the range of a mark's day has anything in a table.
func (s *Store) hasRows(tab byte, i int, marks []dayMark) (bool, error) {
	m := marks[i]
	to := after(be64(tenantPrefix(nil, tab, m.tenant), m.epoch))
	if i+1 < len(marks) && marks[i+1].tenant == m.tenant && marks[i+1].epoch == m.epoch {
		to = messageKey(nil, tab, ID{m.tenant, m.epoch, marks[i+1].seq})
	}
	it, err := s.newIter(messageKey(nil, tab, ID{m.tenant, m.epoch, m.seq}), to)
	if err != nil {
		return false, fmt.Errorf("look for the oldest rows: %w", err)
	}
	found := it.First()
	if err := it.Close(); err != nil {
		return false, fmt.Errorf("look for the oldest rows: %w", err)
	}
	return found, nil
}
