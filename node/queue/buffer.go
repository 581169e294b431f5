package queue

import (
	"io"
	"math/bits"
	"sync"
	"sync/atomic"
)

// headroom is kept free before a body, so that the headers made at the end can
// stand in front of it without moving it.
const headroom = 2 << 10

const (
	minBufferBits = 13 // 8 KB
	maxBufferBits = 19 // 512 KB
)

// buffers pools memory for messages by size. Larger ones are left to the
// garbage collector.
type buffers struct {
	pools [maxBufferBits - minBufferBits + 1]sync.Pool
}

// buffer holds one message's bytes in b[off:]. It goes back to its pool with
// the last reference.
type buffer struct {
	b    []byte
	off  int
	refs atomic.Int32
	home *buffers
}

func (p *buffers) get(size int) *buffer {
	c := max(bits.Len(uint(size-1)), minBufferBits)
	if c > maxBufferBits {
		f := &buffer{b: make([]byte, 0, size)}
		f.refs.Store(1)
		return f
	}
	f, _ := p.pools[c-minBufferBits].Get().(*buffer)
	if f == nil {
		f = &buffer{b: make([]byte, 0, 1<<c), home: p}
	}
	f.b, f.off = f.b[:0], 0
	f.refs.Store(1)
	return f
}

func (f *buffer) retain() { f.refs.Add(1) }

func (f *buffer) release() {
	if f.refs.Add(-1) == 0 && f.home != nil {
		f.home.pools[bits.Len(uint(cap(f.b)-1))-minBufferBits].Put(f)
	}
}

func (f *buffer) bytes() []byte { return f.b[f.off:] }

// grow moves f into a buffer with room for n more octets.
func (f *buffer) grow(p *buffers, n int) *buffer {
	if cap(f.b)-len(f.b) >= n {
		return f
	}
	g := p.get(max(2*cap(f.b), len(f.b)+n))
	g.b, g.off = append(g.b, f.b...), f.off
	f.release()
	return g
}

// prepend puts p in front of the bytes.
func (f *buffer) prepend(pool *buffers, p []byte) *buffer {
	if len(p) <= f.off {
		f.off -= len(p)
		copy(f.b[f.off:], p)
		return f
	}
	g := pool.get(len(p) + len(f.bytes()))
	g.b = append(append(g.b, p...), f.bytes()...)
	f.release()
	return g
}

// memoryBody is a Body whose bytes are in memory.
type memoryBody struct {
	buf  *buffer
	b    []byte
	off  int
	done bool
}

func (m *memoryBody) Bytes() []byte { return m.b }
func (m *memoryBody) Size() int64   { return int64(len(m.b)) }

func (m *memoryBody) Read(p []byte) (int, error) {
	if m.off >= len(m.b) {
		return 0, io.EOF
	}
	n := copy(p, m.b[m.off:])
	m.off += n
	return n, nil
}

// Close ends the use of Bytes: the memory is used for another message.
func (m *memoryBody) Close() error {
	if !m.done {
		m.done, m.b = true, nil
		m.buf.release()
	}
	return nil
}
