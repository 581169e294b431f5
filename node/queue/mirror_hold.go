package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"postern/tenant"
)

// position is where a log kept for another node stands. It is written with every
// batch of that log: what is behind it is not applied again.
type position struct {
	epoch, generation uint64
	first             uint64 // everything of the epoch from here to last came live
	last              uint64
}

// at is a message's place within a tenant's log.
type at struct{ epoch, seq uint64 }

const positionLen = 4 * 8

func (p *position) append(b []byte) []byte {
	return be64(be64(be64(be64(b, p.epoch), p.generation), p.first), p.last)
}

func readPosition(b []byte) (p position, err error) {
	if len(b) != positionLen {
		return p, fmt.Errorf("read position: %w: %d octets", errCorrupt, len(b))
	}
	return position{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]),
		binary.BigEndian.Uint64(b[16:]), binary.BigEndian.Uint64(b[24:])}, nil
}

// attempt names an attempt: an item and how many of its attempts were settled.
type attempt struct {
	at
	n   uint16
	rev uint32
}

// heldLog is one tenant's log as far as others may write it here.
type heldLog struct {
	tenant tenant.ID
	bar    uint64 // lowest epoch whose records are let in
	own    uint64 // epoch under which this store itself writes it; 0: it does not
	known  bool   // pos is on disk
	pos    position
	like   syncState // how far it is like the owner's: operations on the rest wait for the walk
	conn   *holding  // the connection that writes it now
	busy   bool      // a batch of it is being made and committed
	starts map[attempt]*startFile
	doubts map[attempt]bool // found in doubt at a start of this store; nil: not read yet
}

// maxHeldStarts bounds the attempts under way that a holder keeps of one log.
const maxHeldStarts = 1 << 18

// holder is the receiving side of all mirrors. It waits on nothing but its disk.
type holder struct {
	s    *Store
	mu   sync.Mutex // guards what follows and every heldLog, except of busy ones what their batch needs
	idle *sync.Cond // some log is not busy any more
	logs map[tenant.ID]*heldLog
}

func newHolder(s *Store) *holder {
	h := &holder{s: s, logs: map[tenant.ID]*heldLog{}}
	h.idle = sync.NewCond(&h.mu)
	return h
}

// log finds what is known of a tenant's log here. The caller holds mu.
func (h *holder) log(t tenant.ID) (*heldLog, error) {
	if l := h.logs[t]; l != nil {
		return l, nil
	}
	l := &heldLog{tenant: t, starts: map[attempt]*startFile{}}
	err := h.s.get(tenantPrefix(nil, tabBar, t), func(p []byte) error {
		if len(p) != 8 {
			return errCorrupt
		}
		l.bar = binary.BigEndian.Uint64(p)
		return nil
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("read fence: %w", err)
	}
	err = h.s.get(tenantPrefix(nil, tabHeld, t), func(p []byte) (err error) {
		l.pos, err = readPosition(p)
		l.known = err == nil
		return err
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	if l.like, _, err = h.s.syncStateOf(t); err != nil {
		return nil, err
	}
	h.logs[t] = l
	return l, nil
}

// readDoubts finds what is in doubt here, once. The caller holds mu.
func (l *heldLog) readDoubts(s *Store) error {
	if l.doubts != nil {
		return nil
	}
	found := map[attempt]bool{}
	prefix := tenantPrefix(nil, tabDoubt, l.tenant)
	err := s.each(prefix, after(prefix), func(k, _ []byte) (bool, error) {
		id, n, rev, ok := parseRevKey(k)
		if !ok {
			return false, errCorrupt
		}
		found[attempt{at{id.Epoch, id.Seq}, n, rev}] = true
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("read items in doubt: %w", err)
	}
	l.doubts = found
	return nil
}

// claim waits until no batch of the log is under way and keeps others from
// beginning one. The caller holds mu.
func (h *holder) claim(l *heldLog) {
	for l.busy {
		h.idle.Wait()
	}
	l.busy = true
}

// unclaim ends claim. The caller holds mu.
func (h *holder) unclaim(ls ...*heldLog) {
	for _, l := range ls {
		l.busy = false
	}
	h.idle.Broadcast()
}

// between runs f while no batch of the log is under way.
func (h *holder) between(t tenant.ID, f func() error) error {
	h.mu.Lock()
	l, err := h.log(t)
	if err != nil {
		h.mu.Unlock()
		return err
	}
	h.claim(l)
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.unclaim(l)
		h.mu.Unlock()
	}()
	if l.own != 0 {
		return ErrBusy
	}
	return f()
}

// open answers a connection that wants to write a log.
func (h *holder) open(c *holding, a atFrame, first uint64) (atFrame, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l, err := h.log(a.tenant)
	if err != nil {
		return a, err
	}
	h.claim(l)
	defer h.unclaim(l)
	p := &l.pos
	switch {
	case a.epoch < l.bar, a.epoch <= l.own, first == 0,
		l.known && (a.epoch < p.epoch || a.epoch == p.epoch && a.generation < p.generation):
		a.verdict, a.last = verdictStale, p.last
		return a, nil
	case l.own != 0, h.s.isCopying(a.tenant), h.s.Full() != nil:
		a.verdict, a.last = verdictBusy, 0
		return a, nil
	}
	if err := l.readDoubts(h.s); err != nil {
		return a, err
	}
	next, like := *p, l.like
	switch {
	case !l.known || a.epoch > p.epoch || p.last+1 < first:
		next = position{epoch: a.epoch, generation: a.generation, first: first, last: first - 1}
		like = syncState{epoch: a.epoch, generation: a.generation, first: first, pos: ID{Tenant: a.tenant}}
		a.verdict = verdictFresh
	default:
		next.generation, like.generation = a.generation, a.generation
		a.verdict = verdictKnown
		if like.done {
			a.verdict = verdictWhole
		}
	}
	if next != *p || !l.known {
		if err := h.begin(l, &next, &like); err != nil {
			return a, err
		}
	}
	l.pos, l.like, l.known, l.conn = next, like, true, c
	a.last = next.last
	return a, nil
}

// begin makes a new position durable, and that the epoch's first day is known
// here: the owner wrote that before its first record. The caller holds mu and
// has claimed the log.
func (h *holder) begin(l *heldLog, p *position, like *syncState) error {
	h.mu.Unlock()
	defer h.mu.Lock()
	b := h.s.db.NewBatch()
	defer b.Close()
	setFramed(b, tenantPrefix(nil, tabHeld, l.tenant), p.append(nil), nil)
	setSyncState(b, l.tenant, like)
	day := dayKey(nil, l.tenant, p.epoch, dayOf(h.s.now()))
	prefix := be64(tenantPrefix(nil, tabDay, l.tenant), p.epoch)
	marked := false
	err := h.s.each(prefix, after(prefix), func(_, _ []byte) (bool, error) {
		marked = true
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("read day marks: %w", err)
	}
	if !marked {
		setFramed(b, day, be64(nil, 1), nil)
	}
	return h.s.commit(b)
}

// start takes a start record as soon as it arrives.
func (h *holder) start(c *holding, r *record) error {
	var x startRecord
	if !x.decode(r.payload) || x.id.Tenant != r.tenant || x.epoch != r.epoch || x.logSeq != r.seq {
		return fmt.Errorf("read start: %w", errCorrupt)
	}
	key := attempt{at{x.id.Epoch, x.id.Seq}, x.n, x.rev}
	h.mu.Lock()
	l := h.logs[r.tenant]
	fits := l != nil && l.lets(c, r) && r.seq > l.pos.last
	if fits && l.starts[key] == nil && len(l.starts) >= maxHeldStarts {
		h.mu.Unlock()
		return fmt.Errorf("keep start: more than %d under way", maxHeldStarts)
	}
	fits = fits && l.starts[key] == nil
	h.mu.Unlock()
	if !fits {
		return nil
	}
	f, err := h.s.starts.write(&x)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !l.lets(c, r) { // taken over, or erased, meanwhile: the sender was told so
		h.s.starts.settled([]*startFile{f})
		return nil
	}
	l.starts[key] = f
	return nil
}

// lets says whether a connection may write this record of the log now.
func (l *heldLog) lets(c *holding, r *record) bool {
	return l.conn == c && l.own == 0 && r.epoch == l.pos.epoch && r.epoch >= l.bar && r.generation == l.pos.generation
}

// group is what one batch of a holder is made of.
type group struct {
	b      *pebble.Batch
	logs   []*heldLog
	at     map[*heldLog]*position
	ended  []endedStart
	gone   []chunkName
	refuse map[*heldLog]verdict
	synced *heldLog // its record is a step of the walk, alone in the batch
}

// endedStart is an attempt whose settlement is in the batch.
type endedStart struct {
	l *heldLog
	x attempt
	f *startFile
}

// apply makes the records that arrived durable, in one batch.
func (h *holder) apply(c *holding, rs []*arrival) error {
	octets := 4 << 10
	for _, a := range rs {
		octets += len(a.rec.payload)
	}
	g := &group{b: h.s.db.NewBatchWithSize(octets), at: map[*heldLog]*position{}, refuse: map[*heldLog]verdict{}}
	defer g.b.Close()
	h.mu.Lock()
	for _, a := range rs {
		if l := h.logs[a.rec.tenant]; l != nil && l.lets(c, &a.rec) && g.at[l] == nil {
			h.claim(l)
			g.logs = append(g.logs, l)
			p := l.pos
			g.at[l] = &p
		}
	}
	h.mu.Unlock()
	err := h.fill(g, c, rs)
	if err == nil {
		for l, p := range g.at {
			if p.last != l.pos.last {
				setFramed(g.b, tenantPrefix(nil, tabHeld, l.tenant), p.append(nil), nil)
			}
		}
		if !g.b.Empty() {
			err = h.s.commit(g.b)
		}
	}
	h.mu.Lock()
	if err == nil {
		for l, p := range g.at {
			l.pos = *p
		}
		if g.synced != nil {
			g.synced.like, _, err = h.s.syncStateOf(g.synced.tenant)
			g.synced.doubts = nil
			err = errors.Join(err, g.synced.readDoubts(h.s))
		}
	} else {
		for _, l := range g.logs {
			l.doubts = nil // what was taken out of it is still on disk
		}
		for _, e := range g.ended {
			e.l.starts[e.x] = e.f
		}
	}
	h.unclaim(g.logs...)
	h.mu.Unlock()
	if err != nil {
		return err
	}
	ended := make([]*startFile, len(g.ended))
	for i, e := range g.ended {
		ended[i] = e.f
	}
	h.s.starts.settled(ended)
	for _, n := range g.gone {
		h.s.removeChunk(n)
	}
	return nil
}
