package queue

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

// model is the queue as one would write it without a disk.
type model struct {
	t     *rapid.T
	outer *testing.T
	fs    vfs.FS
	c     *clock
	s     *Store
	epoch uint64
	msgs  map[ID]*modelMsg
	park  map[string]time.Time
}

type modelMsg struct {
	body  []byte
	items map[string]*modelItem
}

type modelItem struct {
	rcpts    int
	attempts int
	due      time.Time
	flushed  bool
	lease    *Item
	started  bool
	doubt    bool
}

var modelDomains = []string{"a.test", "b.test", "c.test"}

func (m *model) open() {
	var err error
	m.s, err = New(Config{Dir: "q", FS: m.fs, Now: m.c.now, InlineMax: 20 << 10, Fatal: func(err error) { m.outer.Errorf("fatal: %v", err) }})
	if err != nil {
		m.t.Fatalf("New: %v", err)
	}
	m.s.queue.gather = 0
	m.s.limits = limits{cached: 60 << 10, ready: 12, scan: 3, taken: 5}
	watchKeys(m.outer, m.s)
	m.adopt()
}

func (m *model) adopt() {
	m.epoch++
	if _, err := m.s.Adopt(1, m.epoch); err != nil {
		m.t.Fatalf("Adopt: %v", err)
	}
	now := m.c.now()
	for _, msg := range m.msgs {
		for _, it := range msg.items {
			if it.started && it.lease != nil {
				it.doubt = true
			}
			if it.doubt {
				it.due = later(it.due, now.Add(time.Minute-time.Second))
			}
			it.lease, it.flushed = nil, false
		}
	}
	m.park = map[string]time.Time{}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (m *model) Put(t *rapid.T) {
	ds := rapid.SliceOfNDistinct(rapid.SampledFrom(modelDomains), 1, 3, rapid.ID).Draw(t, "domains")
	size := rapid.SampledFrom([]int{1, 2000, 18 << 10, 30 << 10}).Draw(t, "size")
	msg := &modelMsg{body: bytes.Repeat([]byte{byte(len(m.msgs))}, size), items: map[string]*modelItem{}}
	var rcpts []string
	for _, d := range ds {
		it := &modelItem{rcpts: rapid.IntRange(1, 2).Draw(t, "rcpts")}
		msg.items[d] = it
		for i := range it.rcpts {
			rcpts = append(rcpts, fmt.Sprintf("u%d@%s", i, d))
		}
	}
	id, err := tryPut(m.s, 1, msg.body, envelope(rcpts...))
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	now := m.c.now()
	for _, it := range msg.items {
		it.due = now
	}
	m.msgs[id] = msg
}

// Take takes from every lane Wait would return, and demands that nothing else
// was due.
func (m *model) Take(t *rapid.T) {
	n := rapid.IntRange(1, 6).Draw(t, "max")
	lanes, _ := m.s.dueLanes()
	drained := map[string]bool{}
	for _, d := range modelDomains {
		drained[d] = true
	}
	for _, l := range lanes {
		items, more, err := m.s.Take(l, n)
		if err != nil {
			t.Fatalf("Take: %v", err)
		}
		last := time.Time{}
		for _, it := range items {
			mi := m.item(it)
			if mi == nil || mi.lease != nil {
				t.Fatalf("took %v of %s: leased or gone", it.ID, l.Domain)
			}
			if mi.due.After(m.c.now()) && !mi.flushed {
				t.Fatalf("took %v of %s: due %v", it.ID, l.Domain, mi.due)
			}
			if !mi.flushed && !mi.doubt {
				if it.Due.Before(last) {
					t.Fatalf("not oldest first")
				}
				last = it.Due
			}
			if len(it.Rcpts) != mi.rcpts || it.Attempts != mi.attempts || it.InDoubt != mi.doubt {
				t.Fatalf("took %+v, want %+v", it, mi)
			}
			mi.lease, mi.started = it, false
		}
		if more {
			drained[l.Domain] = false
			m.s.Park(l, time.Time{})
			delete(m.park, l.Domain)
		}
	}
	now := m.c.now()
	for id, msg := range m.msgs {
		for d, it := range msg.items {
			if drained[d] && it.lease == nil && (it.flushed || it.due.Add(2*time.Second).Before(now)) && !m.park[d].After(now) {
				t.Fatalf("not taken: %v to %s, due %v, now %v", id, d, it.due, now)
			}
		}
	}
}

func (m *model) item(it *Item) *modelItem {
	if msg := m.msgs[it.ID]; msg != nil {
		return msg.items[it.Lane.Domain]
	}
	return nil
}

// leased picks a leased item.
func (m *model) leased(t *rapid.T) (*modelMsg, *modelItem) {
	var all []*Item
	for _, msg := range m.msgs {
		for _, it := range msg.items {
			if it.lease != nil {
				all = append(all, it.lease)
			}
		}
	}
	if len(all) == 0 {
		t.Skip("nothing leased")
	}
	slices.SortFunc(all, func(a, b *Item) int { return compareIDs(a.ID, b.ID)*10 + int(a.N) - int(b.N) })
	it := rapid.SampledFrom(all).Draw(t, "item")
	return m.msgs[it.ID], m.item(it)
}

func (m *model) Settle(t *rapid.T) {
	msg, mi := m.leased(t)
	it := mi.lease
	body := readBody(t, m.s, it.ID)
	if !bytes.Equal(body, wantBody(msg.body)) {
		t.Fatal("body differs")
	}
	if rapid.Bool().Draw(t, "start") {
		if err := m.s.Start(it); err != nil {
			t.Fatalf("Start: %v", err)
		}
	}
	x := Settlement{Item: it, Next: m.c.now().Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "wait")) * time.Second)}
	left := 0
	for _, r := range it.Rcpts {
		res := rapid.SampledFrom([]Result{Delivered, Deferred, Bounced}).Draw(t, "result")
		if res == Deferred {
			left++
		}
		x.Outcomes = append(x.Outcomes, Outcome{Rcpt: r, Result: res})
	}
	if err := trySettle(m.s, x); err != nil {
		t.Fatalf("Settle: %v", err)
	}
	if left == 0 {
		m.end(it)
		return
	}
	*mi = modelItem{rcpts: left, attempts: mi.attempts + 1, due: later(x.Next, m.c.now().Add(-time.Second))}
}

func (m *model) end(it *Item) { m.endOf(it.ID, it.Lane.Domain) }

func (m *model) endOf(id ID, domain string) {
	delete(m.msgs[id].items, domain)
	if len(m.msgs[id].items) == 0 {
		delete(m.msgs, id)
	}
}

func (m *model) Start(t *rapid.T) {
	_, mi := m.leased(t)
	if err := m.s.Start(mi.lease); err != nil {
		t.Fatalf("Start: %v", err)
	}
	mi.started = true
}

func (m *model) GiveBack(t *rapid.T) {
	_, mi := m.leased(t)
	if mi.started {
		t.Skip("started")
	}
	m.s.GiveBack(mi.lease)
	mi.lease = nil
}

func (m *model) Park(t *rapid.T) {
	d := rapid.SampledFrom(modelDomains).Draw(t, "domain")
	until := m.c.now().Add(time.Duration(rapid.IntRange(0, 900).Draw(t, "for")) * time.Second)
	m.s.Park(Lane{1, 7, 0, d}, until)
	m.park[d] = until // an upper bound: a lane without mail forgets it
}

func (m *model) Cancel(t *rapid.T) {
	ids := m.ids()
	if len(ids) == 0 {
		t.Skip("empty")
	}
	id := rapid.SampledFrom(ids).Draw(t, "id")
	busy := false
	for _, it := range m.msgs[id].items {
		busy = busy || it.lease != nil
	}
	err := m.s.Cancel(id)
	if (err == nil) == busy {
		t.Fatalf("Cancel, leased %v: %v", busy, err)
	}
	if !busy {
		delete(m.msgs, id)
	}
}

func (m *model) ids() (ids []ID) {
	for id := range m.msgs {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, compareIDs)
	return ids
}

func (m *model) Purge(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "rarely") != 0 {
		t.Skip("not now")
	}
	f := Filter{Tenant: 1, Domain: rapid.SampledFrom(append([]string{""}, modelDomains...)).Draw(t, "domain")}
	n, err := m.s.Purge(f)
	if err != nil {
		t.Fatalf("Purge: %v", err)
	}
	want := 0
	for _, id := range m.ids() {
		msg := m.msgs[id]
		for d, it := range msg.items {
			if it.lease != nil || f.Domain != "" && f.Domain != d {
				continue
			}
			m.endOf(id, d)
			if f.Domain != "" || len(msg.items) == 0 {
				want++
			}
		}
	}
	if n != want {
		t.Fatalf("Purge %q: %d, want %d", f.Domain, n, want)
	}
}

func (m *model) Flush(t *rapid.T) {
	d := rapid.SampledFrom(modelDomains).Draw(t, "domain")
	if _, err := m.s.Flush(Filter{Tenant: 1, Domain: d}); err != nil {
		t.Fatalf("Flush: %v", err)
	}
	delete(m.park, d)
	for _, msg := range m.msgs {
		if it := msg.items[d]; it != nil && it.lease == nil {
			it.flushed = true
		}
	}
}

func (m *model) Advance(t *rapid.T) {
	m.c.advance(time.Duration(rapid.IntRange(1, 400).Draw(t, "seconds")) * time.Second)
}

func (m *model) Restart(t *rapid.T) {
	switch rapid.IntRange(0, 3).Draw(t, "how") {
	case 0:
		if err := m.s.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		m.open()
	case 1:
		m.adopt() // hands the tenant to the next epoch of this store
	case 2:
		if err := m.s.db.Flush(); err != nil {
			t.Fatal(err)
		}
	default:
		t.Skip("not now")
	}
}

func (m *model) Check(t *rapid.T) {
	want := Counts{Messages: len(m.msgs)}
	for _, msg := range m.msgs {
		for _, it := range msg.items {
			want.Queued += it.rcpts
			want.InDoubt += boolInt(it.doubt)
		}
	}
	if got := m.s.Count()[1]; got != want {
		t.Fatalf("counts %+v, want %+v", got, want)
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if err := m.s.index.check(); err != nil {
		t.Fatal(err)
	}
}

// check holds the index against its own rules.
func (x *index) check() error {
	var cached int64
	ready := 0
	for _, g := range x.logs {
		held := map[*lane]int{}
		refs := map[*message]int{}
		for k, e := range g.entries {
			held[e.lane]++
			if e.msg != nil {
				refs[e.msg]++
			}
			if e.at.key() != k || e.phase == phaseReady && e.lane.ready[e.slot] != e {
				return fmt.Errorf("entry %+v out of place", k)
			}
		}
		for _, l := range g.lanes {
			ready += len(l.ready)
			if held[l] != l.held || l.scanning || len(l.gone) > 0 {
				return fmt.Errorf("lane %s: held %d, counted %d", l.key.Domain, l.held, held[l])
			}
			if in := l.slot >= 0; in == l.announced && l.due() != never || in && x.heap[l.slot] != l {
				return fmt.Errorf("lane %s: slot %d, announced %v", l.key.Domain, l.slot, l.announced)
			}
		}
		for _, m := range g.msgs {
			cached += m.cost
			if refs[m] != m.refs {
				return fmt.Errorf("message %v: refs %d, counted %d", m.id, m.refs, refs[m])
			}
		}
		if len(refs) != len(g.msgs) {
			return fmt.Errorf("%d messages, %d referred to", len(g.msgs), len(refs))
		}
	}
	if cached != x.cached || ready != x.ready {
		return fmt.Errorf("cached %d, counted %d; ready %d, counted %d", x.cached, cached, x.ready, ready)
	}
	return nil
}

func TestModel(t *testing.T) {
	if os.Getenv("POSTERN_SOAK") == "" && !flagSet("rapid.checks") {
		setFlag(t, "rapid.checks", "40")
	}
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{t: rt, outer: t, fs: vfs.NewMem(), c: newClock(), msgs: map[ID]*modelMsg{}}
		m.open()
		defer func() {
			if err := m.s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}()
		rt.Repeat(map[string]func(*rapid.T){
			"": m.Check, "put": m.Put, "put more": m.Put, "take": m.Take, "take more": m.Take, "settle": m.Settle, "settle more": m.Settle,
			"start": m.Start, "give back": m.GiveBack, "park": m.Park, "cancel": m.Cancel, "purge": m.Purge,
			"flush": m.Flush, "advance": m.Advance, "restart": m.Restart,
		})
	})
}
