package queue

import (
	"fmt"
	"strconv"
	"strings"

	"postern/tenant"
)

// String is the queue id as people see it: tenant, epoch and sequence, decimal.
func (id ID) String() string {
	b := make([]byte, 0, 32)
	b = append(strconv.AppendUint(b, uint64(id.Tenant), 10), '-')
	b = append(strconv.AppendUint(b, id.Epoch, 10), '-')
	return string(strconv.AppendUint(b, id.Seq, 10))
}

// IsZero reports whether id names no message.
func (id ID) IsZero() bool { return id == ID{} }

// ParseID reads what String wrote, and only that: no signs, no leading zeros,
// no zero parts.
func ParseID(s string) (ID, error) {
	if len(s) > 3*20+2 {
		return ID{}, fmt.Errorf("parse queue id: %d octets", len(s))
	}
	parts := strings.Split(s, "-")
	if len(parts) != 3 {
		return ID{}, fmt.Errorf("parse queue id: want tenant-epoch-sequence")
	}
	var v [3]uint64
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 64)
		if err != nil || p[0] < '1' || p[0] > '9' {
			return ID{}, fmt.Errorf("parse queue id: bad number in part %d", i+1)
		}
		v[i] = n
	}
	return ID{Tenant: tenant.ID(v[0]), Epoch: v[1], Seq: v[2]}, nil
}

// MarshalText and UnmarshalText make the id a string in JSON.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *ID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseID(string(b))
	return err
}
