package node

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

const (
	// maxErasedMarks bounds how many erased tenants a node remembers; the oldest
	// leave. A backup that old is none any more.
	maxErasedMarks = 10_000
	erasedMarkLen  = 32
	maxErasedFile  = maxErasedMarks * (erasedMarkLen + 1)
)

// erasedFile remembers erased tenants by keyed hashes, one a line. It is no part
// of the state, for a restored state forgets.
type erasedFile struct {
	name  string
	read  bool
	marks []string
	known map[string]bool
}

func (f *erasedFile) load() error {
	if f.read {
		return nil
	}
	file, err := os.Open(f.name)
	if errors.Is(err, fs.ErrNotExist) {
		f.read, f.known = true, map[string]bool{}
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxErasedFile+1))
	if err != nil {
		return err
	}
	if len(text) > maxErasedFile {
		return fmt.Errorf("%s has more than %d lines: move it away and look who wrote it", f.name, maxErasedMarks)
	}
	f.marks, f.known = readErasedMarks(string(text))
	f.read = true
	return nil
}

// readErasedMarks reads the lines that are marks, each once.
func readErasedMarks(text string) (all []string, known map[string]bool) {
	known = map[string]bool{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if _, err := hex.DecodeString(line); err == nil && len(line) == erasedMarkLen && !known[line] {
			known[line] = true
			all = append(all, line)
		}
	}
	return all, known
}

// add notes marks that are not there yet, durably.
func (f *erasedFile) add(marks []string) error {
	if err := f.load(); err != nil {
		return err
	}
	all, added := f.marks, false
	for _, m := range marks {
		if !f.known[m] {
			all, added = append(all, m), true
		}
	}
	if !added {
		return nil
	}
	all = all[max(len(all)-maxErasedMarks, 0):]
	text := strings.Join(all, "\n") + "\n"
	if err := replaceSecretFile(f.name, []byte(text)); err != nil {
		return err
	}
	f.marks, f.known = readErasedMarks(text)
	return nil
}

// has says whether a mark was added; before anything was, none is known.
func (f *erasedFile) has(mark string) bool { return f.known[mark] }
