package queue

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"postern/node/trouble"
	"postern/tenant"
)

// kept is a batch that stays open while records of it wait for the holder:
// their payloads are its memory.
type kept struct {
	b    *pebble.Batch
	refs atomic.Int32
}

func keep(b *pebble.Batch) *kept {
	k := &kept{b: b}
	k.refs.Store(1)
	return k
}

func (k *kept) release() {
	if k != nil && k.refs.Add(-1) == 0 {
		_ = k.b.Close()
	}
}

// outgoing is a record that is not yet both here and at the holder. The store's
// ship guards it.
type outgoing struct {
	g         *tlog
	seq       uint64
	kind      recKind
	parts     [2][]byte
	size      int64
	began     time.Time
	from      *kept
	chunk     *chunkName // must be at the holder first
	chunkAt   string     // the node that has it
	chunkBusy bool       // it is being sent

	filled   bool // its payload is known
	local    bool // it is durable here
	received bool // the holder has it
	durable  bool // and durably
	err      error
	told     chan struct{} // closed, and made anew, when one of these changes; nil: nobody waits
}

func (o *outgoing) tell() {
	if o.told != nil {
		close(o.told)
		o.told = nil
	}
}

// streamState is how far the holder was spoken to about a log.
type streamState uint8

const (
	streamIdle    streamState = iota // no holder
	streamOpening                    // its open frame must be sent
	streamAsked                      // the holder's position is awaited
	streamLive                       // records are sent
	streamRefused                    // by the holder
)

// stream is a tenant's log on its way to its holder: the records that are not
// everywhere yet, in order and without a gap. The store's ship guards it.
type stream struct {
	recs       []*outgoing
	last       uint64 // number of the last record, kept or not
	pin        uint64 // keep records from here on: a new holder may need them
	set        bool   // Mirror was called
	node       string // "": one copy
	generation uint64
	ends       []tenant.End // of older logs, as far as they are in this one
	link       *link
	state      streamState
	reason     error     // why it was refused
	brokenAt   time.Time // when that was
	next       uint64    // to be sent
	session    uint64    // grows when what was sent before does not count any more
	queued     bool      // among the link's dirty ones
	walk       uint64    // generation whose walk was begun
	synced     bool
	left       int
	broken     bool // as last announced
	late       bool
	leaving    chan struct{} // closed when the log is about to be given up: no more waiting
	stopped    chan struct{} // closed when it is
}

func newStream(last uint64) *stream {
	return &stream{last: last, leaving: make(chan struct{}), stopped: make(chan struct{})}
}

// nodeOf is the node that holds the log's second copy; "" when there is none.
func (p *ship) nodeOf(g *tlog) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return g.out.node
}

// ship is the sending side of all mirrors.
type ship struct {
	s       *Store
	mu      sync.Mutex // guards what follows, every stream, outgoing and link
	octets  int64
	room    chan struct{} // closed when octets falls below the bound
	links   map[string]*link
	changed chan struct{}
	ctx     context.Context
	stop    context.CancelFunc
	all     sync.WaitGroup
	lost    *trouble.Log[string]    // by node
	refused *trouble.Log[tenant.ID] // a busy holder says no to each asking
}

func newShip(s *Store) *ship {
	p := &ship{s: s, links: map[string]*link{}, room: make(chan struct{}), changed: make(chan struct{}),
		lost:    trouble.New[string](s.cfg.Log, slog.LevelWarn, "mirror connection lost", "node"),
		refused: trouble.New[tenant.ID](s.cfg.Log, slog.LevelWarn, "mirror refused", "tenant")}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p
}

// close ends all connections.
func (p *ship) close() {
	p.stop()
	_ = p.s.cfg.Peers.Listener.Close()
	p.all.Wait()
}

// next gives the log's next number and its place in the stream, which must be
// filled soon: what comes behind it waits. The caller holds mu.
func (s *Store) next(g *tlog, kind recKind) (uint64, *outgoing) {
	g.seq++
	if s.ship == nil {
		return g.seq, nil
	}
	o := &outgoing{g: g, seq: g.seq, kind: kind, began: time.Now()}
	s.ship.mu.Lock()
	g.out.recs, g.out.last = append(g.out.recs, o), o.seq
	s.ship.mu.Unlock()
	return g.seq, o
}

// dispatch gives a record its payload, which is memory of from, if that is not nil,
// and does not change from now on.
func (s *Store) dispatch(o *outgoing, from *kept, parts ...[]byte) {
	if o == nil {
		return
	}
	p := s.ship
	p.mu.Lock()
	defer p.mu.Unlock()
	if o.err == nil { // else it is a step of a walk that ended since it was numbered
		copy(o.parts[:], parts)
	}
	if from != nil {
		from.refs.Add(1)
		o.from = from
	}
	o.size = int64(len(o.parts[0])+len(o.parts[1])) + 256
	o.filled = true
	p.octets += o.size
	st := o.g.out
	switch {
	case st.alone():
		o.received, o.durable = true, true
		o.tell()
		p.trim(st)
	case st.state == streamLive && o.seq == st.next:
		st.link.mark(o.g)
	}
}

// alone says that no second copy is wanted, or that the log was given up.
func (st *stream) alone() bool {
	select {
	case <-st.stopped:
		return true
	default:
		return st.set && st.node == ""
	}
}

// isLocal notes that records are durable here.
func (s *Store) isLocal(os ...*outgoing) {
	if s.ship == nil {
		return
	}
	p := s.ship
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range os {
		if o != nil {
			o.local = true
			p.trim(o.g.out)
		}
	}
}

// trim forgets the oldest records that are everywhere.
func (p *ship) trim(st *stream) {
	for len(st.recs) > 0 {
		o := st.recs[0]
		if !o.filled || !o.local || !o.durable || st.pin != 0 && o.seq >= st.pin && p.octets < p.s.limits.unsent/2 {
			return
		}
		st.recs[0], st.recs = nil, st.recs[1:]
		p.drop(o)
	}
	st.recs = nil
}

func (p *ship) drop(o *outgoing) {
	full := p.octets >= p.s.limits.unsent
	p.octets -= o.size
	o.from.release()
	o.from, o.parts = nil, [2][]byte{}
	if full && p.octets < p.s.limits.unsent {
		close(p.room)
		p.room = make(chan struct{})
	}
}

// appendRecord gives the log a record with a payload of its own. payload is
// called under the store's lock, when the number is known and all that was
// numbered before has been counted. Only the committer may call it: see
// inCommitter. The record belongs to the present generation: with a new one its
// wait ends with ErrStale.
func (s *Store) appendRecord(g *tlog, kind recKind, payload func(seq uint64) []byte) (*outgoing, error) {
	if s.ship == nil {
		return nil, errAlone
	}
	s.mu.Lock()
	if s.index.logs[g.tenant] != g {
		s.mu.Unlock()
		return nil, ErrStale
	}
	seq, o := s.next(g, kind)
	b := payload(seq)
	if b == nil {
		o.kind = recOps // the number stays unused
	}
	s.mu.Unlock()
	s.dispatch(o, nil, b)
	s.isLocal(o)
	return o, nil
}

var errAlone = errors.New("this node has no peers")

// inCommitter runs f between settlements: no item ends meanwhile, though puts go
// on. What f writes into b is committed with them, but not sent to the holder.
// done is called like Settle's.
func (s *Store) inCommitter(f func(b *pebble.Batch) error, done func(error)) {
	if !s.queue.add(&ending{run: f, tell: done}) {
		done(errClosed)
	}
}

// announce tells who waits for MirrorsChanged.
func (p *ship) announce() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// at finds a record by its number.
func (st *stream) at(seq uint64) *outgoing {
	if len(st.recs) == 0 || seq < st.recs[0].seq || seq-st.recs[0].seq >= uint64(len(st.recs)) {
		return nil
	}
	return st.recs[seq-st.recs[0].seq]
}
