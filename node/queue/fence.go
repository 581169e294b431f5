package queue

import (
	"context"
	"encoding/binary"
	"fmt"

	"postern/tenant"
)

// Fence makes a node ("" is this one) refuse the tenant's records of lower
// epochs from now on, durably, and tells what it has.
func (s *Store) Fence(ctx context.Context, node string, t tenant.ID, epoch uint64) (LogState, error) {
	if node == "" || s.cfg.Peers != nil && node == s.cfg.Peers.Node {
		return s.fence(t, epoch)
	}
	c, err := s.ask(ctx, node, verbFence)
	if err != nil {
		return LogState{}, err
	}
	defer c.close()
	if err := c.send(be64(be64(nil, uint64(t)), epoch)); err != nil {
		return LogState{}, err
	}
	if err := c.end(); err != nil {
		return LogState{}, err
	}
	b, err := c.answer()
	if err != nil {
		return LogState{}, fmt.Errorf("fence log: %w", err)
	}
	if len(b) != 24 {
		return LogState{}, fmt.Errorf("fence log: %w: answer of %d octets", errCorrupt, len(b))
	}
	return LogState{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])}, nil
}

// answerFence is Fence asked by another node.
func (s *Store) answerFence(_ context.Context, c *call) error {
	b, err := c.next()
	if err != nil {
		return err
	}
	if len(b) != 16 {
		return fmt.Errorf("read fence: %w: %d octets", errCorrupt, len(b))
	}
	st, err := s.fence(tenant.ID(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint64(b[8:]))
	if err != nil {
		return err
	}
	return c.send(be64(be64(be64(nil, st.Epoch), st.Generation), st.Last))
}

// fence raises the bar here. A log of a lower epoch that this store still
// writes ends first.
func (s *Store) fence(t tenant.ID, epoch uint64) (LogState, error) {
	if err := s.broken(); err != nil {
		return LogState{}, err
	}
	s.owning.Lock()
	defer s.owning.Unlock()
	s.mu.Lock()
	g := s.index.logs[t]
	s.mu.Unlock()
	if g != nil && g.epoch > epoch {
		return LogState{}, ErrStale
	}
	if g != nil && g.epoch < epoch {
		s.cfg.Log.Warn("tenant taken over by another node", "tenant", t, "epoch", g.epoch, "by", epoch)
		if err := s.release(g); err != nil {
			return LogState{}, err
		}
	}
	if err := s.hold.raise(t, epoch); err != nil {
		return LogState{}, err
	}
	return s.logState(t)
}

// raise sets the bar durably and waits until no batch of a lower epoch is under
// way.
func (h *holder) raise(t tenant.ID, epoch uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	l, err := h.log(t)
	if err != nil {
		return err
	}
	h.claim(l)
	defer h.unclaim(l)
	return h.setBar(l, epoch)
}

// setBar is raise for who has claimed the log. The caller holds mu.
func (h *holder) setBar(l *heldLog, epoch uint64) error {
	if epoch < l.bar {
		return fmt.Errorf("fence log: %w: %d, raised to %d before", ErrStale, epoch, l.bar)
	}
	if l.conn != nil && l.known && l.pos.epoch < epoch {
		c := l.conn
		l.conn = nil
		c.refuse(&record{tenant: l.tenant, epoch: l.pos.epoch, generation: l.pos.generation}, verdictStale)
	}
	if epoch == l.bar {
		return nil
	}
	h.mu.Unlock()
	b := h.s.db.NewBatch()
	defer b.Close()
	setFramed(b, tenantPrefix(nil, tabBar, l.tenant), be64(nil, epoch), nil)
	err := h.s.commit(b)
	h.mu.Lock()
	if err == nil {
		l.bar = epoch
	}
	return err
}

// takeOver makes a log this store's own under an epoch: nobody else writes it
// here any more, and what was started by its former owner and not settled is in
// doubt, durably.
func (h *holder) takeOver(t tenant.ID, epoch uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	l, err := h.log(t)
	if err != nil {
		return err
	}
	h.claim(l)
	defer h.unclaim(l)
	if epoch < l.bar || l.known && epoch <= l.pos.epoch {
		return ErrStale
	}
	if h.s.cfg.Peers == nil && !l.known && l.bar == 0 {
		l.own = epoch
		return nil
	}
	if err := h.setBar(l, epoch); err != nil {
		return err
	}
	if err := h.keepStarts(l); err != nil {
		return err
	}
	l.own, l.conn, l.doubts = epoch, nil, nil
	return nil
}

// keepStarts writes the attempts under way down as in doubt. The caller holds
// mu and has claimed the log.
func (h *holder) keepStarts(l *heldLog) error {
	if len(l.starts) == 0 {
		return nil
	}
	starts := l.starts
	l.starts = map[attempt]*startFile{}
	h.mu.Unlock()
	defer h.mu.Lock()
	b := h.s.db.NewBatch()
	defer b.Close()
	var files []*startFile
	for x, f := range starts {
		if err := h.s.doubt(b, ID{l.tenant, x.epoch, x.seq}, x.n, x.rev); err != nil {
			return err
		}
		files = append(files, f)
	}
	if !b.Empty() {
		if err := h.s.commit(b); err != nil {
			return err
		}
	}
	h.s.starts.settled(files)
	return nil
}

// giveBack ends takeOver.
func (h *holder) giveBack(t tenant.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.logs[t]; l != nil {
		l.own = 0
	}
}

// forget erases what is known of a log here, but the bar, unless it is newer
// than epoch and generation. erase makes it durable.
func (h *holder) forget(t tenant.ID, epoch, generation uint64, erase func() error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	l, err := h.log(t)
	if err != nil {
		return err
	}
	h.claim(l)
	defer h.unclaim(l)
	if l.own != 0 {
		return ErrBusy
	}
	if l.bar > epoch || l.known && (l.pos.epoch > epoch || l.pos.generation > generation) {
		return ErrNewer
	}
	l.conn = nil
	h.mu.Unlock()
	err = erase()
	h.mu.Lock()
	if err != nil {
		return err
	}
	var files []*startFile
	for _, f := range l.starts {
		files = append(files, f)
	}
	*l = heldLog{tenant: t, bar: l.bar, busy: true, starts: map[attempt]*startFile{}}
	h.s.starts.settled(files)
	return nil
}

// isCopying reports whether a log may not be held here just now, and asks who
// copies it to give way.
func (s *Store) isCopying(t tenant.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	giveWay := s.index.copying[t]
	if giveWay == nil {
		return false
	}
	giveWay()
	return true
}
