package queue

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"sync"
	"time"

	"postern/tenant"
)

const (
	gatherOctets  = 768 << 10 // of one batch at the holder: pebble keeps the memory of batches up to 1 MB
	gatherRecords = 512
	waitingOctets = 16 << 20 // arrived and not applied, of one connection
)

// arrival is a frame that waits for the holder's next batch.
type arrival struct {
	buf   *buffer
	rec   record
	open  *atFrame // else a record
	first uint64
}

// holding is one connection that writes logs here.
type holding struct {
	h    *holder
	node string
	conn net.Conn

	mu       sync.Mutex // guards what follows
	queue    []*arrival
	octets   int
	received uint64        // records of this connection read
	durable  uint64        // and durable
	said     []byte        // frames to be written before the next ack
	ack      bool          // an ack is due
	work     chan struct{} // something for the batches
	room     chan struct{} // the queue has room again
	out      chan struct{} // something to write
}

// stream serves one connection: this goroutine reads, one makes batches, one
// answers.
func (h *holder) stream(ctx context.Context, node string, conn net.Conn, r *bufio.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	c := &holding{h: h, node: node, conn: conn,
		work: make(chan struct{}, 1), room: make(chan struct{}, 1), out: make(chan struct{}, 1)}
	var all sync.WaitGroup
	errs := make(chan error, 2)
	all.Go(func() { errs <- c.makeBatches(ctx); _ = conn.Close(); cancel() })
	all.Go(func() { errs <- c.answer(ctx); _ = conn.Close(); cancel() })
	err := c.read(ctx, r)
	cancel()
	_ = conn.Close()
	all.Wait()
	h.leave(c)
	for range 2 {
		if e := <-errs; e != nil {
			return e
		}
	}
	return err
}

// leave ends what a connection may write.
func (h *holder) leave(c *holding) {
	h.mu.Lock()
	for _, l := range h.logs {
		if l.conn == c {
			l.conn = nil
		}
	}
	h.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.queue {
		a.release()
	}
	c.queue = nil
}

func (a *arrival) release() {
	if a.buf != nil {
		a.buf.release()
	}
}

// alone says that a batch is made of this arrival only. A step of the walk reads
// what is there, so all before it must be.
func (a *arrival) alone() bool { return a.open != nil || a.rec.kind == recSync }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (c *holding) read(ctx context.Context, r *bufio.Reader) error {
	for {
		_ = c.conn.SetReadDeadline(time.Now().Add(2 * linkSilent))
		typ, buf, err := c.h.s.readFrame(r)
		if err != nil {
			if err == io.EOF || ctx.Err() != nil {
				return io.EOF
			}
			return fmt.Errorf("read log: %w", err)
		}
		a, err := c.parse(typ, buf)
		if err != nil {
			buf.release()
			return err
		}
		if a == nil {
			buf.release()
			continue
		}
		if err := c.push(ctx, a); err != nil {
			return err
		}
	}
}

// parse reads what arrived; nil when there is nothing to do for the batches.
func (c *holding) parse(typ byte, buf *buffer) (*arrival, error) {
	b := buf.bytes()
	switch {
	case typ == framePing && len(b) == 0:
		c.mu.Lock()
		c.ack = true
		c.mu.Unlock()
		signal(c.out)
		return nil, nil
	case typ == frameOpen && len(b) == 32:
		return &arrival{buf: buf, first: binary.BigEndian.Uint64(b[24:]), open: &atFrame{
			tenant: tenant.ID(binary.BigEndian.Uint64(b)), epoch: binary.BigEndian.Uint64(b[8:]), generation: binary.BigEndian.Uint64(b[16:])}}, nil
	case typ == frameRecord:
		r, err := readRecord(b)
		if err != nil {
			return nil, err
		}
		if r.kind == recStart {
			if err := c.h.start(c, &r); err != nil {
				return nil, err
			}
		}
		return &arrival{buf: buf, rec: r}, nil
	}
	return nil, fmt.Errorf("read log: %w: frame %x of %d octets", errCorrupt, typ, len(b))
}

// push hands a frame to the batches, and waits while too much is waiting.
func (c *holding) push(ctx context.Context, a *arrival) error {
	c.mu.Lock()
	for c.octets > waitingOctets {
		c.mu.Unlock()
		select {
		case <-c.room:
		case <-ctx.Done():
			a.release()
			return io.EOF
		}
		c.mu.Lock()
	}
	c.queue = append(c.queue, a)
	c.octets += len(a.rec.payload) + 256
	if a.open == nil {
		c.received++
		if a.rec.kind == recStart {
			c.ack = true
			signal(c.out)
		}
	}
	c.mu.Unlock()
	signal(c.work)
	return nil
}

// take removes what the next batch is made of: records, or one open.
func (c *holding) take() (as []*arrival) {
	c.mu.Lock()
	defer c.mu.Unlock()
	octets := 0
	for _, a := range c.queue {
		if len(as) > 0 && (a.alone() || as[0].alone() || octets > gatherOctets || len(as) == gatherRecords) {
			break
		}
		as = append(as, a)
		octets += len(a.rec.payload)
		c.octets -= len(a.rec.payload) + 256
	}
	clear(c.queue[:len(as)])
	if c.queue = c.queue[len(as):]; len(c.queue) == 0 {
		c.queue = nil
	}
	signal(c.room)
	return as
}

func (c *holding) makeBatches(ctx context.Context) error {
	for {
		as := c.take()
		if len(as) == 0 {
			select {
			case <-c.work:
				continue
			case <-ctx.Done():
				return nil
			}
		}
		err := c.batch(as)
		for _, a := range as {
			a.release()
		}
		if err != nil {
			return err
		}
	}
}

func (c *holding) batch(as []*arrival) error {
	if as[0].open != nil {
		at, err := c.h.open(c, *as[0].open, as[0].first)
		if err != nil {
			return err
		}
		c.say(&at, 0)
		return nil
	}
	if err := c.h.apply(c, as); err != nil {
		return err
	}
	c.say(nil, uint64(len(as)))
	return nil
}

// say answers with a word on a log, and counts records that are durable now.
func (c *holding) say(a *atFrame, durable uint64) {
	c.mu.Lock()
	if a != nil {
		var b [atLen]byte
		c.said = appendFrame(c.said, frameAt, a.append(b[:0]))
	}
	c.durable += durable
	c.ack = true
	c.mu.Unlock()
	signal(c.out)
}

// refuse tells the sender that a record is not taken, once a log.
func (c *holding) refuse(r *record, v verdict) {
	c.say(&atFrame{tenant: r.tenant, epoch: r.epoch, generation: r.generation, verdict: v}, 0)
}

// answer writes what there is to say.
func (c *holding) answer(ctx context.Context) error {
	for {
		select {
		case <-c.out:
		case <-ctx.Done():
			return nil
		}
		c.mu.Lock()
		b := c.said
		c.said = nil
		if c.ack {
			var v [16]byte
			binary.BigEndian.PutUint64(v[:], c.received)
			binary.BigEndian.PutUint64(v[8:], c.durable)
			b = appendFrame(b, frameAck, v[:])
			c.ack = false
		}
		c.mu.Unlock()
		if len(b) == 0 {
			continue
		}
		_ = c.conn.SetWriteDeadline(time.Now().Add(linkWrite))
		if _, err := c.conn.Write(b); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("answer owner: %w", err)
		}
	}
}

// readFrame is readFrame into pooled memory.
func (s *Store) readFrame(r *bufio.Reader) (typ byte, buf *buffer, err error) {
	head, err := r.Peek(frameHead)
	if err != nil {
		if len(head) > 0 && err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	n := int64(binary.BigEndian.Uint32(head[1:]))
	if n+frameOverhead > 1<<maxBufferBits { // rare: a large message
		typ, b, err := readFrame(r, maxFrame)
		if err != nil {
			return 0, nil, err
		}
		buf = &buffer{b: b}
		buf.refs.Store(1)
		return typ, buf, nil
	}
	buf = s.pool.get(int(n) + frameOverhead)
	b := buf.b[:n+frameOverhead]
	if _, err := io.ReadFull(r, b); err != nil {
		buf.release()
		return 0, nil, err
	}
	end := len(b) - 4
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		buf.release()
		return 0, nil, fmt.Errorf("read frame: %w: checksum", errCorrupt)
	}
	buf.b, buf.off = b[:end], frameHead
	return b[0], buf, nil
}
