package queue

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"postern/tenant"
)

const (
	settleGather = 5 * time.Millisecond // how long the first of a batch waits for others
	settleBatch  = 512
)

// Settle makes the outcomes durable in one batch (grouped with others within
// 20 ms) and ends the item's lease. done, if not nil, is called once with the
// result after the sync, from the goroutine that settles for all: it must not
// block. Settle itself does not wait for it. When the log was released since the
// item was started, the outcome waits for Forward, and done with it.
func (s *Store) Settle(x Settlement, done func(error)) {
	if done == nil {
		done = func(error) {}
	}
	if err := s.broken(); err != nil {
		done(err)
		return
	}
	if err := checkOutcomes(&x); err != nil {
		done(err)
		return
	}
	s.mu.Lock()
	g, e := s.index.leased(x.Item)
	if e == nil {
		kept := s.forwardLater(x, done)
		s.mu.Unlock()
		if !kept {
			done(ErrStale)
		}
		return
	}
	if g.noDots && e.started != nil && !s.left.closed { // the log has ended, unless the handover fails
		g.aside = append(g.aside, ending{x: x, tell: done})
		s.mu.Unlock()
		return
	}
	e.phase = phaseSettled
	s.mu.Unlock()
	if !s.queue.add(&ending{x: x, log: g, e: e, tell: done}) {
		done(errClosed)
	}
}

// checkOutcomes demands one outcome for each recipient of the item.
func checkOutcomes(x *Settlement) error {
	if len(x.Outcomes) != len(x.Item.Rcpts) {
		return fmt.Errorf("settle item: %d outcomes for %d recipients", len(x.Outcomes), len(x.Item.Rcpts))
	}
	const open, told = 1, 2
	state := make([]byte, len(x.Item.Envelope.Rcpts))
	for _, r := range x.Item.Rcpts {
		state[r] = open
	}
	for _, o := range x.Outcomes {
		if o.Rcpt < 0 || o.Rcpt >= len(state) || state[o.Rcpt] != open {
			return fmt.Errorf("settle item: recipient %d is not open", o.Rcpt)
		}
		if o.Result < Delivered || o.Result > Suppressed {
			return fmt.Errorf("settle item: no such result: %d", o.Result)
		}
		state[o.Rcpt] = told
	}
	return nil
}

func (s *Store) settleLoop() {
	defer close(s.queue.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		<-s.queue.ring
		if n := s.queue.waiting(); n > 0 && n < settleBatch {
			timer.Reset(s.queue.gather)
			for full := false; !full; {
				select {
				case <-timer.C:
					full = true
				case <-s.queue.ring:
					full = s.queue.waiting() >= settleBatch
				}
			}
		}
		ops, closed := s.queue.take()
		if len(ops) > 0 {
			s.settleAll(ops)
		} else if closed {
			return
		}
		if closed {
			s.queue.kick()
		}
	}
}

// settleAll commits one batch of endings.
func (s *Store) settleAll(ops []*ending) {
	k := keep(s.db.NewBatch())
	defer k.release()
	b := k.b
	sums := map[*tlog]sum{}
	for _, op := range ops {
		from := b.Len()
		switch {
		case op.run != nil:
			op.err = op.run(b)
		case op.back != nil:
			op.err = s.writeWithdrawal(b, op)
		case op.stop == nil:
			op.err = s.writeEnding(b, op, sums)
		}
		op.span = [2]int{from, b.Len()}
	}
	for _, op := range ops {
		if op.stop != nil {
			op.err = s.writeRelease(b, op.stop, ops)
		}
	}
	tails := map[*tlog][]byte{}
	var kb [16]byte
	for g, v := range sums {
		from := b.Len()
		_ = b.Merge(tenantPrefix(kb[:0], tabCount, g.tenant), v.append(nil), nil)
		if s.ship != nil {
			tails[g] = b.Repr()[from:b.Len()]
		}
	}
	s.sendEndings(k, ops, tails)
	var err error
	if !b.Empty() {
		err = s.commit(b)
	}
	if err == nil {
		s.forget(ops)
	}
	for _, op := range ops {
		if err != nil {
			op.err = err
		}
		if !s.overtaken(op) {
			op.tell(op.err)
		}
	}
}

// overtaken keeps a settlement that came behind its log's release.
func (s *Store) overtaken(op *ending) bool {
	if op.e == nil || !errors.Is(op.err, ErrStale) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.forwardLater(op.x, op.tell)
}

// sendEndings gives the records of a batch their parts of it. A tenant's sums
// go with the last of its settlements.
//
// A settlement and the notices it makes have a number each, and take effect with
// the last of them: a holder that was cut off between them would have the end of
// a message and not the notice that tells of it.
func (s *Store) sendEndings(k *kept, ops []*ending, tails map[*tlog][]byte) {
	if s.ship == nil {
		return
	}
	all := k.b.Repr()
	for i := len(ops) - 1; i >= 0; i-- {
		op := ops[i]
		if op.out == nil {
			continue
		}
		op.parts = [2][]byte{all[op.span[0]:op.span[1]], nil}
		if op.err == nil && op.back == nil {
			op.parts[1] = tails[op.log]
			delete(tails, op.log)
		}
	}
	for _, op := range ops { // in order: each may go as soon as it is filled
		if op.out == nil {
			continue
		}
		o := op.out
		for _, p := range op.puts {
			s.dispatch(o, nil) // its number stays unused
			o = p.out
			o.kind = recSettle
		}
		s.dispatch(o, k, op.parts[0], op.parts[1])
	}
}

// writeWithdrawal takes a message back whose second copy was not confirmed.
func (s *Store) writeWithdrawal(b *pebble.Batch, op *ending) error {
	s.mu.Lock()
	stale := s.index.logs[op.log.tenant] != op.log
	if !stale {
		_, op.out = s.next(op.log, recWithdraw)
	}
	s.mu.Unlock()
	if stale {
		return ErrStale
	}
	op.back.takeBack(b)
	s.metrics.withdrawn.Inc()
	return nil
}

// writeEnding puts what one settlement changes into the batch.
func (s *Store) writeEnding(b *pebble.Batch, op *ending, sums map[*tlog]sum) error {
	g, e, m := op.log, op.e, op.e.msg
	if err := s.openEpoch(g); err != nil {
		return err
	}
	s.mu.Lock()
	stale := s.index.logs[g.tenant] != g
	if !stale {
		op.seq, op.out = s.next(g, recSettle)
	}
	s.mu.Unlock()
	if stale {
		return ErrStale
	}
	puts, err := s.beginReports(g, op.x.Reports)
	if err != nil {
		return err
	}
	op.puts = puts
	at := e.at
	var kb [512]byte
	_ = b.SingleDelete(dueKey(kb[:0], e.lane.key, at), nil)
	if at.rev > 0 {
		_ = b.SingleDelete(revKey(kb[:0], tabShare, m.id, at.n, at.rev), nil)
	}
	if e.inDoubt {
		op.doubt = true
		_ = b.SingleDelete(revKey(kb[:0], tabDoubt, m.id, at.n, at.rev), nil)
	}
	now := s.now()
	rest := s.restOf(op, now)
	op.removed = len(op.x.Item.Rcpts) - len(rest.rcpts)
	v := sums[g]
	v.b -= int64(op.removed)
	switch {
	case len(rest.rcpts) > 0:
		next := dueAt{rest.due, at.epoch, at.seq, at.n, at.rev + 1}
		op.next = &next
		setFramed(b, revKey(kb[:0], tabShare, m.id, at.n, next.rev), rest.append(nil), nil)
		setDue(b, e.lane, next, now)
	case m.live > 1:
		m.end(at.n, at.rev+1)
		mark := shareState{ended: true, attempts: rest.attempts, at: now}
		setFramed(b, revKey(kb[:0], tabShare, m.id, at.n, at.rev+1), mark.append(nil), nil)
	default:
		op.last = true
		v.a--
		deleteMessage(b, m)
	}
	sums[g] = v
	writeTrace(b, op, at.rev+1, now)
	if len(op.x.Failed) > 0 && s.maySuppress() {
		if err := s.setFailures(b, g.tenant, op.x.Failed); err != nil {
			s.cfg.Log.Error("suppress address failed", "msg", m.id.String(), "err", err) // the next failure says it again
		}
	}
	for _, p := range puts {
		p.write(b)
	}
	return nil
}

// restOf is the item's state after the attempt.
func (s *Store) restOf(op *ending, now int64) *shareState {
	it := op.x.Item
	st := &shareState{attempts: it.Attempts + 1, at: now, delayed: it.Delayed || op.x.Delayed}
	if slices.ContainsFunc(op.x.Outcomes, func(o Outcome) bool { return o.Result == Suppressed }) {
		st.attempts-- // nothing was tried
	}
	for _, o := range op.x.Outcomes {
		if o.Result == Deferred {
			st.rcpts = append(st.rcpts, o.Rcpt)
			st.last = o.Reply
		}
	}
	if len(st.rcpts) > 0 {
		// Not before now: a lane's past is never read again.
		st.due = max(micro(op.x.Next), now)
	}
	return st
}

// deleteMessage removes a message's records with its last item.
func deleteMessage(b *pebble.Batch, m *message) {
	var kb [64]byte
	_ = b.SingleDelete(messageKey(kb[:0], tabMessage, m.id), nil)
	switch m.head.place {
	case bodyApart:
		_ = b.SingleDelete(messageKey(kb[:0], tabBody, m.id), nil)
	case bodyChunk:
		_ = b.SingleDelete(chunkKey(kb[:0], m.head.chunk), nil)
	}
	for n, rev := range m.ended {
		_ = b.SingleDelete(revKey(kb[:0], tabShare, m.id, n, rev), nil)
	}
}

// forget brings the index up to a durable batch and removes files nobody needs.
func (s *Store) forget(ops []*ending) {
	var files []chunkName
	var started []*startFile
	for _, op := range ops {
		s.isLocal(op.out)
		for _, p := range op.puts {
			s.isLocal(p.out)
		}
	}
	s.mu.Lock()
	for _, op := range ops {
		if op.stop != nil {
			started = append(started, s.endRelease(op.stop)...)
			continue
		}
		if op.err != nil || op.run != nil {
			continue
		}
		if op.back != nil {
			files = append(files, s.endWithdrawal(op.log, op.back)...)
			continue
		}
		g, e := op.log, op.e
		delete(s.left.open, op.x.Item) // in one batch with the release
		if e.started != nil {
			started = append(started, e.started)
			e.started = nil // counted once, also where a release sees the entry
		}
		if op.last && e.msg.head.place == bodyChunk {
			files = append(files, e.msg.head.chunk)
		}
		if s.index.logs[g.tenant] != g {
			continue
		}
		if len(e.msg.head.domains) > 1 && op.next == nil {
			g.ends++
		}
		g.counts.Queued -= op.removed
		if op.last {
			g.counts.Messages--
		}
		if op.doubt {
			g.counts.InDoubt--
		}
		s.retire(g, e, op.next)
		s.index.place(g, e.lane)
	}
	s.mu.Unlock()
	for _, op := range ops {
		for _, p := range op.puts {
			s.endPut(op.log, p)
			p.buf.release()
		}
	}
	s.poke()
	s.starts.settled(started)
	for _, n := range files {
		s.removeChunk(n)
	}
}

// endWithdrawal forgets a message that was taken back. The caller holds mu.
func (s *Store) endWithdrawal(g *tlog, p *putting) (files []chunkName) {
	if p.head.place == bodyChunk {
		files = append(files, p.head.chunk)
	}
	delete(g.flying, p) // with what it spent
	if s.index.logs[g.tenant] == g {
		for i := range p.entries {
			s.retire(g, &p.entries[i], nil)
			s.index.place(g, p.entries[i].lane)
		}
	}
	return files
}

// beginReports prepares the notices of a settlement as puts of the same batch.
func (s *Store) beginReports(g *tlog, ns []Notice) ([]*putting, error) {
	puts := make([]*putting, 0, len(ns))
	for i := range ns {
		env := ns[i].Envelope
		env.Size = int64(len(ns[i].Body))
		env.Class, env.Kind = tenant.Transactional, Report
		env.Rcpts = append([]Rcpt(nil), env.Rcpts...)
		p := &putting{head: &head{env: &env}}
		if err := checkEnvelope(&env); err != nil {
			return nil, err
		}
		if err := p.head.split(); err != nil {
			return nil, err
		}
		p.buf = s.pool.get(max(len(ns[i].Body), 1))
		p.buf.b = append(p.buf.b, ns[i].Body...)
		puts = append(puts, p)
	}
	for _, p := range puts {
		p.report = true
		if err := s.beginPut(g, p); err != nil {
			return nil, err
		}
	}
	return puts, nil
}
