package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"postern/tenant"
)

// takeOutcomes settles the items of one message by what their attempts gave
// elsewhere. What is being attempted now, or was settled meanwhile, is left alone.
func (s *Store) takeOutcomes(g *tlog, c *messageCopy) (n int, err error) {
	for _, row := range c.rows {
		if row.tab != tabOutcome {
			continue
		}
		x, err := readTraced(row.payload)
		if err != nil {
			return n, err
		}
		took, err := s.takeOutcome(g, c, &row, x)
		if err != nil {
			return n, err
		}
		n += int(flagOctet(took))
	}
	return n, nil
}

func (s *Store) takeOutcome(g *tlog, c *messageCopy, row *rowCopy, x *tracedItem) (bool, error) {
	h, _, err := s.readMessage(c.id, false)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if int(row.n) >= len(h.domains) {
		return false, fmt.Errorf("take outcome of %s: %w: no share %d", c.id, errCorrupt, row.n)
	}
	e, err := s.reserve(g, c.id, h, row.n)
	if errors.Is(err, ErrLeased) || errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil || e == nil {
		return false, err
	}
	it := s.fill(g, e)
	if it == nil {
		return false, nil
	}
	fits := e.at.rev+1 == row.rev && sameRcpts(it.Rcpts, x.outcomes)
	if !fits {
		s.unreserve(g, []*entry{e})
		return false, nil
	}
	st := Settlement{Item: it, Attempt: x.attempt, Outcomes: x.outcomes, Next: s.nextOf(c, row)}
	done := make(chan error, 1)
	s.mu.Lock()
	e.phase = phaseSettled
	s.mu.Unlock()
	if !s.queue.add(&ending{x: st, log: g, e: e, tell: func(err error) { done <- err }}) {
		return false, errClosed
	}
	return true, <-done
}

func sameRcpts(rcpts []int, os []Outcome) bool {
	if len(rcpts) != len(os) {
		return false
	}
	for _, o := range os {
		if !slices.Contains(rcpts, o.Rcpt) || o.Result < Delivered || o.Result > Suppressed {
			return false
		}
	}
	return true
}

// nextOf is when an item is due after an attempt, where that is known: behind
// the last one. Else now.
func (s *Store) nextOf(c *messageCopy, row *rowCopy) (next time.Time) {
	next = s.cfg.Now()
	for i := range c.items {
		if it := &c.items[i]; it.n == row.n && it.rev == row.rev {
			if sh, err := readShare(it.share); err == nil && !sh.ended {
				next = fromMicro(sh.due)
			}
		}
	}
	return next
}

// takeSums lets what older epochs spent not be less than it was elsewhere.
func (s *Store) takeSums(g *tlog, rows []sumRow) error {
	for _, r := range rows {
		if e, _, _, ok := parseSpendKey(r.key); !ok || e >= g.epoch {
			return fmt.Errorf("take late spending: %w", ErrStale)
		}
	}
	_, err := s.writeOps(context.Background(), g, func(b *pebble.Batch) (*chunkName, error) {
		w := &intake{s: s, b: b, t: g.tenant}
		for _, r := range rows {
			if err := w.raiseSum(r); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}, false)
	return err
}

// Late is what older epochs spent, as far as it is not forgotten: totals by
// epoch, account and window. After a Return it may be more than Adopt said.
func (s *Store) Late(t tenant.ID) ([]tenant.Spent, error) {
	if err := s.broken(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	g := s.index.logs[t]
	s.mu.Unlock()
	if g == nil {
		return nil, ErrStale
	}
	return s.spentBelow(t, g.epoch)
}
