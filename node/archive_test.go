package node

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/tenant"
)

// journaled is a state whose journal has at least n entries.
func journaled(t *testing.T, st *tenant.State, n uint64, reason string) *tenant.State {
	t.Helper()
	apply := func(op tenant.Op) {
		t.Helper()
		next, _, err := tenant.Apply(st, st.Index()+1, tenant.Command{At: time.Date(2026, 11, 22, 12, 0, 0, int(st.Index()), time.UTC), Op: op})
		if err != nil {
			t.Fatal(err)
		}
		st = next
	}
	if !st.Journals() {
		version := uint32(tenant.NewestVersion)
		apply(tenant.AddNode{Name: "n1"})
		apply(tenant.SetNode{Node: 1, Version: &version})
		apply(tenant.OpenJournal{})
		apply(tenant.AddSource{Node: 1, Addr: netip.MustParseAddr("192.0.2.10"), EHLO: "out-1.relay.test", Shared: true})
		apply(tenant.AddTenant{Name: "shoes", Hostname: "shoes.relay.test", Home: tenant.Place{Node: 1}})
	}
	for count, _, _ := st.JournalOf(); count < n; count++ {
		apply(tenant.By{Actor: "operator", Op: tenant.Pause{Tenant: 1, Reason: reason}})
	}
	if _, err := st.VerifyJournal(); err != nil {
		t.Fatal(err)
	}
	return st
}

func testArchive(dir string) *archive {
	return newArchive("n1", dir, nil, slog.New(slog.DiscardHandler))
}

func written(t *testing.T, a *archive, st *tenant.State) {
	t.Helper()
	if err := a.write(st); err != nil {
		t.Fatal(err)
	}
}

func checked(t *testing.T, a *archive, st *tenant.State, entries, missing uint64) {
	t.Helper()
	sum, err := a.Check(st)
	if err != nil || sum.Broken != nil || sum.Entries != entries || sum.Missing != missing {
		t.Errorf("checked %+v (broken: %v), %v", sum, sum.Broken, err)
	}
}

// What left the state is in the files, whole and in order, also after a process
// ended in the middle of a line or of a new file.
func TestArchiveKeepsWhatLeavesTheState(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	st := journaled(t, tenant.New(), 4000, "a trap")
	written(t, testArchive(dir), st)
	files, _ := testArchive(dir).files()
	f, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`{"seq":4001,"at":"2026-`) // cut off
	f.Close()
	if err := os.WriteFile(filepath.Join(dir, archiveName(4001)), nil, 0o600); err != nil {
		t.Fatal(err)
	}

	a := testArchive(dir)
	st = journaled(t, st, 13000, "two traps")
	written(t, a, st)
	st = journaled(t, st, 14000, "three traps")
	written(t, a, st)
	checked(t, a, st, 14000, 0)
	if files, _ := a.files(); len(files) != 2 {
		t.Errorf("the files are %v", files)
	}
	_, first, _ := st.JournalOf()
	if first != 4001 {
		t.Fatalf("the state begins at %d", first)
	}
	all, next, err := a.Before(first)
	if err != nil || next != 0 || len(all) != 4000 || all[0].Seq != 4000 || all[3999].Seq != 1 || all[10].Why != "a trap" {
		t.Errorf("%d entries are older, next %d, %v", len(all), next, err)
	}
	if all, _, _ := a.Before(1); len(all) > 0 {
		t.Errorf("%d entries before the first", len(all))
	}
}

// Whoever changes a file is found out: by the chain, by the state's entries, or
// by the anchor of those that left.
func TestArchiveShowsWhatWasChanged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	a, st := testArchive(dir), journaled(t, tenant.New(), 12000, "a trap")
	_, first, _ := st.JournalOf()
	early := journaled(t, tenant.New(), 9000, "a trap")
	written(t, a, early)
	written(t, a, st)
	checked(t, a, st, 12000, 0)
	name := filepath.Join(dir, archiveName(1))
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	for what, change := range map[string]func(l [][]byte) [][]byte{
		"a word":     func(l [][]byte) [][]byte { l[50] = bytes.Replace(l[50], []byte("trap"), []byte("word"), 1); return l },
		"an entry":   func(l [][]byte) [][]byte { return append(l[:50:50], l[51:]...) },
		"of the end": func(l [][]byte) [][]byte { return l[:9000] },
	} {
		text := bytes.Join(change(append([][]byte{}, lines...)), nil)
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		sum, err := a.Check(st)
		if want := uint64(50); err != nil || (what == "of the end") != (sum.Broken == nil) || sum.Broken != nil && sum.Broken.Seq != want {
			t.Errorf("without %s: %+v, %v, %v", what, sum, sum.Broken, err)
		} else if what == "of the end" && sum.Missing == 0 {
			t.Errorf("nobody misses what was cut off: %+v", sum)
		}
	}
	if err := os.WriteFile(name, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	checked(t, a, st, 12000, 0)
	forged := journaled(t, tenant.New(), 12000, "no trap")
	if sum, err := a.Check(forged); err != nil || sum.Broken == nil || sum.Broken.Seq != first-1 {
		t.Errorf("another journal's files pass: %+v, %v", sum, err)
	}
}

// A node that was away for longer than the state remembers goes on with what
// there is, and says what it lacks.
func TestArchiveAfterAnAbsence(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	st := journaled(t, tenant.New(), 100, "a trap")
	written(t, testArchive(dir), st)
	st = journaled(t, st, 10500, "a trap")
	_, first, _ := st.JournalOf()
	a := testArchive(dir)
	written(t, a, st)
	checked(t, a, st, 100+10000, first-101)
}

// After a restore the journal is another one from some entry on.
func TestArchiveAfterARestore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	backup := journaled(t, tenant.New(), 50, "a trap")
	written(t, testArchive(dir), journaled(t, backup, 100, "a trap"))
	a := testArchive(dir)
	for _, n := range []uint64{50, 80} { // not there yet: a node that starts looks like that, too
		written(t, a, journaled(t, backup, n, "restored"))
	}
	st := journaled(t, backup, 101, "restored")
	written(t, a, st)
	checked(t, a, st, 101, 0)
	aside, _ := filepath.Glob(dir + ".*")
	if len(aside) != 1 {
		t.Errorf("set aside: %v", aside)
	}
	checked(t, testArchive(aside[0]), journaled(t, backup, 100, "a trap"), 100, 0)
}

func FuzzReadArchive(f *testing.F) {
	f.Add([]byte("{\"postern_journal\":1,\"first\":1,\"follows\":\"" + strings.Repeat("0", 64) + "\"}\n{\"seq\":1,\"at\":\"2026-11-22T12:00:00Z\",\"hash\":\"" + strings.Repeat("a", 64) + "\"}\n"))
	f.Add([]byte("{}\n{\"hash\":\"zz\"}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, archiveName(1)), text, 0o600); err != nil {
			t.Fatal(err)
		}
		a := testArchive(dir)
		_, _, _ = a.Before(1 << 40)
		_, _ = a.Check(tenant.New())
		if err := a.open(); err == nil && a.last > 0 {
			if _, all, whole, err := readArchive(filepath.Join(dir, archiveName(1))); err != nil || len(all) != a.count || whole > int64(len(text)) {
				t.Errorf("opened with %d entries, then read %d of %d octets: %v", a.count, len(all), whole, err)
			}
		}
	})
}
