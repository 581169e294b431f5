package main

import (
	"strings"
	"testing"
	"time"

	"postern/node/admin"
)

func TestNodeFindings(t *testing.T) {
	far := uint64(lagging + 1)
	n := func(name, role, state string, version uint32) admin.Node {
		return admin.Node{Name: name, Role: role, State: state, Version: version}
	}
	behind := n("n2", "voter", "up", 15)
	behind.Lag = &far
	for name, x := range map[string]struct {
		nodes []admin.Node
		want  []string // words of what is wrong
	}{
		"one":       {[]admin.Node{n("n1", "leader", "up", 15)}, nil},
		"three":     {[]admin.Node{n("n1", "leader", "up", 15), n("n2", "voter", "up", 15), n("n3", "voter", "maintenance", 15)}, nil},
		"joining":   {[]admin.Node{n("n1", "leader", "up", 15), n("n2", "unknown", "to join", 0)}, nil},
		"two":       {[]admin.Node{n("n1", "leader", "up", 15), n("n2", "voter", "up", 15)}, []string{"the loss of either"}},
		"down":      {[]admin.Node{n("n1", "leader", "up", 15), n("n2", "voter", "up", 15), n("n3", "voter", "down", 15)}, []string{"node n3 is down"}},
		"mixed":     {[]admin.Node{n("n1", "leader", "up", 15), n("n2", "voter", "up", 14), n("n3", "voter", "up", 15)}, []string{"14 on n2; 15 on n1, n3"}},
		"no leader": {[]admin.Node{n("n1", "voter", "up", 15), n("n2", "voter", "silent", 15), n("n3", "voter", "silent", 15)}, []string{"n2 is silent", "n3 is silent", "nobody leads"}},
		"behind":    {[]admin.Node{n("n1", "leader", "up", 15), behind, n("n3", "voter", "up", 15)}, []string{"n2 is 10001 log entries behind"}},
	} {
		checkFindings(t, name, nodeFindings(x.nodes), x.want)
	}
}

func TestCopyFindings(t *testing.T) {
	two := make([]admin.Node, 2)
	whole := &admin.Mirror{Node: "n2", Synced: true, Known: true}
	for name, x := range map[string]struct {
		nodes  []admin.Node
		tenant admin.Tenant
		want   []string
	}{
		"alone":      {two[:1], admin.Tenant{Name: "a"}, nil},
		"whole":      {two, admin.Tenant{Name: "a", Mirror: whole}, nil},
		"none":       {two, admin.Tenant{Name: "a"}, []string{"tenant a has one copy"}},
		"copying":    {two, admin.Tenant{Name: "a", Mirror: &admin.Mirror{Node: "n2", Known: true}}, []string{"being copied to n2"}},
		"not known":  {two, admin.Tenant{Name: "a", Mirror: &admin.Mirror{Node: "n2"}}, nil},
		"broken":     {two, admin.Tenant{Name: "a", Mirror: &admin.Mirror{Node: "n2", Synced: true, Known: true, BrokenMS: 5}}, []string{"cannot reach the holder"}},
		"unprepared": {two, admin.Tenant{Name: "a", Mirror: whole, Unprepared: "SPF lacks 192.0.2.9"}, []string{"could not move: SPF lacks"}},
	} {
		checkFindings(t, name, copyFindings(x.nodes, []admin.Tenant{x.tenant}), x.want)
	}
}

func TestDomainFindings(t *testing.T) {
	now := time.Now()
	checkFindings(t, "domains", domainFindings([]admin.DomainListing{
		{Domain: "relay.example", Relay: true, Listed: &now}, {Domain: "one-node.example"}, {Domain: "acme.example", Tenants: []string{"acme"}, Listed: &now},
		{Domain: "pills.example", Kind: admin.DomainLink, Linkers: []string{"news@acme.example"}, Listed: &now}}),
		[]string{"relay.example is on lists of domains (ours): postern listing show relay.example", "acme.example is on lists of domains (acme)"})
}

func TestKeptFindings(t *testing.T) {
	now := time.Now()
	kept := admin.Retention{Classes: []admin.RetentionClass{
		{Class: "recipients", Days: 30, Nodes: []admin.KeptOnNode{{Node: "n1", Oldest: now.AddDate(0, 0, -29)}, {Node: "n2", Oldest: now.AddDate(0, 0, -40), Late: true}}}}}
	checkFindings(t, "kept", keptFindings(kept, []admin.Erasure{{Tenant: "shoes", At: now.Add(-48 * time.Hour), Left: []string{"n3"}},
		{Tenant: "young", At: now.Add(-time.Hour), Left: []string{"n3"}}, {Tenant: "done", At: now.Add(-48 * time.Hour), Done: &now}}, now),
		[]string{"node n2 has recipients of", "tenant shoes is not erased yet from n3"})
}

func checkFindings(t *testing.T, name string, found []admin.Finding, want []string) {
	t.Helper()
	var wrong []string
	for _, f := range found {
		if f.State == admin.FindingWrong {
			wrong = append(wrong, f.Text)
		}
	}
	if len(wrong) != len(want) {
		t.Fatalf("%s: %q", name, wrong)
	}
	for i := range want {
		if !strings.Contains(wrong[i], want[i]) {
			t.Errorf("%s: %q, want %q", name, wrong[i], want[i])
		}
	}
}
