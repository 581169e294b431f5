package cluster

import (
	"slices"
	"sync"

	"postern/tenant"
)

// expect returns a channel that gets what becomes of a request once it is
// applied here, whoever proposed it; forget ends that.
func (f *fsm) expect(req tenant.RequestID) (mine <-chan *applied, forget func()) {
	ch := make(chan *applied, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expected[req] = append(f.expected[req], ch)
	return ch, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		left := slices.DeleteFunc(f.expected[req], func(c chan *applied) bool { return c == ch })
		if f.expected[req] = left; len(left) == 0 {
			delete(f.expected, req)
		}
	}
}

// tell gives results to those who expect them, after the state shows them.
func (f *fsm) tell(results []any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.expected) == 0 {
		return
	}
	for _, result := range results {
		r, ok := result.(*applied)
		if !ok {
			continue
		}
		for _, ch := range f.expected[r.request] {
			select {
			case ch <- r:
			default:
			}
		}
	}
}

// keptDigests is how many entries back a report can be compared.
const keptDigests = 4096

// digests remembers the state's digests at the latest entries.
type digests struct {
	mu   sync.Mutex // guards ring
	ring [keptDigests]struct {
		index  uint64
		digest [32]byte
	}
}

func (d *digests) note(s *tenant.State) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := &d.ring[s.Index()%keptDigests]
	at.index, at.digest = s.Index(), s.Digest()
}

// digestAt is the digest of the state at an entry that was applied lately.
func (f *fsm) digestAt(index uint64) (digest [32]byte, ok bool) {
	if f.digests == nil || index == 0 {
		return digest, false
	}
	f.digests.mu.Lock()
	defer f.digests.mu.Unlock()
	at := &f.digests.ring[index%keptDigests]
	return at.digest, at.index == index
}
