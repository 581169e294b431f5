package queue

import (
	"container/heap"
	"context"
	"math"
	"sync"
	"sync/atomic"

	"postern/tenant"
)

// never is a due time that does not come.
const never = math.MaxInt64

// phase is where an item in memory stands.
type phase uint8

const (
	phasePut     phase = iota + 1 // its Put is not durable yet: nobody may see it
	phaseReady                    // waits in its lane's ready heap
	phaseLeased                   // a caller of Take has it
	phaseSettled                  // its settlement is on the way to disk
	phaseBroken                   // its records cannot be read; left alone until the next start
)

// entry is an item in memory.
type entry struct {
	at       dueAt // its due key, where the record on disk is
	due      int64 // when it may be taken; later than at.due for one in doubt
	lane     *lane
	msg      *message // nil until taken, for items found by a scan
	item     *Item    // nil until msg is known
	slot     int      // in lane.ready
	phase    phase
	inDoubt  bool
	started  *startFile
	starting bool // its start has a number and is not written yet
}

// message is a message some of whose items are in memory.
type message struct {
	id   ID
	head *head
	buf  *buffer // its bytes, while they are in memory
	cost int64   // what it counts for against the cache
	refs int     // entries that point here

	// Only the committer touches these once the message is in the index.
	live  int               // items not ended
	ended map[uint16]uint32 // rev of the marker of each ended item
}

// lane is one line of due mail. On disk its items are the keys behind its
// prefix; in memory is only what is being worked on. What holds always:
// a due key of this lane below cursor is in entries, or deleted.
type lane struct {
	key       Lane
	prefix    []byte
	ready     readyHeap
	cursor    dueAt // where the next scan starts
	disk      int64 // no key at or after cursor is due before this; never: there is none
	parked    int64
	flushed   bool // by Flush since it was last parked
	held      int  // entries of this lane in memory
	slot      int  // in index.heap, -1 when not there
	announced bool
	scanning  bool
	gone      []*entry // removals and new keys that wait for the scan's end
	later     []dueAt
	flush     flushing
}

// due is when the lane has something to take.
func (l *lane) due() int64 {
	n := l.disk
	if len(l.ready) > 0 {
		n = min(n, l.ready[0].due)
	}
	if l.flush.on {
		n = min(n, l.flush.at)
	}
	return n
}

// next is when Wait returns the lane.
func (l *lane) next() int64 { return max(l.due(), l.parked) }

// lower notes a key that may lie behind the cursor.
func (l *lane) lower(d dueAt) {
	if d.before(l.cursor) {
		l.cursor = d
	}
	l.disk = min(l.disk, d.due)
}

type readyHeap []*entry

func (h readyHeap) Len() int { return len(h) }
func (h readyHeap) Less(i, j int) bool {
	if h[i].due != h[j].due {
		return h[i].due < h[j].due
	}
	return h[i].at.before(h[j].at)
}
func (h readyHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i]; h[i].slot, h[j].slot = i, j }
func (h *readyHeap) Push(x any) {
	e := x.(*entry)
	e.slot = len(*h)
	*h = append(*h, e)
}
func (h *readyHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}

type laneHeap []*lane

func (h laneHeap) Len() int           { return len(h) }
func (h laneHeap) Less(i, j int) bool { return h[i].next() < h[j].next() }
func (h laneHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].slot, h[j].slot = i, j }
func (h *laneHeap) Push(x any) {
	l := x.(*lane)
	l.slot = len(*h)
	*h = append(*h, l)
}
func (h *laneHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	l.slot = -1
	return l
}

// tlog is a tenant's log while this store works for it.
type tlog struct {
	since   uint64 // lowest epoch of which all is here, see AdoptPart; 0: all of every one
	tenant  tenant.ID
	epoch   uint64
	seq     uint64 // last one given out
	day     uint32 // of the last day mark
	counts  Counts
	entries map[shareKey]*entry
	msgs    map[ID]*message
	lanes   map[Lane]*lane
	putting int                   // puts under way
	closing bool                  // being released: no new puts
	quiet   chan struct{}         // closed when closing and none is under way
	open    atomic.Bool           // the fence of this epoch is on disk
	opening sync.Mutex            // one openEpoch at a time
	fences  []uint64              // of earlier epochs, to go with it
	out     *stream               // nil without peers
	flying  map[*putting]struct{} // numbered, and perhaps not visible yet
	endWalk context.CancelFunc    // of the walk under way, if any; the ship's lock guards it
	rest    bool                  // nothing is taken or put: see Quiesce
	resume  chan struct{}         // closed when rest ends
	noDots  bool                  // nothing is started either
	aside   []ending              // outcomes of dots that came since then
	ends    uint64                // ended items of messages with several, to notice one while reading
}

// index is everything kept in memory. It knows nothing of the disk. The
// store's mutex guards it.
type index struct {
	logs     map[tenant.ID]*tlog
	past     map[tenant.ID]*tlog  // the last one released; only its numbers are used
	copying  map[tenant.ID]func() // a copy of it is being taken in or erased; asks that to give way
	heap     laneHeap
	cached   int64 // cost of messages that hold their bytes
	ready    int   // entries in ready heaps
	messages int   // in the logs' msgs
}

// laneOf finds or makes a lane of an adopted tenant.
func (x *index) laneOf(g *tlog, key Lane) *lane {
	l := g.lanes[key]
	if l == nil {
		l = &lane{key: key, prefix: lanePrefix(nil, key), disk: never, slot: -1}
		g.lanes[key] = l
	}
	return l
}

// place puts the lane where it belongs in the heap, or forgets it when nothing
// of it is left.
func (x *index) place(g *tlog, l *lane) {
	switch {
	case l.announced, l.due() == never, g.rest:
		if l.slot >= 0 {
			heap.Remove(&x.heap, l.slot)
		}
		if !l.announced && l.held == 0 && !l.scanning && l.due() == never {
			delete(g.lanes, l.key)
		}
	case l.slot >= 0:
		heap.Fix(&x.heap, l.slot)
	default:
		heap.Push(&x.heap, l)
	}
}

// hold adds an entry to the log.
func (x *index) hold(g *tlog, e *entry) {
	g.entries[e.at.key()] = e
	e.lane.held++
	if e.msg != nil {
		x.link(g, e.msg)
	}
}

func (x *index) link(g *tlog, m *message) {
	if m.refs == 0 {
		g.msgs[m.id] = m
		x.messages++
		x.cached += m.cost
	}
	m.refs++
}

// drop removes an entry, and its message with the last one. It returns the
// buffer that is not needed any more, if any.
func (x *index) drop(g *tlog, e *entry) *buffer {
	if e.phase == phaseReady {
		x.unready(e)
	}
	delete(g.entries, e.at.key())
	e.lane.held--
	m := e.msg
	if m == nil {
		return nil
	}
	if m.refs--; m.refs > 0 {
		return nil
	}
	delete(g.msgs, m.id)
	x.messages--
	x.cached -= m.cost
	buf := m.buf
	m.buf = nil
	return buf
}

// makeReady puts an entry into its lane's heap.
func (x *index) makeReady(e *entry) {
	e.phase = phaseReady
	x.ready++
	heap.Push(&e.lane.ready, e)
}

func (x *index) unready(e *entry) {
	heap.Remove(&e.lane.ready, e.slot)
	x.ready--
}

// removeLog forgets a tenant and gives back what its messages held.
func (x *index) removeLog(g *tlog) (bufs []*buffer) {
	for _, l := range g.lanes {
		x.ready -= len(l.ready)
		if l.slot >= 0 {
			heap.Remove(&x.heap, l.slot)
		}
	}
	x.messages -= len(g.msgs)
	for _, m := range g.msgs {
		x.cached -= m.cost
		if m.buf != nil {
			bufs = append(bufs, m.buf)
			m.buf = nil
		}
	}
	delete(x.logs, g.tenant)
	g.entries, g.msgs, g.lanes = nil, nil, nil
	x.past[g.tenant] = g
	return bufs
}
