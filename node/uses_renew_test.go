package node

import (
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"postern/tenant"
)

// Deferred mail of a tenant that a listing moved is made due once: not before
// its queue is served here, again after a failure, and not for a drill.
func TestRenewOnce(t *testing.T) {
	st := tenant.New()
	do := func(op tenant.Op) {
		t.Helper()
		next, _, err := tenant.Apply(st, st.Index()+1, tenant.Command{At: time.Now(), Op: op})
		if err != nil {
			t.Fatalf("%T: %v", op, err)
		}
		st = next
	}
	version := uint32(tenant.NewestVersion)
	for i, name := range []string{"n1", "n2"} {
		id := tenant.NodeID(i + 1)
		do(tenant.AddNode{Name: name})
		do(tenant.SetNode{Node: id, Version: &version})
		do(tenant.AddSource{Node: id, Addr: netip.AddrFrom4([4]byte{127, 77, byte(id), 1}), EHLO: name + ".test", Shared: true})
	}
	do(tenant.AddTenant{Name: "shoes", Hostname: "shoes.test", Home: tenant.Place{Node: 1}, Backup: tenant.Place{Node: 2}})
	rule := tenant.DefaultListingRule()
	rule.Rounds, rule.Apart = 1, 0
	do(tenant.SetLists{Rule: rule, Zones: []tenant.Zone{{Name: "zen.test", Spaces: []tenant.Space{tenant.SpaceIPv4}, Every: time.Minute, Heavy: true,
		Codes: []tenant.ZoneCode{{First: netip.MustParseAddr("127.0.0.2"), Last: netip.MustParseAddr("127.0.0.2"), Weight: 100, Policy: tenant.PolicyMove}}}}})
	do(tenant.SetContain{Contain: tenant.Usual(0)})

	u := newUses("n2", nil, slog.New(slog.DiscardHandler))
	served, flushed, fails := false, 0, true
	u.adopted = func(tenant.ID) bool { return served }
	u.flush = func(tenant.ID) (int, error) {
		if flushed++; fails {
			return 0, errors.New("disk")
		}
		return 3, nil
	}
	expect := func(when string, want int) {
		t.Helper()
		if u.renew(st); flushed != want {
			t.Errorf("%s: made due %d times, want %d", when, flushed, want)
		}
	}
	do(tenant.Drill{Source: 1})
	do(tenant.Own{Tenant: 1, Node: 2, Expect: 1})
	served = true
	expect("a drill", 0)
	do(tenant.EndCase{Case: 1, Reason: "over"})
	do(tenant.Own{Tenant: 1, Node: 1, Expect: 2})
	served = false
	for n := range tenant.NodeID(2) {
		do(tenant.Observe{Node: n + 1, Seen: []tenant.Seen{{Source: 1, Zone: "zen.test", At: time.Now(), Values: []netip.Addr{netip.MustParseAddr("127.0.0.2")}}}})
	}
	if c := st.OpenCase(1); c == nil || st.Tenant(1).To != 2 {
		t.Fatalf("no case moves the tenant: %+v", c)
	}
	expect("on its way", 0)
	do(tenant.Own{Tenant: 1, Node: 2, Expect: 3})
	expect("before its queue is served", 0)
	served = true
	expect("while the disk fails", 1)
	fails = false
	expect("when it does not", 2)
	expect("at the next look", 2)
}
