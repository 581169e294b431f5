package queue

import (
	"bytes"
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

// plan is what a step was prepared for, before the committer's turn.
type plan struct {
	to      ID
	ids     []ID
	there   map[ID]uint64       // what the holder has
	content map[ID]*messageCopy // what it needs
}

// plan asks the holder what it has of the next range and reads what it lacks.
func (w *walk) plan(ctx context.Context, from ID) (*plan, error) {
	list, to, err := w.s.statesIn(from, w.end, stepMessages, stepOctets)
	if err != nil {
		return nil, err
	}
	v, err := w.inventory(ctx, &inventoryAsk{from: from, to: to})
	if err != nil {
		return nil, err
	}
	p := &plan{to: v.next, there: map[ID]uint64{}, content: map[ID]*messageCopy{}}
	for i := range v.list {
		p.there[v.list[i].id] = v.digest[i]
	}
	size := 0
	for i := range list {
		c := &list[i]
		if compareIDs(c.id, p.to) >= 0 {
			break
		}
		if _, have := p.there[c.id]; !have {
			if size >= stepOctets {
				p.to = c.id
				break
			}
			n, err := w.fill(ctx, c)
			if errors.Is(err, ErrNotFound) {
				continue // it ended meanwhile
			}
			if err != nil {
				return nil, err
			}
			if size += n; size > stepOctets && len(p.content) > 0 {
				p.to = c.id
				break
			}
			p.content[c.id] = c
		}
		p.ids = append(p.ids, c.id)
	}
	return p, nil
}

// fill reads a message that the holder lacks, and sends its file ahead.
func (w *walk) fill(ctx context.Context, c *messageCopy) (octets int, err error) {
	h, err := w.s.readContent(c)
	if err != nil {
		return 0, err
	}
	if err := w.s.readRows(c, tabOutcome, tabTalk); err != nil {
		return 0, err
	}
	if h.place == bodyChunk {
		if err := w.s.sendChunk(ctx, w.node, w.g.tenant, h.chunk); err != nil {
			return 0, err
		}
		w.chunks++
	}
	return c.octets(), nil
}

// inventory asks over one call as long as it works.
func (w *walk) inventory(ctx context.Context, q *inventoryAsk) (v *inventory, err error) {
	if w.call == nil {
		if w.call, err = w.s.ask(ctx, w.node, verbInventory); err != nil {
			return nil, err
		}
	}
	if v, err = askInventory(w.call, q); err != nil {
		w.call.close()
		w.call = nil
	}
	return v, err
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

// moment is what lives in the range now, said as shortly as the holder's
// inventory allows. The committer runs it: no item ends meanwhile.
//
// A message that came into the range since the plan was made, returned by an
// earlier owner, ends the step before it.
func (w *walk) moment(from ID, p *plan) (list []messageCopy, to ID, err error) {
	if list, to, err = w.s.statesIn(from, p.to, inventoryLimit, inventoryOctets); err != nil {
		return nil, to, err
	}
	w.started(list)
	size := 0
	for i := range list {
		c := &list[i]
		if _, known := p.there[c.id]; !known && p.content[c.id] == nil || size > maxPage/2 {
			return list[:i], c.id, nil
		}
		if have, known := p.there[c.id]; known && have == digest(c.items) {
			*c = messageCopy{id: c.id, same: true}
		} else if full := p.content[c.id]; full != nil {
			c.message, c.body, c.rows = full.message, full.body, full.rows
		} else if known {
			if err := w.s.readRows(c, tabOutcome); err != nil {
				return nil, to, err
			}
		}
		size += c.octets()
	}
	return list, to, nil
}

// started adds the doubts that only memory knows: of attempts under way.
func (w *walk) started(list []messageCopy) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	for i := range list {
		c := &list[i]
		m := w.g.msgs[c.id]
		if m == nil {
			continue
		}
		for n := range m.head.domains {
			e := w.g.entries[shareKey{c.id.Epoch, c.id.Seq, uint16(n)}]
			if e != nil && (e.started != nil || e.starting) {
				c.items = markDoubt(c.items, uint16(n), e.at.rev)
			}
		}
	}
}

// spending says what was spent, page by page.
func (w *walk) spending(ctx context.Context) error {
	start := w.start()
	prefix := tenantPrefix(nil, tabSpend, w.g.tenant)
	end := after(prefix)
	for from := prefix; ; {
		x := &syncStep{from: start, sums: true, spentFrom: from, spentTo: end}
		x.pos = start
		if err := w.step(ctx, x, nil); err != nil {
			return err
		}
		from = x.spentTo
		if w.summed = bytes.Equal(from, end); w.summed {
			return nil
		}
	}
}

// sums reads a page of what was spent, or with the last step what waits, as it
// is at a sequence: what is visible and what is numbered before it but not
// visible yet. The caller holds the store's lock, so no put gets a number
// meanwhile.
func (w *walk) sums(x *syncStep, seq uint64) error {
	snap, err := w.s.snapshot()
	if err != nil {
		return err
	}
	defer w.s.closeSnapshot(snap)
	if x.sums {
		x.spent, x.spentTo, err = w.s.sumsIn(snap, x.spentFrom, x.spentTo, sumsPage)
	} else {
		x.counts, err = w.counted(snap)
	}
	if err != nil {
		return err
	}
	if x.sums {
		x.summed = x.summed || bytes.Equal(x.spentTo, after(tenantPrefix(nil, tabSpend, w.g.tenant)))
	}
	for p := range w.g.flying {
		seen, err := visible(snap, messageKey(nil, tabMessage, p.id))
		if err != nil {
			return err
		}
		if seen || p.id.Seq >= seq {
			continue
		}
		if x.counts != nil {
			x.counts.a++
			x.counts.b += int64(len(p.head.env.Rcpts))
			continue
		}
		for _, sp := range p.spend {
			k := spendKey(nil, p.id.Tenant, p.id.Epoch, p.head.env.Account, sp.Window)
			if bytes.Compare(k, x.spentFrom) >= 0 && bytes.Compare(k, x.spentTo) < 0 {
				x.spent = addSum(x.spent, k, sum{int64(sp.Amount.Mails), int64(sp.Amount.Bytes)})
			}
		}
	}
	return nil
}

func (w *walk) counted(r pebble.Reader) (*sum, error) {
	key := tenantPrefix(nil, tabCount, w.g.tenant)
	rows, _, err := w.s.sumsIn(r, key, after(key), 1)
	if err != nil || len(rows) == 0 {
		return &sum{}, err
	}
	return &rows[0].v, nil
}
