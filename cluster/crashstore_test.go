package cluster

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// storeScript is a fixed list of writes; run returns after n of them, or all.
// model is what a store holds after n writes.
type storeScript struct {
	steps []func(raft.LogStore, raft.StableStore) error
}

func newStoreScript(rng *rand.Rand, writes int) *storeScript {
	s := &storeScript{}
	first, last := uint64(1), uint64(0)
	add := func(f func(raft.LogStore, raft.StableStore) error) { s.steps = append(s.steps, f) }
	for i := range writes {
		switch n := rng.IntN(10); {
		case n < 6 || last < first:
			var logs []*raft.Log
			for range 1 + rng.IntN(4) {
				last++
				logs = append(logs, &raft.Log{Index: last, Term: uint64(i), Data: fmt.Appendf(nil, "%d of write %d", last, i)})
			}
			add(func(l raft.LogStore, _ raft.StableStore) error { return l.StoreLogs(logs) })
		case n < 7:
			from, to := first, first+rng.Uint64N(last-first+1)
			first = to + 1
			add(func(l raft.LogStore, _ raft.StableStore) error { return l.DeleteRange(from, to) })
		case n < 8:
			from, to := first+rng.Uint64N(last-first+1), last
			last = from - 1
			add(func(l raft.LogStore, _ raft.StableStore) error { return l.DeleteRange(from, to) })
		case n < 9:
			add(func(_ raft.LogStore, s raft.StableStore) error { return s.SetUint64([]byte("CurrentTerm"), uint64(i)) })
		default:
			add(func(_ raft.LogStore, s raft.StableStore) error {
				return s.Set([]byte("LastVoteCand"), fmt.Appendf(nil, "node %d", i))
			})
		}
		if last < first {
			first = last + 1
		}
	}
	return s
}

// picture is everything a store answers.
func picture(l raft.LogStore, s raft.StableStore) (string, error) {
	first, _ := l.FirstIndex()
	last, _ := l.LastIndex()
	out := fmt.Sprintf("%d-%d", first, last)
	for i := first; i <= last && last > 0; i++ {
		var e raft.Log
		if err := l.GetLog(i, &e); err != nil {
			return "", fmt.Errorf("entry %d of %d-%d: %w", i, first, last, err)
		}
		out += fmt.Sprintf(" %d:%s", e.Term, e.Data)
	}
	term, err := s.GetUint64([]byte("CurrentTerm"))
	if err != nil {
		return "", err
	}
	vote, err := s.Get([]byte("LastVoteCand"))
	if err != nil && err.Error() != "not found" {
		return "", err
	}
	return fmt.Sprintf("%s term %d vote %s", out, term, vote), nil
}

// pictures lists what a store may hold after 0, 1, 2... writes.
func (s *storeScript) pictures(t *testing.T) []string {
	t.Helper()
	model := raft.NewInmemStore()
	var list []string
	for i := 0; ; i++ {
		p, err := picture(model, model)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
		if i == len(s.steps) {
			return list
		}
		if err := s.steps[i](model, model); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLogStorePowerCut cuts the power before each change of the file system in
// turn. What opens again is the store as it was after all acknowledged writes,
// or with the one on its way: never less, never between.
func TestLogStorePowerCut(t *testing.T) {
	t.Parallel()
	total := 1
	for at, seed := 1, 0; at <= total; at, seed = at+1, seed+1 {
		for seed := at * 100; seed < at*100+soak(2); seed++ {
			rng := seeded(seed)
			script := newStoreScript(rng, 40)
			want := script.pictures(t)
			acked, ackedAtCut := 0, 0
			cut := newPowerCut(vfs.NewCrashableMem(), at, rng, func() { ackedAtCut = acked })
			s := openLog(t, cut, "log", mustNot(t))
			for i, step := range script.steps {
				if i == len(script.steps)/2 { // a restart in the middle
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
					s = openLog(t, cut, "log", mustNot(t))
				}
				if err := step(s, s); err != nil {
					t.Fatal(err)
				}
				cut.mu.Lock()
				acked++
				cut.mu.Unlock()
			}
			total = max(total, cut.steps())
			left := cut.left()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, err := openLogStore("log", storeOptions(privateFS{left}, storeLog{quiet(), mustNot(t)}), mustNot(t))
			if err != nil {
				t.Errorf("cut %d: acked %d %v", at, ackedAtCut, err)
				continue
			}
			got, err := picture(s, s)
			if err != nil {
				t.Fatalf("cut %d: %v", at, err)
			}
			if got != want[ackedAtCut] && (ackedAtCut == len(script.steps) || got != want[ackedAtCut+1]) {
				t.Fatalf("cut %d after %d writes:\n got %s\nwant %s", at, ackedAtCut, got, want[ackedAtCut])
			}
			if err := s.StoreLog(&raft.Log{Index: 1 << 20}); err != nil {
				t.Fatalf("cut %d: write afterwards: %v", at, err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if total < 40 {
		t.Fatalf("only %d cuts", total)
	}
}

// writeSnapshot stores body under index.
func writeSnapshot(s *snapshotStore, index uint64, body string) error {
	sink, err := s.Create(1, index, 2, raft.Configuration{}, 1, nil)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(sink, body); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// TestSnapshotPowerCut cuts the power before each change while snapshots are
// written. The newest acknowledged one always opens, whole.
func TestSnapshotPowerCut(t *testing.T) {
	t.Parallel()
	total := 1
	for at := 1; at <= total; at++ {
		for variant := range 4 {
			rng := seeded(at*10 + variant)
			acked, ackedAtCut := 0, 0
			cut := newPowerCut(vfs.NewCrashableMem(), at, rng, func() { ackedAtCut = acked })
			s := openSnaps(t, cut)
			for i := 1; i <= 5; i++ {
				if err := writeSnapshot(s, uint64(i), numbered("body ", i)); err != nil {
					t.Fatal(err)
				}
				cut.mu.Lock()
				acked++
				cut.mu.Unlock()
			}
			total = max(total, cut.steps())
			s = openSnaps(t, cut.left())
			list, err := s.List()
			if err != nil {
				t.Fatal(err)
			}
			if len(list) == 0 && ackedAtCut == 0 {
				continue
			}
			if len(list) == 0 || list[0].Index < uint64(ackedAtCut) || list[0].Index > uint64(ackedAtCut)+1 {
				t.Fatalf("cut %d: %d snapshots acknowledged, found %d: %+v", at, ackedAtCut, len(list), list)
			}
			_, body, err := s.Open(list[0].ID)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(body)
			if err := errors.Join(err, body.Close()); err != nil || string(got) != numbered("body ", int(list[0].Index)) {
				t.Fatalf("cut %d: %q, %v", at, got, err)
			}
			if err := writeSnapshot(s, 9, "after"); err != nil {
				t.Fatalf("cut %d: write afterwards: %v", at, err)
			}
		}
	}
	if total < 30 {
		t.Fatalf("only %d cuts", total)
	}
}
