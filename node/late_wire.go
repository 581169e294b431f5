package node

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// What nodes tell each other of late bounces: version, length, payload, crc32c
// over all before it. The payload is JSON: it is rare, and it is small.
const (
	lateVersion = 1
	maxLate     = 128 << 10 // octets of a payload: 50 recipients and their texts
)

var (
	errLate   = errors.New("read word of a late bounce: it is not one")
	lateTable = crc32.MakeTable(crc32.Castagnoli)
)

func writeLate(w io.Writer, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write word of a late bounce: %w", err)
	}
	if len(payload) > maxLate {
		return errors.New("write word of a late bounce: it is too long")
	}
	b := binary.BigEndian.AppendUint32([]byte{lateVersion}, uint32(len(payload)))
	b = append(b, payload...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, lateTable))
	_, err = w.Write(b)
	return err
}

func readLate(r io.Reader, v any) error {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if head[0] != lateVersion || n > maxLate {
		return errLate
	}
	rest := make([]byte, n+4)
	if _, err := io.ReadFull(r, rest); err != nil {
		return err
	}
	sum := crc32.Update(crc32.Checksum(head[:], lateTable), lateTable, rest[:n])
	if sum != binary.BigEndian.Uint32(rest[n:]) {
		return errLate
	}
	if err := json.Unmarshal(rest[:n], v); err != nil {
		return fmt.Errorf("%w: %w", errLate, err)
	}
	return nil
}
