package tenant

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"time"
)

// coder writes or reads the canonical form. One function a type does both, so
// the two directions cannot differ. In reading it never trusts a length: a list
// is no longer than the bytes that are left.
type coder struct {
	reading bool
	wrapped wrapping
	first   bool // in the form of version 1, from before there were clusters
	in      []byte
	out     []byte
	err     error
}

var (
	errShort   = errors.New("input ends early")
	errBounds  = errors.New("value out of bounds")
	errCanon   = errors.New("not in canonical form")
	errFrame   = errors.New("broken frame")
	errVersion = errors.New("unknown version")
)

func (c *coder) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.in = nil
}

func (c *coder) uint(p *uint64) {
	if !c.reading {
		c.out = binary.AppendUvarint(c.out, *p)
		return
	}
	v, n := binary.Uvarint(c.in)
	if n <= 0 {
		c.fail(errShort)
		*p = 0
		return
	}
	c.in = c.in[n:]
	*p = v
}

// number codes any unsigned number or id.
func number[T ~uint64 | ~uint32 | ~uint16 | ~uint8](c *coder, p *T) {
	v := uint64(*p)
	c.uint(&v)
	if c.reading {
		*p = T(v)
		if uint64(*p) != v {
			c.fail(errBounds)
		}
	}
}

// size codes a number that must not be negative.
func size[T ~int | ~int64](c *coder, p *T) {
	if !c.reading && *p < 0 {
		c.fail(errBounds)
		return
	}
	v := uint64(*p)
	c.uint(&v)
	if c.reading {
		if v > 1<<62 {
			c.fail(errBounds)
			v = 0
		}
		*p = T(v)
	}
}

func (c *coder) bool(p *bool) {
	var v uint64
	if *p {
		v = 1
	}
	c.uint(&v)
	if c.reading {
		if v > 1 {
			c.fail(errBounds)
		}
		*p = v == 1
	}
}

// raw codes bytes of a fixed length in place.
func (c *coder) raw(p []byte) {
	if !c.reading {
		c.out = append(c.out, p...)
		return
	}
	if len(c.in) < len(p) {
		c.fail(errShort)
		return
	}
	copy(p, c.in)
	c.in = c.in[len(p):]
}

// take reads a counted run of bytes; it is not copied.
func (c *coder) take(most int) []byte {
	var n uint64
	c.uint(&n)
	if n > uint64(most) {
		c.fail(errBounds)
		return nil
	}
	if n > uint64(len(c.in)) {
		c.fail(errShort)
		return nil
	}
	b := c.in[:n]
	c.in = c.in[n:]
	return b
}

func (c *coder) str(p *string, most int) {
	if c.reading {
		*p = string(c.take(most))
		return
	}
	if len(*p) > most {
		c.fail(errBounds)
		return
	}
	c.out = binary.AppendUvarint(c.out, uint64(len(*p)))
	c.out = append(c.out, *p...)
}

func (c *coder) bytes(p *[]byte, most int) {
	if c.reading {
		*p = nil
		if b := c.take(most); len(b) > 0 {
			*p = append([]byte(nil), b...)
		}
		return
	}
	if len(*p) > most {
		c.fail(errBounds)
		return
	}
	c.out = binary.AppendUvarint(c.out, uint64(len(*p)))
	c.out = append(c.out, *p...)
}

// list codes a slice whose elements take at least one byte each.
func list[T any](c *coder, p *[]T, most int, elem func(*coder, *T)) {
	n := uint64(len(*p))
	if !c.reading && len(*p) > most {
		c.fail(errBounds)
		return
	}
	c.uint(&n)
	if !c.reading {
		for i := range *p {
			elem(c, &(*p)[i])
		}
		return
	}
	*p = nil
	if n > uint64(most) || n > uint64(len(c.in)) {
		c.fail(errBounds)
		return
	}
	for range n {
		var v T
		elem(c, &v)
		if c.err != nil {
			*p = nil
			return
		}
		*p = append(*p, v)
	}
}

// option codes a value that may be missing.
func option[T any](c *coder, p **T, elem func(*coder, *T)) {
	set := *p != nil
	c.bool(&set)
	if !set || c.err != nil {
		return
	}
	if c.reading {
		*p = new(T)
	}
	elem(c, *p)
}

// maxNano ends the years in which the state's clock may run; it keeps sums of
// times far from overflow.
const maxNano = 7258118400 * int64(time.Second) // 2200-01-01

// inRange reports whether t can be stored.
func inRange(t time.Time) bool {
	return t.Unix() >= 0 && t.Unix() < maxNano/int64(time.Second)
}

// time codes the zero time as 0 and others as nanoseconds since 1970 plus one.
func (c *coder) time(p *time.Time) {
	var v uint64
	if !c.reading && !p.IsZero() {
		if !inRange(*p) {
			c.fail(errBounds)
			return
		}
		v = uint64(p.UnixNano()) + 1
	}
	c.uint(&v)
	if !c.reading {
		return
	}
	*p = time.Time{}
	if v > uint64(maxNano) {
		c.fail(errBounds)
	} else if v > 0 {
		*p = time.Unix(0, int64(v-1)).UTC()
	}
}

// addr codes an address without a zone; the invalid one is empty.
func (c *coder) addr(p *netip.Addr) {
	if !c.reading {
		if p.Zone() != "" {
			c.fail(errBounds)
			return
		}
		b := p.AsSlice()
		c.bytes(&b, 16)
		return
	}
	b := c.take(16)
	*p = netip.Addr{}
	if len(b) > 0 {
		a, ok := netip.AddrFromSlice(b)
		if !ok {
			c.fail(errBounds)
		}
		*p = a
	}
}

func (c *coder) prefix(p *netip.Prefix) {
	if !c.reading && !p.IsValid() {
		c.fail(errBounds)
		return
	}
	a, n := p.Addr(), uint64(0)
	if !c.reading {
		n = uint64(p.Bits())
	}
	c.addr(&a)
	c.uint(&n)
	if c.reading {
		*p = netip.Prefix{}
		if n > 128 || !a.IsValid() {
			c.fail(errBounds)
		} else if *p = netip.PrefixFrom(a, int(n)); !p.IsValid() {
			c.fail(errBounds)
		}
	}
}

// frameLen is what a frame adds: version, length of the body, CRC-32C of all.
const frameLen = 1 + 4 + 4

func frame(version byte, body []byte) []byte {
	b := make([]byte, 0, len(body)+frameLen)
	b = append(b, version)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, body...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// unframe gives the body of a frame of any version up to the newest.
func unframe(newest byte, b []byte, most int) (body []byte, version byte, err error) {
	if len(b) < frameLen {
		return nil, 0, errShort
	}
	if b[0] < firstVersion || b[0] > newest {
		return nil, 0, fmt.Errorf("%w %d", errVersion, b[0])
	}
	n := binary.BigEndian.Uint32(b[1:])
	if uint64(n) > uint64(most) || uint64(n) != uint64(len(b)-frameLen) {
		return nil, 0, fmt.Errorf("%w: length %d", errFrame, n)
	}
	end := len(b) - 4
	if crc32.Checksum(b[:end], crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(b[end:]) {
		return nil, 0, fmt.Errorf("%w: checksum", errFrame)
	}
	return b[5:end], b[0], nil
}
