package admin

import (
	"context"
	"net/http"
	"time"

	"postern/tenant"
)

// Doctor tells DKIM keys and looks at what the DNS says.
type Doctor interface {
	// KeyRecord is the TXT record's text of a signed domain's key.
	KeyRecord(d *tenant.Domain) (string, error)
	// CheckSource looks at a source's name; at its address, too, if it is of
	// this node.
	CheckSource(ctx context.Context, src *tenant.Source) []Finding
	// CheckDomain looks at a sender domain of st. include is the provider's SPF
	// record that tenants name; empty: none.
	CheckDomain(ctx context.Context, st *tenant.State, d *tenant.Domain, include string) []Finding
	// Wrong lists what was last found wrong for a tenant of st, by this node.
	Wrong(st *tenant.State, t *tenant.Tenant) []string
}

// Including names a provider's own SPF record.
type Including struct {
	Include string `query:"include" maxLength:"200" doc:"Name of the provider's SPF record that tenants include instead of addresses"`
}

func (i Including) valid() error {
	if i.Include != "" && !tenant.ValidHost(i.Include) {
		return badField("query.include", "give a host name in lower case, such as spf.relay.example", "%q is no host name", clip(i.Include))
	}
	return nil
}

func (s *Server) dnsRoutes() {
	type of struct {
		OfTenant
		Including
	}
	register(s, in{verb: http.MethodGet, path: "/v1/tenants/{tenant}/dns", id: "get-tenant-dns", tag: "dns", access: tenantToo,
		does: "Say what must be in the DNS for a tenant's mail"},
		func(_ context.Context, who caller, i *of) (*out[TenantDNS], error) {
			st := s.cfg.State()
			t, err := findTenant(st, who, i.Tenant)
			if err == nil {
				err = i.valid()
			}
			if err != nil {
				return nil, err
			}
			return reply(s.tenantDNS(st, t, who, i.Include)), nil
		})
	type all struct{ Including }
	register(s, in{verb: http.MethodGet, path: "/v1/sources/dns", id: "get-sources-dns", tag: "dns",
		does: "Say what must be in the DNS for all sources"},
		func(_ context.Context, _ caller, i *all) (*out[SourcesDNS], error) {
			if err := i.valid(); err != nil {
				return nil, err
			}
			st := s.cfg.State()
			v := SourcesDNS{Sources: []SourceDNS{}, Provider: []DNSRecord{}}
			for src := range st.Sources() {
				v.Sources = append(v.Sources, viewSourceDNS(st, tenant.Exit{Source: src}))
			}
			if i.Include != "" {
				v.Provider = ViewRecords(tenant.PublishProvider(st, i.Include))
			}
			return reply(v), nil
		})
	s.doctorRoutes()
}

func (s *Server) tenantDNS(st *tenant.State, t *tenant.Tenant, who caller, include string) TenantDNS {
	v := TenantDNS{Tenant: t.Name, Domains: []DomainDNS{}, Sources: []SourceDNS{}}
	for _, d := range tenant.PublishTenant(st, t, include) {
		x := DomainDNS{Domain: d.Domain, SPF: DNSRecord(d.SPF), Terms: d.Terms, DMARC: DNSRecord(d.DMARC), Alignment: d.Alignment}
		if d.KeyName != "" {
			x.DKIM, x.DKIMFault = s.keyRecord(st, d)
		}
		if b := d.Bounce; b != nil {
			x.Bounce = &BounceDNS{Name: b.Name, MX: ViewRecords(b.MX), SPF: DNSRecord(b.SPF), Fault: b.Fault}
		}
		v.Domains = append(v.Domains, x)
	}
	if who.operator {
		for _, e := range tenant.Exits(st, t) {
			v.Sources = append(v.Sources, viewSourceDNS(st, e))
		}
	}
	return v
}

func (s *Server) keyRecord(st *tenant.State, d tenant.DomainDNS) (r *DNSRecord, fault string) {
	if s.cfg.Doctor == nil {
		return nil, "this node cannot keep keys"
	}
	text, err := s.cfg.Doctor.KeyRecord(st.Domain(d.Domain))
	if err != nil {
		return nil, err.Error()
	}
	return &DNSRecord{Name: d.KeyName, Type: "TXT", Value: text}, ""
}

func viewSourceDNS(st *tenant.State, e tenant.Exit) SourceDNS {
	forward, reverse := tenant.PublishSource(e.Source)
	return SourceDNS{Source: e.Addr.String(), Node: nodeName(st, e.Node), Backup: e.Backup, Forward: DNSRecord(forward), Reverse: DNSRecord(reverse)}
}

// ViewRecords turns records into their view.
func ViewRecords(records []tenant.DNSRecord) []DNSRecord {
	all := make([]DNSRecord, 0, len(records))
	for _, r := range records {
		all = append(all, DNSRecord(r))
	}
	return all
}

func (s *Server) doctorRoutes() {
	type list struct {
		Tenant string `query:"tenant" maxLength:"63"`
	}
	register(s, in{verb: http.MethodGet, path: "/v1/doctor", id: "list-doctor", tag: "dns",
		does: "List what can be checked: sources and sender domains"},
		func(_ context.Context, who caller, i *list) (*out[Subjects], error) {
			return answered(subjects(s.cfg.State(), who, i.Tenant))
		})
	type source struct {
		Addr string `path:"addr" maxLength:"45"`
	}
	register(s, in{verb: http.MethodGet, path: "/v1/sources/{addr}/doctor", id: "check-source", tag: "dns",
		does: "Check a source's address and names; its own node is asked"},
		func(ctx context.Context, who caller, i *source) (*out[Checked], error) {
			return answered(s.checkSource(ctx, who, i.Addr))
		})
	type domain struct {
		OfTenant
		Including
		Domain string `path:"domain" minLength:"1" maxLength:"253"`
	}
	register(s, in{verb: http.MethodGet, path: "/v1/tenants/{tenant}/domains/{domain}/doctor", id: "check-domain", tag: "dns",
		does: "Check a sender domain's DNS by this node's resolvers"},
		func(ctx context.Context, who caller, i *domain) (*out[Checked], error) {
			st := s.cfg.State()
			t, err := findTenant(st, who, i.Tenant)
			if err == nil {
				err = i.valid()
			}
			if err != nil {
				return nil, err
			}
			d := st.Domain(i.Domain)
			switch {
			case d == nil || d.Tenant != t.ID:
				return nil, absent("domain", i.Domain)
			case s.cfg.Doctor == nil:
				return nil, errNoDoctor()
			}
			return reply(Checked{Node: s.cfg.Node, Tenant: t.Name, Domain: d.Name, Findings: s.cfg.Doctor.CheckDomain(ctx, st, d, i.Include)}), nil
		})
}

func errNoDoctor() *Problem {
	return problem(http.StatusConflict, "set resolvers in the configuration", "this node cannot ask the DNS")
}

// subjects lists a tenant's sources and domains, or those of the cluster.
func subjects(st *tenant.State, who caller, name string) (Subjects, error) {
	v := Subjects{Sources: []string{}, Domains: []SubjectDomain{}}
	if name != "" {
		t, err := findTenant(st, who, name)
		if err != nil {
			return v, err
		}
		for _, e := range tenant.Exits(st, t) {
			v.Sources = append(v.Sources, e.Addr.String())
		}
		for d := range st.DomainsOf(t.ID) {
			v.Domains = append(v.Domains, SubjectDomain{Tenant: t.Name, Domain: d.Name})
		}
		return v, nil
	}
	for src := range st.Sources() {
		v.Sources = append(v.Sources, src.Addr.String())
	}
	for d := range st.Domains() {
		if t := st.Tenant(d.Tenant); t != nil {
			v.Domains = append(v.Domains, SubjectDomain{Tenant: t.Name, Domain: d.Name})
		}
	}
	return v, nil
}

// passWait bounds how long another node's checks are waited for: a node that is
// down must leave this one time to ask the DNS in its stead.
const passWait = 16 * time.Second

// checkSource asks the source's own node: only it knows whether the address is
// on the machine. When it gives no answer, this node asks the DNS.
func (s *Server) checkSource(ctx context.Context, who caller, addr string) (Checked, error) {
	st := s.cfg.State()
	src := sourceByText(st, addr)
	switch {
	case src == nil:
		return Checked{}, absent("source", addr)
	case s.cfg.Doctor == nil:
		return Checked{}, errNoDoctor()
	}
	node := nodeName(st, src.Node)
	var elsewhere []Finding
	if node != s.cfg.Node && s.peers != nil && !who.passedOn {
		within, cancel := context.WithTimeout(ctx, passWait)
		v, err := s.peers.node(node, who).CheckSource(within, addr)
		cancel()
		if err == nil {
			return v, nil
		}
	}
	if node != s.cfg.Node {
		elsewhere = []Finding{{Check: "address", State: FindingUnknown, Text: "node " + node + " gives no answer: whether it has " + src.Addr.String() + " is not known"}}
	}
	return Checked{Node: s.cfg.Node, Source: src.Addr.String(), Findings: append(elsewhere, s.cfg.Doctor.CheckSource(ctx, src)...)}, nil
}
