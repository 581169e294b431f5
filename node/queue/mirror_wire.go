package queue

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2"

	"postern/tenant"
)

// recKind is what a record of a tenant's log is.
type recKind byte

// Kinds of records. The numbers are on the wire.
const (
	recPut      recKind = iota + 1 // operations of a new message
	recStart                       // a start record, as in a start file
	recSettle                      // operations of a settlement
	recOps                         // other operations; none at all where a number stayed unused
	recSync                        // a step of making an older part equal
	recWithdraw                    // operations that take a message back
)

// record is one entry of a tenant's log on its way to the holder.
type record struct {
	tenant     tenant.ID
	epoch      uint64
	generation uint64
	seq        uint64
	kind       recKind
	payload    []byte
}

// A frame is: type (1), length of the payload (4), payload, crc32c of all
// before it (4). Numbers are big-endian.
const (
	frameHead     = 1 + 4
	frameOverhead = frameHead + 4
	recordHead    = 4*8 + 1
	maxFrame      = 10 << 20
)

// Frame types of a stream. The numbers are on the wire.
const (
	frameOpen    byte = 0x01 // owner: tenant, epoch, generation, first
	frameRecord  byte = 0x02 // owner: a record
	framePing    byte = 0x03 // owner: nothing; answered by an ack
	frameAck     byte = 0x11 // holder: records received, records durable
	frameAt      byte = 0x12 // holder: tenant, epoch, generation, verdict, last
	frameMore    byte = 0x21 // calls: one part
	frameEnd     byte = 0x22 // calls: no more parts
	frameRefused byte = 0x23 // calls: the other end's error
)

// appendFrame frames a payload given in parts.
func appendFrame(b []byte, typ byte, parts ...[]byte) []byte {
	at := len(b)
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b = be32(append(b, typ), uint32(n))
	for _, p := range parts {
		b = append(b, p...)
	}
	return be32(b, crc32.Checksum(b[at:], castagnoli))
}

// appendRecordHead writes what stands before a record's payload in its frame.
func appendRecordHead(b []byte, r *record) []byte {
	b = be64(be64(be64(be64(b, uint64(r.tenant)), r.epoch), r.generation), r.seq)
	return append(b, byte(r.kind))
}

// readRecord takes a record's frame apart; the payload points into b.
func readRecord(b []byte) (record, error) {
	if len(b) < recordHead {
		return record{}, fmt.Errorf("read log record: %w: %d octets", errCorrupt, len(b))
	}
	r := record{
		tenant:     tenant.ID(binary.BigEndian.Uint64(b)),
		epoch:      binary.BigEndian.Uint64(b[8:]),
		generation: binary.BigEndian.Uint64(b[16:]),
		seq:        binary.BigEndian.Uint64(b[24:]),
		kind:       recKind(b[32]),
		payload:    b[recordHead:],
	}
	if r.kind < recPut || r.kind > recWithdraw || r.seq == 0 || r.epoch == 0 {
		return record{}, fmt.Errorf("read log record: %w: kind %d, sequence %d", errCorrupt, r.kind, r.seq)
	}
	return r, nil
}

// readFrame reads one frame. The payload is the caller's; limit bounds it.
func readFrame(r *bufio.Reader, limit int) (typ byte, payload []byte, err error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if uint64(n) > uint64(limit) {
		return 0, nil, fmt.Errorf("read frame: %w: %d octets, at most %d", errCorrupt, n, limit)
	}
	// Grow with what really comes: a length alone must not cost memory.
	const step = 256 << 10
	b := make([]byte, 0, min(int(n)+4, step))
	for want := int(n) + 4; len(b) < want; {
		m := min(want-len(b), max(step, len(b)))
		b = append(b, make([]byte, m)...)
		if _, err := io.ReadFull(r, b[len(b)-m:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, nil, err
		}
	}
	sum := crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, b[:n])
	if sum != binary.BigEndian.Uint32(b[n:]) {
		return 0, nil, fmt.Errorf("read frame: %w: checksum", errCorrupt)
	}
	return head[0], b[:n:n], nil
}

// op is one operation of a record's payload. Payloads are laid out as pebble
// lays out a batch behind its header, so that an owner's batch is sent as it
// is: kind (1), key (varint length and octets), and the same for the value of
// all kinds but the two deletions of one key. The kinds are pebble's numbers.
type op struct {
	kind       pebble.InternalKeyKind
	key, value []byte // of a range deletion: from and to
}

const (
	opSet         = pebble.InternalKeyKindSet
	opMerge       = pebble.InternalKeyKindMerge
	opDelete      = pebble.InternalKeyKindSingleDelete
	opErase       = pebble.InternalKeyKindDelete
	opDeleteRange = pebble.InternalKeyKindRangeDelete
	maxOps        = 1 << 16
	maxKey        = 512
)

// readOp takes the next operation off a payload.
func readOp(b []byte) (o op, rest []byte, err error) {
	r := &reader{b: b}
	o.kind = pebble.InternalKeyKind(r.byte())
	o.key = r.bytes(r.count())
	switch o.kind {
	case opSet, opMerge, opDeleteRange:
		o.value = r.bytes(r.count())
	case opDelete, opErase:
	default:
		r.fail()
	}
	if r.bad || len(o.key) > maxKey {
		return o, nil, fmt.Errorf("read operation: %w", errCorrupt)
	}
	return o, r.b, nil
}

// add puts the operation into a batch.
func (o *op) add(b *pebble.Batch) error {
	switch o.kind {
	case opSet:
		return b.Set(o.key, o.value, nil)
	case opMerge:
		return b.Merge(o.key, o.value, nil)
	case opDelete:
		return b.SingleDelete(o.key, nil)
	case opErase:
		return b.Delete(o.key, nil)
	case opDeleteRange:
		return b.DeleteRange(o.key, o.value, nil)
	}
	return errCorrupt
}
