package node

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"postern/node/delivery"
	"postern/tenant"
)

// applied is a state made of operations, on 2026-11-22.
func applied(t testing.TB, ops ...tenant.Op) *tenant.State {
	t.Helper()
	s := tenant.New()
	for i, op := range ops {
		next, _, err := tenant.Apply(s, uint64(i+1), tenant.Command{At: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), Op: op})
		if err != nil {
			t.Fatal(err)
		}
		s = next
	}
	return s
}

// A node tells of its own sources only, and of the cluster's lists by whatever
// name they were called; what the state knows already is not told again.
func TestNewsOfDenials(t *testing.T) {
	lists, faults := readZones(`zones: [{name: zen.dq.spamhaus.net, asks: [ipv4], heavy: true, every: 5m, key_file: k, codes: [{code: 127.0.0.2, weight: 100, means: x}]},
		{name: cop.test, asks: [ipv4], every: 5m, codes: [{code: 127.0.0.2, weight: 50, means: x}]},
		{name: dbl.spamhaus.org, asks: [domain], every: 5m, codes: [{code: 127.0.1.2, weight: 50, means: x}]}]`)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	version := uint32(tenant.NewestVersion)
	ops := []tenant.Op{tenant.AddNode{Name: "n1"}, tenant.AddNode{Name: "n2"},
		tenant.SetNode{Node: 1, Version: &version}, tenant.SetNode{Node: 2, Version: &version}, lists}
	for i := range 3 {
		ops = append(ops, tenant.AddSource{Node: tenant.NodeID(1 + i/2), Addr: netip.AddrFrom4([4]byte{127, 77, 1, byte(11 + i)}), EHLO: "out.relay.test", Shared: true})
	}
	st := applied(t, ops...)
	now := st.Now()
	measured := func(src tenant.SourceID, refused int, zones ...string) delivery.Evidence {
		e := delivery.Evidence{Source: src, Attempts: 100, Refused: refused}
		if refused > 0 {
			e.Messages, e.Providers = refused, []delivery.ProviderEvidence{{Provider: "gmx", Refused: refused, Messages: refused}}
		}
		for _, z := range zones {
			e.Zones = append(e.Zones, delivery.ZoneEvidence{Zone: z, Refused: 1, Last: now})
		}
		return e
	}
	tell := func(all ...delivery.Evidence) string {
		op := newsOfDenials(st, 1, all, now)
		text := ""
		for _, x := range op.Denials {
			text += fmt.Sprintf("%d: %d of %d", x.Source, x.Refused, x.Attempts)
			for _, n := range x.Named {
				text += " " + n.Zone
			}
			text += "; "
		}
		next, _, err := tenant.Apply(st, st.Index()+1, tenant.Command{At: now, Op: op})
		if err != nil {
			t.Fatal(err)
		}
		st = next
		return text
	}
	for _, step := range []struct {
		name string
		all  []delivery.Evidence
		want string
	}{
		{"nothing refused", []delivery.Evidence{measured(1, 0), measured(3, 9)}, ""},
		{"a keyed list by its public name, and one that is not ours", []delivery.Evidence{measured(1, 3, "other.test", "zen.spamhaus.org"), measured(2, 0)}, "1: 3 of 100 zen.dq.spamhaus.net; "},
		{"the same again", []delivery.Evidence{measured(1, 3, "zen.spamhaus.org")}, ""},
		{"a name alone, by anyone", []delivery.Evidence{measured(1, 3, "zen.spamhaus.org"), measured(2, 0, "cop.test")}, "2: 0 of 100 cop.test; "},
		{"one is over, without an attempt", []delivery.Evidence{measured(2, 0, "cop.test")}, "1: 0 of 0; "},
		{"the other one too", []delivery.Evidence{measured(2, 0)}, "2: 0 of 100; "},
		{"nothing", nil, ""},
	} {
		if got := tell(step.all...); got != step.want {
			t.Errorf("%s: %q, want %q", step.name, got, step.want)
		}
	}
}
