package cluster

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"postern/tenant"
)

// stores are a directory's two, opened apart from a node.
type stores struct {
	log    *logStore
	snaps  *snapshotStore
	failed *failure
}

// openApart opens the stores of a stopped node. A failed write is only an
// error here: there is no node to end.
func openApart(fs vfs.FS, dir string) (*stores, error) {
	fs = privateFS{fs}
	failed := &failure{fatal: func(error) {}}
	quiet := slog.New(slog.DiscardHandler)
	if err := makeDir(fs, dir); err != nil {
		return nil, err
	}
	snaps, err := openSnapshots(fs, fs.PathJoin(dir, "snapshots"), quiet, func(bool) {})
	if err != nil {
		return nil, err
	}
	logDir := fs.PathJoin(dir, "log")
	if err := makeDir(fs, logDir); err != nil {
		return nil, err
	}
	log, err := openLogStore(logDir, storeOptions(fs, storeLog{quiet, failed}), failed)
	if err != nil {
		return nil, err
	}
	return &stores{log, snaps, failed}, nil
}

// Latest reads the newest state a stopped node's directory holds, committed or
// not: for recovery from a lost majority.
func Latest(fs vfs.FS, dir string) (_ *tenant.State, err error) {
	if _, err := fs.Stat(fs.PathJoin(dir, "log")); err != nil {
		return nil, fmt.Errorf("read state of %s: %w: %w", dir, ErrEmpty, err)
	}
	s, err := openApart(fs, dir)
	if err != nil {
		return nil, fmt.Errorf("read state of %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, s.log.Close()) }()
	state, err := s.latest()
	if err != nil {
		return nil, fmt.Errorf("read state of %s: %w", dir, err)
	}
	return state, nil
}

func (s *stores) latest() (*tenant.State, error) {
	if _, err := members(s.log, s.snaps); err != nil {
		return nil, err // something is missing or damaged
	}
	f := newFSM(slog.New(slog.DiscardHandler), newStopwatch("recovery"))
	from := uint64(1)
	list, err := s.snaps.List()
	if err != nil {
		return nil, err
	}
	if len(list) > 0 {
		_, body, err := s.snaps.Open(list[0].ID)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(f.Restore(body), body.Close()); err != nil {
			return nil, err
		}
		from = list[0].Index + 1
	}
	if err := s.log.each(from, func(l *raft.Log) {
		if l.Type == raft.LogCommand {
			f.Apply(l)
		}
	}); err != nil {
		return nil, err
	}
	return f.state.Load(), nil
}

// Refound makes dir the first node of a cluster that goes on from s. The
// directory must hold no cluster; what was there is moved aside by the caller.
// A crash on the way leaves a directory that neither starts nor is taken here
// again: move it aside too.
func Refound(fs vfs.FS, dir, name string, s *tenant.State) (err error) {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("refound cluster: server name has %d octets, not 1 to %d", len(name), maxName)
	}
	st, err := openApart(fs, dir)
	if err != nil {
		return fmt.Errorf("refound cluster in %s: %w", dir, err)
	}
	defer func() {
		if cerr := st.log.Close(); cerr != nil {
			err = errors.Join(err, fmt.Errorf("refound cluster in %s: %w", dir, cerr))
		}
	}()
	if err := st.refound(name, s); err != nil {
		return fmt.Errorf("refound cluster in %s: %w", dir, err)
	}
	return nil
}

func (s *stores) refound(name string, state *tenant.State) error {
	used, err := raft.HasExistingState(s.log, s.log, s.snaps)
	if err != nil {
		return err
	}
	if _, err := s.log.get([]byte{keyIdentity}); used || !errors.Is(err, errNotFound) {
		return errors.Join(fmt.Errorf("it holds a cluster, or the rest of one: %w", ErrForeign), ignoreMissing(err))
	}
	// The snapshot stands for all entries up to its index; the first one after
	// it must be later than anything the state was told.
	const term = 1
	index := state.Index() + 1
	config := raft.Configuration{Servers: []raft.Server{{
		Suffrage: raft.Voter,
		ID:       raft.ServerID(name),
		Address:  raft.ServerAddress(name),
	}}}
	sink, err := s.snaps.Create(raft.SnapshotVersionMax, index, term, config, index, nil)
	if err != nil {
		return err
	}
	if err := (frozen{state}).Persist(sink); err != nil {
		return err
	}
	// The name comes last: without it nothing opens the directory.
	return s.log.write("refound cluster", 256, func(b *pebble.Batch) error {
		g := &gathered{logStore: s.log, batch: b}
		return errors.Join(
			g.SetUint64([]byte("CurrentTerm"), term),
			b.Set([]byte{keyIdentity}, sealed([]byte(name)), nil),
		)
	}, nil)
}

func ignoreMissing(err error) error {
	if errors.Is(err, errNotFound) {
		return nil
	}
	return err
}
