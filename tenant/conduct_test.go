package tenant

import (
	"hash/fnv"
	"net/netip"
	"slices"
	"testing"
)

// A tenant keeps to one member for a day and has another one soon; members are
// used evenly; one that goes moves its own tenants alone.
func TestMember(t *testing.T) {
	var all []*Source
	for i := range SourceID(5) {
		all = append(all, &Source{ID: i + 1})
	}
	if Member(nil, 1, 1) != nil || Member(all[:1], 7, 7) != all[0] {
		t.Error("of none, or of one")
	}
	used, changes := make(map[SourceID]int), 0
	const tenants, days = 40, 100
	for n := range ID(tenants) {
		for day := range int64(days) {
			m := Member(all, n+1, day)
			used[m.ID]++
			if backwards := slices.Clone(all); Member(reversed(backwards), n+1, day) != m {
				t.Fatal("it depends on the order")
			}
			if m.ID != 3 && Member(slices.Concat(all[:2], all[3:]), n+1, day) != m {
				t.Fatalf("tenant %d: the loss of another member moved it", n+1)
			}
			if m != Member(all, n+1, day+1) {
				changes++
			}
		}
	}
	for id, n := range used {
		if n < tenants*days/5*9/10 || n > tenants*days/5*11/10 {
			t.Errorf("member %d is used %d times of %d", id, n, tenants*days)
		}
	}
	if part := float64(changes) / (tenants * days); part < 0.75 || part > 0.85 {
		t.Errorf("%.2f of the days bring another member, want 4 of 5", part)
	}
}

func reversed(all []*Source) []*Source { slices.Reverse(all); return all }

// What a tenant's mail of a day left by must stay over an upgrade.
func TestMemberIsFNV(t *testing.T) {
	b := make([]byte, 24)
	b[0], b[8], b[9], b[16] = 7, 0x12, 0x50, 3
	h := fnv.New64a()
	h.Write(b)
	w := h.Sum64()
	w ^= w >> 29
	w *= 0xbf58476d1ce4e5b9
	w ^= w >> 32
	if got := memberWeight(7, 0x5012, 3); got != w {
		t.Errorf("%x, want %x", got, w)
	}
}

// Classes are what comes first, not what alone may be.
func TestPrefer(t *testing.T) {
	w := newTown()
	w.must(t, AddNode{Name: "n"})
	node := w.s.NodeByName("n").ID
	version := uint32(NewestVersion)
	for n := range w.s.Nodes() {
		w.must(t, SetNode{Node: n.ID, Version: &version})
	}
	ids := map[string]SourceID{}
	for i, name := range []string{"mixed", "transactional", "bulk"} {
		addr := netip.AddrFrom4([4]byte{127, 77, 50, byte(i + 1)})
		w.must(t, AddSource{Node: node, Addr: addr, EHLO: name + ".test", Shared: true})
		ids[name] = w.s.SourceByAddr(addr).ID
	}
	check := func(when string, class Class, all []*Source, want ...string) {
		t.Helper()
		var got []string
		for _, src := range w.s.Prefer(all, class) {
			for name, id := range ids {
				if id == src.ID {
					got = append(got, name)
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	pool := func() []*Source { return w.s.SourcesAt(Place{Node: node}) }
	check("no classes", Bulk, pool(), "mixed", "transactional", "bulk")
	w.must(t, SetPool{Source: ids["transactional"], Class: PoolTransactional}, SetPool{Source: ids["bulk"], Class: PoolBulk})
	check("bulk", Bulk, pool(), "bulk")
	check("transactional", Transactional, pool(), "transactional")
	check("bulk without its own", Bulk, pool()[:2], "mixed")
	check("bulk with another's alone", Bulk, pool()[1:2], "transactional")
	check("nothing", Bulk, nil)
}
