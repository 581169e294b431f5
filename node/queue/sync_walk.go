package queue

import (
	"context"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"postern/tenant"
)

// walk makes a new holder's older part equal to the log of its owner: in order
// of the ids over the messages that live below first. Each step asks the holder
// what it has of a range; then, between two settlements, it takes the states of
// that moment and says them in a record of the log. So a settlement before the
// record is in it, and one behind it finds the message at the holder.
type walk struct {
	s          *Store
	g          *tlog
	generation uint64
	node       string
	end        ID // first message that the holder gets live
	ends       []tenant.End
	call       *call
	chunks     int // big bodies sent in this round
	begun      bool
	summed     bool
}

const (
	walkRest   = 500 * time.Millisecond
	walkRounds = 8
)

var errWalkOver = errors.New("the generation is over")

// beginWalk starts the walk of a generation and ends the one before it.
func (s *Store) beginWalk(g *tlog, generation uint64) {
	p := s.ship
	p.mu.Lock()
	defer p.mu.Unlock()
	st := g.out
	if g.endWalk != nil {
		g.endWalk()
		g.endWalk = nil
	}
	if st.generation != generation || st.node == "" || st.alone() {
		return
	}
	ctx, cancel := context.WithCancel(p.ctx)
	g.endWalk = cancel
	// All below base is durable here, so the walk sees it; the rest goes live.
	w := &walk{s: s, g: g, generation: generation, node: st.node, end: ID{g.tenant, g.epoch, st.base()}, ends: st.ends}
	p.all.Go(func() {
		defer cancel()
		w.run(ctx)
	})
}

func (w *walk) run(ctx context.Context) {
	rest := walkRest
	for ctx.Err() == nil && w.current() {
		err := w.all(ctx)
		if w.call != nil {
			w.call.close()
			w.call = nil
		}
		if err == nil {
			w.finished()
			return
		}
		if ctx.Err() != nil || errors.Is(err, ErrStale) || errors.Is(err, errWalkOver) {
			return
		}
		w.s.cfg.Log.Warn("mirror walk interrupted", "tenant", w.g.tenant, "node", w.node, "err", err)
		select {
		case <-time.After(rest):
		case <-ctx.Done():
		case <-w.g.out.stopped:
		}
		rest = min(2*rest, 8*walkRest)
	}
}

// current reports whether the walk's generation is still the log's.
func (w *walk) current() bool {
	p := w.s.ship
	p.mu.Lock()
	defer p.mu.Unlock()
	return w.currentLocked()
}

func (w *walk) currentLocked() bool {
	st := w.g.out
	return st.generation == w.generation && !st.alone()
}

func (w *walk) finished() {
	p := w.s.ship
	p.mu.Lock()
	defer p.mu.Unlock()
	if st := w.g.out; w.currentLocked() {
		st.synced, st.left = true, 0
		p.announce()
		w.s.cfg.Log.Info("mirror complete", "tenant", w.g.tenant, "generation", w.generation, "node", w.node)
	}
}

// all walks until a round has sent no big body: those are seen to have come
// through only in the next one.
//
// What was spent goes first: until it is there, nobody but the owner knows the
// sum.
func (w *walk) all(ctx context.Context) error {
	if err := w.spending(ctx); err != nil {
		return err
	}
	if err := w.suppressions(ctx); err != nil {
		return err
	}
	for range walkRounds {
		w.chunks = 0
		if err := w.messages(ctx); err != nil {
			return err
		}
		if w.chunks == 0 {
			x := &syncStep{from: w.end}
			x.pos, x.done = w.end, true
			return w.step(ctx, x, nil)
		}
	}
	return errors.New("walk log: big bodies do not arrive")
}

// start is where the walk begins. A log adopted in part says nothing of what is
// older: the holder may have what the owner could not read.
func (w *walk) start() ID { return ID{Tenant: w.g.tenant, Epoch: w.g.since} }

// messages walks over the messages once.
func (w *walk) messages(ctx context.Context) error {
	w.s.mu.Lock()
	total := w.g.counts.Messages
	w.s.mu.Unlock()
	seen := 0
	for from := w.start(); compareIDs(from, w.end) < 0; {
		w.setLeft(max(total-seen, 1))
		p, err := w.plan(ctx, from)
		if err != nil {
			return err
		}
		x := &syncStep{from: from}
		if err := w.step(ctx, x, p); err != nil {
			return err
		}
		seen += len(p.ids)
		from = x.pos
	}
	return nil
}

func (w *walk) setLeft(n int) {
	p := w.s.ship
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.currentLocked() {
		w.g.out.left = n
	}
}

// step says a part in a record of the log and waits until the holder has it.
func (w *walk) step(ctx context.Context, x *syncStep, p *plan) error {
	x.epoch, x.generation, x.first, x.summed, x.ends = w.g.epoch, w.generation, w.end.Seq, w.summed, w.ends
	x.since = w.g.since
	if !w.begun {
		marks, err := w.s.dayMarksOf(w.g.tenant)
		if err != nil {
			return err
		}
		if x.denials, err = w.s.denials(w.g.tenant); err != nil {
			return err
		}
		x.marks, w.begun = marks, true
	}
	done := make(chan error, 1)
	var o *outgoing
	over := false
	w.s.inCommitter(func(*pebble.Batch) (err error) {
		if p != nil {
			if x.copies, x.pos, err = w.moment(x.from, p); err != nil {
				return err
			}
		}
		out, aerr := w.s.appendRecord(w.g, recSync, func(seq uint64) []byte {
			if over = !w.current(); over {
				return nil
			}
			if x.sums || x.done {
				err = w.sums(x, seq)
			}
			if err != nil {
				return nil
			}
			return x.encode()
		})
		o = out
		return errors.Join(err, aerr)
	}, func(err error) { done <- err })
	if err := <-done; err != nil {
		return err
	}
	if over {
		return errWalkOver
	}
	return w.s.wait(ctx, o)
}
