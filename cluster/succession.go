package cluster

import (
	"cmp"
	"errors"
	"slices"
	"sync"

	"github.com/hashicorp/raft"
)

// succession remembers who was asked to take leadership over. raft must be told
// to hand over to a server once a term and no more: it leaves a request with
// the server's replication, and a second one may find the first one still
// there, wait for room for ever, and never take back that a transfer is under
// way. From then on that raft refuses every command whenever it leads.
type succession struct {
	mu    sync.Mutex // guards what follows
	term  uint64
	asked map[raft.ServerID]bool
}

// claim says whether a server may be asked in a term, and notes that it was.
func (s *succession) claim(term uint64, id raft.ServerID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked == nil || s.term != term {
		s.term, s.asked = term, map[raft.ServerID]bool{}
	}
	was := s.asked[id]
	s.asked[id] = true
	return !was
}

var errNoHeir = errors.New("nobody is left to hand leadership over to")

// handOver gives leadership to the first of the heirs that was not asked in
// this term.
func (c *Cluster) handOver(heirs []raft.Server) error {
	term := c.raft.CurrentTerm()
	for _, to := range heirs {
		if !c.succession.claim(term, to.ID) {
			continue
		}
		err := c.raft.LeadershipTransferToServer(to.ID, to.Address).Error()
		// Should this node lead a later term by now, raft may have begun there.
		c.succession.claim(c.raft.CurrentTerm(), to.ID)
		return err
	}
	return errNoHeir
}

// cede ends this node's leadership: it hands it over, and when nobody is left
// to be asked it falls silent as a leader, so that the others elect one.
func (c *Cluster) cede(heirs []raft.Server) error {
	err := c.handOver(heirs)
	if t, ok := c.transport.(*transport); ok && errors.Is(err, errNoHeir) && len(c.heirs()) > 0 {
		t.silent.Store(c.raft.CurrentTerm())
		return nil
	}
	return err
}

// silent says whether this node ends its leadership by saying nothing.
func (c *Cluster) silent() bool {
	t, ok := c.transport.(*transport)
	return ok && t.silent.Load() == c.raft.CurrentTerm()
}

// heirs lists the other voters, the one heard last first.
func (c *Cluster) heirs() []raft.Server {
	var heirs []raft.Server
	for _, s := range c.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter && string(s.ID) != c.cfg.Name {
			heirs = append(heirs, s)
		}
	}
	slices.SortStableFunc(heirs, func(a, b raft.Server) int {
		return c.contacts.of(b.ID).at.Compare(c.contacts.of(a.ID).at)
	})
	return heirs
}

// heirsByClock lists the other voters whose clocks are near the median, the
// nearest first.
func (c *Cluster) heirsByClock() []raft.Server {
	median := c.median.Load()
	if median == nil {
		return nil
	}
	l := c.lessor
	l.mu.Lock()
	defer l.mu.Unlock()
	off := func(s raft.Server) (off int64, known bool) {
		r := l.nodes[string(s.ID)]
		if r == nil {
			return 0, false
		}
		return int64((r.offset - *median).Abs()), true
	}
	heirs := slices.DeleteFunc(c.heirs(), func(s raft.Server) bool {
		by, known := off(s)
		return !known || by >= int64(maxSkew)
	})
	slices.SortStableFunc(heirs, func(a, b raft.Server) int {
		x, _ := off(a)
		y, _ := off(b)
		return cmp.Compare(x, y)
	})
	return heirs
}
