package queue

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

// filesWith names the files below dir that contain a text. The store deletes
// files of its own while they are read.
func filesWith(t *testing.T, dir, text string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && d.IsDir() {
			return nil
		}
		if err != nil {
			return err
		}
		b, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && bytes.Contains(b, []byte(text)) {
			all = append(all, filepath.Base(name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestScrubLeavesNothing: after a tenant was erased and the store scrubbed, none
// of its addresses is in any file, and the other tenant has all it had.
func TestScrubLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, vfs.Default, func(c *Config) { c.Dir = dir })
	adopt(t, s, 1, 1)
	adopt(t, s, 2, 1)
	body := func(who string, n int) []byte {
		return []byte("Subject: " + who + "\r\n\r\n" + strings.Repeat(fmt.Sprintf("%s %d ", who, n), 400+n*300))
	}
	var kept []ID
	for n := range 60 { // in turns, so that they share tables and blob files
		for who := tenant.ID(1); who <= 2; who++ {
			e := envelope(fmt.Sprintf("rcpt-%d-qzx%d@dest%d.test", n, who, who))
			e.From = fmt.Sprintf("from-qzx%d@sender.test", who)
			id := put(t, s, who, body(fmt.Sprintf("body-qzx%d", who), n%20), e)
			if who == 2 {
				kept = append(kept, id)
			}
		}
		if n%20 == 19 {
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 20 { // some ended: traces and dialogues
		it := takeOne(t, s)
		settle(t, s, Settlement{Item: it, Attempt: Attempt{N: 1, Dialogue: "RCPT TO:<" + it.Envelope.Rcpts[0].Addr + ">"}, Outcomes: outcomes(it, Delivered)})
	}
	for who := tenant.ID(1); who <= 2; who++ {
		if err := s.Suppress(t.Context(), who, []Failure{{Addr: fmt.Sprintf("dead-qzx%d@dest.test", who), Reason: ByOperator, At: time.Now()}}); err != nil {
			t.Fatal(err)
		}
	}
	if len(filesWith(t, dir, "qzx1")) == 0 {
		t.Fatal("nothing of the tenant is on the disk before")
	}
	if err := s.EraseForGood(1); err != nil {
		t.Fatal(err)
	}
	if err := s.Scrub(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := filesWith(t, dir, "qzx1"); len(left) > 0 {
		t.Errorf("the erased tenant is still in %v", left)
	}
	if len(filesWith(t, dir, "qzx2")) == 0 {
		t.Error("the other tenant is gone, too")
	}
	n := 0
	for _, id := range kept {
		if m, err := s.Show(id); err == nil {
			n++
			if got := readBody(t, s, id); !bytes.Contains(got, []byte("body-qzx2")) || m.Envelope.From != "from-qzx2@sender.test" {
				t.Errorf("message %s has another body", id)
			}
		}
	}
	if n < 40 {
		t.Errorf("%d messages of the other tenant are left", n)
	}
	if l, _, err := s.Suppressions(2, "", 10); err != nil || len(l) != 1 {
		t.Errorf("the other's list: %v %v", l, err)
	}
	// It never comes back: not as an owner's, nor by a record of an old one.
	if _, err := s.Adopt(1, 5); err == nil {
		t.Error("an erased tenant is adopted")
	}
	// Twice does nothing worse, also where there is nothing.
	if err := s.EraseForGood(1); err != nil {
		t.Error(err)
	}
	if err := s.Scrub(t.Context()); err != nil {
		t.Error(err)
	}
}
