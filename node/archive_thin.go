package node

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"postern/tenant"
)

// Oldest is when the oldest entry in the files was made; zero: there is none, or
// nobody looked yet.
func (a *archive) Oldest() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.first
}

// tidy removes entries from before a moment, whole files and the beginning of
// one: it is written anew once what is too old in it is of more than a day. The
// newest entry stays, so that the next one has something to follow.
func (a *archive) tidy(before time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.first.IsZero() && !a.first.Before(before.Add(-24*time.Hour)) {
		return nil
	}
	files, err := a.files()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("tidy journal's files: %w", err)
	}
	for i, name := range files {
		head, all, _, err := readArchive(name)
		if errors.Is(err, errNoHead) || err == nil && len(all) == 0 {
			continue
		}
		if err != nil {
			return fmt.Errorf("tidy journal's files: %w", err)
		}
		n := slices.IndexFunc(all, func(e *tenant.Entry) bool { return !e.At.Before(before) })
		if n < 0 && i+1 < len(files) {
			if err := os.Remove(name); err != nil {
				return fmt.Errorf("tidy journal's files: %w", err)
			}
			continue
		}
		if n < 0 {
			n = len(all) - 1
		}
		if n > 0 && all[0].At.Before(before.Add(-24*time.Hour)) {
			head.First, head.Follows = all[n].Seq, hex.EncodeToString(all[n-1].Hash[:])
			all = all[n:]
			if err := a.replace(name, head, all); err != nil {
				return err
			}
		}
		a.first = all[0].At
		return nil
	}
	return nil
}

// erase takes the texts out of entries that speak of somebody, also in files that
// were set aside, and out of nothing that is written later from a state before st.
func (a *archive) erase(st *tenant.State, speaks func(*tenant.Entry) bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.least = max(a.least, st.Index())
	files, err := a.files()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("erase from journal's files: %w", err)
	}
	aside, err := filepath.Glob(strings.NewReplacer("*", "\\*", "?", "\\?", "[", "\\[").Replace(a.dir) + ".*/" + archivePrefix + "*" + archiveSuffix)
	if err != nil {
		return fmt.Errorf("erase from journal's files: %w", err)
	}
	for _, name := range append(files, aside...) {
		head, all, _, err := readArchive(name)
		if errors.Is(err, errNoHead) {
			continue
		}
		if err != nil {
			return fmt.Errorf("erase from journal's files: %w", err)
		}
		touched := false
		for i, e := range all {
			if speaks(e) {
				all[i], touched = e.Erased(), true
			}
		}
		if !touched {
			continue
		}
		if err := a.replace(name, head, all); err != nil {
			return err
		}
	}
	return nil
}

// replace writes a file anew, beside it, and puts it in its place.
func (a *archive) replace(name string, head archiveHead, all []*tenant.Entry) (err error) {
	a.known = false // how long the last file is, is looked up
	temp := name + ".new"
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write journal's file %s anew: %w", name, err), removeIfThere(temp))
		}
	}()
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(f)
	enc.SetEscapeHTML(false)
	err = enc.Encode(head)
	for _, e := range all {
		err = errors.Join(err, enc.Encode(archived(e)))
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, name); err != nil {
		return err
	}
	return syncPath(filepath.Dir(name))
}

func removeIfThere(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
