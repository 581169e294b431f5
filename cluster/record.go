package cluster

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/hashicorp/raft"
)

// Every stored value is a record: version, length and crc32c of a payload. The
// sum covers version and length too, so that no flipped bit passes.
const (
	recordVersion = 1
	recordHead    = 1 + 4 + 4
	// maxRecord bounds what a reader believes a length to be.
	maxRecord = 256 << 20

	// logHead is the fixed part of a log entry's payload: index, term, type,
	// seconds, nanoseconds, length of the extensions.
	logHead = 8 + 8 + 1 + 8 + 4 + 4
)

// castagnoli is a constant table; crc32 has no constant form of it.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal fills in the head of a record whose payload already lies behind it.
func seal(record []byte) {
	record[0] = recordVersion
	binary.LittleEndian.PutUint32(record[1:], uint32(len(record)-recordHead))
	binary.LittleEndian.PutUint32(record[5:], recordSum(record))
}

func recordSum(record []byte) uint32 {
	sum := crc32.Update(0, castagnoli, record[:5])
	return crc32.Update(sum, castagnoli, record[recordHead:])
}

// sealed returns payload as a record.
func sealed(payload []byte) []byte {
	record := make([]byte, recordHead+len(payload))
	copy(record[recordHead:], payload)
	seal(record)
	return record
}

// unseal returns the payload of a record, as a part of it.
func unseal(record []byte) ([]byte, error) {
	switch {
	case len(record) < recordHead:
		return nil, fmt.Errorf("read record: %d octets: %w", len(record), errStore)
	case record[0] != recordVersion:
		return nil, fmt.Errorf("read record: version %d: %w", record[0], errStore)
	case len(record) > maxRecord,
		int(binary.LittleEndian.Uint32(record[1:])) != len(record)-recordHead:
		return nil, fmt.Errorf("read record: length: %w", errStore)
	case binary.LittleEndian.Uint32(record[5:]) != recordSum(record):
		return nil, fmt.Errorf("read record: checksum: %w", errStore)
	}
	return record[recordHead:], nil
}

// logSize is the size of an entry's record.
func logSize(l *raft.Log) int {
	return recordHead + logHead + len(l.Extensions) + len(l.Data)
}

// putLog writes an entry's record into dst, which has exactly logSize octets.
func putLog(dst []byte, l *raft.Log) {
	p := dst[recordHead:]
	binary.LittleEndian.PutUint64(p, l.Index)
	binary.LittleEndian.PutUint64(p[8:], l.Term)
	p[16] = byte(l.Type)
	binary.LittleEndian.PutUint64(p[17:], uint64(l.AppendedAt.Unix()))
	binary.LittleEndian.PutUint32(p[25:], uint32(l.AppendedAt.Nanosecond()))
	binary.LittleEndian.PutUint32(p[29:], uint32(len(l.Extensions)))
	n := copy(p[logHead:], l.Extensions)
	copy(p[logHead+n:], l.Data)
	seal(dst)
}

// getLog reads an entry's record; the entry keeps parts of record.
func getLog(record []byte, index uint64, l *raft.Log) error {
	p, err := unseal(record)
	if err != nil {
		return err
	}
	if len(p) < logHead {
		return fmt.Errorf("read entry: %d octets: %w", len(p), errStore)
	}
	if got := binary.LittleEndian.Uint64(p); got != index {
		return fmt.Errorf("read entry: index %d in the place of %d: %w", got, index, errStore)
	}
	ext := uint64(binary.LittleEndian.Uint32(p[29:]))
	if ext > uint64(len(p)-logHead) {
		return fmt.Errorf("read entry: extensions of %d octets: %w", ext, errStore)
	}
	seconds, nanos := int64(binary.LittleEndian.Uint64(p[17:])), binary.LittleEndian.Uint32(p[25:])
	*l = raft.Log{
		Index:      index,
		Term:       binary.LittleEndian.Uint64(p[8:]),
		Type:       raft.LogType(p[16]),
		AppendedAt: time.Unix(seconds, int64(nanos)).UTC(),
	}
	if ext > 0 {
		l.Extensions = p[logHead : logHead+ext : logHead+ext]
	}
	if body := p[logHead+ext:]; len(body) > 0 {
		l.Data = body
	}
	return nil
}
