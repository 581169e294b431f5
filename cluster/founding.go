package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/raft"
)

// claim makes sure that the stores are this node's. An empty pair of stores
// becomes the first node of a new cluster when the configuration says so; with a
// peer port it may stay empty and wait for a leader that adds this node.
func claim(store *logStore, snaps *snapshotStore, dir string, cfg Config) error {
	name := cfg.Name
	owner, err := store.get([]byte{keyIdentity})
	switch {
	case err == nil:
		was, err := unseal(owner)
		if err != nil {
			return fmt.Errorf("read identity of %s: %w", dir, err)
		}
		if string(was) != name {
			return fmt.Errorf("open cluster in %s: it is the directory of node %q and this node is %q; give the node its old name, or an empty directory: %w", dir, was, name, ErrForeign)
		}
		return nil
	case !errors.Is(err, errNotFound):
		return fmt.Errorf("read identity of %s: %w", dir, err)
	}
	used, err := raft.HasExistingState(store, store, snaps)
	if err != nil {
		return fmt.Errorf("look into %s: %w", dir, err)
	}
	if used {
		return fmt.Errorf("open cluster in %s: it holds snapshots or entries but no name; restore the whole directory, or give the node an empty one: %w", dir, ErrForeign)
	}
	switch {
	case cfg.Bootstrap:
		return found(store, snaps, name)
	case cfg.Peering != nil:
		return store.write("claim directory", 128, func(b *pebble.Batch) error {
			return b.Set([]byte{keyIdentity}, sealed([]byte(name)), nil)
		}, nil)
	default:
		return fmt.Errorf("open cluster in %s: start the first node of a new cluster with bootstrap, or restore the directory: %w", dir, ErrEmpty)
	}
}

// found makes a cluster of one. raft's own bootstrap writes the term and the
// first entry one after the other; a crash between them leaves a store that
// may neither be bootstrapped again nor ever lead. So its writes are gathered
// and go into one batch, with the name.
func found(store *logStore, snaps *snapshotStore, name string) error {
	return store.write("found cluster", 1024, func(b *pebble.Batch) error {
		if err := b.Set([]byte{keyIdentity}, sealed([]byte(name)), nil); err != nil {
			return err
		}
		g := &gathered{logStore: store, batch: b}
		config := raftConfig(name, standard(), nil)
		members := raft.Configuration{Servers: []raft.Server{{
			Suffrage: raft.Voter,
			ID:       raft.ServerID(name),
			Address:  raft.ServerAddress(name),
		}}}
		return raft.BootstrapCluster(config, g, g, snaps, nil, members)
	}, func() (err error) {
		store.first, store.last, err = store.bounds()
		return err
	})
}

// gathered reads from the store and writes into a batch.
type gathered struct {
	*logStore
	batch *pebble.Batch
}

// FirstIndex implements raft.LogStore; an empty store's.
func (g *gathered) FirstIndex() (uint64, error) { return 0, nil }

// LastIndex implements raft.LogStore; an empty store's.
func (g *gathered) LastIndex() (uint64, error) { return 0, nil }

// GetUint64 implements raft.StableStore; an empty store's.
func (g *gathered) GetUint64([]byte) (uint64, error) { return 0, nil }

// SetUint64 implements raft.StableStore.
func (g *gathered) SetUint64(key []byte, val uint64) error {
	return g.batch.Set(stableKey(keyNumber, key), number(val), nil)
}

// StoreLog implements raft.LogStore.
func (g *gathered) StoreLog(l *raft.Log) error {
	record := make([]byte, logSize(l))
	putLog(record, l)
	return g.batch.Set(logKey(l.Index), record, nil)
}

// members reads the newest configuration: the newest snapshot's, or a later
// one in the log. On its way it reads every entry that raft will, so that a
// damaged or missing one is an error here and not a panic there.
func members(store *logStore, snaps *snapshotStore) (raft.Configuration, error) {
	var c raft.Configuration
	list, err := snaps.List()
	if err != nil {
		return c, err
	}
	from := uint64(1)
	if len(list) > 0 {
		c, from = list[0].Configuration, list[0].Index+1
	}
	next, missing := from, uint64(0)
	err = store.each(from, func(l *raft.Log) {
		if l.Index != next && missing == 0 {
			missing = next
		}
		next = l.Index + 1
		if l.Type == raft.LogConfiguration {
			c = raft.DecodeConfiguration(l.Data)
		}
	})
	if err == nil && missing != 0 {
		err = fmt.Errorf("read entries: %d is missing, after a snapshot of %d: restore the directory: %w", missing, from-1, errStore)
	}
	return c, err
}

// each reads all entries from an index on.
func (s *logStore) each(from uint64, visit func(*raft.Log)) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: logKey(from), UpperBound: []byte{keyLog + 1}})
	if err != nil {
		return fmt.Errorf("read entries: %w", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		var l raft.Log
		if err := getLog(it.Value(), indexOf(it.Key()), &l); err != nil {
			return errors.Join(fmt.Errorf("read entry %d: %w", binary.BigEndian.Uint64(it.Key()[1:]), err), it.Close())
		}
		visit(&l)
	}
	return errors.Join(it.Error(), it.Close())
}

// alone reports whether name is the only voter.
func alone(c raft.Configuration, name string) bool {
	voters, us := 0, false
	for _, s := range c.Servers {
		if s.Suffrage == raft.Voter {
			voters++
			us = us || string(s.ID) == name
		}
	}
	return voters == 1 && us
}
