package report

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/tenant"
)

// scene is a state made by commands.
type scene struct {
	t  *testing.T
	s  *tenant.State
	at time.Time
}

func newScene(t *testing.T) *scene {
	x := &scene{t: t, s: tenant.New(), at: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)}
	version := uint32(tenant.NewestVersion)
	addr := netip.MustParseAddr
	x.do(tenant.AddNode{Name: "n1"}, tenant.AddNode{Name: "n2"}, tenant.SetNode{Node: 1, Version: &version}, tenant.SetNode{Node: 2, Version: &version}, tenant.OpenJournal{},
		tenant.AddSource{Node: 1, Addr: addr("192.0.2.10"), EHLO: "a.test", Shared: true}, tenant.AddSource{Node: 2, Addr: addr("198.51.100.10"), EHLO: "b.test", Shared: true},
		tenant.AddTenant{Name: "shoes", Hostname: "shoes.test", Home: tenant.Place{Node: 1}, Backup: tenant.Place{Node: 2}},
		tenant.AddTenant{Name: "garden", Hostname: "garden.test", Home: tenant.Place{Node: 1}},
		tenant.AddAccount{Tenant: 1, Username: "news@shoes.test"}, tenant.AddAccount{Tenant: 2, Username: "mail@garden.test"})
	code := addr("127.0.0.2")
	x.do(tenant.SetLists{Rule: tenant.DefaultListingRule(), Zones: []tenant.Zone{{Name: "zen.test", Spaces: []tenant.Space{tenant.SpaceIPv4}, Every: time.Minute, Heavy: true,
		Delist: "https://zen.test/{}", Codes: []tenant.ZoneCode{{First: code, Last: code, Means: "spam", Weight: 100, Policy: tenant.PolicyMove}}}}})
	x.do(tenant.SetContain{Contain: tenant.Usual(0)})
	return x
}

func (x *scene) do(ops ...tenant.Op) {
	x.t.Helper()
	for _, op := range ops {
		next, _, err := tenant.Apply(x.s, x.s.Index()+1, tenant.Command{At: x.at, Op: op})
		if err != nil {
			x.t.Fatalf("%+v: %v", op, err)
		}
		x.s = next
	}
}

// listed makes two nodes say so in two rounds.
func (x *scene) listed() *tenant.Case {
	x.t.Helper()
	for range 2 {
		x.at = x.at.Add(2 * time.Minute)
		for n := range 2 {
			x.do(tenant.Observe{Node: tenant.NodeID(n + 1), Seen: []tenant.Seen{{Source: 1, Zone: "zen.test", At: x.at, Values: []netip.Addr{netip.MustParseAddr("127.0.0.2")}}}})
		}
	}
	c := x.s.OpenCase(1)
	if c == nil {
		x.t.Fatal("nothing followed")
	}
	return c
}

func has(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestIncident(t *testing.T) {
	x := newScene(t)
	id := x.listed().ID
	answer, next := Incident(x.s, x.s.Case(id))
	has(t, answer, "about 192.0.2.10", "listed by zen.test at 2026-11-22 10:04:00 UTC", "We are examining", "remove the address")
	has(t, strings.Join(next, "\n"), "postern account evidence", "garden waits: it has no backup", "ask zen.test: https://zen.test/192.0.2.10", "listing dismiss 192.0.2.10")

	x.at = x.at.Add(time.Minute)
	x.do(tenant.AddEvidence{Account: 1, Source: 1, Note: "a trap"}, tenant.Used{Node: 1, Uses: []tenant.Use{{Account: 1, Source: 1, At: x.at, Counts: tenant.Counts{Tried: 900, Unknown: 200}}}}, tenant.Review{})
	x.do(tenant.Passed{Case: id, Tenant: 1, LastDot: x.at.Add(-59 * time.Second)})
	answer, next = Incident(x.s, x.s.Case(id))
	has(t, answer, "last message left at 2026-11-22 10:04:01 UTC", "was found and has been blocked since 2026-11-22 10:05:00 UTC")
	has(t, strings.Join(next, "\n"), "news@shoes.test is held")
	for _, name := range []string{"shoes", "garden", "news", "n1", "n2"} {
		if strings.Contains(answer, name) {
			t.Errorf("the answer names %s:\n%s", name, answer)
		}
	}

	x.do(tenant.EndCase{Case: id, Reason: "an error of the list"})
	if answer, _ = Incident(x.s, x.s.Case(id)); !strings.Contains(answer, "found no abuse: an error of the list") && !strings.Contains(answer, "was found") {
		t.Errorf("after its end: %s", answer)
	}
	if strings.Contains(answer, "We ask you to remove") {
		t.Errorf("a listing that was none is still to be removed: %s", answer)
	}
}

func TestIncidentOfADrill(t *testing.T) {
	x := newScene(t)
	x.do(tenant.Drill{Source: 1})
	answer, next := Incident(x.s, x.s.OpenCase(1))
	if answer != "" {
		t.Errorf("a drill is answered: %q", answer)
	}
	has(t, strings.Join(next, "\n"), "end the drill")
}
