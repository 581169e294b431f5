package cluster

import (
	"sync"
	"time"
)

// seldomPause is how long a thing that was told is not told again.
const seldomPause = 10 * time.Second

// seldom keeps a thing that goes on from filling the log with itself. Keys are
// this program's words and the names of nodes: their number is bounded.
type seldom struct {
	mu   sync.Mutex // guards told
	told map[string]time.Time
}

// now says whether a thing is to be told again.
func (s *seldom) now(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, told := s.told[key]
	if told && time.Since(at) < seldomPause {
		return false
	}
	if s.told == nil {
		s.told = map[string]time.Time{}
	}
	s.told[key] = time.Now()
	return true
}
