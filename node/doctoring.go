package node

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"postern/node/admin"
	"postern/node/delivery"
	"postern/node/doctor"
	"postern/node/trouble"
	"postern/tenant"
)

// doctoring shows what the DNS must say, and says, in admin's words. It tells
// the state what of it a tenant's move depends on.
type doctoring struct {
	state   func() *tenant.State
	self    func() tenant.NodeID
	seal    *sealer
	check   *doctor.Checker
	memory  memory
	intake  []string                               // names of this node's intake; none: it has none
	propose func(context.Context, tenant.Op) error // nil: nothing is told
	failed  *trouble.Log[string]                   // by node: this one
}

// openDoctor makes what looks at the DNS, through the node's resolvers.
func (n *Node) openDoctor(reg *prometheus.Registry, opt Options) error {
	resolvers, err := n.cfg.resolvers()
	if err != nil {
		return err
	}
	n.lookup = delivery.NewLookup(resolvers)
	n.doctor = newDoctoring(n.cluster.State, n.id, n.seal, doctor.New(n.lookup))
	n.doctor.propose = func(ctx context.Context, op tenant.Op) error {
		_, _, err := n.cluster.Propose(ctx, tenant.RequestID{}, op)
		return err
	}
	if len(n.cfg.Intake.Listen) > 0 {
		if host := strings.ToLower(n.cfg.Hostname); tenant.ValidHost(host) {
			n.doctor.intake = []string{host}
		}
	}
	n.doctor.failed = trouble.New[string](opt.Log, slog.LevelError, "findings in the DNS not told, trying again", "node")
	wrong := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "postern_dns_wrong",
		Help: "Faults in the DNS of sources and sender domains, as this node last saw them."}, n.doctor.memory.count)
	if err := reg.Register(wrong); err != nil {
		return fmt.Errorf("register doctor metrics: %w", err)
	}
	return nil
}

func newDoctoring(state func() *tenant.State, self func() tenant.NodeID, seal *sealer, check *doctor.Checker) *doctoring {
	return &doctoring{state: state, self: self, seal: seal, check: check, memory: memory{seen: map[string]*seen{}}}
}

// KeyRecord is the public half of a domain's sealed key.
func (d *doctoring) KeyRecord(of *tenant.Domain) (string, error) {
	key, err := d.seal.Open(of.Name, of.Selector, of.SealedKey)
	if err != nil {
		return "", err
	}
	return dkimRecord(key)
}

// CheckSource looks at the address, if it is this node's, and at its names.
func (d *doctoring) CheckSource(ctx context.Context, src *tenant.Source) []admin.Finding {
	found := d.check.Source(ctx, src)
	if src.Node == d.self() {
		found = append([]doctor.Finding{plumbed(src)}, found...)
	}
	d.memory.keep(src.Addr.String(), sourceKey(src), found)
	return viewFindings(found)
}

func plumbed(src *tenant.Source) doctor.Finding {
	f := doctor.Finding{Check: doctor.CheckPlumbed, State: doctor.OK, Text: src.Addr.String() + " is on this machine"}
	if !onMachine(src.Addr) {
		f.State = doctor.Wrong
		f.Text = src.Addr.String() + " is not on its machine, and its mail waits: add it to an interface (ip address add ADDR dev DEV)"
	}
	return f
}

// CheckDomain looks at what a domain of st publishes.
func (d *doctoring) CheckDomain(ctx context.Context, st *tenant.State, of *tenant.Domain, include string) []admin.Finding {
	x := doctor.Domain{Name: of.Name, Where: map[tenant.SourceID]string{}, Include: include, Bounce: st.BounceName(of.Name), Intake: st.IntakeHosts()}
	if t := st.Tenant(of.Tenant); t != nil {
		x.Exits = tenant.Exits(st, t)
	}
	for _, e := range x.Exits {
		if n := st.Node(e.Node); n != nil {
			x.Where[e.ID] = n.Name
		}
	}
	if include != "" {
		x.Provider = tenant.PublishProvider(st, include)
	}
	if of.Selector != "" {
		x.KeyName = tenant.KeyName(of)
		var err error
		if x.Key, err = d.KeyRecord(of); err != nil {
			x.KeyFault = err.Error()
		}
	}
	found := d.check.Domain(ctx, x)
	d.memory.keep(of.Name, domainKey(st, of), found)
	return viewFindings(found)
}

func viewFindings(found []doctor.Finding) []admin.Finding {
	all := make([]admin.Finding, 0, len(found))
	for _, f := range found {
		all = append(all, admin.Finding{Check: f.Check, State: string(f.State), Text: f.Text, Publish: admin.ViewRecords(f.Publish)})
	}
	return all
}
