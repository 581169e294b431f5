package tenant

import (
	"slices"
	"testing"
)

func TestHolders(t *testing.T) {
	const a, b, c = NodeID(1), NodeID(2), NodeID(3)
	for _, x := range []struct {
		name   string
		t      Tenant
		owner  NodeID
		others []NodeID
		here   bool
	}{
		{"a restart in place", Tenant{Owner: a, Epoch: 5, Copies: []Copy{{Node: b, Epoch: 5}}}, a, nil, true},
		{"a second restart", Tenant{Owner: a, Epoch: 6, Ends: []End{{Epoch: 5, Node: a}}, Copies: []Copy{{Node: b, Epoch: 5}, {Node: b, Epoch: 6}}}, a, nil, true},
		{"the mirror takes over", Tenant{Owner: b, Epoch: 6, Ends: []End{{Epoch: 5, Node: a}}, Copies: []Copy{{Node: b, Epoch: 5}}}, b, nil, true},
		{"its copy is not complete", Tenant{Owner: b, Epoch: 6, Ends: []End{{Epoch: 5, Node: a}}, Copies: []Copy{{Epoch: 5}, {Node: b, Epoch: 5}}}, b, []NodeID{a}, true},
		{"a stand-in had the copy", Tenant{Owner: b, Epoch: 6, Ends: []End{{Epoch: 5, Node: a}}, Copies: []Copy{{Node: c, Epoch: 5}}}, b, []NodeID{c}, false},
		{"one copy only", Tenant{Owner: b, Epoch: 6, Ends: []End{{Epoch: 5, Node: a}}}, b, []NodeID{a}, false},
		{"the writer is back before anybody took over", Tenant{Owner: a, Epoch: 7, Ends: []End{{Epoch: 5, Node: a}, {Epoch: 6, Node: b}}, Copies: []Copy{{Node: b, Epoch: 5}}}, a, nil, true},
		{"each node once, the oldest first", Tenant{Owner: b, Epoch: 8, Ends: []End{{Epoch: 5, Node: c}, {Epoch: 7, Node: a}}, Copies: []Copy{{Epoch: 5}, {Node: c, Epoch: 7}, {Epoch: 7}}}, b, []NodeID{c, a}, false},
	} {
		others, here := x.t.Holders(x.owner)
		if !slices.Equal(others, x.others) || here != x.here {
			t.Errorf("%s: %v here %t, want %v here %t", x.name, others, here, x.others, x.here)
		}
	}
}

func TestEndsAt(t *testing.T) {
	moved := Tenant{Owner: 2, Epoch: 6, Ends: []End{{Epoch: 3, Node: 2, Last: 9}, {Epoch: 5, Node: 1}}}
	if got := moved.EndsAt(2, End{Epoch: 5, Last: 40}, true); !slices.Equal(got, []End{{3, 2, allOf}, {5, 1, 40}}) {
		t.Errorf("after a move: %v", got)
	}
	if got := moved.EndsAt(2, End{Epoch: 5, Last: 40}, false); got != nil {
		t.Errorf("of a log that was not read whole: %v", got)
	}
	if moved.Ends[1].Last != 0 {
		t.Error("the state was changed")
	}
	again := Tenant{Owner: 1, Epoch: 6, Ends: []End{{Epoch: 5, Node: 1}}}
	if got := again.EndsAt(1, End{Epoch: 5, Last: 3}, true); !slices.Equal(got, []End{{6, 1, allOf}}) {
		t.Errorf("after a restart: %v", got)
	}
}
