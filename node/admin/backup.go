package admin

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/http"
	"time"

	"postern/tenant"
)

// A backup file: "postern backup\n", a version octet, the state's length (64
// bit) and crc32c (32 bit), big-endian, and the state as it encodes itself. No
// secret is in it: keys are ciphertext in the state, passwords are hashes.
const (
	backupMark    = "postern backup\n"
	backupVersion = 1
	backupHead    = len(backupMark) + 1 + 8 + 4
	// MaxBackup bounds a backup file, in bytes.
	MaxBackup = 256 << 20
)

var errBackup = errors.New("it is no whole backup of postern")

func castagnoli(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// EncodeBackup makes the content of a backup file.
func EncodeBackup(st *tenant.State) []byte {
	body := st.Encode()
	b := make([]byte, 0, backupHead+len(body))
	b = append(append(b, backupMark...), backupVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(len(body)))
	b = binary.BigEndian.AppendUint32(b, castagnoli(body))
	return append(b, body...)
}

// DecodeBackup reads what EncodeBackup made; anything else is refused.
func DecodeBackup(b []byte) (*tenant.State, error) {
	if len(b) < backupHead || !bytes.HasPrefix(b, []byte(backupMark)) {
		return nil, fmt.Errorf("read backup: %w", errBackup)
	}
	head := b[len(backupMark):]
	if head[0] != backupVersion {
		return nil, fmt.Errorf("read backup: it has version %d, this program reads %d", head[0], backupVersion)
	}
	body := b[backupHead:]
	if binary.BigEndian.Uint64(head[1:]) != uint64(len(body)) || binary.BigEndian.Uint32(head[9:]) != castagnoli(body) {
		return nil, fmt.Errorf("read backup: %w", errBackup)
	}
	st, err := tenant.Decode(body)
	if err != nil {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	return st, nil
}

// file is an answer that is no JSON.
type file struct {
	Type string `header:"Content-Type"`
	Name string `header:"Content-Disposition"`
	Body []byte
}

// LastBackup is when this node last gave a backup, since it started; zero:
// never. Whether the caller could keep it, nobody here knows.
func (s *Server) LastBackup() time.Time {
	if at := s.backup.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

func (s *Server) backupRoutes() {
	register(s, in{verb: http.MethodGet, path: "/v1/backup", id: "get-backup", tag: "node",
		does: "Give the cluster's whole state as a file; mail and the secret key are not in it"},
		func(ctx context.Context, _ caller, _ *struct{}) (*file, error) {
			st, err := s.read(ctx)
			if err != nil {
				return nil, err
			}
			if st, err = s.disclose(ctx, st, tenant.Disclosed{What: tenant.DisclosedBackup}); err != nil {
				return nil, err
			}
			s.backup.Store(time.Now().UnixNano())
			name := "postern-" + time.Now().UTC().Format("20060102T150405") + ".backup"
			return &file{Type: "application/octet-stream", Name: `attachment; filename="` + name + `"`, Body: EncodeBackup(st)}, nil
		})
}
