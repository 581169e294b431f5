package tenant

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// tb is what tests and rapid share.
type tb interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// town is a cluster under test.
type town struct {
	s  *State
	at time.Time
}

func newTown() *town {
	return &town{s: New(), at: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)}
}

func (w *town) try(t tb, op Op) ([]Event, error) {
	t.Helper()
	next, events, err := Apply(w.s, w.s.Index()+1, Command{At: w.at, Op: op})
	w.s = next
	if bad := w.s.Check(); bad != nil {
		t.Fatalf("%+v: %v", op, bad)
	}
	if err != nil && strings.Contains(err.Error(), "invariant") {
		t.Fatalf("%+v: %v", op, err)
	}
	return events, err
}

func (w *town) must(t tb, ops ...Op) []Event {
	t.Helper()
	var all []Event
	for _, op := range ops {
		events, err := w.try(t, op)
		if err != nil {
			t.Fatalf("%+v: %v", op, err)
		}
		all = append(all, events...)
	}
	return all
}

// nodes adds n nodes with a pool of two sources each; ranges says how many nodes
// share a /24.
func (w *town) nodes(t tb, n, ranges int) {
	t.Helper()
	for i := range n {
		name := fmt.Sprintf("n%d", w.s.nodes.len()+1)
		w.must(t, AddNode{Name: name})
		id := w.s.lastNode
		for k := range 3 {
			w.must(t, AddSource{Node: id, Addr: netip.AddrFrom4([4]byte{127, 77, byte(i / ranges), byte(10*i + k + 1)}), EHLO: name + ".test", Shared: true})
		}
	}
}

// fill adds tenants with chosen places until there is no room.
func (w *town) fill(t tb, most int) int {
	t.Helper()
	for i := range most {
		name := fmt.Sprintf("t%d", w.s.lastTenant+1)
		if _, err := w.try(t, AddTenant{Name: name, Hostname: name + ".test"}); err != nil {
			return i
		}
	}
	return most
}

// What can be added to an empty cluster, one by one, is what it carries with the
// loss of any one node: three nodes carry 40.
func TestPlacementFillsTheCluster(t *testing.T) {
	for n := 1; n <= 9; n++ {
		for _, ranges := range []int{1, 2, 9} {
			w := newTown()
			w.nodes(t, n, ranges)
			most := CapacityOf(w.s).TenantsMax
			got := w.fill(t, 200)
			if want := NodeTenants * max(n-1, 1); got != most || most != want {
				t.Errorf("%d nodes, %d a range: %d tenants, capacity %d, want %d", n, ranges, got, most, want)
			}
			if n > 1 && len(Reserve(w.s)) > 0 {
				t.Errorf("%d nodes: %v", n, Reserve(w.s))
			}
			if n == 1 && len(Reserve(w.s)) == 0 {
				t.Error("one node has a reserve")
			}
			balanced(t, w.s, NodeTenants) // the backups of a full one go where fewer homes are
		}
	}
}

// balanced proves that homes differ by one at most, and backups by slack.
func balanced(t tb, s *State, slack int) {
	t.Helper()
	l := s.loads(0)
	for what, count := range map[string]map[NodeID]int{"homes": l.homes, "backups": l.backups} {
		least, most := 1000, 0
		for n := range s.Nodes() {
			least, most = min(least, count[n.ID]), max(most, count[n.ID])
		}
		if most-least > slack || what == "homes" && most-least > 1 {
			t.Fatalf("%d nodes, %d tenants: %s %v", s.nodes.len(), s.tenants.len(), what, count)
		}
	}
}

func TestPlacementIsBalancedOnTheWay(t *testing.T) {
	for n := 2; n <= 6; n++ {
		w := newTown()
		w.nodes(t, n, 1)
		for range NodeTenants * (n - 1) {
			w.fill(t, 1)
			slack := 2
			if 4*w.s.tenants.len() > 3*NodeTenants*(n-1) {
				slack = NodeTenants // room counts more
			}
			balanced(t, w.s, slack)
		}
	}
}

// Nodes on other ranges come first, as long as there is room.
func TestPlacementPrefersAnotherRange(t *testing.T) {
	w := newTown()
	w.nodes(t, 4, 2) // 1 and 2, 3 and 4
	w.fill(t, 20)
	for tn := range w.s.Tenants() {
		if w.s.near(tn.Home, tn.Backup) {
			t.Errorf("tenant %d: home %s and backup %s are in one range", tn.ID, tn.Home, tn.Backup)
		}
	}
}

func TestPlacementUsesDedicatedSources(t *testing.T) {
	w := newTown()
	w.must(t, AddNode{Name: "one"}, AddNode{Name: "two"})
	for i := range 4 {
		w.must(t, AddSource{Node: NodeID(1 + i%2), Addr: netip.AddrFrom4([4]byte{127, 77, byte(i), 1}), EHLO: "a.test"})
	}
	if got := w.fill(t, 10); got != 2 {
		t.Fatalf("%d tenants on two pairs of dedicated sources", got)
	}
	if tn := w.s.Tenant(1); tn.Home != (Place{1, 1}) || tn.Backup != (Place{2, 2}) {
		t.Errorf("places %s and %s", tn.Home, tn.Backup)
	}
	if c := CapacityOf(w.s); c.Dedicated != 0 || c.Addresses != 4 || c.Ranges != 4 || c.Nodes != 2 {
		t.Errorf("capacity %+v", c)
	}
}

// An operator's own choice must keep the reserve too.
func TestReserveIsDemandedOfOperators(t *testing.T) {
	w := newTown()
	w.nodes(t, 2, 1)
	for i := range NodeTenants {
		name := fmt.Sprintf("t%d", i)
		w.must(t, AddTenant{Name: name, Hostname: name + ".test", Home: Place{Node: NodeID(1 + i%2)}, Backup: Place{Node: NodeID(2 - i%2)}})
	}
	if _, err := w.try(t, AddTenant{Name: "x", Hostname: "x.test", Home: Place{Node: 1}, Backup: Place{Node: 2}}); err == nil {
		t.Error("a tenant beyond the reserve is taken")
	}
	if _, err := w.try(t, AddTenant{Name: "x", Hostname: "x.test", Home: Place{Node: 1}}); err == nil {
		t.Error("a tenant without a backup takes the room of others")
	}
}

// events of a NodesDown as a forecast tells them.
func moved(s *State, events []Event) map[ID]NodeID {
	m := make(map[ID]NodeID)
	for _, e := range events {
		if e, ok := e.(Owned); ok {
			m[e.Tenant] = e.Node
		}
	}
	return m
}

// TestMovesAreSound lets nodes come, go, drain and be witnesses, tenants move
// and be placed: nobody ever owns more than twenty, nobody who is down, draining
// or a witness is given anything, and a forecast is what then happens.
func TestMovesAreSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newTown()
		w.nodes(t, rapid.IntRange(2, 5).Draw(t, "nodes"), rapid.IntRange(1, 2).Draw(t, "ranges"))
		w.must(t, AddToken{JoinToken{Hash: [32]byte{1}, Expires: w.at.AddDate(1, 0, 0), Witness: true}},
			Join{Name: "w", Peer: "127.0.0.1:1", Key: [32]byte{9}, Witness: true, Version: 1, Token: [32]byte{1}})
		w.fill(t, rapid.IntRange(0, 80).Draw(t, "tenants"))
		node := rapid.Custom(func(t *rapid.T) NodeID {
			return NodeID(rapid.IntRange(1, w.s.nodes.len()).Draw(t, "node"))
		})
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				for n := range w.s.Nodes() {
					if w.s.owned(n.ID) > NodeTenants || n.Witness && w.s.owned(n.ID) > 0 {
						t.Fatalf("node %d owns %d", n.ID, w.s.owned(n.ID))
					}
				}
				Reserve(w.s)
			},
			"down": func(t *rapid.T) { w.lose(t, node.Draw(t, "down")) },
			"up": func(t *rapid.T) {
				w.at = w.at.Add(time.Minute)
				w.given(t, NodesUp{Nodes: []NodeID{node.Draw(t, "up")}})
			},
			"drain": func(t *rapid.T) {
				n, on := node.Draw(t, "which"), rapid.Bool().Draw(t, "draining")
				plan := PlanDrain(w.s, n)
				w.must(t, SetNode{Node: n, Draining: &on})
				if to := Drains(w.s); on && len(to) > len(plan.Moves) && w.s.Node(n).Down.IsZero() && onlyDraining(w.s, n) {
					t.Fatalf("drains %v, foreseen %v", to, plan)
				}
				for _, op := range Replacements(w.s) {
					w.must(t, op)
				}
			},
			"hand over": func(t *rapid.T) {
				for _, h := range append(Drains(w.s), Homing(w.s, w.at, time.Minute)...) {
					if w.s.Tenant(h.Tenant).Epoch != h.Expect {
						continue
					}
					if _, err := w.try(t, h); err != nil && w.s.Tenant(h.Tenant).To == 0 {
						continue // both lists had the last room
					}
					if rapid.Bool().Draw(t, "released") {
						w.given(t, Release{Tenant: h.Tenant, Expect: h.Expect, Last: 7, Waiting: []uint64{3, 7}})
					}
				}
			},
			"mirror": func(t *rapid.T) {
				for tn := range w.s.Tenants() {
					usable := func(n NodeID) bool { return w.s.Node(n).Down.IsZero() }
					m := MirrorFor(w.s, tn, usable)
					if m == tn.Owner || m != 0 && !usable(m) {
						t.Fatalf("mirror of tenant %d is %d", tn.ID, m)
					}
					w.must(t, SetMirrors{[]MirrorChange{{Tenant: tn.ID, Epoch: tn.Epoch, Generation: tn.Generation, Node: m, First: 9}}})
				}
			},
			"own": func(t *rapid.T) {
				if w.s.tenants.len() == 0 {
					t.Skip()
				}
				tn := w.s.Tenant(ID(rapid.IntRange(1, w.s.tenants.len()).Draw(t, "tenant")))
				w.must(t, Own{Tenant: tn.ID, Node: tn.Owner, Expect: tn.Epoch, Read: rapid.Bool().Draw(t, "read"), Ends: []End{{Epoch: tn.Epoch, Node: tn.Owner, Last: 4}}})
			},
		})
	})
}

// onlyDraining reports whether no other node drains.
func onlyDraining(s *State, id NodeID) bool {
	for n := range s.Nodes() {
		if n.Draining && n.ID != id {
			return false
		}
	}
	return true
}

// lose takes a node down and compares with what was foreseen.
func (w *town) lose(t tb, n NodeID) {
	before := w.s
	plan := PlanLoss(before, n)
	was := before.Encode()
	events := w.given(t, NodesDown{Nodes: []NodeID{n}})
	if string(before.Encode()) != string(was) {
		t.Fatal("a forecast changed the state")
	}
	foreseen := make(map[ID]NodeID)
	for _, m := range plan.Moves {
		foreseen[m.Tenant] = m.To
	}
	got := moved(w.s, events)
	for id := range got {
		if before.Tenant(id).Owner != n {
			delete(got, id) // strays of earlier losses
		}
	}
	if !reflect.DeepEqual(got, foreseen) {
		t.Fatalf("loss of node %d moves %v, foreseen %v", n, got, foreseen)
	}
	for _, x := range plan.Stuck {
		if w.s.Tenant(x.Tenant).Owner != n || x.Why == "" {
			t.Fatalf("stuck tenant %+v", x)
		}
	}
}

// given applies op and proves that whoever got a tenant by it could take it.
func (w *town) given(t tb, op Op) []Event {
	t.Helper()
	before := w.s
	events := w.must(t, op)
	for id, to := range moved(w.s, events) {
		tn, old := w.s.Tenant(id), before.Tenant(id)
		if !w.s.Node(to).Usable() || tn.Owner != to || tn.Epoch != old.Epoch+1 {
			t.Fatalf("%+v gives tenant %d to node %d", op, id, to)
		}
	}
	return events
}
