package node

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/tenant"
)

// aged is a journal of entries a day apart, two of which speak of shoes.
func aged(t *testing.T, days int) *tenant.State {
	t.Helper()
	st := journaled(t, tenant.New(), 0, "")
	at := time.Date(2026, 11, 22, 12, 0, 1, 0, time.UTC)
	for i := range days {
		next, _, err := tenant.Apply(st, st.Index()+1, tenant.Command{At: at.AddDate(0, 0, i), Op: tenant.By{Actor: "operator", Op: tenant.Pause{Tenant: 1, Reason: "why"}}})
		if err != nil {
			t.Fatal(err)
		}
		st = next
	}
	return st
}

// What is older than it is kept leaves the files, whole and in part, and the
// chain of what stays still holds, also for who reads the files anew.
func TestArchiveIsTidied(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	st := aged(t, 40)
	a := testArchive(dir)
	written(t, a, st)
	count, _, _ := st.JournalOf()
	checked(t, a, st, count, 0)
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	if err := a.tidy(start.AddDate(0, 0, 10)); err != nil {
		t.Fatal(err)
	}
	checked(t, a, st, 30, 0)
	if got := a.Oldest(); !got.Equal(start.AddDate(0, 0, 10).Add(time.Second)) {
		t.Errorf("the oldest is of %s", got)
	}
	written(t, a, journaled(t, st, count+5, "more"))
	checked(t, testArchive(dir), journaled(t, st, count+5, "more"), 35, 0)
	// Hours do not make it write the file again; the newest entry always stays.
	before, _ := os.Stat(filepath.Join(dir, archiveName(1)))
	if err := a.tidy(start.AddDate(0, 0, 11)); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.Stat(filepath.Join(dir, archiveName(1))); !os.SameFile(before, after) {
		t.Error("a day of entries made it write a file anew")
	}
	if err := a.tidy(start.AddDate(9, 0, 0)); err != nil {
		t.Fatal(err)
	}
	checked(t, testArchive(dir), journaled(t, st, count+5, "more"), 1, 0)
}

// Whole files go; a crash before the new file is in place leaves the old one.
func TestArchiveDropsFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	st := aged(t, 0)
	a := testArchive(dir)
	for n := uint64(0); n < 3; n++ {
		st = journaled(t, st, (n+1)*archiveFile/2, "x")
		written(t, a, st)
	}
	st = journaled(t, st, archiveFile+10, "x")
	written(t, a, st)
	if err := os.WriteFile(filepath.Join(dir, archiveName(1)+".new"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if files, err := testArchive(dir).files(); err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	if err := a.tidy(time.Date(2027, 11, 22, 12, 0, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	files, err := testArchive(dir).files()
	if err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
	checked(t, testArchive(dir), st, 1, 0)
}

// Erased entries lose their texts in the files, also those set aside, and a state
// from before does not bring them back.
func TestArchiveErases(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	st := aged(t, 10)
	a := testArchive(dir)
	written(t, a, st)
	aside := dir + ".20260101T000000Z"
	if err := os.CopyFS(aside, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	before := journaled(t, st, 20, "news@shoes.example")
	erased, _, err := tenant.Apply(before, before.Index()+1, tenant.Command{At: st.Now(), Op: tenant.By{Actor: "operator", Op: tenant.EraseTenant{Tenant: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.erase(erased, erased.TracesOf(1).Speaks); err != nil {
		t.Fatal(err)
	}
	written(t, a, before)
	written(t, a, erased)
	count, _, _ := erased.JournalOf()
	checked(t, testArchive(dir), erased, count, 0)
	for _, d := range []string{dir, aside} {
		text, err := os.ReadFile(filepath.Join(d, archiveName(1)))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		lines = slices.DeleteFunc(lines, func(l string) bool { return strings.Contains(l, `"act":"erase"`) })
		if rest := strings.Join(lines, "\n"); strings.Contains(rest, "shoes") || strings.Contains(rest, "why") && strings.Contains(rest, `"why":"why"`) || !strings.Contains(rest, `"erased":true`) {
			t.Errorf("%s still has\n%s", d, rest)
		}
	}
}
