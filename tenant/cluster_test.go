package tenant

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// pair is two nodes and a tenant with an account.
func pair(t tb) *town {
	w := newTown()
	w.nodes(t, 3, 1)
	w.must(t, AddTenant{Name: "a", Hostname: "a.test", Home: Place{Node: 1}, Backup: Place{Node: 2}},
		AddAccount{Tenant: 1, Username: "u@a.test", Plan: Plan{MailsPerMonth: 1_000_000}})
	return w
}

// A holder that comes and goes for ever costs no more than a few copies, and the
// oldest one, which is the complete one, is never forgotten.
func TestCopiesAreBounded(t *testing.T) {
	w := pair(t)
	w.must(t, Own{Tenant: 1, Node: 1, Expect: 1, Read: true, Mirror: 2})
	oldest := w.s.Tenant(1).Copies[0]
	for i := range 100 {
		tn := w.s.Tenant(1)
		w.must(t, SetMirrors{[]MirrorChange{{Tenant: 1, Epoch: 2, Generation: tn.Generation, Node: NodeID(3 - i%2), First: uint64(i + 1)}}})
		tn = w.s.Tenant(1)
		if tn.Mirror() != NodeID(3-i%2) || tn.Copies[0] != oldest || len(tn.Copies) > maxCopies {
			t.Fatalf("change %d: copies %v", i, tn.Copies)
		}
	}
	// Starts of an owner that cannot reach any of them.
	for i := range 100 {
		w.must(t, Own{Tenant: 1, Node: 1, Expect: uint64(i + 2), Mirror: NodeID(2 + i%2), Ends: []End{{Epoch: uint64(i + 2), Node: 1, Last: 1}}})
	}
	tn := w.s.Tenant(1)
	if tn.Copies[0] != oldest || len(tn.Ends) != maxEnds || tn.Ends[maxEnds-1].Epoch != 101 {
		t.Fatalf("copies %v, ends %v", tn.Copies, tn.Ends)
	}
}

// An owner that starts again for ever, because it cannot read a copy, forgets
// neither whose that is nor what its writer has still to return.
func TestEndsThatAreNeededStay(t *testing.T) {
	w := pair(t)
	w.must(t, Own{Tenant: 1, Node: 1, Expect: 1, Read: true}, NodesDown{[]NodeID{1}})
	if tn := w.s.Tenant(1); tn.Owner != 2 || tn.Epoch != 3 {
		t.Fatalf("owner %d, epoch %d", tn.Owner, tn.Epoch)
	}
	w.must(t, Own{Tenant: 1, Node: 2, Expect: 3, Mirror: 3}) // what node 1 has alone could not be read
	for i := range 100 {
		tn := w.s.Tenant(1)
		w.must(t, Own{Tenant: 1, Node: 2, Expect: uint64(i + 4), Mirror: 3, Ends: tn.EndsAt(2, End{}, false)})
		tn = w.s.Tenant(1)
		if tn.Ends[0] != (End{Epoch: 2, Node: 1}) {
			t.Fatalf("start %d: ends %v", i, tn.Ends)
		}
		if others, here := tn.Holders(2); !slices.Equal(others, []NodeID{1}) || !here {
			t.Fatalf("start %d: holders %v, here %t; copies %v", i, others, here, tn.Copies)
		}
	}
}

// The node with the newest copy is lost for good before that was whole: the
// older copy is not the newest then, the owner's log is.
func TestTheNewestCopyIsLost(t *testing.T) {
	w := newTown()
	w.nodes(t, 4, 1)
	w.must(t, AddTenant{Name: "a", Hostname: "a.test", Home: Place{Node: 1}, Backup: Place{Node: 2}})
	w.must(t, Own{Tenant: 1, Node: 1, Expect: 1, Read: true, Mirror: 4})
	for _, n := range []NodeID{3, 4, 3} {
		w.must(t, SetMirrors{[]MirrorChange{{Tenant: 1, Epoch: 2, Generation: w.s.Tenant(1).Generation, Node: n, First: 9}}})
	}
	before := w.s.Tenant(1)
	for _, s := range slices.Collect(w.s.Sources()) {
		if s.Node == 3 {
			w.must(t, RemoveSource{s.ID})
		}
	}
	w.must(t, NodesDown{[]NodeID{3}}, RemoveNode{Node: 3, Lost: true})
	tn := w.s.Tenant(1)
	if tn.Mirror() != 0 || tn.Generation <= before.Generation {
		t.Fatalf("copies %v of generation %d, before %v", tn.Copies, tn.Generation, before.Copies)
	}
	w.must(t, NodesDown{[]NodeID{1}})
	tn = w.s.Tenant(1)
	if others, _ := tn.Holders(2); !slices.Equal(others, []NodeID{4, 1}) {
		t.Fatalf("holders %v of %v", others, tn.Copies)
	}
}

func TestWaitingAndTokensAreBounded(t *testing.T) {
	w := pair(t)
	w.must(t, Handover{Tenant: 1, Expect: 1, To: 2})
	long := make([]uint64, maxWaiting+1)
	for i := range long {
		long[i] = uint64(i + 1)
	}
	if _, err := w.try(t, Release{Tenant: 1, Expect: 1, Last: 5000, Waiting: long}); err == nil {
		t.Error("a release with too many is taken")
	}
	w.must(t, Release{Tenant: 1, Expect: 1, Last: 5000, Waiting: long[:maxWaiting]})
	for i := range maxTokens {
		w.must(t, AddToken{JoinToken{Hash: [32]byte{1, byte(i)}, Expires: w.at.Add(time.Hour)}})
	}
	more := AddToken{JoinToken{Hash: [32]byte{2}, Expires: w.at.Add(3 * time.Hour)}}
	if _, err := w.try(t, more); err == nil {
		t.Error("one token too many is taken")
	}
	w.at = w.at.Add(2 * time.Hour)
	w.must(t, more)
	if got := slices.Collect(w.s.Tokens()); len(got) != 1 || w.s.tokens.len() != 1 {
		t.Errorf("%d tokens, %d kept", len(got), w.s.tokens.len())
	}
	if err := sound(w.s); err != nil {
		t.Fatal(err)
	}
}

// Stand-ins of a lost holder spread, and stay where they are.
func TestStandInsSpread(t *testing.T) {
	w := newTown()
	w.nodes(t, 4, 1)
	for i := range 9 {
		name := fmt.Sprintf("t%d", i)
		w.must(t, AddTenant{Name: name, Hostname: name + ".test", Home: Place{Node: 1}, Backup: Place{Node: 2}})
	}
	usable := func(n NodeID) bool { return n != 2 }
	choose := func() map[NodeID]int {
		count := make(map[NodeID]int)
		var changes []MirrorChange
		for tn := range w.s.Tenants() {
			m := MirrorFor(w.s, tn, usable)
			count[m]++
			changes = append(changes, MirrorChange{Tenant: tn.ID, Epoch: tn.Epoch, Generation: tn.Generation, Node: m, First: 1})
		}
		w.must(t, SetMirrors{changes})
		return count
	}
	first := choose()
	if first[3]+first[4] != 9 || first[3] < 4 || first[4] < 4 {
		t.Errorf("stand-ins %v", first)
	}
	before := w.s
	choose()
	for tn := range w.s.Tenants() {
		if tn.Mirror() != before.Tenant(tn.ID).Mirror() {
			t.Errorf("the stand-in of tenant %d moved", tn.ID)
		}
	}
	if m := MirrorFor(w.s, w.s.Tenant(1), func(NodeID) bool { return false }); m != 0 {
		t.Errorf("nobody is usable, and node %d is the mirror", m)
	}
}

// Whatever number of minutes passes, an account's book stays small: an entry
// costs the same on the last day as on the first.
func TestShortWindowsDoNotPileUp(t *testing.T) {
	w := pair(t)
	limits := []CautionLimit{}
	for _, k := range []WindowKind{Minute, Hour, HalfDay, Day} {
		limits = append(limits, CautionLimit{Kind: k, Limit: Amount{Mails: 1000}})
	}
	w.must(t, SetAccount{Account: 1, Limits: &limits})
	most := 0
	for i := range 3 * 24 * 60 {
		op := TakeGrant{Node: 1}
		for _, win := range w.s.WindowsOf(1, w.at) {
			op.Wants = append(op.Wants, Want{Account: 1, Window: win, Epoch: 1, Need: Amount{Mails: 2}})
		}
		s, _, err := Apply(w.s, w.s.Index()+1, Command{At: w.at, Op: op})
		if err != nil {
			t.Fatal(err)
		}
		w.s, w.at = s, w.at.Add(time.Minute)
		most = max(most, len(s.open.get(1).quotas))
		if i%500 == 0 {
			if err := s.Check(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if most > 3*4+3 || w.s.closed.has(1) {
		t.Errorf("%d open windows, history %t", most, w.s.closed.has(1))
	}
}

// After a restore nothing that the old cluster may still propose counts.
func TestReincarnationEndsTheOldLife(t *testing.T) {
	w := pair(t)
	win := WindowAt(Month, w.at)
	old := []Op{
		TakeGrant{Node: 1, Wants: []Want{{Account: 1, Window: win, Epoch: 1, Need: Amount{Mails: 5}}}},
		Own{Tenant: 1, Node: 1, Expect: 1, Mirror: 2},
		SetMirrors{[]MirrorChange{{Tenant: 1, Epoch: 1, Node: 2, First: 1}}},
		Handover{Tenant: 1, Expect: 1, To: 2},
	}
	w.must(t, old[0])
	for life := uint64(1); life < 4; life++ {
		w.s = Reincarnate(w.s, "n1")
		before := w.s.Tenant(1)
		if before.Epoch>>48 != life || w.s.Incarnation() != life {
			t.Fatalf("life %d: epoch %x", life, before.Epoch)
		}
		for _, op := range old {
			_, _ = w.try(t, op)
		}
		after := w.s.Tenant(1)
		if after.Epoch != before.Epoch || after.Generation != before.Generation || after.To != 0 || len(after.Copies) != len(before.Copies) {
			t.Fatalf("life %d: an old command changed %+v to %+v", life, before, after)
		}
		if g := w.s.Grant(1, win); g == nil || g.Given.Mails != 5 {
			t.Fatalf("life %d: grant %+v", life, g)
		}
	}
	for n := range w.s.Nodes() {
		if up := n.Down.IsZero(); up != (n.Name == "n1") {
			t.Errorf("node %s is up: %t", n.Name, up)
		}
	}
}
