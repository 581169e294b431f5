package queue

import (
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// committer is the one goroutine that ends items: their settlements, and what
// an operator cancels. Being one, it sees each message's items in order.
type committer struct {
	gather time.Duration // settleGather; tests set it lower before the first op
	mu     sync.Mutex    // guards what follows
	ops    []*ending
	closed bool
	ring   chan struct{}
	done   chan struct{}
}

// ending is one op of the committer.
type ending struct {
	x    Settlement
	log  *tlog
	e    *entry
	stop *tlog                     // release this tenant instead
	back *putting                  // or take this message of log back
	run  func(*pebble.Batch) error // or do this
	tell func(error)

	// what became of it
	seq     uint64 // its place in the tenant's log
	out     *outgoing
	span    [2]int // its part of the batch
	parts   [2][]byte
	err     error
	next    *dueAt
	last    bool // the message ended
	removed int  // recipients that have an outcome now
	doubt   bool
	puts    []*putting
}

func (c *committer) init() {
	c.gather = settleGather
	c.ring, c.done = make(chan struct{}, 1), make(chan struct{})
}

func (c *committer) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.kick()
}

func (c *committer) kick() {
	select {
	case c.ring <- struct{}{}:
	default:
	}
}

func (c *committer) add(op *ending) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.ops = append(c.ops, op)
	if n := len(c.ops); n == 1 || n == settleBatch {
		c.kick()
	}
	return true
}

// take removes the next batch. A function has one of its own: it reads what is
// there, and must see all that was settled before it.
func (c *committer) take() (ops []*ending, closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.ops), settleBatch)
	for i := range c.ops[:n] {
		if c.ops[i].run != nil {
			n = max(i, 1)
			break
		}
	}
	ops = c.ops[:n:n]
	c.ops = c.ops[n:]
	if len(c.ops) > 0 {
		c.kick()
	} else {
		c.ops = nil
	}
	return ops, c.closed
}

func (c *committer) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return settleBatch
	}
	return len(c.ops)
}
