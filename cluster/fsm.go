package cluster

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"postern/tenant"
)

// applied is what became of one command.
type applied struct {
	request tenant.RequestID
	events  []tenant.Event
	state   *tenant.State // the state right after the command
	err     error
}

// fsm carries committed entries into tenant.Apply. It must never panic: an
// entry that does would end every node, again on each start.
type fsm struct {
	log   *slog.Logger
	watch *stopwatch

	state atomic.Pointer[tenant.State]
	index atomic.Uint64 // raft's index of the last entry applied

	mu       sync.Mutex // guards waiting, expected
	waiting  map[uint64]chan struct{}
	expected map[tenant.RequestID][]chan *applied

	digests *digests // nil: nobody compares
}

var _ raft.BatchingFSM = (*fsm)(nil)

func newFSM(log *slog.Logger, watch *stopwatch) *fsm {
	f := &fsm{log: log, watch: watch, waiting: make(map[uint64]chan struct{}), expected: make(map[tenant.RequestID][]chan *applied)}
	f.state.Store(tenant.New())
	return f
}

// Apply implements raft.FSM.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM. raft sends configuration entries
// along and counts the answers, so those get a nil. The new state is seen
// before any proposer of the batch hears of it.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	slot, _ := f.watch.begin()
	defer f.watch.end(slot)
	results := make([]any, len(logs))
	s := f.state.Load()
	for i, l := range logs {
		if l.Type != raft.LogCommand {
			continue
		}
		r := f.apply(s, l)
		s, results[i] = r.state, r
		if f.digests != nil {
			f.digests.note(s)
		}
	}
	if len(logs) > 0 {
		f.index.Store(logs[len(logs)-1].Index)
	}
	f.publish(s)
	f.tell(results)
	return results
}

// apply carries out one entry. What cannot be read is refused, on every node
// alike and without a trace in the state. The same goes for a fault in Apply:
// s is never changed in place, so nothing half done stays behind.
func (f *fsm) apply(s *tenant.State, l *raft.Log) (r *applied) {
	var c tenant.Command
	defer func() {
		r.request = c.Request
	}()
	defer func() {
		if fault := recover(); fault != nil {
			f.log.Error("command refused after a fault", "index", l.Index, "fault", fmt.Sprint(fault))
			r = &applied{state: s, err: &tenant.Refused{Reason: "the command met a fault in the program"}}
		}
	}()
	if len(l.Data) > MaxCommand {
		return &applied{state: s, err: &tenant.Refused{Reason: "the command is too large"}}
	}
	var err error
	c, err = tenant.DecodeCommand(l.Data)
	if err != nil {
		f.log.Error("unreadable command refused", "index", l.Index, "err", err)
		return &applied{state: s, err: &tenant.Refused{Reason: "the command cannot be read"}}
	}
	next, events, err := tenant.Apply(s, l.Index, c)
	if next == nil {
		next = s
	}
	if refused := (*tenant.Refused)(nil); err != nil && !errors.As(err, &refused) {
		f.log.Error("command failed", "index", l.Index, "err", err)
	}
	return &applied{events: events, state: next, err: err}
}

// publish shows s to readers and wakes those who waited for it.
func (f *fsm) publish(s *tenant.State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state.Store(s)
	now := s.Index()
	for index, ch := range f.waiting {
		if index < now {
			close(ch)
			delete(f.waiting, index)
		}
	}
}

// after returns a channel that is closed once a state newer than index shows.
func (f *fsm) after(index uint64) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	ch := f.waiting[index]
	if ch == nil {
		ch = make(chan struct{})
		if f.state.Load().Index() > index {
			close(ch)
			return ch
		}
		f.waiting[index] = ch
	}
	return ch
}

// Snapshot implements raft.FSM: a pointer, since Apply waits meanwhile.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	return frozen{f.state.Load()}, nil
}

// Restore implements raft.FSM.
func (f *fsm) Restore(r io.ReadCloser) error {
	slot, _ := f.watch.begin()
	defer f.watch.end(slot)
	data, err := io.ReadAll(io.LimitReader(r, maxSnapshot))
	if err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	p, err := unseal(data)
	if err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	s, err := tenant.Decode(p)
	if err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	// Who acts by this state may not find an older one a moment later. The leader
	// makes a newer snapshot when its last one is refused.
	if have := f.state.Load().Index(); s.Index() < have {
		return fmt.Errorf("read snapshot: its state is at %d, and here it is at %d", s.Index(), have)
	}
	f.publish(s)
	return nil
}

// frozen is a state on its way into a snapshot. The body is a record of its
// own, because raft also sends it over the wire.
type frozen struct{ state *tenant.State }

// Persist implements raft.FSMSnapshot.
func (s frozen) Persist(sink raft.SnapshotSink) error {
	body := sealed(s.state.Encode())
	if len(body) > maxRecord {
		return errors.Join(fmt.Errorf("write snapshot: a state of %d octets", len(body)), sink.Cancel())
	}
	if _, err := sink.Write(body); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (frozen) Release() {}
