package cluster

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

// TestScrub: what was removed from the state is in no file of log and snapshots
// any more, the state goes on and is the same after a restart.
func TestScrub(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := config(t, vfs.Default)
	cfg.Dir = filepath.Join(dir, "raft")
	r := run(t, cfg, standard())
	with := func() (all []string) {
		t.Helper()
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) || err == nil && d.IsDir() {
				return nil
			}
			if err != nil {
				return err
			}
			b, err := os.ReadFile(name)
			if errors.Is(err, fs.ErrNotExist) { // the log's store deletes as it goes
				return nil
			}
			if err == nil && bytes.Contains(b, []byte("qzxerased")) {
				all = append(all, filepath.Base(name))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	for i := range 50 {
		r.mustAdd(numbered("n", i))
	}
	route := func(host string) *tenant.State {
		t.Helper()
		_, st, err := r.Propose(t.Context(), tenant.RequestID{}, tenant.SetRoute{Route: tenant.Route{Domain: "it.example", Host: host, Port: 25}})
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	route("qzxerased.example")
	if _, err := r.snapshot(); err != nil { // it has it, too
		t.Fatal(err)
	}
	r.mustAdd("x")
	if _, err := r.snapshot(); err != nil {
		t.Fatal(err)
	}
	gone := route("mx.example")
	if len(with()) == 0 {
		t.Fatal("it was in no file before")
	}
	if err := r.Scrub(t.Context(), gone.Index()+1); err == nil {
		t.Error("a state that is not there yet is scrubbed")
	}
	upTo := r.mustAdd("after").Index()
	r.mustAdd("later")
	for range 2 {
		if err := r.Scrub(t.Context(), upTo); err != nil {
			t.Fatal(err)
		}
		if left := with(); len(left) > 0 {
			t.Fatalf("it is still in %v", left)
		}
	}
	want := r.mustAdd("last").Digest()
	r.stop()
	r = run(t, cfg, standard())
	r.awaitReady()
	if r.State().Digest() != want {
		t.Error("another state after the restart")
	}
	r.mustAdd("more")
}
