package cluster

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// contacts notes when followers last answered this leader. raft's VerifyLeader
// can be content with the answer to a heartbeat that left before it was asked,
// so it proves leadership only for about the leader lease's time ago. Counting
// the requests themselves proves it for a moment after the question.
type contacts struct {
	count atomic.Uint64 // orders requests and questions

	mu   sync.Mutex // guards last
	last map[raft.ServerID]contact
}

// contact is a request that was answered under the same term.
type contact struct {
	term  uint64
	began uint64 // number of the request, not later than which it left
	at    time.Time
	took  time.Duration
}

func newContacts() *contacts { return &contacts{last: make(map[raft.ServerID]contact)} }

// mark is a number greater than that of every request that has left.
func (c *contacts) mark() uint64 { return c.count.Add(1) }

// answered notes a request that left after its number was taken. Of two that
// crossed, the later one stays.
func (c *contacts) answered(id raft.ServerID, term, began uint64, at time.Time) {
	took := time.Since(at)
	c.mu.Lock()
	defer c.mu.Unlock()
	if was := c.last[id]; was.term > term || was.term == term && was.began > began {
		return
	}
	c.last[id] = contact{term: term, began: began, at: at.Add(took), took: took}
}

// of is the last contact with a server.
func (c *contacts) of(id raft.ServerID) contact {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last[id]
}

// majority says whether most voters answered self, as the leader of term, to
// requests that left after mark.
func (c *contacts) majority(servers []raft.Server, self raft.ServerID, term, mark uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	voters, with := 0, 0
	for _, s := range servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if last := c.last[s.ID]; s.ID == self || last.term == term && last.began > mark {
			with++
		}
	}
	return 2*with > voters
}
