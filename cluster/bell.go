package cluster

import "sync"

// bell wakes all who wait, again and again.
type bell struct {
	mu sync.Mutex // guards ch
	ch chan struct{}
}

// next is closed by the next wake.
func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *bell) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}
