package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"postern/tenant"
)

// leftovers is what a store still has in hand of logs it released: attempts
// whose dot had no reply then, and their outcomes, which the logs' owners are
// to be told. The store's lock guards it.
type leftovers struct {
	open    map[*Item]uint32         // attempts under way, and the item's rev before them
	ended   map[tenant.ID][]*forward // to be told
	changed chan struct{}            // closed when there is one more
	closed  bool
}

// forward is an outcome for whoever owns the log now.
type forward struct {
	x    Settlement
	rev  uint32 // of the item before the attempt
	tell func(error)
	late *time.Timer // gives it up
}

func (l *leftovers) init() {
	l.open, l.ended, l.changed = map[*Item]uint32{}, map[tenant.ID][]*forward{}, make(chan struct{})
}

// leaveOpen notes the attempts under way of a log that is being released: only
// a started one is in doubt there, any other is made again. The caller holds mu.
func (s *Store) leaveOpen(g *tlog) {
	for _, e := range g.entries {
		if s.ship != nil && e.started != nil && e.item != nil && (e.phase == phaseLeased || e.phase == phaseSettled) {
			s.left.open[e.item] = e.at.rev
		}
	}
	for _, x := range g.aside {
		if !s.forwardLater(x.x, x.tell) {
			go x.tell(ErrStale)
		}
	}
	g.aside = nil
}

// forwardLater keeps the outcome of an attempt whose log was released meanwhile.
// False: nobody waits for it. The caller holds mu.
func (s *Store) forwardLater(x Settlement, tell func(error)) bool {
	rev, ok := s.left.open[x.Item]
	delete(s.left.open, x.Item)
	if !ok || s.left.closed {
		return false
	}
	f := &forward{x: x, rev: rev, tell: tell}
	// After the grace the owner does without it. And no stop may wait for long.
	f.late = time.AfterFunc(min(s.cfg.Grace, s.limits.word), func() { s.endForward(f, ErrStale) })
	t := x.Item.ID.Tenant
	s.left.ended[t] = append(s.left.ended[t], f)
	close(s.left.changed)
	s.left.changed = make(chan struct{})
	return true
}

// endForward tells the one who settled, unless he was told.
func (s *Store) endForward(f *forward, err error) {
	t := f.x.Item.ID.Tenant
	s.mu.Lock()
	list := s.left.ended[t]
	i := slices.Index(list, f)
	if i >= 0 {
		if list = slices.Delete(list, i, i+1); len(list) > 0 {
			s.left.ended[t] = list
		} else {
			delete(s.left.ended, t)
		}
	}
	s.mu.Unlock()
	if i >= 0 {
		f.late.Stop()
		f.tell(err)
	}
}

// endForwards gives up all there are, and takes no more.
func (s *Store) endForwards() {
	s.mu.Lock()
	s.left.closed = true
	var all []*forward
	for _, list := range s.left.ended {
		all = append(all, list...)
	}
	clear(s.left.open)
	var aside []ending
	for _, g := range s.index.logs {
		aside, g.aside = append(aside, g.aside...), nil
	}
	s.mu.Unlock()
	for _, f := range all {
		s.endForward(f, errClosed)
	}
	for _, x := range aside {
		x.tell(errClosed)
	}
}

// ToForward lists the tenants of whose released logs outcomes came since; the
// channel is closed when there is one more.
func (s *Store) ToForward() ([]tenant.ID, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.left.ended)), s.left.changed
}

// Forward tells the owner of a tenant's log, under its present epoch, how the
// attempts ended that were under way here when the log was released, and then
// whoever settled them: nil when the owner has it durably, ErrStale when it did
// without. owner is "" when it is this store. After an error what was not told
// stays for another time, until the grace is over. It returns how many the owner
// took.
func (s *Store) Forward(ctx context.Context, owner string, t tenant.ID, epoch uint64) (n int, err error) {
	s.mu.Lock()
	list := slices.Clone(s.left.ended[t])
	s.mu.Unlock()
	if len(list) == 0 {
		return 0, nil
	}
	say := func(q *forwardPart) (bool, error) { return s.takeForward(q) }
	if owner != "" {
		c, err := s.ask(ctx, owner, verbForward)
		if err != nil {
			return 0, fmt.Errorf("forward outcomes: %w", err)
		}
		defer c.close()
		say = func(q *forwardPart) (bool, error) { return askForward(c, q) }
	}
	for _, f := range list {
		took, err := say(&forwardPart{epoch: epoch, id: f.x.Item.ID, n: f.x.Item.N, rev: f.rev, x: f.x})
		switch {
		case errors.Is(err, errCorrupt): // never to be understood
			s.endForward(f, fmt.Errorf("forward outcome: %w", err))
			return n, fmt.Errorf("forward outcome of %s: %w", f.x.Item.ID, err)
		case err != nil:
			return n, fmt.Errorf("forward outcome of %s: %w", f.x.Item.ID, err)
		case !took:
			s.endForward(f, ErrStale)
			continue
		}
		n++
		s.endForward(f, nil)
	}
	return n, nil
}

func askForward(c *call, q *forwardPart) (took bool, err error) {
	b := q.encode()
	if len(b) > maxForward {
		return false, fmt.Errorf("%w: %d octets", errCorrupt, len(b))
	}
	if err := c.send(b); err != nil {
		return false, err
	}
	a, err := c.answer()
	if err != nil {
		return false, err
	}
	if len(a) != 1 {
		return false, fmt.Errorf("read answer: %d octets", len(a))
	}
	return a[0] == 1, nil
}

// answerForward takes in what a former owner forwards.
func (s *Store) answerForward(_ context.Context, c *call) error {
	return c.each(func(b []byte) ([]byte, error) {
		q, err := decodeForward(b)
		if err != nil {
			return nil, err
		}
		took, err := s.takeForward(q)
		return []byte{flagOctet(took)}, err
	})
}

// takeForward settles an item that is in doubt here by what its attempt gave at
// the former owner; when it returns true that is durable. It leaves alone what is
// being attempted here or was settled otherwise. A second time changes nothing.
func (s *Store) takeForward(q *forwardPart) (took bool, err error) {
	if err := s.broken(); err != nil {
		return false, err
	}
	s.mu.Lock()
	g := s.index.logs[q.id.Tenant]
	over := g == nil || g.epoch != q.epoch || g.noDots
	s.mu.Unlock()
	if over { // in a moment, perhaps; or the next owner will
		return false, ErrStale
	}
	h, _, err := s.readMessage(q.id, false)
	if errors.Is(err, ErrNotFound) {
		if took, err = s.tookForward(q); !took && err == nil && g.since != 0 {
			err = ErrBusy // it may be in a copy that was not read yet
		}
		return took, err
	}
	if err != nil {
		return false, err
	}
	if int(q.n) >= len(h.domains) {
		return false, fmt.Errorf("take outcome of %s: %w: no share %d", q.id, errCorrupt, q.n)
	}
	e, err := s.reserve(g, q.id, h, q.n)
	if errors.Is(err, ErrLeased) || errors.Is(err, ErrNotFound) || err == nil && e == nil {
		return s.tookForward(q)
	}
	if err != nil {
		return false, err
	}
	it := s.fill(g, e)
	if it == nil {
		return false, nil
	}
	st := q.x
	st.Item = it
	if e.at.rev != q.rev || !sameRcpts(it.Rcpts, st.Outcomes) || checkOutcomes(&st) != nil {
		s.unreserve(g, []*entry{e})
		return s.tookForward(q)
	}
	done := make(chan error, 1)
	s.mu.Lock()
	if over = g.noDots; !over {
		e.phase = phaseSettled
	}
	s.mu.Unlock()
	if over {
		s.unreserve(g, []*entry{e})
		return false, ErrStale
	}
	if !s.queue.add(&ending{x: st, log: g, e: e, tell: func(err error) { done <- err }}) {
		return false, errClosed
	}
	if err := <-done; err != nil {
		return false, err
	}
	return true, nil
}

// tookForward reports whether an item has this very outcome already: the answer
// to an earlier question was lost.
func (s *Store) tookForward(q *forwardPart) (took bool, err error) {
	err = s.get(revKey(nil, tabOutcome, q.id, q.n, q.rev+1), func(p []byte) error {
		x, err := readTraced(p)
		if err != nil {
			return err
		}
		a, b := &x.attempt, &q.x.Attempt
		took = a.DotSent == b.DotSent && micro(a.At) == micro(b.At) && a.Took == b.Took && a.Addr == cut(b.Addr, 300)
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return took, err
}
