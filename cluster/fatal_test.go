package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/raft"

	"postern/tenant"
)

// childVar names what a test process that is allowed to die does.
const childVar = "POSTERN_CLUSTER_CHILD"

const (
	exitFatal = 7 // the child's Fatal was called
	exitFine  = 0

	childHungWrite = 3 * time.Second
)

// child runs a cluster on a real directory, breaks the file system in the way
// asked for and proposes. The node must end by Fatal.
func child(mode string) int {
	mode, dir, _ := strings.Cut(mode, ":")
	var broken atomic.Bool
	fs := errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !broken.Load() {
			return nil
		}
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			switch mode {
			case "sync", "returns":
				return errors.New("disk says no")
			case "hang":
				select {}
			}
		case errorfs.OpFileWrite:
			if mode == "write" {
				return errors.New("disk says no")
			}
		}
		return nil
	}))
	if mode == "returns" {
		return returning(fs, dir, &broken)
	}
	hung := time.Minute // a slow disk is not what the others test
	if mode == "hang" {
		hung = childHungWrite
	}
	c, err := New(Config{
		Dir: dir, FS: fs, Name: "n1", Bootstrap: true, HungWrite: hung,
		Fatal: func(err error) {
			fmt.Println("FATAL", err)
			os.Exit(exitFatal)
		},
	})
	if err != nil {
		fmt.Println(err)
		return 2
	}
	go func() { _ = c.Run(context.Background()) }()
	for i := 0; ; i++ {
		patience := 30 * time.Second
		if i == 3 {
			broken.Store(true)
			if mode == "hang" {
				patience = childHungWrite / 5
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		_, _, err := c.Propose(ctx, tenant.RequestID{}, tenant.AddNode{Name: numbered("n", i)})
		cancel()
		switch {
		case errors.Is(err, ErrUnknown):
			fmt.Println("UNKNOWN", err)
			continue
		case err != nil:
			fmt.Println(err)
			return 3
		}
		fmt.Println("ACK", i)
		if i > 10 {
			return exitFine
		}
	}
}

// returning is the child whose Fatal returns: pebble then reports a failed
// commit as done.
func returning(fs vfs.FS, dir string, broken *atomic.Bool) int {
	failed := &failure{fatal: func(err error) { fmt.Println("FATAL", err) }}
	s, err := openLogStore(dir, storeOptions(privateFS{fs}, storeLog{quiet(), failed}), failed)
	if err != nil {
		fmt.Println(err)
		return 2
	}
	fmt.Println("before:", s.StoreLog(&raft.Log{Index: 1}))
	broken.Store(true)
	fmt.Println("failing:", s.StoreLog(&raft.Log{Index: 2}))
	last, _ := s.LastIndex()
	fmt.Println("last:", last)
	return exitFatal
}

// TestFailedCommit: a commit that failed is never called done.
func TestFailedCommit(t *testing.T) {
	t.Parallel()
	out := die(t, "returns", filepath.Join(t.TempDir(), "log"))
	for _, want := range []string{"before: <nil>", "FATAL log store: pebble: fatal commit error", "failing: store entries: log store", "last: 1"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in:\n%s", want, out)
		}
	}
}

// childWords begin the lines of a child.
var childWords = []string{"ACK", "UNKNOWN", "FATAL", "before:", "failing:", "last:"}

// die runs a child that must end by its Fatal, and returns what it said.
func die(t *testing.T, mode, dir string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childVar+"="+mode+":"+dir)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitFatal {
		t.Fatalf("ended with %v:\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		// Neither raft nor pebble nor their metrics write past the logger.
		if word, _, _ := strings.Cut(line, " "); !slices.Contains(childWords, word) {
			t.Errorf("somebody said %q", line)
		}
	}
	return string(out)
}

// TestDiskFailure: a failed sync or write ends the process by Fatal and nothing
// is acknowledged after it; what was, is there at the next start.
func TestDiskFailure(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"sync", "write"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "raft")
			out := die(t, mode, dir)
			if !strings.Contains(out, "FATAL log store: ") || strings.Count(out, "ACK") != 3 {
				t.Fatalf("said:\n%s", out)
			}
			cfg := config(t, vfs.Default)
			cfg.Dir = dir
			r := run(t, cfg, standard())
			r.awaitReady()
			for i := range 3 {
				if r.State().NodeByName(numbered("n", i)) == nil {
					t.Errorf("n%d was acknowledged and is gone", i)
				}
			}
		})
	}
}

// TestHungWrite: a log write that hangs ends the node, because raft itself
// would lead on for ever. Nothing is answered meanwhile, and a caller with less
// patience hears that it does not know.
func TestHungWrite(t *testing.T) {
	t.Parallel()
	out := die(t, "hang", filepath.Join(t.TempDir(), "raft"))
	_, after, found := strings.Cut(out, "FATAL a write to the log hangs since ")
	took, err := time.ParseDuration(strings.TrimSpace(after))
	if !found || err != nil || took < childHungWrite || took > 10*childHungWrite {
		t.Errorf("ended after %s", took)
	}
	if strings.Count(out, "ACK") != 3 || !strings.Contains(out, "UNKNOWN propose: "+ErrUnknown.Error()) {
		t.Errorf("said:\n%s", out)
	}
}

// TestWatchdog counts on the clock of a bubble.
func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := &failure{fatal: func(error) {}}
		w := newStopwatch("a write")
		dog := &watchdog{
			limit: 10 * time.Second, watches: []*stopwatch{w, newStopwatch("applying")},
			failed: failed,
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan struct{})
		go func() {
			defer close(done)
			dog.run(ctx)
		}()
		for range 100 { // many slow writes are not a hung one
			slot, _ := w.begin()
			time.Sleep(9 * time.Second)
			w.end(slot)
		}
		if got := failed.error(); got != nil {
			t.Fatalf("too early: %v", got)
		}
		other, _ := w.begin()
		time.Sleep(5 * time.Second)
		slot, _ := w.begin()
		w.end(other)
		time.Sleep(9 * time.Second)
		if got := failed.error(); got != nil {
			t.Fatalf("the older one had ended: %v", got)
		}
		began := time.Now()
		<-done
		if took := time.Since(began); failed.error() == nil || took > 2*time.Second {
			t.Fatalf("after %s more: %v", took, failed.error())
		}
		w.end(slot)
	})
}

// TestFrozenWrite: a process that was frozen in the midst of a write has not seen
// its disk hang; what hangs from then on counts.
func TestFrozenWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStopwatch("a write")
		dog := &watchdog{limit: 10 * time.Second, watches: []*stopwatch{w}, awake: time.Now(), looked: time.Now()}
		slot, _ := w.begin()
		defer w.end(slot)
		time.Sleep(time.Minute) // nobody looks
		for i := range 12 {
			if err := dog.look(); (err != nil) != (i > 10) {
				t.Errorf("%d s later: %v", i, err)
			}
			time.Sleep(time.Second)
		}
	})
}

// TestHungApply: the same for a command that never ends.
func TestHungApply(t *testing.T) {
	t.Parallel()
	cfg := config(t, vfs.NewMem())
	cfg.HungWrite = 2 * time.Second
	fatal := make(chan error, 2)
	cfg.Fatal = func(err error) { fatal <- err }
	r := run(t, cfg, standard())
	r.awaitReady()
	r.fsm.mu.Lock() // what publishing waits for
	defer r.stop()
	defer r.fsm.mu.Unlock()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _, _ = r.Propose(ctx, tenant.RequestID{}, tenant.AddNode{Name: "n1"})
	}()
	select {
	case err := <-fatal:
		if !strings.Contains(err.Error(), "applying a command hangs") {
			t.Errorf("fatal: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("nobody noticed")
	}
}
