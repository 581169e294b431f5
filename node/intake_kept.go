package node

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// What is kept of reports that nobody could attribute: for a person to read,
// the newest ones, and not for long, because recipients stand in them.
const (
	maxKeptFiles = 200
	maxKeptBytes = 64 << 20

	keptLayout = "20060102T150405.000Z"
	keptSuffix = ".eml"
)

// keptReports is a directory of reports, one file each, named by time.
type keptReports struct {
	dir    string
	mu     sync.Mutex // one at a time: who writes also makes room
	oldest time.Time  // that the last look left; zero: none
}

func newKeptReports(dir string) *keptReports { return &keptReports{dir: dir} }

// Oldest is when the oldest report came that the last look left.
func (k *keptReports) Oldest() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.oldest
}

// keep writes a report down and removes what is too much.
func (k *keptReports) keep(raw []byte, at time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return err
	}
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	name := filepath.Join(k.dir, at.UTC().Format(keptLayout)+"-"+hex.EncodeToString(b[:])+keptSuffix)
	if err := os.WriteFile(name, raw, 0o600); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return k.makeRoom(time.Time{})
}

// tidy removes what came before a moment.
func (k *keptReports) tidy(before time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	err := k.makeRoom(before)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was kept yet
	}
	return err
}

// erase removes reports that speak of somebody.
func (k *keptReports) erase(speaks func(text string) bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	names, err := filepath.Glob(filepath.Join(k.dir, "*"+keptSuffix))
	if err != nil {
		return fmt.Errorf("erase kept reports: %w", err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name) // the intake takes no more than a report's bound
		if err != nil {
			return fmt.Errorf("erase kept reports: %w", err)
		}
		if !speaks(string(text)) {
			continue
		}
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("erase kept reports: %w", err)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return syncPath(k.dir)
}

// makeRoom goes from the newest to the oldest; names are in order of time.
func (k *keptReports) makeRoom(before time.Time) error {
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return err
	}
	var errs []error
	files, size := 0, int64(0)
	k.oldest = time.Time{}
	for i := len(entries) - 1; i >= 0; i-- {
		name := entries[i].Name()
		stamp, _, _ := strings.Cut(name, "-")
		at, err := time.Parse(keptLayout, stamp)
		if err != nil || !strings.HasSuffix(name, keptSuffix) {
			continue // none of ours
		}
		info, err := entries[i].Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return fmt.Errorf("look at kept report: %w", err)
		}
		files++
		size += info.Size()
		if files > maxKeptFiles || size > maxKeptBytes || at.Before(before) {
			errs = append(errs, os.Remove(filepath.Join(k.dir, name)))
			continue
		}
		k.oldest = at
	}
	return errors.Join(errs...)
}
