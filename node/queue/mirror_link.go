package queue

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"postern/tenant"
)

const (
	linkDial   = 5 * time.Second
	linkWrite  = 10 * time.Second
	linkSilent = 5 * time.Second // after this long without a word the connection is given up
	linkPing   = time.Second
	linkGather = 256 << 10 // octets of one write
	linkShare  = 64 << 10  // octets of one log before the next one's turn
	linkRest   = 2 * time.Second
)

// inFlight is a record sent on the present connection.
type inFlight struct {
	o       *outgoing
	session uint64
}

// link carries the streams of all tenants to one node, over one connection at a
// time. The ship's lock guards its fields.
type link struct {
	s     *Store
	node  string
	logs  map[tenant.ID]*tlog
	dirty []*tlog // have something to send
	ring  chan struct{}
	up    bool
	down  time.Time // since when it is not up
	sent  []inFlight
	acked uint64 // records of this connection that are durable there, before sent
	got   uint64 // and that are received there
}

// linkTo finds or makes the link to a node. The caller holds the ship's lock.
func (p *ship) linkTo(node string) *link {
	l := p.links[node]
	if l == nil {
		l = &link{s: p.s, node: node, logs: map[tenant.ID]*tlog{}, ring: make(chan struct{}, 1), down: time.Now()}
		p.links[node] = l
		p.all.Go(func() { l.run(p.ctx) })
	}
	return l
}

func (l *link) kick() {
	select {
	case l.ring <- struct{}{}:
	default:
	}
}

// mark notes that a log has something to send. The caller holds the ship's lock.
func (l *link) mark(g *tlog) {
	if !g.out.queued {
		g.out.queued = true
		l.dirty = append(l.dirty, g)
	}
	l.kick()
}

// run keeps a connection to the node while any log needs one.
func (l *link) run(ctx context.Context) {
	p := l.s.ship
	rest := l.s.limits.again
	for ctx.Err() == nil {
		p.mu.Lock()
		idle := len(l.logs) == 0
		p.mu.Unlock()
		if idle {
			select {
			case <-l.ring:
			case <-ctx.Done():
			}
			continue
		}
		began := time.Now()
		err := l.connect(ctx)
		if ctx.Err() != nil {
			return
		}
		p.mu.Lock()
		if l.up {
			l.up, l.down = false, time.Now()
			p.announce()
		}
		idle = len(l.logs) == 0
		p.mu.Unlock()
		if idle {
			continue
		}
		l.s.metrics.mirrorLost.Inc()
		p.lost.Bad(l.node, "err", err)
		if time.Since(began) > linkRest {
			rest = l.s.limits.again
		}
		select {
		case <-time.After(rest):
		case <-ctx.Done():
		}
		rest = min(2*rest, 20*l.s.limits.again)
	}
}

var errUnused = errors.New("no log needs it any more")

// connect carries the streams over one connection until it ends.
func (l *link) connect(ctx context.Context) error {
	conn, err := l.s.dial(ctx, l.node, connStream)
	if err != nil {
		return err
	}
	p := l.s.ship
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()
	p.mu.Lock()
	l.dirty, l.sent, l.acked, l.got = nil, nil, 0, 0
	for _, g := range l.logs {
		g.out.state, g.out.queued = streamOpening, false
		l.mark(g)
	}
	p.mu.Unlock()
	ended := make(chan error, 1)
	go func() { ended <- l.read(conn) }()
	err = l.write(conn, ended)
	_ = conn.Close()
	if err == nil {
		return <-ended
	}
	<-ended
	return err
}

// write sends what the streams have, many records a call. A nil error means
// that the reading side ended.
func (l *link) write(conn net.Conn, ended chan error) error {
	ping := time.NewTimer(untilBeat(linkPing))
	defer ping.Stop()
	buf := make([]byte, 0, linkGather+linkShare)
	for {
		buf = l.gather(buf[:0])
		if len(buf) == 0 {
			select {
			case <-l.ring:
				if l.unused() {
					return errUnused
				}
				continue
			case <-ping.C:
				buf = appendFrame(buf, framePing)
				ping.Reset(untilBeat(linkPing))
			case err := <-ended:
				ended <- err
				return nil
			}
		}
		_ = conn.SetWriteDeadline(time.Now().Add(linkWrite))
		if _, err := conn.Write(buf); err != nil {
			return fmt.Errorf("write log records: %w", err)
		}
		if cap(buf) > 4*linkGather {
			buf = make([]byte, 0, linkGather+linkShare)
		}
	}
}

func (l *link) unused() bool {
	l.s.ship.mu.Lock()
	defer l.s.ship.mu.Unlock()
	return len(l.logs) == 0
}

// gather frames what the streams have to send, a share of each in turn.
func (l *link) gather(buf []byte) []byte {
	p := l.s.ship
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(l.dirty) > 0 && len(buf) < linkGather {
		g := l.dirty[0]
		l.dirty[0], l.dirty = nil, l.dirty[1:]
		st := g.out
		if st.link != l { // it went elsewhere meanwhile
			continue
		}
		st.queued = false
		switch st.state {
		case streamOpening:
			st.state = streamAsked
			st.session++
			buf = appendFrame(buf, frameOpen, be64(be64(be64(be64(nil, uint64(g.tenant)), g.epoch), st.generation), st.base()))
		case streamLive:
			buf = l.gatherLog(buf, g)
		}
	}
	return buf
}

func (l *link) gatherLog(buf []byte, g *tlog) []byte {
	var hb [recordHead]byte
	st := g.out
	for end := len(buf) + linkShare; len(buf) < end; {
		o := st.at(st.next)
		if o == nil || !o.filled {
			return buf
		}
		if o.chunk != nil && o.chunkAt != l.node {
			l.sendChunkFirst(g, o)
			return buf
		}
		r := record{tenant: g.tenant, epoch: g.epoch, generation: st.generation, seq: o.seq, kind: o.kind}
		buf = appendFrame(buf, frameRecord, appendRecordHead(hb[:0], &r), o.parts[0], o.parts[1])
		l.sent = append(l.sent, inFlight{o, st.session})
		st.next++
		l.s.metrics.mirrorRecords.Inc()
		l.s.metrics.mirrorOctets.Add(float64(o.size))
	}
	l.mark(g)
	return buf
}

// read takes the holder's answers.
func (l *link) read(conn net.Conn) error {
	r := bufio.NewReader(conn)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(linkSilent))
		typ, b, err := readFrame(r, 4<<10)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("closed by the holder")
			}
			return fmt.Errorf("read from holder: %w", err)
		}
		switch {
		case typ == frameAck && len(b) == 16:
			err = l.ack(binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]))
		case typ == frameAt && len(b) == atLen:
			l.at(readAt(b))
		default:
			err = fmt.Errorf("read from holder: %w: frame %x", errCorrupt, typ)
		}
		if err != nil {
			return err
		}
	}
}

// ack notes what the holder has of this connection's records.
func (l *link) ack(got, durable uint64) error {
	p := l.s.ship
	p.mu.Lock()
	defer p.mu.Unlock()
	if !l.up {
		l.up = true
		p.lost.Well(l.node)
		p.announce()
	}
	end := l.acked + uint64(len(l.sent))
	if got > end || durable > got || got < l.got || durable < l.acked {
		return fmt.Errorf("read from holder: %w: %d received, %d durable of %d", errCorrupt, got, durable, end)
	}
	for ; l.got < got; l.got++ {
		x := l.sent[l.got-l.acked]
		if st := x.o.g.out; st.link == l && st.session == x.session && !x.o.received {
			x.o.received = true
			x.o.tell()
		}
	}
	for ; l.acked < durable; l.acked++ {
		x := l.sent[0]
		l.sent[0], l.sent = inFlight{}, l.sent[1:]
		if st := x.o.g.out; st.link == l && st.session == x.session {
			x.o.durable = true
			x.o.tell()
			p.trim(st)
		}
	}
	return nil
}

// at goes on behind what the holder has.
func (l *link) at(a atFrame) {
	p := l.s.ship
	p.mu.Lock()
	g := l.logs[a.tenant]
	if g == nil || g.epoch != a.epoch || g.out.generation != a.generation {
		p.mu.Unlock()
		return
	}
	st := g.out
	walk, again := false, false
	switch a.verdict {
	case verdictFresh, verdictKnown, verdictWhole:
		if st.state != streamAsked {
			break
		}
		if a.last > st.last || a.last+1 < st.base() {
			st.refuse(fmt.Errorf("%w: the holder is at %d, the log from %d to %d", ErrStale, a.last, st.base(), st.last))
			break
		}
		for _, o := range st.recs {
			if o.seq > a.last {
				break
			}
			o.received, o.durable = true, true
			o.tell()
		}
		p.trim(st)
		st.state, st.next = streamLive, a.last+1
		st.reason, st.brokenAt = nil, time.Time{}
		p.refused.Well(a.tenant)
		again = a.verdict != verdictFresh
		if a.verdict == verdictWhole {
			st.synced, st.left, st.walk = true, 0, st.generation
		} else if a.verdict == verdictFresh || st.walk != st.generation {
			st.synced, st.walk, walk = false, st.generation, true
		}
		l.mark(g)
	case verdictAgain: // said of all that was under way; asked again once
		if st.state == streamLive {
			l.reopen(g)
		}
	case verdictChunk:
		for _, o := range st.recs {
			o.chunkAt = ""
		}
		l.reopen(g)
	default:
		st.refuse(fmt.Errorf("%w: the holder refuses", ErrStale))
		if a.verdict == verdictBusy {
			st.reason = ErrBusy
		}
	}
	if st.state == streamRefused {
		p.refused.Bad(a.tenant, "epoch", a.epoch, "generation", a.generation, "node", l.node, "err", st.reason)
	}
	p.announce()
	p.mu.Unlock()
	if again {
		l.s.startAgain(g)
	}
	if walk {
		l.s.beginWalk(g, a.generation)
	}
}

func (st *stream) refuse(err error) {
	st.state, st.reason = streamRefused, err
	st.session++
	if st.brokenAt.IsZero() {
		st.brokenAt = time.Now()
	}
}

// ErrBusy says that a log is being copied, or not whole where it should be: it
// will do later.
var ErrBusy = errors.New("the log is busy")

// reopen asks the holder again where it is. The caller holds the ship's lock.
func (l *link) reopen(g *tlog) {
	g.out.state = streamOpening
	g.out.session++
	l.mark(g)
}
