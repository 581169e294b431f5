package tenant

import (
	"sync"
	"sync/atomic"
	"testing"
)

// Readers hold any version while the next ones are made; the race detector
// sees every write into what they share.
func TestReadersNeedNoLock(t *testing.T) {
	var current atomic.Pointer[State]
	current.Store(rich(t))
	var wg sync.WaitGroup
	done := make(chan struct{})
	var wrong atomic.Value
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				s := current.Load()
				if err := s.Check(); err != nil {
					wrong.Store(err)
					return
				}
				for a := range s.Accounts() {
					s.Stopped(a.ID)
					s.UsagesOf(a.ID)
					s.AccountByUsername(a.Username)
				}
				for id := range uint64(20) {
					s.requests.find(requestID(int(id)))
				}
			}
		})
	}
	g := newGenerator(randomBytes(42, 20000))
	for s := current.Load(); ; {
		cmd, more := g.next(s)
		if !more {
			break
		}
		s, _, _ = Apply(s, s.Index()+1, cmd)
		current.Store(s)
	}
	close(done)
	wg.Wait()
	if err := wrong.Load(); err != nil {
		t.Fatal(err)
	}
}
