package node

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"time"

	"postern/node/report"
	"postern/tenant"
)

// howToDelist says how a list takes an address off.
func howToDelist(zone string, codes []netip.Addr) (how string, again time.Duration, ask bool) {
	d := report.Delist(zone, codes)
	return d.How, d.Again, d.Ask
}

// marker makes the keyed hashes that bans know customers by. Its key is made of
// the nodes' secret key, so all nodes make the same marks, and the state alone is
// of no use to who would try names.
type marker struct{ key []byte }

func newMarker(secret []byte) (*marker, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "postern ban marks", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("make key of bans: %w", err)
	}
	return &marker{key: key}, nil
}

// Mark is the mark of a text, which is in its canonical form already.
func (m *marker) Mark(kind tenant.MarkKind, text string) tenant.Mark {
	h := hmac.New(sha256.New, m.key)
	h.Write([]byte{1, byte(kind)}) // version and kind; a hash takes all writes
	h.Write([]byte(text))
	mark := tenant.Mark{Kind: kind}
	h.Sum(mark.Hash[:0])
	return mark
}
