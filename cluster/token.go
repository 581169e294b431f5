package cluster

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"postern/tenant"
)

const (
	tokenPrefix = "postern1."
	// secretSize is 160 bits: nothing slow has to protect it.
	secretSize = 20
	// maxTokenAddrs bounds the addresses in a token.
	maxTokenAddrs = 16
	maxToken      = 6 << 10
)

// ErrToken is the no to a join token that cannot be read.
var ErrToken = errors.New("not a join token")

// token is what a node needs to come in: whom to believe, whom to ask, and
// what to show.
type token struct {
	authority [32]byte // SHA-256 of the authority's certificate
	secret    [secretSize]byte
	addrs     []string
}

// newToken makes one with a new secret.
func newToken(authority [32]byte, addrs []string) token {
	t := token{authority: authority, addrs: addrs[:min(len(addrs), maxTokenAddrs)]}
	_, _ = rand.Read(t.secret[:]) // never fails
	return t
}

// NewToken makes a join token for the cluster of s: its text, and the hash
// that tenant.AddToken registers. It names all nodes with a peer port.
func NewToken(s *tenant.State) (text string, hash [32]byte, err error) {
	a := s.Authority()
	if a == nil {
		return "", hash, errors.New("make join token: the cluster has no authority yet")
	}
	var addrs []string
	for n := range s.Nodes() {
		if n.Peer != "" {
			addrs = append(addrs, n.Peer)
		}
	}
	if len(addrs) == 0 {
		return "", hash, errors.New("make join token: no node has a peer port yet")
	}
	t := newToken(sha256.Sum256(a.Cert), addrs)
	return t.String(), t.hash(), nil
}

// hash is what the state knows of the secret.
func (t token) hash() [32]byte { return sha256.Sum256(t.secret[:]) }

// String is the token's text.
func (t token) String() string {
	b := append([]byte{}, t.authority[:]...)
	b = append(b, t.secret[:]...)
	b = append(b, byte(len(t.addrs)))
	for _, a := range t.addrs {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(a)))
		b = append(b, a...)
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// parseToken reads what String writes. The sum tells a token that was copied
// in part from one that is wrong.
func parseToken(s string) (token, error) {
	var t token
	rest, ok := strings.CutPrefix(strings.TrimSpace(s), tokenPrefix)
	switch {
	case !ok:
		return t, fmt.Errorf("read join token: it does not begin with %s: %w", tokenPrefix, ErrToken)
	case len(rest) > maxToken:
		return t, fmt.Errorf("read join token: %d characters are over %d: %w", len(rest), maxToken, ErrToken)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if err != nil {
		return t, fmt.Errorf("read join token: it was not copied whole: %w: %w", ErrToken, err)
	}
	const fixed = 32 + secretSize + 1
	if len(b) < fixed+4 || binary.LittleEndian.Uint32(b[len(b)-4:]) != crc32.Checksum(b[:len(b)-4], castagnoli) {
		return t, fmt.Errorf("read join token: it was not copied whole: %w", ErrToken)
	}
	copy(t.authority[:], b)
	copy(t.secret[:], b[32:])
	count := int(b[fixed-1])
	b = b[fixed : len(b)-4]
	if count > maxTokenAddrs {
		return t, fmt.Errorf("read join token: %d addresses: %w", count, ErrToken)
	}
	for range count {
		if len(b) < 2 || len(b)-2 < int(binary.LittleEndian.Uint16(b)) {
			return t, fmt.Errorf("read join token: an address is cut short: %w", ErrToken)
		}
		n := int(binary.LittleEndian.Uint16(b))
		addr := string(b[2 : 2+n])
		if !tenant.ValidPeer(addr) {
			return t, fmt.Errorf("read join token: %.60q is no address: %w", addr, ErrToken)
		}
		t.addrs, b = append(t.addrs, addr), b[2+n:]
	}
	if len(b) > 0 {
		return t, fmt.Errorf("read join token: %d octets too many: %w", len(b), ErrToken)
	}
	return t, nil
}
