package queue

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"
)

// putting is a message on its way into the log.
type putting struct {
	id      ID
	head    *head
	buf     *buffer // prefix and body, or only the prefix of a chunk
	report  bool    // part of a settlement, which a Release lets through
	spend   []Spend
	day     uint32 // set when this message is the first of a day
	entries []entry
	msg     message
	out     *outgoing
	chunkAt string // node that has the chunk file already
}

// dayOf numbers days for retention.
func dayOf(micro int64) uint32 { return uint32(micro / (24 * 3600 * 1e6)) }

// beginPut gives the message its place in the log. Its entries stand in the
// index before the batch is visible to a scan, so nobody takes a message that
// is not durable.
func (s *Store) beginPut(g *tlog, p *putting) error {
	now := s.now()
	h := p.head
	h.due0 = now
	if h.place == 0 {
		h.place = bodyInline
		if len(p.buf.bytes()) > inlineWithHead {
			h.place = bodyApart
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index.logs[g.tenant] != g || g.closing && !p.report {
		return ErrStale
	}
	if !p.report {
		if g.rest {
			return errResting
		}
		g.putting++
		if s.ship != nil {
			g.flying[p] = struct{}{}
		}
	}
	var seq uint64
	seq, p.out = s.next(g, recPut)
	if p.out != nil && h.place == bodyChunk {
		p.out.chunk, p.out.chunkAt = &h.chunk, p.chunkAt
	}
	p.id = ID{Tenant: g.tenant, Epoch: g.epoch, Seq: seq}
	if d := dayOf(now); d > g.day {
		g.day, p.day = d, d
	}
	p.msg = message{id: p.id, head: h, live: len(h.domains), cost: cacheCost(h, p.buf)}
	if h.place != bodyChunk {
		p.msg.buf = p.buf
		p.buf.retain()
	}
	p.entries = make([]entry, len(h.domains))
	items := make([]Item, len(h.domains))
	for n := range p.entries {
		l := s.index.laneOf(g, Lane{g.tenant, h.env.Account, h.env.Class, h.domains[n]})
		e := &p.entries[n]
		*e = entry{at: dueAt{now, p.id.Epoch, p.id.Seq, uint16(n), 0}, due: now, lane: l, msg: &p.msg, phase: phasePut}
		items[n] = Item{ID: p.id, Lane: l.key, N: uint16(n), Envelope: h.env, Rcpts: h.rcptsOf(uint16(n)), Due: fromMicro(now)}
		e.item = &items[n]
		s.index.hold(g, e)
	}
	return nil
}

// leavePut ends what beginPut began, for a Release that waits.
func (s *Store) leavePut(g *tlog, p *putting) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(g.flying, p)
	if g.putting--; g.putting == 0 && g.closing {
		close(g.quiet)
	}
}

// cacheCost is what a message in memory counts for: its bytes and about what
// its envelope and entries take.
func cacheCost(h *head, buf *buffer) int64 {
	c := int64(512 + 256*len(h.env.Rcpts))
	if buf != nil {
		c += int64(cap(buf.b))
	}
	return c
}

// write puts the message's records into a batch.
func (p *putting) write(b *pebble.Batch) {
	var kb [512]byte
	h := p.head
	body := p.buf.bytes()
	if h.place == bodyApart {
		setFramed(b, messageKey(kb[:0], tabBody, p.id), nil, body)
		body = nil
	}
	var hb [1024]byte
	enc := h.append(append(hb[:0], 0, 0, 0, 0))
	binary.BigEndian.PutUint32(enc, uint32(len(enc)-4))
	setFramed(b, messageKey(kb[:0], tabMessage, p.id), enc, body)
	if h.place == bodyChunk {
		setFramed(b, chunkKey(kb[:0], h.chunk), messageKey(nil, tabMessage, p.id), nil)
	}
	for i := range p.entries {
		e := &p.entries[i]
		setDue(b, e.lane, e.at, h.due0)
	}
	for _, sp := range p.spend {
		v := sum{int64(sp.Amount.Mails), int64(sp.Amount.Bytes)}
		_ = b.Merge(spendKey(kb[:0], p.id.Tenant, p.id.Epoch, h.env.Account, sp.Window), v.append(nil), nil)
	}
	_ = b.Merge(tenantPrefix(kb[:0], tabCount, p.id.Tenant), sum{1, int64(len(h.env.Rcpts))}.append(nil), nil)
	if p.day != 0 {
		setFramed(b, dayKey(kb[:0], p.id.Tenant, p.id.Epoch, p.day), be64(nil, p.id.Seq), nil)
	}
	setTransaction(b, p.id, h.env)
}

// takeBack writes the opposite of write; only the day mark stays.
func (p *putting) takeBack(b *pebble.Batch) {
	var kb [512]byte
	h := p.head
	deleteMessage(b, &p.msg)
	for i := range p.entries {
		e := &p.entries[i]
		_ = b.SingleDelete(appendDueTail(append(kb[:0], e.lane.prefix...), e.at), nil)
	}
	for _, sp := range p.spend {
		v := sum{-int64(sp.Amount.Mails), -int64(sp.Amount.Bytes)}
		_ = b.Merge(spendKey(kb[:0], p.id.Tenant, p.id.Epoch, h.env.Account, sp.Window), v.append(nil), nil)
	}
	_ = b.Merge(tenantPrefix(kb[:0], tabCount, p.id.Tenant), sum{-1, -int64(len(h.env.Rcpts))}.append(nil), nil)
	dropTransaction(b, p.id, h.env)
}

// setFramed writes a record of two parts straight into the batch.
func setFramed(b *pebble.Batch, key, p1, p2 []byte) {
	op := b.SetDeferred(len(key), recordOverhead+len(p1)+len(p2))
	copy(op.Key, key)
	copy(op.Value[5:], p1)
	copy(op.Value[5+len(p1):], p2)
	sealInto(op.Value)
	_ = op.Finish()
}

// setDue writes a due key; its value is when it was written, which tells a
// flush what was deferred after it.
func setDue(b *pebble.Batch, l *lane, at dueAt, written int64) {
	var v [8]byte
	binary.BigEndian.PutUint64(v[:], uint64(written))
	op := b.SetDeferred(len(l.prefix)+dueTailLen, recordOverhead+len(v))
	appendDueTail(append(op.Key[:0], l.prefix...), at)
	copy(op.Value[5:], v[:])
	sealInto(op.Value)
	_ = op.Finish()
}

// endPut makes a durable message's items takeable. While the cache has room
// they stay in memory and are delivered without a read; else they are left to
// a later scan.
func (s *Store) endPut(g *tlog, p *putting) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index.logs[g.tenant] != g {
		return
	}
	g.counts.Messages++
	g.counts.Queued += len(p.head.env.Rcpts)
	keep := s.index.cached <= s.limits.cached && s.index.ready < s.limits.ready
	for i := range p.entries {
		e := &p.entries[i]
		if keep {
			s.index.makeReady(e)
		} else {
			s.retire(g, e, &e.at)
		}
		s.index.place(g, e.lane)
		if e.lane.slot >= 0 && e.lane.next() <= p.head.due0 {
			s.poke()
		}
	}
}
