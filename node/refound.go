package node

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/cluster"
	"postern/node/admin"
	"postern/tenant"
)

// Known is what a stopped node knows of its cluster.
type Known struct {
	Node    string `json:"node"`
	Index   uint64 `json:"index"` // newest log entry
	Nodes   int    `json:"nodes"`
	Tenants int    `json:"tenants"`
}

// Refounded is a cluster that goes on from an older state.
type Refounded struct {
	Known
	Aside []string `json:"set_aside"` // directories with what was there before
}

func knownBy(name string, st *tenant.State) Known {
	k := Known{Node: name, Index: st.Index()}
	for range st.Nodes() {
		k.Nodes++
	}
	for range st.Tenants() {
		k.Tenants++
	}
	return k
}

// Look reads what a stopped node knows; it changes nothing.
func Look(cfg Config) (Known, error) {
	st, err := cfg.latest()
	if err != nil {
		return Known{}, fmt.Errorf("look at the node's state: %w", err)
	}
	return knownBy(cfg.Name, st), nil
}

func (c *Config) latest() (*tenant.State, error) {
	if err := c.stopped(); err != nil {
		return nil, err
	}
	return cluster.Latest(vfs.Default, c.raftDir())
}

// Restore founds the cluster anew from a backup, with this node as its first.
// What was there before is set aside. The file is only read.
func Restore(cfg Config, file string) (Refounded, error) {
	st, err := readBackup(file)
	if err == nil {
		err = cfg.stopped()
	}
	var r Refounded
	if err == nil {
		r, err = cfg.refound(st)
	}
	if err != nil {
		return r, fmt.Errorf("restore cluster: %w", err)
	}
	return r, nil
}

// Recover founds the cluster anew from what this stopped node knows, committed
// or not, when the majority is lost.
func Recover(cfg Config) (Refounded, error) {
	st, err := cfg.latest()
	var r Refounded
	if err == nil {
		r, err = cfg.refound(st)
	}
	if err != nil {
		return r, fmt.Errorf("recover cluster: %w", err)
	}
	return r, nil
}

func readBackup(name string) (*tenant.State, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, admin.MaxBackup+1))
	if err != nil {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	if len(b) > admin.MaxBackup {
		return nil, fmt.Errorf("read backup: %s is too large for one", name)
	}
	return admin.DecodeBackup(b)
}

var errNotKnown = errors.New("the state does not know this node; set name in the configuration to that of one of its nodes")

var errNoPKI = errors.New("this machine has no certificate of the cluster: do it on a node that has DIR/pki")

// refound gives st a new incarnation, in which only this node's certificate is
// believed, and a raft log of its own. The order lets it be repeated after a
// crash at any step: what is read is never what is written.
func (c *Config) refound(st *tenant.State) (Refounded, error) {
	if st.NodeByName(c.Name) == nil {
		return Refounded{}, errNotKnown
	}
	r := Refounded{Known: knownBy(c.Name, st)}
	if c.Peer.Listen != "" {
		if _, err := os.Stat(c.pkiDir()); err != nil {
			return r, fmt.Errorf("%w (%w)", errNoPKI, err)
		}
	}
	next := tenant.Reincarnate(st, c.Name)
	if err := makeStateDir(vfs.Default, c.Dir); err != nil {
		return r, err
	}
	if err := c.makeSecrets(); err != nil {
		return r, err
	}
	made := c.raftDir() + ".new"
	if err := os.RemoveAll(made); err != nil {
		return r, fmt.Errorf("clear state: %w", err)
	}
	if err := cluster.Refound(vfs.Default, made, c.Name, next); err != nil {
		return r, err
	}
	if _, err := os.Stat(c.raftDir()); err == nil {
		old, err := setAside(c.raftDir())
		if err != nil {
			return r, err
		}
		r.Aside = append(r.Aside, old)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("look for old state: %w", err)
	}
	if err := os.Rename(made, c.raftDir()); err != nil {
		return r, fmt.Errorf("put state in place: %w", err)
	}
	if err := syncDirectory(vfs.Default, c.Dir); err != nil {
		return r, fmt.Errorf("put state in place: %w", err)
	}
	if c.Peer.Listen == "" {
		return r, nil
	}
	return r, replaceSecretFile(c.formFile(), []byte(formedByJoin+"\n"))
}
