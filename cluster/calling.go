package cluster

import "sync"

// calling owns the goroutines of calls whose callers may go away before the
// answer comes.
type calling struct {
	mu    sync.Mutex // guards ended, and that nothing begins after it
	ended bool
	under sync.WaitGroup
}

// begin runs f, or says that the end has come.
func (c *calling) begin(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.under.Go(f)
	return true
}

// end waits for all that began.
func (c *calling) end() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.under.Wait()
}
