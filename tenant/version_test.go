package tenant

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// later is an operation that came with a newer program.
type later struct{}

func (later) op()           {}
func (later) since() uint32 { return NewestVersion + 1 }

// A cluster of mixed programs refuses what one node does not know yet; when all
// do, none that does not may join.
func TestMixedVersions(t *testing.T) {
	w := newTown()
	w.must(t, AddToken{JoinToken{Hash: [32]byte{1}, Expires: w.at.AddDate(1, 0, 0)}},
		AddToken{JoinToken{Hash: [32]byte{2}, Expires: w.at.AddDate(1, 0, 0), Witness: true}})
	join := func(name string, key byte, version uint32) Join {
		return Join{Name: name, Peer: "127.0.0.1:1", Key: [32]byte{key}, Version: version, Token: [32]byte{1}}
	}
	w.must(t, join("one", 1, NewestVersion+1), join("two", 2, 2), join("three", 3, 0))
	watch := join("watch", 4, 0)
	watch.Witness, watch.Token = true, [32]byte{2}
	w.must(t, watch)
	refused := func(want string) {
		t.Helper()
		if _, err := w.try(t, later{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("version %d: %v, want %q", w.s.Version(), err, want)
		}
	}
	refused(fmt.Sprintf("is of version %d and a node knows 1 only", NewestVersion+1))
	newer := uint32(NewestVersion + 1)
	w.must(t, SetNode{Node: 2, Version: &newer})
	refused("a node knows 1 only")
	w.must(t, SetNode{Node: 3, Version: &newer})
	// Now all know it: this program's own ignorance is what refuses it.
	refused("not known")
	if w.s.Version() != NewestVersion+1 {
		t.Errorf("the version is %d", w.s.Version())
	}
	// As if it had been carried out.
	d := w.s.draft()
	d.level = 2
	w.s = d.publish()
	if _, err := w.try(t, join("four", 5, 1)); err == nil {
		t.Error("a node that cannot read the log joins")
	}
	one := uint32(1)
	if _, err := w.try(t, SetNode{Node: 3, Version: &one}); err == nil {
		t.Error("a node that cannot read the log any more stays")
	}
	w.must(t, join("four", 5, 3))
}

// A refused operation leaves no trace of its version.
func TestLevelRisesWithSuccessOnly(t *testing.T) {
	w := newTown()
	w.must(t, AddToken{JoinToken{Hash: [32]byte{1}, Expires: w.at.AddDate(1, 0, 0)}},
		Join{Name: "one", Peer: "127.0.0.1:1", Key: [32]byte{1}, Version: 9, Token: [32]byte{1}})
	if _, err := w.try(t, later{}); err == nil || w.s.level != 1 {
		t.Errorf("level %d after %v", w.s.level, err)
	}
}

// What the first version stored is still read: a snapshot and a log made by it.
func TestVersion1IsRead(t *testing.T) {
	snapshot, err := os.ReadFile("testdata/version1/state")
	if err != nil {
		t.Fatal(err)
	}
	want, err := Decode(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile("testdata/version1/log")
	if err != nil {
		t.Fatal(err)
	}
	s := New()
	for len(log) > 0 {
		n := int(log[0])<<8 | int(log[1])
		cmd, err := DecodeCommand(log[2 : 2+n])
		if err != nil {
			t.Fatal(err)
		}
		if s, _, err = Apply(s, s.Index()+1, cmd); err != nil {
			t.Fatal(err)
		}
		log = log[2+n:]
	}
	if err := sound(s); err != nil {
		t.Fatal(err)
	}
	// The command version in use is noted since the second form of the header.
	d := want.draft()
	d.level = s.level
	if got := d.publish(); !bytes.Equal(got.Encode(), s.Encode()) {
		t.Error("the log of version 1 gives another state than its snapshot")
	}
	// New operations have no form in it.
	body, err := EncodeCommand(Command{Op: NodesUp{Nodes: []NodeID{1}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodeCommand(body[5:len(body)-4], true); err == nil {
		t.Error("version 1 has operations of version 2")
	}
}
