package queue

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"golang.org/x/net/idna"

	"postern/tenant"
)

// Bounds of what one message may carry; beyond them Put refuses. They are far
// above what submission lets through and keep every key and record small.
const (
	maxRcpts   = 1000
	maxAddress = 1024
	maxField   = 4096
)

// A body lies in one of three places.
const (
	bodyInline byte = iota + 1 // behind the head in the message record
	bodyApart                  // in a record of its own, so that listing does not read it
	bodyChunk                  // in a file
)

// inlineWithHead is the largest body kept in the message record itself.
const inlineWithHead = 16 << 10

type chunkName [16]byte

// head is the fixed part of a message record.
type head struct {
	env     *Envelope
	due0    int64    // when its items first fell due
	domains []string // of its items, by N
	of      []uint16 // item of each recipient
	place   byte
	prefix  int // octets of the body made here
	chunk   chunkName
	crc     uint32 // crc32c of the chunk file
}

// rcptsOf lists the recipients of item n.
func (h *head) rcptsOf(n uint16) []int {
	var rs []int
	for i, o := range h.of {
		if o == n {
			rs = append(rs, i)
		}
	}
	return rs
}

// split deals the recipients out to items, one for each recipient domain.
func (h *head) split() error {
	h.of = make([]uint16, len(h.env.Rcpts))
	for i, r := range h.env.Rcpts {
		d, err := laneDomain(r.Addr)
		if err != nil {
			return err
		}
		n := -1
		for j, have := range h.domains {
			if have == d {
				n = j
				break
			}
		}
		if n < 0 {
			n = len(h.domains)
			h.domains = append(h.domains, d)
		}
		h.of[i] = uint16(n)
	}
	return nil
}

// laneDomain is the recipient domain as a lane names it.
func laneDomain(addr string) (string, error) {
	at := strings.LastIndexByte(addr, '@')
	if at < 0 || at == len(addr)-1 {
		return "", fmt.Errorf("read recipient: no domain in address")
	}
	d := strings.ToLower(addr[at+1:])
	for i := 0; i < len(d); i++ {
		if d[i] >= 0x80 {
			if a, err := idna.Lookup.ToASCII(d); err == nil {
				d = a
			}
			break
		}
	}
	d = strings.TrimSuffix(d, ".")
	if d == "" || len(d) > 255 || strings.IndexByte(d, 0) >= 0 {
		return "", fmt.Errorf("read recipient: bad domain")
	}
	return d, nil
}

// checkEnvelope refuses what the records are not made for.
func checkEnvelope(e *Envelope) error {
	switch {
	case len(e.Rcpts) == 0:
		return fmt.Errorf("check envelope: no recipients")
	case len(e.Rcpts) > maxRcpts:
		return fmt.Errorf("check envelope: %d recipients, at most %d", len(e.Rcpts), maxRcpts)
	case len(e.From) > maxAddress:
		return fmt.Errorf("check envelope: reverse-path of %d octets", len(e.From))
	case len(e.EnvID) > maxField || len(e.MessageID) > maxField || len(e.Ret) > 16:
		return fmt.Errorf("check envelope: field too long")
	}
	for _, r := range e.Rcpts {
		if len(r.Addr) > maxAddress || len(r.ORcpt) > maxField {
			return fmt.Errorf("check envelope: recipient of %d octets", len(r.Addr))
		}
	}
	return nil
}

const (
	flagEightBit = 1 << iota
	flagUTF8
	flagRemote
)

func (h *head) append(b []byte) []byte {
	b = appendEnvelope(b, h.env)
	b = binary.AppendVarint(b, h.due0)
	b = binary.AppendUvarint(b, uint64(len(h.domains)))
	for _, d := range h.domains {
		b = putString(b, d)
	}
	for _, n := range h.of {
		b = binary.AppendUvarint(b, uint64(n))
	}
	b = binary.AppendUvarint(append(b, h.place), uint64(h.prefix))
	if h.place == bodyChunk {
		b = be32(append(b, h.chunk[:]...), h.crc)
	}
	return b
}

func appendEnvelope(b []byte, e *Envelope) []byte {
	b = binary.AppendUvarint(b, uint64(e.Account))
	var flags byte
	if e.EightBit {
		flags |= flagEightBit
	}
	if e.UTF8 {
		flags |= flagUTF8
	}
	if e.Remote {
		flags |= flagRemote
	}
	b = append(b, byte(e.Class), byte(e.Kind), flags)
	b = putString(b, e.From)
	b = putTime(putTime(b, e.Arrived), e.Expires)
	b = binary.AppendVarint(b, e.Size)
	b = putString(putString(putString(b, e.Ret), e.EnvID), e.MessageID)
	b = append(b, e.Transaction[:]...)
	b = binary.AppendUvarint(b, uint64(len(e.Rcpts)))
	for _, r := range e.Rcpts {
		b = putString(append(putString(b, r.Addr), byte(r.Notify)), r.ORcpt)
	}
	return b
}

func readEnvelope(r *reader) *Envelope {
	e := &Envelope{Account: tenant.AccountID(r.uint())}
	e.Class, e.Kind = tenant.Class(r.byte()), Kind(r.byte())
	flags := r.byte()
	e.EightBit, e.UTF8, e.Remote = flags&flagEightBit != 0, flags&flagUTF8 != 0, flags&flagRemote != 0
	e.From = r.string()
	e.Arrived, e.Expires = r.time(), r.time()
	e.Size = r.int()
	e.Ret, e.EnvID, e.MessageID = r.string(), r.string(), r.string()
	copy(e.Transaction[:], r.bytes(len(e.Transaction)))
	n := r.count()
	if n > maxRcpts {
		r.fail()
		return e
	}
	e.Rcpts = make([]Rcpt, n)
	for i := range e.Rcpts {
		e.Rcpts[i] = Rcpt{Addr: r.string(), Notify: Notify(r.byte()), ORcpt: r.string()}
	}
	return e
}

func readHead(b []byte) (*head, error) {
	r := &reader{b: b}
	h := &head{env: readEnvelope(r), due0: r.int()}
	n := r.count()
	if n > len(h.env.Rcpts) {
		r.fail()
	}
	for i := 0; i < n && !r.bad; i++ {
		h.domains = append(h.domains, r.string())
	}
	h.of = make([]uint16, len(h.env.Rcpts))
	for i := range h.of {
		v := r.uint()
		if v >= uint64(len(h.domains)) {
			r.fail()
			break
		}
		h.of[i] = uint16(v)
	}
	h.place = r.byte()
	if p := r.uint(); p <= math.MaxInt32 {
		h.prefix = int(p)
	} else {
		r.fail()
	}
	switch h.place {
	case bodyChunk:
		copy(h.chunk[:], r.bytes(len(h.chunk)))
		if c := r.bytes(4); c != nil {
			h.crc = binary.BigEndian.Uint32(c)
		}
	case bodyInline, bodyApart:
	default:
		r.fail()
	}
	return h, r.done("message")
}

// A message record's payload is: length of the head (4), head, inline body.
func splitMessage(payload []byte) (h *head, body []byte, err error) {
	if len(payload) < 4 {
		return nil, nil, fmt.Errorf("read message: %w: %d octets", errCorrupt, len(payload))
	}
	n := binary.BigEndian.Uint32(payload)
	if uint64(n) > uint64(len(payload)-4) {
		return nil, nil, fmt.Errorf("read message: %w: head of %d octets", errCorrupt, n)
	}
	if h, err = readHead(payload[4 : 4+n]); err != nil {
		return nil, nil, err
	}
	return h, payload[4+n:], nil
}
