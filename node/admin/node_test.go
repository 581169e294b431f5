package admin

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"postern/tenant"
)

// Only the operator's word gives up the copies of a node, and only of one that
// is down.
func TestRemoveLostNode(t *testing.T) {
	w, c := newPair(t, operatorToken)
	w.widen(t)
	do := func(op tenant.Op) {
		t.Helper()
		if _, _, err := w.Propose(t.Context(), tenant.RequestID{}, op); err != nil {
			t.Fatalf("%T: %v", op, err)
		}
	}
	acme, spare := w.State().TenantByName("acme"), w.State().NodeByName("spare").ID
	do(tenant.SetMirrors{Changes: []tenant.MirrorChange{{Tenant: acme.ID, Epoch: acme.Epoch, Generation: acme.Generation, Node: spare, First: 1}}})
	refused := func(lost bool, why string) {
		t.Helper()
		var p *Problem
		if err := c.RemoveNode(t.Context(), "spare", lost); !errors.As(err, &p) || p.Status != http.StatusConflict || !strings.Contains(err.Error(), why) {
			t.Errorf("lost %v: %v, want %q", lost, err, why)
		}
	}
	refused(false, "holds a copy")
	refused(true, "is up and not lost")
	do(tenant.NodesDown{Nodes: []tenant.NodeID{spare}})
	refused(false, "holds a copy")
	if err := c.RemoveNode(t.Context(), "spare", true); err != nil {
		t.Fatal(err)
	}
	st := w.State()
	if st.NodeByName("spare") != nil {
		t.Error("the node is still there")
	}
	for _, v := range st.TenantByName("acme").Copies {
		if v.Node == spare {
			t.Error("its copy is still waited for")
		}
	}
}
