package admin

import (
	"errors"
	"net/http"
	"net/netip"
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

// A node may be the only one that has a tenant's mail although no copy bears its
// name: it wrote alone. Then, too, it goes only by the word that it is lost.
func TestALoneWriterIsNotRemoved(t *testing.T) {
	w, c := newPair(t, operatorToken)
	w.widen(t)
	do := func(op tenant.Op) {
		t.Helper()
		if _, _, err := w.Propose(t.Context(), tenant.RequestID{}, op); err != nil {
			t.Fatalf("%T: %v", op, err)
		}
	}
	spare, one := w.State().NodeByName("spare").ID, w.State().NodeByName("n1").ID
	do(tenant.AddSource{Node: spare, Addr: netip.MustParseAddr("203.0.113.10"), EHLO: "out-three.relay.test", Shared: true})
	do(tenant.AddTenant{Name: "cyan", Hostname: "cyan.relay.test", Home: tenant.Place{Node: spare}, Backup: tenant.Place{Node: one}})
	cyan := w.State().TenantByName("cyan")
	do(tenant.Own{Tenant: cyan.ID, Node: spare, Expect: cyan.Epoch, Read: true}) // with no second copy
	do(tenant.NodesDown{Nodes: []tenant.NodeID{spare}})
	do(tenant.SetPlace{Tenant: cyan.ID, Home: tenant.Place{Node: one}, Backup: tenant.Place{Node: w.State().NodeByName("two").ID}})
	do(tenant.RemoveSource{Source: w.State().SourceByAddr(netip.MustParseAddr("203.0.113.10")).ID})
	unread := w.State()
	var p *Problem
	if err := c.RemoveNode(t.Context(), "spare", false); !errors.As(err, &p) || p.Status != http.StatusConflict || !strings.Contains(err.Error(), `holds a copy of tenant "cyan"`) {
		t.Errorf("removed with the only copy: %v", err)
	}
	if err := c.RemoveNode(t.Context(), "spare", true); err != nil {
		t.Errorf("lost: %v", err)
	}

	// Once the new owner has read its log, nobody needs it.
	w.mu.Lock()
	w.st = unread
	w.mu.Unlock()
	cyan = w.State().TenantByName("cyan")
	do(tenant.Own{Tenant: cyan.ID, Node: one, Expect: cyan.Epoch, Read: true,
		Ends: cyan.EndsAt(one, tenant.End{Epoch: cyan.Epoch - 1, Last: 7}, true)})
	if err := c.RemoveNode(t.Context(), "spare", false); err != nil {
		t.Errorf("read: %v", err)
	}
}
