package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postern/node/queue"
	"postern/tenant"
)

// readings gathers what is shown, by name and labels.
func readings(t *testing.T, c ...prometheus.Collector) map[string]float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(c...)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			all[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return all
}

func TestStateGauges(t *testing.T) {
	lists, faults := readZones(`zones: [{name: zen.test, asks: [ipv4], heavy: true, every: 5m, codes: [{code: 127.0.0.2, weight: 100, means: x}]}]`)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	version := uint32(tenant.NewestVersion)
	source := func(n tenant.NodeID, last byte) tenant.Op {
		return tenant.AddSource{Node: n, Addr: netip.AddrFrom4([4]byte{192, 0, 2, last}), EHLO: "out.relay.test", Shared: true}
	}
	place := func(n tenant.NodeID) tenant.Place { return tenant.Place{Node: n} }
	ops := []tenant.Op{tenant.AddNode{Name: "n1"}, tenant.AddNode{Name: "n2"}, tenant.SetNode{Node: 1, Version: &version}, tenant.SetNode{Node: 2, Version: &version},
		source(1, 1), source(2, 2),
		tenant.AddTenant{Name: "shoes", Hostname: "shoes.relay.test", Home: place(1), Backup: place(2)},
		tenant.AddTenant{Name: "books", Hostname: "books.relay.test", Home: place(2)},
		tenant.AddAccount{Tenant: 1, Username: "a@shoes.test", Secret: [32]byte{1}, Plan: tenant.Plan{MailsPerMonth: 10}},
		lists, tenant.SetContain{Contain: tenant.Usual(0)}}
	st := applied(t, ops...)
	now := st.Now().Add(time.Minute)
	me := tenant.NodeID(1)
	g := newStateGauges(func() *tenant.State { return st }, func() tenant.NodeID { return me }, func() time.Time { return now })
	for key, want := range map[string]float64{
		"postern_node_up{node=n1}": 1, "postern_tenant_away{tenant=shoes}": 0,
		"postern_tenant_paused{tenant=shoes}": 0, "postern_tenant_armed{tenant=shoes}": 0, "postern_tenant_unread{tenant=shoes}": 0,
		"postern_tenant_quota_ratio{tenant=shoes}": 0, "postern_waiting_limit_seconds{class=transactional}": 7200,
		"postern_automation_on{}": 1, "postern_zone_aside{zone=zen.test}": 0, "postern_notices_waiting{}": 0,
		"postern_source_refusing_providers{source=192.0.2.1}": 0, "postern_tenant_waiting_seconds{tenant=shoes}": 0,
	} {
		if got, ok := readings(t, g)[key]; !ok || got != want {
			t.Errorf("%s is %v (there: %v), want %v", key, got, ok, want)
		}
	}

	if _, ok := readings(t, g)["postern_tenant_paused{tenant=books}"]; ok {
		t.Error("another node's tenant is shown")
	}

	notices := tenant.Notices{Webhook: "https://hooks.test/", SealedSecret: []byte("s")}
	st = applied(t, append(ops, tenant.OpenJournal{}, tenant.SetNotices{Notices: notices}, tenant.TestNotices{},
		tenant.Hold{Account: 1, Reason: "spam"}, tenant.AddAccount{Tenant: 1, Username: "b@shoes.test", Secret: [32]byte{2}}, tenant.Close{Account: 2, Reason: "spam"},
		tenant.AddAccount{Tenant: 1, Username: "c@shoes.test", Secret: [32]byte{3}}, tenant.Suspend{Account: 3, Kind: tenant.SuspendBilling, Reason: "unpaid"},
		tenant.AddAccount{Tenant: 2, Username: "d@books.test", Secret: [32]byte{4}}, tenant.Hold{Account: 4, Reason: "spam"},
		tenant.Suspend{Tenant: 2, Kind: tenant.SuspendBilling, Reason: "unpaid"},
		tenant.Pause{Tenant: 2, Reason: tenant.ReasonUnread},
		tenant.SetContain{Contain: tenant.Contain{Mode: tenant.AutomationShadow, Rule: tenant.DefaultContainRule()}},
		tenant.Denied{Node: 1, Denials: []tenant.Denial{{Source: 1, At: now.Add(-2 * time.Minute), Attempts: 9, Refused: 3, Messages: 3,
			Providers: []tenant.ProviderDenial{{Provider: "gmx", Refused: 3, Messages: 3}}}}},
		tenant.NodesDown{Nodes: []tenant.NodeID{1}})...)
	if got := readings(t, g)["postern_source_refusing_providers{source=192.0.2.1}"]; got != 1 {
		t.Errorf("%v providers refuse, want 1", got)
	}
	me = 2
	for key, want := range map[string]float64{
		"postern_node_up{node=n1}": 0, "postern_tenant_away{tenant=shoes}": 1,
		"postern_tenant_paused{tenant=books}": 1, "postern_tenant_unread{tenant=books}": 1, "postern_tenant_accounts_held{tenant=shoes}": 1,
		"postern_tenant_suspended{tenant=shoes}": 0, "postern_tenant_suspended{tenant=books}": 1, "postern_tenant_held{tenant=books}": 1,
		"postern_tenant_accounts_held{tenant=books}": 1,
		"postern_automation_on{}":                    0,
	} {
		if got, ok := readings(t, g)[key]; !ok || got != want {
			t.Errorf("%s is %v (there: %v), want %v", key, got, ok, want)
		}
	}
	if all := readings(t, g); all["postern_notices_waiting{}"] < 1 || all["postern_notices_oldest_seconds{}"] != 60 {
		t.Errorf("notices: %v wait, the oldest for %v", all["postern_notices_waiting{}"], all["postern_notices_oldest_seconds{}"])
	}
}

func TestQuotaRatio(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	month := tenant.WindowAt(tenant.Month, at)
	st := applied(t, tenant.AddNode{Name: "n1"}, tenant.AddSource{Node: 1, Addr: netip.MustParseAddr("192.0.2.1"), EHLO: "out.relay.test", Shared: true},
		tenant.AddTenant{Name: "shoes", Hostname: "shoes.test", Home: tenant.Place{Node: 1}},
		tenant.AddAccount{Tenant: 1, Username: "a@shoes.test", Secret: [32]byte{1}, Plan: tenant.Plan{MailsPerMonth: 10, BytesPerMonth: 1000}})
	if got := spentOf(st, 1, month); got != 0 {
		t.Errorf("nothing is spent, and it says %v", got)
	}
	if got := ratio(tenant.Amount{Mails: 9, Bytes: 100}, tenant.Amount{Mails: 10, Bytes: 1000}); got != 0.9 {
		t.Errorf("of mails: %v", got)
	}
	if got := ratio(tenant.Amount{Mails: 9, Bytes: 950}, tenant.Amount{Mails: 10, Bytes: 1000}); got != 0.95 {
		t.Errorf("of bytes: %v", got)
	}
	if got := ratio(tenant.Amount{Mails: 9}, tenant.Amount{}); got != 0 {
		t.Errorf("without limits: %v", got)
	}
}

// shelf is a queue that knows its messages' ages alone.
type shelf struct {
	messages map[queue.ID]time.Time
	lists    int
	broken   error
}

func (s *shelf) Count() map[tenant.ID]queue.Counts {
	all := map[tenant.ID]queue.Counts{1: {}}
	for id := range s.messages {
		n := all[id.Tenant]
		n.Messages++
		all[id.Tenant] = n
	}
	return all
}

func (s *shelf) Show(id queue.ID) (queue.Summary, error) {
	at, ok := s.messages[id]
	if !ok || s.broken != nil {
		return queue.Summary{}, errors.Join(s.broken, queue.ErrNotFound)
	}
	return queue.Summary{ID: id, Envelope: &queue.Envelope{Arrived: at}}, nil
}

func (s *shelf) List(f queue.Filter) (all []queue.Summary, err error) {
	s.lists++
	for _, id := range slices.SortedFunc(maps.Keys(s.messages), func(a, b queue.ID) int { return int(a.Seq) - int(b.Seq) }) {
		if m, err := s.Show(id); err == nil && id.Tenant == f.Tenant && len(all) < f.Limit {
			all = append(all, m)
		}
	}
	return all, s.broken
}

func TestAges(t *testing.T) {
	st := applied(t, tenant.AddNode{Name: "n1"}, tenant.AddSource{Node: 1, Addr: netip.MustParseAddr("192.0.2.1"), EHLO: "out.relay.test", Shared: true},
		tenant.AddTenant{Name: "shoes", Hostname: "shoes.test", Home: tenant.Place{Node: 1}})
	id := func(seq uint64) queue.ID { return queue.ID{Tenant: 1, Epoch: 1, Seq: seq} }
	s := &shelf{messages: map[queue.ID]time.Time{id(3): time.Unix(300, 0), id(4): time.Unix(400, 5e8)}}
	a, err := newAges(func() *tenant.State { return st }, s, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	look := func(want string) {
		t.Helper()
		a.look(context.Background())
		if got := fmt.Sprint(readings(t, a.oldest)); got != want {
			t.Errorf("it shows %s, want %s", got, want)
		}
	}
	look("map[postern_queue_oldest_timestamp_seconds{tenant=shoes}:300]")
	look("map[postern_queue_oldest_timestamp_seconds{tenant=shoes}:300]")
	if s.lists != 1 {
		t.Errorf("%d searches for what was known", s.lists)
	}
	delete(s.messages, id(3))
	look("map[postern_queue_oldest_timestamp_seconds{tenant=shoes}:400.5]")
	s.broken = errors.New("the disk is gone")
	look("map[postern_queue_oldest_timestamp_seconds{tenant=shoes}:400.5]")
	s.broken = nil
	clear(s.messages)
	look("map[]")
}

func TestGoneNotices(t *testing.T) {
	st := applied(t, tenant.AddNode{Name: "n1"})
	all := []tenant.NoticeResult{{ID: 1, Error: "refused"}, {ID: 2}}
	if n := gone(st, all); n != 1 {
		t.Errorf("%d notices were given up, want the one that was not taken", n)
	}
}

// What one scrape of the state costs with 70 tenants and 84 sources.
func BenchmarkStateGauges(b *testing.B) {
	var ops []tenant.Op
	for n := range 7 {
		ops = append(ops, tenant.AddNode{Name: fmt.Sprintf("n%d", n+1)})
	}
	for i := range 84 {
		ops = append(ops, tenant.AddSource{Node: tenant.NodeID(i%7 + 1), Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), EHLO: "out.relay.test", Shared: true})
	}
	for i := range 70 {
		ops = append(ops, tenant.AddTenant{Name: fmt.Sprintf("t%d", i), Hostname: fmt.Sprintf("t%d.relay.test", i),
			Home: tenant.Place{Node: tenant.NodeID(i%7 + 1)}, Backup: tenant.Place{Node: tenant.NodeID((i+1)%7 + 1)}},
			tenant.AddAccount{Tenant: tenant.ID(i + 1), Username: fmt.Sprintf("a@t%d.test", i), Secret: [32]byte{byte(i), 1}})
	}
	st := applied(b, ops...)
	g := newStateGauges(func() *tenant.State { return st }, func() tenant.NodeID { return 1 }, st.Now)
	for b.Loop() {
		ch := make(chan prometheus.Metric, 4096)
		g.Collect(ch)
	}
}
