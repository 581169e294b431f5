package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// genLog draws an entry; raft's own types and any extensions.
func genLog(rt *rapid.T, index uint64) *raft.Log {
	l := &raft.Log{
		Index: index,
		Term:  rapid.Uint64().Draw(rt, "term"),
		Type:  raft.LogType(rapid.IntRange(0, 5).Draw(rt, "type")),
		Data:  rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(rt, "data"),
	}
	if rapid.Bool().Draw(rt, "extended") {
		l.Extensions = rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(rt, "extensions")
	}
	if rapid.Bool().Draw(rt, "stamped") {
		l.AppendedAt = time.Unix(rapid.Int64Range(0, 1<<33).Draw(rt, "at"), int64(rapid.IntRange(0, 999_999_999).Draw(rt, "nanos")))
	}
	return l
}

func sameLog(a, b *raft.Log) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Type == b.Type &&
		bytes.Equal(a.Data, b.Data) && bytes.Equal(a.Extensions, b.Extensions) && a.AppendedAt.Equal(b.AppendedAt)
}

// sameStore compares every answer of two stores.
func sameStore(rt *rapid.T, got raft.LogStore, want raft.LogStore) {
	wantFirst, _ := want.FirstIndex()
	wantLast, _ := want.LastIndex()
	first, err1 := got.FirstIndex()
	last, err2 := got.LastIndex()
	if err1 != nil || err2 != nil || first != wantFirst || last != wantLast {
		rt.Fatalf("holds %d to %d, wants %d to %d (%v, %v)", first, last, wantFirst, wantLast, err1, err2)
	}
	for i := max(wantFirst, 2) - 2; i <= wantLast+2; i++ {
		var a, b raft.Log
		errWant := want.GetLog(i, &b)
		if err := got.GetLog(i, &a); err != errWant {
			rt.Fatalf("entry %d: error %v, wants %v", i, err, errWant)
		}
		if errWant == nil && !sameLog(&a, &b) {
			rt.Fatalf("entry %d: %+v, wants %+v", i, a, b)
		}
	}
}

// TestLogStoreConformance runs the same operations against raft's own store in
// memory and ours, across reopening.
func TestLogStoreConformance(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		fs, model := vfs.NewMem(), raft.NewInmemStore()
		s := openLog(t, fs, "log", mustNot(t))
		defer func() { _ = s.Close() }()
		next := uint64(1)
		keys := rapid.SampledFrom([]string{"CurrentTerm", "LastVoteTerm", "LastVoteCand", ""})
		stored := func() (first, last uint64) {
			first, _ = model.FirstIndex()
			last, _ = model.LastIndex()
			return first, last
		}
		remove := func(rt *rapid.T, min, max uint64) {
			if err := errors.Join(s.DeleteRange(min, max), model.DeleteRange(min, max)); err != nil {
				rt.Fatal(err)
			}
			if _, last := stored(); last == 0 {
				next += uint64(rapid.IntRange(0, 50).Draw(rt, "jump")) // a snapshot was installed
			} else {
				next = last + 1
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				var logs []*raft.Log
				for range rapid.IntRange(1, 8).Draw(rt, "entries") {
					logs = append(logs, genLog(rt, next))
					next++
				}
				if err := errors.Join(s.StoreLogs(logs), model.StoreLogs(logs)); err != nil {
					rt.Fatal(err)
				}
			},
			"overwrite": func(rt *rapid.T) {
				first, last := stored()
				if last == 0 {
					rt.Skip("empty")
				}
				l := genLog(rt, rapid.Uint64Range(first, last).Draw(rt, "index"))
				if err := errors.Join(s.StoreLog(l), model.StoreLog(l)); err != nil {
					rt.Fatal(err)
				}
			},
			"prefix": func(rt *rapid.T) {
				first, last := stored()
				if last == 0 {
					rt.Skip("empty")
				}
				remove(rt, first, rapid.Uint64Range(first, last).Draw(rt, "to"))
			},
			"suffix": func(rt *rapid.T) {
				first, last := stored()
				if last == 0 {
					rt.Skip("empty")
				}
				remove(rt, rapid.Uint64Range(first, last).Draw(rt, "from"), last)
			},
			"set": func(rt *rapid.T) {
				key, val := []byte(keys.Draw(rt, "key")), rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(rt, "val")
				if err := errors.Join(s.Set(key, val), model.Set(key, val)); err != nil {
					rt.Fatal(err)
				}
			},
			"number": func(rt *rapid.T) {
				key, val := []byte(keys.Draw(rt, "key")), rapid.Uint64().Draw(rt, "val")
				if err := errors.Join(s.SetUint64(key, val), model.SetUint64(key, val)); err != nil {
					rt.Fatal(err)
				}
			},
			"reopen": func(rt *rapid.T) {
				if err := s.Close(); err != nil {
					rt.Fatal(err)
				}
				s = openLog(t, fs, "log", mustNot(t))
			},
			"": func(rt *rapid.T) {
				sameStore(rt, s, model)
				for _, key := range []string{"CurrentTerm", "LastVoteTerm", "LastVoteCand", ""} {
					want, errWant := model.Get([]byte(key))
					got, err := s.Get([]byte(key))
					if !bytes.Equal(got, want) || (err == nil) != (errWant == nil) || err != nil && err.Error() != errWant.Error() {
						rt.Fatalf("%q is %x (%v), wants %x (%v)", key, got, err, want, errWant)
					}
					wantN, errWant := model.GetUint64([]byte(key))
					if n, err := s.GetUint64([]byte(key)); n != wantN || err != errWant {
						rt.Fatalf("%q is %d (%v), wants %d (%v)", key, n, err, wantN, errWant)
					}
				}
			},
		})
	})
}

// TestLogStoreHole: a follower that got a snapshot keeps its old entries and
// goes on far behind them.
func TestLogStoreHole(t *testing.T) {
	fs := vfs.NewMem()
	s := openLog(t, fs, "log", mustNot(t))
	check := func(first, last uint64) {
		t.Helper()
		a, _ := s.FirstIndex()
		b, _ := s.LastIndex()
		if a != first || b != last {
			t.Fatalf("holds %d to %d, wants %d to %d", a, b, first, last)
		}
	}
	for _, i := range []uint64{1, 2, 3, 500, 501} {
		if err := s.StoreLog(&raft.Log{Index: i}); err != nil {
			t.Fatal(err)
		}
	}
	check(1, 501)
	if err := s.GetLog(250, new(raft.Log)); err != raft.ErrLogNotFound {
		t.Fatalf("in the hole: %v", err)
	}
	if err := s.DeleteRange(1, 300); err != nil {
		t.Fatal(err)
	}
	check(500, 501)
	if err := s.DeleteRange(9, 4); err != nil {
		t.Fatal(err)
	}
	check(500, 501)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openLog(t, fs, "log", mustNot(t))
	check(500, 501)
	if err := s.DeleteRange(0, ^uint64(0)); err != nil {
		t.Fatal(err)
	}
	check(0, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLogStoreDamage: one flipped bit anywhere in a record is an error, never
// another entry.
func TestLogStoreDamage(t *testing.T) {
	s := openLog(t, vfs.NewMem(), "log", mustNot(t))
	defer s.Close()
	l := &raft.Log{Index: 7, Term: 3, Data: []byte("command"), Extensions: []byte("x"), AppendedAt: time.Unix(9, 9)}
	record := make([]byte, logSize(l))
	putLog(record, l)
	for bit := range len(record) * 8 {
		bad := bytes.Clone(record)
		bad[bit/8] ^= 1 << (bit % 8)
		if err := s.db.Set(logKey(7), bad, pebble.Sync); err != nil {
			t.Fatal(err)
		}
		if err := s.GetLog(7, new(raft.Log)); !errors.Is(err, errStore) {
			t.Fatalf("bit %d: %v", bit, err)
		}
	}
	if err := s.db.Set(logKey(8), record, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if err := s.GetLog(8, new(raft.Log)); !errors.Is(err, errStore) {
		t.Fatalf("record in another's place: %v", err)
	}
	if err := s.db.Set(stableKey(keyNumber, []byte("k")), sealed([]byte("short")), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if _, err := s.GetUint64([]byte("k")); !errors.Is(err, errStore) {
		t.Fatalf("short number: %v", err)
	}
}

// TestLogStoreClosed: raft's metrics goroutine may read after the end.
func TestLogStoreClosed(t *testing.T) {
	s := openLog(t, vfs.NewMem(), "log", mustNot(t))
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if err := s.GetLog(1, new(raft.Log)); !errors.Is(err, ErrClosed) {
		t.Errorf("read: %v", err)
	}
	if err := s.StoreLog(&raft.Log{Index: 1}); !errors.Is(err, ErrClosed) {
		t.Errorf("write: %v", err)
	}
	if _, err := s.LastIndex(); err != nil {
		t.Errorf("last index: %v", err)
	}
}

// TestLogStorePoisoned: after one failure nothing is written, not even when
// the way out of the process returned.
func TestLogStorePoisoned(t *testing.T) {
	called := 0
	failed := &failure{fatal: func(error) { called++ }}
	s := openLog(t, vfs.NewMem(), "log", failed)
	defer s.Close()
	storeLog{quiet(), failed}.Fatalf("disk %d", 7)
	storeLog{quiet(), failed}.Fatalf("disk %d", 8)
	if called != 1 {
		t.Fatalf("fatal called %d times", called)
	}
	for _, err := range []error{
		s.StoreLog(&raft.Log{Index: 1}), s.Set([]byte("a"), nil), s.SetUint64([]byte("a"), 1), s.DeleteRange(1, 2),
	} {
		if err == nil || !errors.Is(err, failed.error()) {
			t.Errorf("write after a failure: %v", err)
		}
	}
	if last, _ := s.LastIndex(); last != 0 {
		t.Errorf("last index is %d", last)
	}
}

// TestPrivateFiles: nobody else may read the log, whatever the umask.
func TestPrivateFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "raft")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Dir: dir, Name: "n1", Bootstrap: true, Fatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	sink, err := c.snaps.Create(1, 1, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(sink.Close(), c.store.db.Flush(), c.Close()); err != nil {
		t.Fatal(err)
	}
	files := 0
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
		files++
		return nil
	})
	if err != nil || files < 6 {
		t.Fatalf("%d files, %v", files, err)
	}
}

func FuzzReadRecord(f *testing.F) {
	l := &raft.Log{Index: 1, Data: []byte("data"), Extensions: []byte("ext")}
	record := make([]byte, logSize(l))
	putLog(record, l)
	f.Add(record, true)
	f.Add(record[recordHead:], false)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, in []byte, raw bool) {
		if !raw {
			in = sealed(in) // past the checksum, so that the rest is reached
		}
		index := uint64(1)
		if len(in) >= recordHead+8 {
			index = binary.LittleEndian.Uint64(in[recordHead:])
		}
		var got raft.Log
		if err := getLog(in, index, &got); err != nil {
			return
		}
		again := make([]byte, logSize(&got))
		putLog(again, &got)
		var twice raft.Log
		if err := getLog(again, index, &twice); err != nil || !sameLog(&got, &twice) {
			t.Fatalf("%+v became %+v (%v)", got, twice, err)
		}
	})
}
