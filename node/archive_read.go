package node

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"postern/node/admin"
	"postern/tenant"
)

// maxArchiveRead is how many files one question reads.
const maxArchiveRead = 8

// Before gives entries of the files with a sequence below seq, the newest first,
// and where to go on: 0 when there are no more.
func (a *archive) Before(seq uint64) (all []*tenant.Entry, next uint64, err error) {
	files, err := a.files()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	read := 0
	for _, name := range slices.Backward(files) {
		if filepath.Base(name) >= archiveName(seq) {
			continue
		}
		if read == maxArchiveRead {
			return all, all[len(all)-1].Seq, nil
		}
		_, some, _, err := readArchive(name)
		if err != nil && !errors.Is(err, errNoHead) {
			return nil, 0, err
		}
		if len(some) == 0 {
			continue
		}
		read++
		for _, e := range slices.Backward(some) {
			if e.Seq < seq {
				all = append(all, e)
			}
		}
	}
	return all, 0, nil
}

// Check computes the chain of the files anew. They must end in what the state
// has: in the entry that left it last, and in those it still keeps.
func (a *archive) Check(st *tenant.State) (sum admin.ArchiveCheck, err error) {
	files, err := a.files()
	if errors.Is(err, fs.ErrNotExist) {
		return sum, nil
	}
	if err != nil {
		return sum, err
	}
	left, anchor := st.JournalAnchor()
	var last uint64
	var prev [32]byte
	for _, name := range files {
		head, all, _, err := readArchive(name)
		if errors.Is(err, errNoHead) {
			continue // a crash left nothing of it; the next entry mends it
		}
		if err != nil {
			return sum, err
		}
		follows, err := readHash(head.Follows)
		switch {
		case err != nil:
			return sum, err
		case last == 0:
			sum.First = head.First
		case head.First != last+1:
			sum.Missing += head.First - last - 1
		case follows != prev:
			sum.Broken = &tenant.BrokenEntry{Seq: head.First, Want: prev, Have: follows}
			return sum, nil
		}
		last, prev = head.First-1, follows
		for _, e := range all {
			want := e.HashAfter(prev)
			if kept := st.JournalEntry(e.Seq); kept != nil {
				want = kept.Hash
			} else if e.Seq == left {
				want = anchor
			}
			if e.Seq != last+1 || e.Hash != want || e.HashAfter(prev) != want {
				sum.Broken = &tenant.BrokenEntry{Seq: last + 1, Want: want, Have: e.Hash}
				return sum, nil
			}
			last, prev = e.Seq, e.Hash
			sum.Entries++
		}
	}
	sum.Last = last
	return sum, nil
}
