package node

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postern/tenant"
)

// stateGauges shows what the replicated state says of tenants, nodes, sources
// and lists: of tenants their owner alone, of a source its own node, or a large
// cluster would show everything seven times. It costs what the state has of them
// and nothing of what is queued. Labels are names the operator gave: tenants,
// nodes, zones, our own addresses and domains, and proved sender domains.
type stateGauges struct {
	state func() *tenant.State
	self  func() tenant.NodeID
	now   func() time.Time

	nodeUp, away, paused, held, suspended, unread, waiting, armed, unprepared, quota, accountsHeld *prometheus.Desc

	limit, automation, aside, domain, linked, refusers, waits, oldest *prometheus.Desc
}

func newStateGauges(state func() *tenant.State, self func() tenant.NodeID, now func() time.Time) *stateGauges {
	desc := prometheus.NewDesc
	one := []string{"tenant"}
	return &stateGauges{
		state: state, self: self, now: now,
		nodeUp:       desc("postern_node_up", "1 while the cluster counts a node as up; 0 once its lease has run out for sure.", []string{"node"}, nil),
		away:         desc("postern_tenant_away", "1 while a tenant is owned by another node than its home.", one, nil),
		paused:       desc("postern_tenant_paused", "1 while a tenant accepts mail and sends none, for whatever reason but a listing.", one, nil),
		held:         desc("postern_tenant_held", "1 while a tenant neither sends nor may submit; 0 once it is closed for ever.", one, nil),
		suspended:    desc("postern_tenant_suspended", "1 while an operator has suspended a tenant: it is held, and nobody needs to look into it.", one, nil),
		unread:       desc("postern_tenant_unread", "1 while a tenant's mail waits for a node that has a copy of its log nobody can read.", one, nil),
		waiting:      desc("postern_tenant_waiting_seconds", "How long a tenant's mail has waited because its source is listed; 0: it does not.", one, nil),
		armed:        desc("postern_tenant_armed", "1 while a tenant's other place would work right now.", one, nil),
		unprepared:   desc("postern_tenant_unprepared", "1 while somebody has to mend names, SPF, an address or a listing before a tenant's other place works.", one, nil),
		quota:        desc("postern_tenant_quota_ratio", "Part of its month's plan that a tenant's most used account has spent; 0 without limits.", one, nil),
		accountsHeld: desc("postern_tenant_accounts_held", "Accounts of a tenant that are held, and neither suspended nor closed for ever.", one, nil),
		limit:        desc("postern_waiting_limit_seconds", "How long waiting because of a listing keeps mail of a class from expiring.", []string{"class"}, nil),
		automation:   desc("postern_automation_on", "1 while listings move tenants by themselves; 0 in shadow and off.", nil, nil),
		aside:        desc("postern_zone_aside", "1 while a DNS list counts nothing, because it began to list most sources at once.", []string{"zone"}, nil),
		domain:       desc("postern_domain_listed", "1 while a domain counts as listed by a DNS list; of: relay for our names, sender for tenants' domains.", []string{"domain", "of"}, nil),
		linked:       desc("postern_link_domains_listed", "Domains that a tenant's mail has links to and that count as listed by a DNS list.", []string{"tenant"}, nil),
		refusers:     desc("postern_source_refusing_providers", "Known providers that refused a source because of its address within the listing rule's time.", []string{"source"}, nil),
		waits:        desc("postern_notices_waiting", "Notices that were not taken yet.", nil, nil),
		oldest:       desc("postern_notices_oldest_seconds", "Age of the oldest notice that waits; 0: none does.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (g *stateGauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.nodeUp, g.away, g.paused, g.held, g.suspended, g.unread, g.waiting, g.armed, g.unprepared,
		g.quota, g.accountsHeld, g.limit, g.automation, g.aside, g.domain, g.linked, g.refusers, g.waits, g.oldest} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g *stateGauges) Collect(ch chan<- prometheus.Metric) {
	st, me := g.state(), g.self()
	show := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for n := range st.Nodes() {
		show(g.nodeUp, flag(n.Down.IsZero()), n.Name)
	}
	for t := range st.Tenants() {
		if me != 0 && t.Owner == me {
			g.tenant(st, t, show)
		}
	}
	g.notices(st, show)
	if c := st.Contain(); c != nil {
		show(g.limit, c.Rule.Transactional.Seconds(), "transactional")
		show(g.limit, c.Rule.Bulk.Seconds(), "bulk")
		show(g.automation, flag(c.Mode == tenant.AutomationOn))
	}
	l := st.Lists()
	if l == nil {
		return
	}
	for i := range l.Zones {
		show(g.aside, flag(l.IsAside(l.Zones[i].Name)), l.Zones[i].Name)
	}
	g.domains(st, show)
	for src := range st.Sources() {
		if me == 0 || src.Node != me {
			continue
		}
		n := 0
		if x := st.Denial(src.ID); x != nil && g.now().Sub(x.At) <= l.Rule.Fresh {
			n = len(x.Providers)
		}
		show(g.refusers, float64(n), src.Addr.String())
	}
}

func (g *stateGauges) tenant(st *tenant.State, t *tenant.Tenant, show func(*prometheus.Desc, float64, ...string)) {
	show(g.away, flag(t.Owner != t.Home.Node), t.Name)
	show(g.paused, flag(t.Paused != ""), t.Name)
	show(g.held, flag(t.Held != "" && st.ClosedTenant(t.ID) == nil), t.Name)
	show(g.suspended, flag(st.SuspendedTenant(t.ID) != nil), t.Name)
	show(g.unread, flag(tenant.Unread(t.Paused)), t.Name)
	var waited time.Duration
	if p := st.Plight(t.ID); p != nil && !p.Since.IsZero() {
		waited = max(0, g.now().Sub(p.Since))
	}
	show(g.waiting, waited.Seconds(), t.Name)
	show(g.armed, flag(len(tenant.Armed(st, t)) == 0), t.Name)
	show(g.unprepared, flag(tenant.Unprepared(st, t) != ""), t.Name)
	most, held := 0., 0
	month := tenant.WindowAt(tenant.Month, g.now())
	for a := range st.AccountsOf(t.ID) {
		most = max(most, spentOf(st, a.ID, month))
		own := st.Suspended(a)
		if a.Held != "" && st.ClosedAccount(a) == nil && (own == nil || own.Account == 0) {
			held++
		}
	}
	show(g.quota, most, t.Name)
	show(g.accountsHeld, float64(held), t.Name)
}

// spentOf is which part of an account's limit is spent, of mails or of bytes,
// whichever is more.
func spentOf(st *tenant.State, a tenant.AccountID, w tenant.Window) float64 {
	return ratio(st.SpentOf(a, w), st.Limit(a, w.Kind))
}

func ratio(used, limit tenant.Amount) (most float64) {
	if limit.Mails > 0 {
		most = float64(used.Mails) / float64(limit.Mails)
	}
	if limit.Bytes > 0 {
		most = max(most, float64(used.Bytes)/float64(limit.Bytes))
	}
	return most
}

func (g *stateGauges) notices(st *tenant.State, show func(*prometheus.Desc, float64, ...string)) {
	n, oldest := 0, time.Duration(0)
	for x := range st.Outbox() { // a thousand at most
		n++
		oldest = max(oldest, g.now().Sub(x.At))
	}
	show(g.waits, float64(n))
	show(g.oldest, oldest.Seconds())
}

func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

// domains shows those that count as listed: ours and senders' by name. What mail
// links to is a name from outside, and no label.
func (g *stateGauges) domains(st *tenant.State, show func(*prometheus.Desc, float64, ...string)) {
	linked := map[string]int{}
	for _, x := range st.DomainListings() {
		switch {
		case x.Raised.IsZero():
		case x.Relay:
			show(g.domain, 1, x.Domain, "relay")
		case len(x.Tenants) > 0:
			show(g.domain, 1, x.Domain, "sender")
		default:
			of := map[tenant.ID]bool{}
			for _, a := range x.Linkers {
				of[st.Account(a).Tenant] = true
			}
			for t := range of {
				linked[st.Tenant(t).Name]++
			}
		}
	}
	for t := range st.Tenants() {
		if n := linked[t.Name]; n > 0 {
			show(g.linked, float64(n), t.Name)
		}
	}
}
