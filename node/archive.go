package node

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/node/trouble"
	"postern/tenant"
)

const (
	// archiveEvery is how often new entries are looked for. The state keeps ten
	// thousand, so nothing is missed at any rate of decisions.
	archiveEvery = 10 * time.Second
	// archiveFile is how many entries a file holds.
	archiveFile = 10000
	// maxArchiveLine bounds an entry's line; its texts are 1.1 KB before escaping.
	maxArchiveLine = 16 << 10
	archivePrefix  = "journal-"
	archiveSuffix  = ".jsonl"
)

// archive writes every entry of the journal to files that only grow, because the
// state keeps the newest only. A file begins with the hash that its first entry
// follows; a node that was away for more entries than the state keeps begins a
// new one, and another node has what is missing.
type archive struct {
	name   string
	dir    string
	state  func() *tenant.State
	log    *slog.Logger
	failed *trouble.Log[string] // by node: this one

	mu    sync.Mutex // guards what follows, and writing
	known bool       // what follows was read from the disk
	count int        // entries of the last file
	last  uint64     // sequence of the last entry written; 0: none
	hash  [32]byte   // of that entry
	first time.Time  // of the oldest entry, once tidy or erase looked; zero: not known
	least uint64     // index of the oldest state to write from: older ones have what was erased
}

func newArchive(name, dir string, state func() *tenant.State, log *slog.Logger) *archive {
	return &archive{name: name, dir: dir, state: state, log: log,
		failed: trouble.New[string](log, slog.LevelError, "journal not written to its files, trying again", "node")}
}

// Run writes until ctx ends.
func (a *archive) Run(ctx context.Context) error {
	onBeat(ctx, archiveEvery, a.failed, a.name, func(context.Context) error { return a.write(a.state()) })
	return nil
}

// archiveHead is a file's first line.
type archiveHead struct {
	Version int    `json:"postern_journal"`
	First   uint64 `json:"first"`
	Follows string `json:"follows"` // the hash of the entry before the first
}

// archivedEntry is an entry's line.
type archivedEntry struct {
	Seq     uint64    `json:"seq"`
	At      time.Time `json:"at"`
	Index   uint64    `json:"index"`
	Actor   string    `json:"actor"`
	Act     string    `json:"act"`
	Subject string    `json:"subject"`
	Why     string    `json:"why,omitempty"`
	Case    uint64    `json:"case,omitempty"`
	Tenant  uint64    `json:"tenant,omitempty"`
	Source  uint64    `json:"source,omitempty"`
	Erased  bool      `json:"erased,omitempty"` // its texts are gone
	Hash    string    `json:"hash"`
}

func archived(e *tenant.Entry) archivedEntry {
	return archivedEntry{e.Seq, e.At.UTC(), e.Index, e.Actor, e.Act, e.Subject, e.Why, e.Case, uint64(e.Tenant), uint64(e.Source), e.Gone(), hex.EncodeToString(e.Hash[:])}
}

// entry is what the line says, or an error when it says nothing.
func (x archivedEntry) entry() (*tenant.Entry, error) {
	e := &tenant.Entry{Seq: x.Seq, At: x.At, Index: x.Index, Actor: x.Actor, Act: x.Act, Subject: x.Subject, Why: x.Why, Case: x.Case,
		Tenant: tenant.ID(x.Tenant), Source: tenant.SourceID(x.Source)}
	var err error
	e.Hash, err = readHash(x.Hash)
	return e, err
}

func readHash(text string) (h [32]byte, err error) {
	if n, err := hex.Decode(h[:], []byte(text[:min(len(text), 64)])); err != nil || n != len(h) || len(text) != 64 {
		return h, fmt.Errorf("%q is no hash", text[:min(len(text), 80)])
	}
	return h, nil
}

// write appends what the state has and the files lack.
func (a *archive) write(st *tenant.State) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	newest, first, _ := st.JournalOf()
	if newest == 0 || st.Index() < a.least || a.known && newest == a.last {
		return nil
	}
	if err := a.look(st, newest); err != nil || newest <= a.last {
		return err // a state that is behind catches up, or is told apart when it has
	}
	for from := max(a.last+1, first); from <= newest; from = a.last + 1 {
		if err := a.append(st, from, newest); err != nil {
			a.known = false // how much was written is looked up
			return fmt.Errorf("write journal to %s: %w", a.dir, err)
		}
	}
	return nil
}

// look finds where the files end, and sets them aside when that is an entry of
// another journal: the cluster was restored from an older state since.
func (a *archive) look(st *tenant.State, newest uint64) error {
	if !a.known {
		if err := a.open(); err != nil {
			return fmt.Errorf("open journal's files in %s: %w", a.dir, err)
		}
	}
	left, anchor := st.JournalAnchor()
	switch {
	case a.last == 0 || a.last < left || a.last > newest:
		return nil // nothing to compare with
	case a.last == left && a.hash == anchor, a.last > left && st.JournalEntry(a.last).Hash == a.hash:
		return nil
	}
	aside := a.dir + "." + time.Now().UTC().Format("20060102T150405Z")
	a.log.Warn("the journal's files are of a state before a restore: set aside", "dir", aside, "last", a.last)
	if err := os.Rename(a.dir, aside); err != nil {
		return fmt.Errorf("set journal's files aside: %w", err)
	}
	a.last, a.hash, a.count = 0, [32]byte{}, 0
	return nil
}

// append writes one file's share of the entries from one to another.
func (a *archive) append(st *tenant.State, from, newest uint64) (err error) {
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	name := ""
	if a.count == 0 || a.count >= archiveFile || from != a.last+1 {
		if from != a.last+1 && a.last > 0 {
			a.log.Warn("entries are missing in this node's files of the journal; others have them", "from", a.last+1, "to", from-1)
		}
		follows := a.hash
		if from != a.last+1 {
			_, follows = st.JournalAnchor()
		}
		a.count, name = 0, filepath.Join(a.dir, archiveName(from))
		_ = enc.Encode(archiveHead{1, from, hex.EncodeToString(follows[:])}) // to memory, of texts and numbers
	} else if name, err = a.newestFile(); err != nil {
		return err
	}
	var e *tenant.Entry
	for seq := from; seq <= newest && a.count < archiveFile; seq++ {
		e = st.JournalEntry(seq)
		_ = enc.Encode(archived(e))
		a.count++
	}
	if err := appendSynced(name, out.String()); err != nil {
		return err
	}
	a.last, a.hash = e.Seq, e.Hash
	return nil
}

func appendSynced(name, text string) (err error) {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close(), syncPath(dir), syncPath(filepath.Dir(dir)))
}

func syncPath(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// open finds the last entry written, and cuts off a line that a crash left in
// the middle.
func (a *archive) open() error {
	a.last, a.hash, a.count = 0, [32]byte{}, 0
	files, err := a.files()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, name := range slices.Backward(files) {
		_, all, whole, err := readArchive(name)
		if err != nil && !errors.Is(err, errNoHead) {
			return err
		}
		if n := len(all); n > 0 {
			a.last, a.hash, a.count, a.known = all[n-1].Seq, all[n-1].Hash, n, true
			return os.Truncate(name, whole)
		}
		if err := os.Remove(name); err != nil { // a crash left no entry in it
			return err
		}
	}
	a.known = true
	return nil
}

// files are the journal's, the oldest first.
func (a *archive) files() (all []string, err error) {
	entries, err := os.ReadDir(a.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if n := e.Name(); strings.HasPrefix(n, archivePrefix) && strings.HasSuffix(n, archiveSuffix) {
			all = append(all, filepath.Join(a.dir, n))
		}
	}
	slices.Sort(all)
	return all, nil
}

// archiveName orders files as their entries are.
func archiveName(first uint64) string {
	return fmt.Sprintf("%s%020d%s", archivePrefix, first, archiveSuffix)
}

func (a *archive) newestFile() (string, error) {
	all, err := a.files()
	if err != nil || len(all) == 0 {
		return "", err
	}
	return all[len(all)-1], nil
}

var errNoHead = errors.New("the file has no first line")

// readArchive reads a file's whole lines and says how long they are together. A
// last line without its end is what a crash left, and no error.
func readArchive(name string) (head archiveHead, all []*tenant.Entry, whole int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return head, nil, 0, err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, maxArchiveLine)
	for n := 0; ; n++ {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && n == 0:
			return head, nil, 0, fmt.Errorf("read %s: %w", name, errNoHead)
		case errors.Is(err, io.EOF):
			return head, all, whole, nil
		case err != nil:
			return head, all, whole, fmt.Errorf("read %s: line %d: %w", name, n+1, err)
		case n > archiveFile:
			return head, all, whole, fmt.Errorf("read %s: more than %d entries", name, archiveFile)
		}
		if n == 0 {
			err = json.Unmarshal(line, &head)
		} else {
			var x archivedEntry
			var e *tenant.Entry
			if err = json.Unmarshal(line, &x); err == nil {
				e, err = x.entry()
				all = append(all, e)
			}
		}
		if err != nil {
			return head, all, whole, fmt.Errorf("read %s: line %d: %w", name, n+1, err)
		}
		whole += int64(len(line))
	}
}
