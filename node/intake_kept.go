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
	maxKeptAge   = 30 * 24 * time.Hour

	keptLayout = "20060102T150405.000Z"
	keptSuffix = ".eml"
)

// keptReports is a directory of reports, one file each, named by time.
type keptReports struct {
	dir string
	mu  sync.Mutex // one at a time: who writes also makes room
}

func newKeptReports(dir string) *keptReports { return &keptReports{dir: dir} }

// keep writes a report down and removes what is too old or too much.
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
	return k.makeRoom(at)
}

// tidy removes what is too old.
func (k *keptReports) tidy(now time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	err := k.makeRoom(now)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was kept yet
	}
	return err
}

// makeRoom goes from the newest to the oldest; names are in order of time.
func (k *keptReports) makeRoom(now time.Time) error {
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return err
	}
	var errs []error
	files, size := 0, int64(0)
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
		if files > maxKeptFiles || size > maxKeptBytes || now.Sub(at) > maxKeptAge {
			errs = append(errs, os.Remove(filepath.Join(k.dir, name)))
		}
	}
	return errors.Join(errs...)
}
