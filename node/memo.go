package node

import (
	"crypto/sha256"
	"sync"
)

// memo remembers the latest keys, so many of them.
type memo struct {
	most int

	mu   sync.Mutex // guards what follows
	told map[[sha256.Size]byte]struct{}
	ring [][sha256.Size]byte // told, the oldest at next
	next int
}

func newMemo(most int) *memo { return &memo{most: most, told: map[[sha256.Size]byte]struct{}{}} }

// first reports whether a key was not known, and remembers it.
func (m *memo) first(key [sha256.Size]byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.told[key]; known {
		return false
	}
	m.told[key] = struct{}{}
	if len(m.ring) < m.most {
		m.ring = append(m.ring, key)
		return true
	}
	delete(m.told, m.ring[m.next])
	m.ring[m.next] = key
	m.next = (m.next + 1) % m.most
	return true
}

// forget makes keys new again.
func (m *memo) forget(keys ...[sha256.Size]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range keys {
		delete(m.told, k)
	}
}
