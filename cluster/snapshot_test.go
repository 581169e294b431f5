package cluster

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/raft"
)

func openSnaps(t testing.TB, fs vfs.FS) *snapshotStore {
	t.Helper()
	s, err := openSnapshots(privateFS{fs}, "snapshots", quiet(), func(bool) {})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func readBody(t *testing.T, s *snapshotStore, id string) string {
	t.Helper()
	_, r, err := s.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSnapshotKeepsTwo(t *testing.T) {
	fs := vfs.NewMem()
	s := openSnaps(t, fs)
	big := strings.Repeat("0123456789abcdef", 20_000)
	for i := 1; i <= 4; i++ {
		if err := writeSnapshot(s, uint64(i), numbered(big, i)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // and again when reopened
		list, err := s.List()
		if err != nil || len(list) != keepSnapshots || list[0].Index != 4 || list[1].Index != 3 {
			t.Fatalf("list: %+v, %v", list, err)
		}
		if got := readBody(t, s, list[0].ID); got != numbered(big, 4) || int64(len(got)) != list[0].Size {
			t.Fatalf("body has %d octets, size says %d", len(got), list[0].Size)
		}
		if names, _ := fs.List("snapshots"); len(names) != keepSnapshots {
			t.Fatalf("files: %v", names)
		}
		s = openSnaps(t, fs)
	}
}

// TestSnapshotMeta: raft gets back what it gave.
func TestSnapshotMeta(t *testing.T) {
	s := openSnaps(t, vfs.NewMem())
	config := raft.Configuration{Servers: []raft.Server{
		{Suffrage: raft.Voter, ID: "n1", Address: "n1"}, {Suffrage: raft.Nonvoter, ID: "n2", Address: "n2"},
	}}
	sink, err := s.Create(1, 70, 6, config, 5, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(sink.Close(), sink.Close(), sink.Cancel()); err != nil {
		t.Fatal(err)
	}
	list, err := s.List()
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	m := list[0]
	if m.Index != 70 || m.Term != 6 || m.ConfigurationIndex != 5 || len(m.Configuration.Servers) != 2 ||
		m.Configuration.Servers[1] != config.Servers[1] || m.ID != sink.ID() || m.Version != 1 {
		t.Fatalf("meta: %+v", m)
	}
	if _, err := s.Create(0, 1, 1, config, 1, nil); err == nil {
		t.Error("an unknown version was taken")
	}
}

func TestSnapshotCancel(t *testing.T) {
	fs := vfs.NewMem()
	s := openSnaps(t, fs)
	sink, err := s.Create(1, 1, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := sink.Cancel(); err != nil {
		t.Fatal(err)
	}
	if names, _ := fs.List("snapshots"); len(names) != 0 {
		t.Fatalf("files: %v", names)
	}
}

// TestSnapshotDamage: a flipped octet anywhere makes the snapshot unusable and
// leaves the older one.
func TestSnapshotDamage(t *testing.T) {
	fs := vfs.NewMem()
	s := openSnaps(t, fs)
	if err := errors.Join(writeSnapshot(s, 1, "older"), writeSnapshot(s, 2, "newer")); err != nil {
		t.Fatal(err)
	}
	name := "snapshots/" + snapshotID(2, 2) + snapSuffix
	whole := readFile(t, fs, name)
	try := func(what string, content []byte) {
		t.Helper()
		writeFile(t, fs, name, content)
		if _, _, err := s.Open(snapshotID(2, 2)); err == nil {
			t.Fatalf("%s: opens", what)
		}
		list, err := s.List()
		if err != nil || len(list) != 1 || list[0].Index != 1 {
			t.Fatalf("%s: list %v, %v", what, list, err)
		}
	}
	for i := range whole {
		bad := bytes.Clone(whole)
		bad[i] ^= 0x20
		try(numbered("octet ", i), bad)
	}
	for i := range whole {
		try(numbered("cut at ", i), whole[:i])
	}
	// Two good ones push the damaged one out.
	if err := errors.Join(writeSnapshot(s, 3, "a"), writeSnapshot(s, 4, "b")); err != nil {
		t.Fatal(err)
	}
	if names, _ := fs.List("snapshots"); len(names) != keepSnapshots {
		t.Fatalf("files: %v", names)
	}
}

// TestSnapshotWriteFails: whatever fails, raft is told, and the older one stays.
func TestSnapshotWriteFails(t *testing.T) {
	for i := range int32(12) {
		mem := vfs.NewMem()
		if err := writeSnapshot(openSnaps(t, mem), 1, "older"); err != nil {
			t.Fatal(err)
		}
		toggle := &errorfs.Toggle{Injector: errorfs.OnIndex(i)}
		s := openSnaps(t, errorfs.Wrap(mem, toggle))
		toggle.On()
		err := writeSnapshot(s, 2, "newer")
		toggle.Off()
		list, listErr := s.List()
		if listErr != nil || len(list) == 0 {
			t.Fatalf("failure %d: %v, %v", i, list, listErr)
		}
		if err == nil && list[0].Index != 2 {
			t.Fatalf("failure %d: acknowledged and gone", i)
		}
	}
}

func readFile(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t *testing.T, fs vfs.FS, name string, content []byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(bytes.Clone(content)); err != nil {
		t.Fatal(err)
	}
}

func FuzzReadSnapshot(f *testing.F) {
	mem := vfs.NewMem()
	s, err := openSnapshots(mem, "snapshots", quiet(), func(bool) {})
	if err != nil {
		f.Fatal(err)
	}
	if err := writeSnapshot(s, 1, "body"); err != nil {
		f.Fatal(err)
	}
	file, err := mem.Open("snapshots/" + snapshotID(2, 1) + snapSuffix)
	if err != nil {
		f.Fatal(err)
	}
	whole, err := io.ReadAll(file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole, []byte("{}"))
	f.Add([]byte{}, []byte(`{"Version":1}`))
	f.Fuzz(func(t *testing.T, raw, meta []byte) {
		for _, in := range [][]byte{raw, append(sealed(meta), raw...)} {
			m, r, err := readSnapshot(vfs.NewMemFile(in), snapshotID(2, 1))
			if err != nil {
				continue
			}
			body, err := io.ReadAll(r)
			if err != nil || int64(len(body)) != m.Size {
				t.Fatalf("%d octets of %d: %v", len(body), m.Size, err)
			}
		}
	})
}
