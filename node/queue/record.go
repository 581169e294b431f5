package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errCorrupt is the root of everything that is wrong with a stored record.
var errCorrupt = errors.New("corrupt record")

// A record is: version (1), length of the payload (4, big-endian), payload,
// crc32c of all before it (4, big-endian).
const (
	recordVersion  = 1
	recordOverhead = 1 + 4 + 4
)

// sealInto finishes a record whose payload already stands in b[5:len(b)-4].
func sealInto(b []byte) {
	b[0] = recordVersion
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-recordOverhead))
	binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b[:len(b)-4], castagnoli))
}

// seal frames a payload built behind five free octets.
func seal(b []byte) []byte {
	b = append(b, 0, 0, 0, 0)
	sealInto(b)
	return b
}

// newRecord starts a payload for seal.
func newRecord(b []byte) []byte { return append(b[:0], 0, 0, 0, 0, 0) }

// unseal checks a record and returns its payload, which points into b.
func unseal(b []byte) ([]byte, error) {
	if len(b) < recordOverhead {
		return nil, fmt.Errorf("read record: %w: %d octets", errCorrupt, len(b))
	}
	if b[0] != recordVersion {
		return nil, fmt.Errorf("read record: %w: version %d", errCorrupt, b[0])
	}
	if n := binary.BigEndian.Uint32(b[1:]); uint64(n) != uint64(len(b)-recordOverhead) {
		return nil, fmt.Errorf("read record: %w: length %d in %d octets", errCorrupt, n, len(b))
	}
	if crc32.Checksum(b[:len(b)-4], castagnoli) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return nil, fmt.Errorf("read record: %w: checksum", errCorrupt)
	}
	return b[5 : len(b)-4], nil
}

// reader takes a payload apart. The first fault sticks; later reads give zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.bad, r.b = true, nil }

func (r *reader) byte() byte {
	if len(r.b) < 1 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads the length of a list whose entries take at least one octet each,
// so a damaged record cannot ask for more memory than it has octets.
func (r *reader) count() int {
	v := r.uint()
	if v > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(v)
}

func (r *reader) bytes(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail()
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) string() string { return string(r.bytes(r.count())) }

func (r *reader) time() time.Time { return fromMicro(r.int()) }

// done reports a fault, or octets left over.
func (r *reader) done(what string) error {
	if r.bad {
		return fmt.Errorf("read %s: %w: cut short", what, errCorrupt)
	}
	if len(r.b) != 0 {
		return fmt.Errorf("read %s: %w: %d octets left over", what, errCorrupt, len(r.b))
	}
	return nil
}

func putString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// noTime stands for the zero time, which has no place in microseconds.
const noTime = math.MinInt64

func micro(t time.Time) int64 {
	if t.IsZero() {
		return noTime
	}
	return t.UnixMicro()
}

func fromMicro(v int64) time.Time {
	if v == noTime {
		return time.Time{}
	}
	return time.UnixMicro(v).UTC()
}

func putTime(b []byte, t time.Time) []byte { return binary.AppendVarint(b, micro(t)) }
