package queue

import (
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

var errClosed = fmt.Errorf("%w: store is closed", ErrFailed)

// gate counts who is inside pebble, which panics when it is used after Close.
// It may be entered again by who is inside.
type gate struct {
	mu     sync.Mutex // guards what follows
	inside int
	closed bool
	empty  *sync.Cond
}

func (g *gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return errClosed
	}
	g.inside++
	return nil
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.inside == 0 && g.closed {
		g.empty.Broadcast()
	}
}

// close lets nobody in any more and waits until everybody is out. It reports
// whether it was open.
func (g *gate) close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := !g.closed
	g.closed = true
	for g.inside > 0 {
		g.empty.Wait()
	}
	return was
}

// iterator is pebble's, inside the gate until closed.
type iterator struct {
	*pebble.Iterator
	gate *gate
}

func (s *Store) newIter(from, to []byte) (*iterator, error) {
	if err := s.gate.enter(); err != nil {
		return nil, err
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		s.gate.leave()
		return nil, fmt.Errorf("read queue: %w", err)
	}
	return &iterator{it, &s.gate}, nil
}

func (i *iterator) Close() error {
	defer i.gate.leave()
	return i.Iterator.Close()
}
