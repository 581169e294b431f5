package queue

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"net"
	"time"

	"postern/tenant"
)

const (
	maxChunk    = 1 << 30
	chunkQuiet  = 30 * time.Second
	partSuffix  = ".part"
	chunkAnswer = 1
)

// sendChunk brings a chunk file to a node; nil says that it is durable there.
func (s *Store) sendChunk(ctx context.Context, node string, t tenant.ID, name chunkName) error {
	f, err := s.fs.Open(s.fs.PathJoin(s.chunks, name.file()))
	if err != nil {
		return fmt.Errorf("open chunk file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("size chunk file: %w", err)
	}
	conn, err := s.dial(ctx, node, connChunk)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	buf := s.pool.get(chunkBuffer)
	defer buf.release()
	w := &deadlined{conn}
	crc, left := uint32(0), info.Size()
	if _, err := w.Write(appendFrame(nil, frameMore, be64(be64(name[:], uint64(left)), uint64(t)))); err != nil {
		return fmt.Errorf("send chunk: %w", err)
	}
	r := bufio.NewReader(conn)
	_ = conn.SetReadDeadline(time.Now().Add(chunkQuiet))
	if have, err := readChunkAnswer(r); err != nil || have {
		return err
	}
	for left > 0 {
		b := buf.b[:min(left, chunkBuffer)]
		n, err := io.ReadFull(f, b)
		if err != nil {
			return fmt.Errorf("read chunk file: %w", err)
		}
		crc = crc32.Update(crc, castagnoli, b[:n])
		if _, err := w.Write(b[:n]); err != nil {
			return fmt.Errorf("send chunk: %w", err)
		}
		left -= int64(n)
	}
	if _, err := w.Write(be32(nil, crc)); err != nil {
		return fmt.Errorf("send chunk: %w", err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(chunkQuiet))
	if have, err := readChunkAnswer(r); err != nil || !have {
		return errors.Join(err, errors.New("send chunk: not taken"))
	}
	return nil
}

// readChunkAnswer reads whether the other side has the file.
func readChunkAnswer(r *bufio.Reader) (have bool, err error) {
	typ, b, err := readFrame(r, chunkAnswer)
	if err != nil {
		return false, fmt.Errorf("read chunk answer: %w", err)
	}
	if typ != frameMore || len(b) != chunkAnswer {
		return false, fmt.Errorf("read chunk answer: %w", errCorrupt)
	}
	return b[0] == 1, nil
}

// deadlined gives each write its time.
type deadlined struct{ net.Conn }

func (d *deadlined) Write(b []byte) (int, error) {
	_ = d.SetWriteDeadline(time.Now().Add(chunkQuiet))
	return d.Conn.Write(b)
}

func (d *deadlined) Read(b []byte) (int, error) {
	_ = d.SetReadDeadline(time.Now().Add(chunkQuiet))
	return d.Conn.Read(b)
}

// chunk takes one big body. It has its name only when it is whole and durable.
func (h *holder) chunk(conn net.Conn, r *bufio.Reader) error {
	s := h.s
	w := &deadlined{conn}
	_ = conn.SetReadDeadline(time.Now().Add(chunkQuiet))
	_, b, err := readFrame(r, 64)
	if err != nil || len(b) != 32 {
		return errors.Join(err, fmt.Errorf("receive chunk: %w", errCorrupt))
	}
	name, size := chunkName(b[:16]), binary.BigEndian.Uint64(b[16:])
	if size > maxChunk {
		return fmt.Errorf("receive chunk: %w: %d octets", errCorrupt, size)
	}
	if err := s.Full(); err != nil {
		return err
	}
	have, err := h.hasChunk(name)
	if err != nil {
		return err
	}
	if have {
		_, err := w.Write(appendFrame(nil, frameMore, []byte{1}))
		return err
	}
	if _, err := w.Write(appendFrame(nil, frameMore, []byte{0})); err != nil {
		return err
	}
	c, err := s.newPart()
	if err != nil {
		return err
	}
	if err := c.receive(&deadlinedReader{conn, r}, int64(size)); err != nil {
		c.discardPart()
		return err
	}
	if err := c.finishAs(name); err != nil {
		return err
	}
	_, err = w.Write(appendFrame(nil, frameMore, []byte{1}))
	return err
}

// deadlinedReader reads what was buffered of a connection, and the rest, with a
// deadline each time.
type deadlinedReader struct {
	conn net.Conn
	r    *bufio.Reader
}

func (d *deadlinedReader) Read(b []byte) (int, error) {
	_ = d.conn.SetReadDeadline(time.Now().Add(chunkQuiet))
	return d.r.Read(b)
}

// hasChunk says whether a whole chunk file of that name is here.
func (h *holder) hasChunk(n chunkName) (bool, error) {
	_, err := h.s.fs.Stat(h.s.fs.PathJoin(h.s.chunks, n.file()))
	if err == nil {
		return true, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return false, fmt.Errorf("look up chunk file: %w", err)
}

// newPart begins a chunk file under a name that nothing refers to.
func (s *Store) newPart() (*chunkWriter, error) {
	c, err := s.newChunk()
	if err != nil {
		return nil, err
	}
	part := c.path + partSuffix
	if err := s.fs.Rename(c.path, part); err != nil {
		c.discard()
		return nil, fmt.Errorf("name part file: %w", err)
	}
	c.path = part
	return c, nil
}

func (c *chunkWriter) receive(r io.Reader, size int64) error {
	buf := c.s.pool.get(chunkBuffer)
	defer buf.release()
	crc := uint32(0)
	for left := size; left > 0; {
		n, err := r.Read(buf.b[:min(left, chunkBuffer)])
		if err != nil {
			return fmt.Errorf("receive chunk: %w", err)
		}
		crc = crc32.Update(crc, castagnoli, buf.b[:n])
		if err := c.write(buf.b[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	var want [4]byte
	if _, err := io.ReadFull(r, want[:]); err != nil {
		return fmt.Errorf("receive chunk: %w", err)
	}
	if binary.BigEndian.Uint32(want[:]) != crc {
		return fmt.Errorf("receive chunk: %w: checksum", errCorrupt)
	}
	return nil
}

func (c *chunkWriter) discardPart() {
	if c.file != nil {
		_ = c.file.Close()
	}
	if c.buf != nil {
		c.buf.release()
		c.buf = nil
	}
	_ = c.s.fs.Remove(c.path)
}

// finishAs makes the file durable under its name.
func (c *chunkWriter) finishAs(name chunkName) error {
	if err := c.finish(); err != nil {
		return err
	}
	if err := c.s.fs.Rename(c.path, c.s.fs.PathJoin(c.s.chunks, name.file())); err != nil {
		return fmt.Errorf("name chunk file: %w", err)
	}
	if err := c.s.syncDir(c.s.chunks); err != nil {
		c.s.fail(err)
		return err
	}
	return nil
}

// sendChunkFirst brings a record's chunk file to the link's node; the log's
// stream waits meanwhile. The caller holds the ship's lock.
func (l *link) sendChunkFirst(g *tlog, o *outgoing) {
	p := l.s.ship
	st, session := g.out, g.out.session
	if o.chunkBusy {
		return
	}
	o.chunkBusy = true
	name := *o.chunk
	p.all.Go(func() {
		err := l.s.sendChunk(p.ctx, l.node, g.tenant, name)
		if err != nil {
			l.s.cfg.Log.Warn("chunk not sent", "node", l.node, "err", err)
			select { // the next try comes with the next connection, or after a rest
			case <-time.After(linkRest):
			case <-p.ctx.Done():
			}
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		o.chunkBusy = false
		if err == nil {
			o.chunkAt = l.node
		}
		if st.link != nil && (st.session == session || st.state == streamLive) {
			st.link.mark(g)
		}
	})
}
