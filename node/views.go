package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sort"
	"strings"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"

	"postern/cluster"
	"postern/node/admin"
	"postern/node/dnsbl"
	"postern/node/queue"
	"postern/node/report"
	"postern/tenant"
)

// openAdmin makes the HTTP side and opens its ports.
func (n *Node) openAdmin(reg *prometheus.Registry, opt Options) error {
	b, err := secretFile(n.cfg.OperatorTokenFile, func() []byte { return []byte(admin.NewToken() + "\n") })
	if err != nil {
		return fmt.Errorf("open operator token: %w", err)
	}
	token, err := parseToken(b)
	if err != nil {
		return fmt.Errorf("open operator token %s: %w", n.cfg.OperatorTokenFile, err)
	}
	v := &views{node: n, seal: n.seal}
	if err := v.register(reg, opt.Version); err != nil {
		return err
	}
	cfg := admin.Config{
		Node: n.cfg.Name, Version: opt.Version, OperatorToken: admin.TokenHash(token),
		State: n.cluster.State, Propose: v.propose, Ready: v.ready, Seal: v.sealKey, Used: v.used,
		ReadZones: readZones, WriteZones: writeZones, SealsKey: n.seal.sealsKey, OpenKey: n.seal.keyText, SealsText: n.seal.sealsText, Incident: report.Incident, SealText: n.seal.sealBytes, Delist: howToDelist, Mark: n.seal.marks.Mark,
		Messages: v, Mail: v, Suppressions: v, Archive: n.archive, Kept: n.expiry, Data: v, Doctor: n.doctor, Healthy: n.Healthy, Running: itself{n}, Gatherer: reg, Log: opt.Log,
		Adopted: func(t tenant.ID) bool { return n.owned.epoch(t) != 0 },
	}
	if n.peered() {
		cfg.Cluster, cfg.Mirrors, cfg.Read, cfg.JoinToken = v.cluster, v.mirrors, v.read, cluster.NewToken
		cfg.DialNode, cfg.PeerListener = n.dialer(cluster.ProtoAdmin), n.cluster.Listen(cluster.ProtoAdmin)
	}
	if n.cfg.AdminTLS {
		c, err := n.openCerts("")
		if err != nil {
			return err
		}
		cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS12,
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.TLS(), nil }}
	}
	// The ports are opened here, so that a taken one stops the start and not
	// the run.
	if cfg.Listener, err = net.Listen("tcp", n.cfg.Admin); err != nil {
		return fmt.Errorf("listen for admin: %w", err)
	}
	if n.cfg.Metrics != "" {
		if cfg.MetricsListener, err = net.Listen("tcp", n.cfg.Metrics); err != nil {
			return errors.Join(fmt.Errorf("listen for metrics: %w", err), cfg.Listener.Close())
		}
	}
	n.admin, err = admin.New(cfg)
	return err
}

// views shows the node's parts to admin in admin's words.
type views struct {
	node *Node
	seal *sealer
}

func (v *views) propose(ctx context.Context, req tenant.RequestID, op tenant.Op) ([]tenant.Event, *tenant.State, error) {
	events, st, err := v.node.cluster.Propose(ctx, req, op)
	switch {
	case errors.Is(err, cluster.ErrNoLeader), errors.Is(err, cluster.ErrClosed):
		err = fmt.Errorf("%w: %w", admin.ErrUnavailable, err)
	case errors.Is(err, cluster.ErrUnknown):
		err = fmt.Errorf("%w: %w", admin.ErrUnknown, err)
	}
	return events, st, err
}

// ready lists what stops the node from saying 250, and what needs care.
func (v *views) ready() []admin.Reason {
	var all []admin.Reason
	if err := v.node.mayGreet(); err != nil {
		all = append(all, admin.Reason{Text: "the node is starting: it replays its log and takes over its tenants",
			Mend: "wait; if it lasts for minutes, look at the node's log", Stops: true})
	}
	if err := v.node.queue.Full(); err != nil {
		all = append(all, admin.Reason{Text: "the queue's disk is below its free-space floor", Stops: true,
			Mend: "free or add space for " + v.node.cfg.Dir + ", or cancel mail: postern queue purge"})
	}
	all = append(all, v.missingSources()...)
	return all
}

// missingSources finds own sources whose address is not on this machine: their
// mail waits, because it must not leave through another.
func (v *views) missingSources() []admin.Reason {
	missing := v.sourcesElsewhere()
	if len(missing) == 0 {
		return nil
	}
	return []admin.Reason{{Text: "mail of " + strings.Join(missing, ", ") + " waits: not on this machine",
		Mend: "add the address to an interface: ip address add ADDR dev DEV"}}
}

// sourcesElsewhere are the addresses of those, ascending as text.
func (v *views) sourcesElsewhere() []string {
	st, me := v.node.cluster.State(), v.node.id()
	if me == 0 {
		return nil
	}
	var missing []string
	for s := range st.Sources() {
		if s.Node == me && !onMachine(s.Addr) {
			missing = append(missing, s.Addr.String())
		}
	}
	sort.Strings(missing)
	return missing
}

func (v *views) sealKey(domain, selector string, pem []byte) (admin.Sealed, error) {
	key, warnings, err := parseKey(pem)
	if err != nil {
		return admin.Sealed{}, err
	}
	record, err := dkimRecord(key)
	if err != nil {
		return admin.Sealed{}, err
	}
	b, err := v.seal.Seal(domain, selector, key)
	return admin.Sealed{Bytes: b, Record: record, Warnings: warnings}, err
}

// used is exact where this node spends the window's grant; elsewhere it is
// what the owner last said.
func (v *views) used(a tenant.AccountID, w tenant.Window) tenant.Amount {
	st := v.node.cluster.State()
	known := st.SpentOf(a, w)
	g := v.node.grants
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.purses[purseKey{a, w}]
	if p == nil {
		return known
	}
	// The purse's epoch may just have been settled; use never shrinks.
	exact := st.UsageOf(a, w).Plus(p.spent)
	return known.Max(exact)
}

// onMachine tries to bind: that is what sending will do, and it knows of whole
// local networks too.
func onMachine(a netip.Addr) bool {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	if err != nil {
		return !errors.Is(err, syscall.EADDRNOTAVAIL)
	}
	_ = c.Close()
	return true
}

// queueError translates the store's errors.
func queueError(err error) error {
	switch {
	case errors.Is(err, queue.ErrNotFound):
		return admin.ErrNotFound
	case errors.Is(err, queue.ErrLeased):
		return admin.ErrBusy
	}
	return err
}

func queueFilter(f admin.Filter) (queue.Filter, error) {
	q := queue.Filter{Tenant: f.Tenant, Account: f.Account, Domain: f.Domain, Limit: f.Limit}
	if f.After == "" {
		return q, nil
	}
	var err error
	if q.After, err = queue.ParseID(f.After); err != nil {
		return q, admin.ErrNotFound
	}
	return q, nil
}

func writeZones(l tenant.SetLists) string {
	text, ok := dnsbl.WriteLists(l)
	if !ok {
		return ""
	}
	return text
}

func readZones(text string) (tenant.SetLists, []string) {
	b, faults := dnsbl.ParseZones([]byte(text))
	if len(faults) > 0 {
		all := make([]string, len(faults))
		for i, f := range faults {
			all[i] = f.String()
		}
		return tenant.SetLists{}, all
	}
	return b.Lists(), nil
}
