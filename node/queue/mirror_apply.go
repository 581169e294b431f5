package queue

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"postern/tenant"
)

// fill puts the records into the group's batch, each log's in order of its
// numbers. A record that may not be written here is told to the sender before
// its count could be taken for a yes.
func (h *holder) fill(g *group, c *holding, rs []*arrival) error {
	for _, a := range rs {
		r := &a.rec
		h.mu.Lock()
		l := h.logs[r.tenant]
		ok := l != nil && g.at[l] != nil && l.lets(c, r)
		h.mu.Unlock()
		if !ok {
			c.refuse(r, h.why(l, r))
			continue
		}
		if g.refuse[l] != 0 {
			continue
		}
		p := g.at[l]
		if r.seq <= p.last {
			continue
		}
		if r.seq != p.last+1 {
			h.s.metrics.mirrorGaps.Inc()
			return fmt.Errorf("apply log of tenant %d: record %d after %d: %w", r.tenant, r.seq, p.last, errGap)
		}
		v, err := h.applyRecord(g, l, r)
		if err != nil {
			return fmt.Errorf("apply record %d of tenant %d: %w", r.seq, r.tenant, err)
		}
		if v != 0 {
			g.refuse[l] = v
			h.mu.Lock()
			c.refuse(r, v) // first: a start that is not kept from now on must not count as received
			l.conn = nil
			h.mu.Unlock()
			continue
		}
		p.last = r.seq
	}
	return nil
}

// why tells what is wrong with a record that is not let in.
func (h *holder) why(l *heldLog, r *record) verdict {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l != nil && (r.epoch < l.bar || r.epoch <= l.own ||
		l.known && (r.epoch < l.pos.epoch || r.epoch == l.pos.epoch && r.generation < l.pos.generation)) {
		return verdictStale
	}
	return verdictAgain
}

var errGap = errors.New("records are missing")

// applyRecord puts one record's operations into the batch. A verdict other than
// 0 says why it cannot be taken now; nothing of it is in the batch then.
func (h *holder) applyRecord(g *group, l *heldLog, r *record) (verdict, error) {
	switch r.kind {
	case recStart:
		return 0, nil // written when it arrived
	case recSync:
		if len(r.payload) == 0 {
			return 0, nil
		}
		files, err := h.s.applySync(g.b, l.tenant, r.payload)
		g.gone, g.synced = append(g.gone, files...), l
		return 0, err
	case recPut:
		if h.s.disk.full.Load() {
			return verdictBusy, nil
		}
	}
	ops, err := checkOps(r)
	if err != nil {
		return 0, err
	}
	for i := range ops {
		if o := &ops[i]; o.kind == opSet && o.key[0] == tabChunk {
			if have, err := h.hasChunk(chunkName(o.key[1:])); err != nil || !have {
				return verdictChunk, err
			}
		}
	}
	for i := range ops {
		if err := h.applyOp(g, l, r, &ops[i]); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// checkOps takes a payload apart and refuses what no owner writes: other tables,
// other tenants' keys, values that are no records.
func checkOps(r *record) ([]op, error) {
	var ops []op
	for b := r.payload; len(b) > 0; {
		o, rest, err := readOp(b)
		if err != nil {
			return nil, err
		}
		if err := o.check(r); err != nil {
			return nil, err
		}
		if b = rest; len(ops) == maxOps {
			return nil, fmt.Errorf("read operations: %w: more than %d", errCorrupt, maxOps)
		}
		ops = append(ops, o)
	}
	return ops, nil
}

func (o *op) check(r *record) error {
	bad := func(what string) error {
		return fmt.Errorf("check operation %d on %.16x: %w: %s", o.kind, o.key, errCorrupt, what)
	}
	if len(o.key) < 9 {
		return bad("key too short")
	}
	tab := o.key[0]
	if tab != tabChunk && tenant.ID(binary.BigEndian.Uint64(o.key[1:])) != r.tenant {
		return bad("not the tenant's")
	}
	if o.kind == opSet || o.kind == opMerge {
		p, err := unseal(o.value)
		if err != nil {
			return err
		}
		if tab == tabChunk {
			id, ok := idOfKey(p)
			if !ok || len(p) != messageKeyLen || id.Tenant != r.tenant {
				return bad("not the tenant's")
			}
		}
	}
	fits, one := false, o.kind == opSet || o.kind == opDelete || o.kind == opErase
	switch tab {
	case tabMessage, tabBody:
		fits = len(o.key) == messageKeyLen && one
	case tabDue:
		_, _, ok := parseDueKey(o.key)
		fits = ok && one
	case tabShare, tabDoubt:
		fits = len(o.key) == revKeyLen && one
	case tabOutcome, tabTalk:
		fits = len(o.key) == revKeyLen && o.kind == opSet
	case tabSpend:
		fits = o.kind == opMerge && len(o.key) == spendKeyLen ||
			o.kind == opDeleteRange && r.kind == recOps && o.value[0] == tabSpend &&
				len(o.value) == 17 && tenant.ID(binary.BigEndian.Uint64(o.value[1:])) == r.tenant
	case tabCount:
		fits = o.kind == opMerge && len(o.key) == 9
	case tabDay:
		fits = o.kind == opSet && len(o.key) == dayKeyLen
	case tabChunk:
		fits = len(o.key) == 1+len(chunkName{}) && one
	case tabTransaction:
		fits = len(o.key) == 1+8+16 && one
	case tabDenied:
		fits = len(o.key) == deniedKeyLen && o.kind == opSet
	case tabSuppress:
		fits = o.kind == opSet && o.suppresses()
	}
	if !fits {
		return bad("no such operation on this table")
	}
	if o.kind == opMerge {
		_, err := readSum(o.value)
		return err
	}
	return nil
}

// suppresses reports whether the operation's value is a row of a list.
func (o *op) suppresses() bool {
	p, err := unseal(o.value)
	if err == nil {
		_, err = readSuppression(o.key, p)
	}
	return err == nil
}

// applyOp puts one checked operation into the batch, unless it is about a
// message that the walk has not brought here yet.
func (h *holder) applyOp(g *group, l *heldLog, r *record, o *op) error {
	var m at
	switch o.key[0] {
	case tabDoubt:
		if o.kind != opSet { // a holder ends its own, see settled
			return nil
		}
		id, n, rev, _ := parseRevKey(o.key) // of a message that another node returned
		if m = (at{id.Epoch, id.Seq}); !l.like.covers(id) || l.doubts[attempt{m, n, rev}] {
			return nil
		}
		if l.doubts != nil {
			l.doubts[attempt{m, n, rev}] = true
		}
		return o.add(g.b)
	case tabDay:
		err := h.s.get(o.key, func([]byte) error { return nil })
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		return o.add(g.b)
	case tabDue:
		_, d, _ := parseDueKey(o.key)
		m = at{d.epoch, d.seq}
		if o.kind != opSet {
			h.settled(g, l, attempt{m, d.n, d.rev})
		}
	case tabMessage, tabBody, tabShare:
		id, _ := idOfKey(o.key)
		m = at{id.Epoch, id.Seq}
	case tabChunk:
		if o.kind != opSet {
			return h.dropChunk(g, l, o)
		}
		p, err := unseal(o.value)
		if err != nil {
			return err
		}
		id, _ := idOfKey(p) // an older one, when another node returned it
		m = at{id.Epoch, id.Seq}
	default:
		return o.add(g.b)
	}
	if r.kind == recPut && m != (at{r.epoch, r.seq}) {
		return fmt.Errorf("check put: %w: message %d-%d", errCorrupt, m.epoch, m.seq)
	}
	if !l.like.covers(ID{l.tenant, m.epoch, m.seq}) {
		return nil
	}
	if r.kind == recOps && o.kind == opSet { // returned to the owner, perhaps by this very store
		if err := h.s.get(o.key, func([]byte) error { return nil }); !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return o.add(g.b)
}

// settled forgets an attempt that is under way or in doubt here.
func (h *holder) settled(g *group, l *heldLog, x attempt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f := l.starts[x]; f != nil {
		delete(l.starts, x)
		g.ended = append(g.ended, endedStart{l, x, f})
	}
	if l.doubts[x] {
		delete(l.doubts, x)
		_ = g.b.SingleDelete(revKey(nil, tabDoubt, ID{l.tenant, x.epoch, x.seq}, x.n, x.rev), nil)
	}
}

// dropChunk ends a chunk file, if it is this tenant's.
func (h *holder) dropChunk(g *group, l *heldLog, o *op) error {
	own := false
	err := h.s.get(o.key, func(v []byte) error {
		id, ok := idOfKey(v)
		own = ok && id.Tenant == l.tenant && l.like.covers(id)
		return nil
	})
	if errors.Is(err, ErrNotFound) && chunkInBatch(g.b, o.key) { // its message came in this very batch
		err, own = nil, true
	}
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil || !own {
		return err
	}
	g.gone = append(g.gone, chunkName(o.key[1:]))
	return o.add(g.b)
}

// chunkInBatch looks for a key among the sets of a batch.
func chunkInBatch(b *pebble.Batch, key []byte) bool {
	for r := b.Reader(); ; {
		kind, k, _, ok, err := r.Next()
		if !ok || err != nil {
			return false
		}
		if kind == opSet && string(k) == string(key) {
			return true
		}
	}
}
