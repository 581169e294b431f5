package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestStateDirOutlivesAPowerCut(t *testing.T) {
	for _, dir := range []string{"/state", "/var/lib/postern", "relative/state"} {
		mem := vfs.NewCrashableMem()
		if err := makeStateDir(mem, dir); err != nil {
			t.Fatal(err)
		}
		left := mem.CrashClone(vfs.CrashCloneCfg{}) // what was synced and nothing else
		if _, err := left.Stat(dir); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestStateDirOnTheDisk(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "a", "b")
	for range 2 { // the second time it is there
		if err := makeStateDir(vfs.Default, dir); err != nil {
			t.Fatal(err)
		}
	}
	st, err := os.Stat(dir)
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", st, err)
	}
	file := filepath.Join(top, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := makeStateDir(vfs.Default, filepath.Join(file, "x")); err == nil || !strings.Contains(err.Error(), "state directory") {
		t.Errorf("a directory in a file: %v", err)
	}
}
