package submission

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"time"
)

// What two nodes say to each other travels in frames: version, kind, length of
// the payload, CRC-32C over these and the payload, payload. A frame is at most
// as large as the read buffer, so it is never copied together.
const (
	frameVersion = 1
	frameHead    = 10
	maxFrame     = readSmall
	maxPiece     = maxFrame - frameHead // octets of a message in one frame
	maxWords     = 4 << 10              // payload of every other kind
)

// kind of a frame.
type kind uint8

const (
	kindBegin  kind = iota + 1 // MAIL
	kindRcpt                   // RCPT
	kindPiece                  // octets of the message
	kindCheck                  // is the message still wanted? (between chunks)
	kindEnd                    // the message is complete
	kindReset                  // it is not wanted any more; no answer
	kindAsk                    // what became of a transaction?
	kindAnswer                 // the owner's word to any of these
	kindLast   = kindAnswer
)

// maxPayload bounds a frame by its kind.
func (k kind) maxPayload() int {
	switch k {
	case kindPiece:
		return maxPiece
	case kindCheck, kindEnd, kindReset:
		return 0
	}
	return maxWords
}

var errFrame = errors.New("read frame: not one of this protocol")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendFrame adds a whole frame to out.
func appendFrame(out []byte, k kind, payload []byte) []byte {
	return append(appendFrameHead(out, k, payload), payload...)
}

// appendFrameHead adds what stands before the payload.
func appendFrameHead(out []byte, k kind, payload []byte) []byte {
	at := len(out)
	out = append(out, frameVersion, byte(k))
	out = binary.BigEndian.AppendUint32(out, uint32(len(payload)))
	sum := crc32.Update(crc32.Checksum(out[at:], castagnoli), castagnoli, payload)
	return binary.BigEndian.AppendUint32(out, sum)
}

// cutFrame takes the first frame off in; n is 0 when it is not all there yet.
func cutFrame(in []byte) (k kind, payload []byte, n int, err error) {
	if len(in) >= 2 && (in[0] != frameVersion || in[1] == 0 || kind(in[1]) > kindLast) {
		return 0, nil, 0, errFrame
	}
	if len(in) < frameHead {
		return 0, nil, 0, nil
	}
	k = kind(in[1])
	size := binary.BigEndian.Uint32(in[2:])
	if uint64(size) > uint64(k.maxPayload()) {
		return 0, nil, 0, errFrame
	}
	n = frameHead + int(size)
	if len(in) < n {
		return 0, nil, 0, nil
	}
	payload = in[frameHead:n]
	sum := crc32.Update(crc32.Checksum(in[:6], castagnoli), castagnoli, payload)
	if sum != binary.BigEndian.Uint32(in[6:]) {
		return 0, nil, 0, errFrame
	}
	return k, payload, n, nil
}

// frames reads them off a connection; a payload is valid until the next.
type frames struct {
	conn net.Conn
	buf  []byte
	r, e int
}

// next waits for a frame. Before each read it asks for the deadline.
func (f *frames) next(size int, arm func() error) (kind, []byte, error) {
	for {
		k, p, n, err := cutFrame(f.buf[f.r:f.e])
		if err != nil {
			return 0, nil, err
		}
		if n > 0 {
			f.r += n
			return k, p, nil
		}
		if f.buf == nil {
			f.buf = make([]byte, size)
		}
		if f.r > 0 {
			f.e = copy(f.buf, f.buf[f.r:f.e])
			f.r = 0
		}
		if f.e == len(f.buf) {
			return 0, nil, errFrame
		}
		if err := arm(); err != nil {
			return 0, nil, err
		}
		got, err := f.conn.Read(f.buf[f.e:])
		f.e += got
		if got == 0 && err != nil {
			return 0, nil, fmt.Errorf("read frame: %w", err)
		}
	}
}

// peerWrite bounds one write to a node that does not read.
const peerWrite = 30 * time.Second

// writeAll sends what out holds and empties it.
func writeAll(c net.Conn, out *[]byte) error {
	if len(*out) == 0 {
		return nil
	}
	_ = c.SetWriteDeadline(time.Now().Add(peerWrite))
	_, err := c.Write(*out)
	*out = (*out)[:0]
	if err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	return nil
}

// pack and unpack are the fields of a payload.
type pack []byte

func (p *pack) u8(v uint8)   { *p = append(*p, v) }
func (p *pack) u16(v uint16) { *p = binary.BigEndian.AppendUint16(*p, v) }
func (p *pack) u32(v uint32) { *p = binary.BigEndian.AppendUint32(*p, v) }
func (p *pack) u64(v uint64) { *p = binary.BigEndian.AppendUint64(*p, v) }

func (p *pack) text(s string) {
	p.u16(uint16(len(s)))
	*p = append(*p, s...)
}

// unpack fails once and for all at the first field that is not there.
type unpack struct {
	rest []byte
	bad  bool
}

var zeros [16]byte

func (u *unpack) take(n int) []byte {
	if n > len(u.rest) {
		u.bad, u.rest = true, nil
		return zeros[:min(n, len(zeros))]
	}
	v := u.rest[:n]
	u.rest = u.rest[n:]
	return v
}

func (u *unpack) u8() uint8   { return u.take(1)[0] }
func (u *unpack) u16() uint16 { return binary.BigEndian.Uint16(u.take(2)) }
func (u *unpack) u32() uint32 { return binary.BigEndian.Uint32(u.take(4)) }
func (u *unpack) u64() uint64 { return binary.BigEndian.Uint64(u.take(8)) }

func (u *unpack) id() (id [16]byte) {
	copy(id[:], u.take(len(id)))
	return id
}

// text reads at most max octets in which nothing can break a line.
func (u *unpack) text(max int) string {
	n := int(u.u16())
	if u.bad || n > max {
		u.bad, u.rest = true, nil
		return ""
	}
	s := string(u.take(n))
	if u.bad || !printable(s) {
		u.bad = true
		return ""
	}
	return s
}

// done reports whether everything was there, and nothing else.
func (u *unpack) done() bool { return !u.bad && len(u.rest) == 0 }
