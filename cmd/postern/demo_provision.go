package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"postern/node/admin"
	"postern/node/lab"
)

// demoSource is one outbound IP of the demo.
type demoSource struct {
	node   int
	addr   netip.Addr
	ehlo   string
	shared bool
}

// demoSources are those of the first so many nodes: one dedicated and two
// shared ones each. The first node's pool is a single one: whoever shares it has
// to move when it is listed.
func demoSources(nodes int) []demoSource {
	var all []demoSource
	for i := range nodes {
		for k := range 3 {
			if i == 0 && k == 2 {
				continue
			}
			all = append(all, demoSource{i, nodeIP(i, byte(11+k)), fmt.Sprintf("out-%d.%s", 3*i+k+1, demoDomain), k > 0})
		}
	}
	return all
}

// sourcesOf are the sources of one node.
func sourcesOf(i int) []demoSource {
	return slices.DeleteFunc(demoSources(i+1), func(s demoSource) bool { return s.node != i })
}

// demoPlaces spreads the tenants: homes in turn, and each node's backups over
// all others. The first tenant has a dedicated source at both places; the fourth
// to the sixth share the first node's pool, so that one's spam is the others' harm.
func demoPlaces(i, nodes int) (home admin.Place, backup *admin.Place) {
	at, turn := i%nodes, i/nodes
	if i == 4 || i == 5 {
		at, turn = 0, i%nodes
	}
	home = admin.Place{Node: nodeNamed(at)}
	if nodes > 1 {
		backup = &admin.Place{Node: nodeNamed((at + 1 + turn%(nodes-1)) % nodes)}
	}
	if i == 0 {
		home.Source = nodeIP(0, 11).String()
		if backup != nil {
			backup.Source = nodeIP(1, 11).String()
		}
	}
	return home, backup
}

// demoPlan is what a tenant of the demo bought.
type demoPlan struct {
	name string
	plan admin.Plan
	says string
}

// demoPlans are the first tenants; further ones are like the third.
func demoPlans() []demoPlan {
	const mb = 1_000_000
	return []demoPlan{
		{"shoes", admin.Plan{BytesPerMonth: 500_000 * mb, MailsPerMonth: 50_000_000}, "a plan of millions"},
		{"books", admin.Plan{BytesPerMonth: 5_000 * mb, MailsPerMonth: 500_000}, "5 GB a month"},
		{"hotel", admin.Plan{BytesPerMonth: 500 * mb, MailsPerMonth: 50_000}, "500 MB a month"},
		{"garden", admin.Plan{}, "a flat plan"},
		{"choir", admin.Plan{MailsPerMonth: 9_000}, "9,000 e-mails a month"},
		{"corner", admin.Plan{MailsPerMonth: 10, MaxSize: 1 * mb}, "10 e-mails a month"},
	}
}

func planOf(i int) demoPlan {
	plans := demoPlans()
	if i < len(plans) {
		return plans[i]
	}
	p := plans[2]
	p.name = fmt.Sprintf("shop%d", i+1)
	return p
}

// unprepared is the tenant of the demo whose SPF names its home alone: a listing
// shows what becomes of one whose backup is not prepared.
const unprepared = "garden"

// demoWorld is the usual world with the demo's own names in it.
func demoWorld(nodes int) lab.World {
	w := lab.Usual()
	for _, s := range demoSources(maxDemoNodes) {
		w.AddSource(s.addr, s.ehlo)
	}
	for i := range 20 * maxDemoNodes {
		name := planOf(i).name
		sends := netip.MustParsePrefix("127.77.0.0/16")
		if name == unprepared && nodes > 1 {
			sends = netip.PrefixFrom(nodeIP(i%nodes, 0), 24).Masked()
		}
		w.AddSender(name+".test", "mx.inbox.test", sends)
		w.Names[name+"."+demoDomain] = lab.Name{Records: []string{"A " + demoHost.String()}}
	}
	w.Add(trapDomain, demoTrap, lab.Mood{})
	w.Names["smtp."+demoDomain] = lab.Name{Records: []string{"A " + demoHost.String()}}
	return w
}

// provision makes what is missing: a demo that was cut short is completed, one
// that is resumed stays as it was.
func (d *demo) provision(ctx context.Context) error {
	sources, err := d.api.Sources(ctx, "", admin.List{})
	if err != nil {
		return fmt.Errorf("list sources: %w", err)
	}
	for _, s := range demoSources(len(d.nodes)) {
		if slices.ContainsFunc(sources.Items, func(x admin.Source) bool { return x.Addr == s.addr.String() }) {
			continue
		}
		_, err := d.api.AddSource(ctx, admin.NewSource{Node: nodeNamed(s.node), Addr: s.addr.String(), EHLO: s.ehlo, Shared: s.shared})
		if err != nil {
			return fmt.Errorf("add source: %w", err)
		}
	}
	want := max(d.opt.tenants, len(d.dir.state.Tenants))
	for i := range want {
		if err := d.provisionTenant(ctx, i); err != nil {
			return err
		}
	}
	for _, r := range d.routes {
		if _, err := d.api.SetRoute(ctx, r.Domain, admin.SetRoute{Host: r.Host, Port: r.Port}); err != nil {
			return fmt.Errorf("set route of %s: %w", r.Domain, err)
		}
	}
	if err := d.applyLists(ctx); err != nil {
		return err
	}
	return d.relay(ctx)
}

// relay lets the first account send without AUTH from the given networks, and
// from nowhere when there are none.
func (d *demo) relay(ctx context.Context) error {
	name := d.dir.state.Tenants[0].Username
	a, err := d.api.Account(ctx, name)
	if err != nil {
		return fmt.Errorf("show account: %w", err)
	}
	nets := []string{}
	for _, n := range d.nets {
		nets = append(nets, n.String())
	}
	if slices.Equal(a.Networks, nets) {
		return nil
	}
	if _, err := d.api.SetAccount(ctx, name, admin.SetAccount{Networks: &nets}); err != nil {
		return fmt.Errorf("set networks of %s: %w", name, err)
	}
	return nil
}

// provisionTenant makes tenant i, or the rest of it, and keeps its passwords.
func (d *demo) provisionTenant(ctx context.Context, i int) error {
	p := planOf(i)
	st := &d.dir.state
	if i < len(st.Tenants) {
		t := st.Tenants[i]
		if t.DKIM != "" {
			return d.publish(t)
		}
		return nil
	}
	domain := p.name + ".test"
	t := demoTenant{Name: p.name, Domain: domain, Username: "mail@" + domain, Daily: "daily@" + domain}
	home, backup := demoPlaces(i, len(d.nodes))
	_, err := d.api.Tenant(ctx, p.name)
	if absent(err) {
		_, err = d.api.AddTenant(ctx, admin.NewTenant{Name: p.name, Hostname: p.name + "." + demoDomain, Home: home, Backup: backup})
	}
	if err != nil {
		return fmt.Errorf("add tenant: %w", err)
	}
	// The first tenant is left unsigned: it is the one for measuring speed.
	set := admin.SetDomain{}
	if i > 0 {
		if set.Key, err = newDKIMKey(); err != nil {
			return err
		}
		set.Selector = "demo"
	}
	dom, err := d.api.SetDomain(ctx, p.name, domain, set)
	if err != nil {
		return fmt.Errorf("set domain: %w", err)
	}
	t.DKIM = dom.Record
	if t.Password, err = d.account(ctx, t, t.Username, p.plan, "transactional"); err != nil {
		return err
	}
	if t.DailyKey, err = d.account(ctx, t, t.Daily, admin.Plan{}, "bulk"); err != nil {
		return err
	}
	if err := d.publish(t); err != nil {
		return err
	}
	st.Tenants = append(st.Tenants, t)
	return d.dir.save()
}

// account registers an account, or makes a new password for one that an
// interrupted start left behind.
func (d *demo) account(ctx context.Context, t demoTenant, username string, plan admin.Plan, class string) (string, error) {
	var c admin.Credential
	_, err := d.api.Account(ctx, username)
	switch {
	case err == nil:
		c, err = d.api.MakePassword(ctx, username)
	case absent(err):
		c, err = d.api.AddAccount(ctx, admin.NewAccount{
			Tenant: t.Name, Username: username, Class: class, Plan: plan, Reference: "office@" + t.Domain,
		})
	}
	if err != nil {
		return "", fmt.Errorf("add account %s: %w", username, err)
	}
	return c.Password, nil
}

// absent reports that the API knows no such thing.
func absent(err error) bool {
	var p *admin.Problem
	return errors.As(err, &p) && p.Status == http.StatusNotFound
}

// publish puts a tenant's DKIM record into the lab's DNS.
func (d *demo) publish(t demoTenant) error {
	if t.DKIM == "" {
		return nil
	}
	var quoted strings.Builder
	for s := t.DKIM; s != ""; { // a string of TXT holds 255 octets (RFC 1035 §3.3.14)
		n := min(len(s), 250)
		fmt.Fprintf(&quoted, " %q", s[:n])
		s = s[n:]
	}
	name := lab.Name{Records: []string{"TXT" + quoted.String()}}
	if err := d.lab.SetName("demo._domainkey."+t.Domain, &name); err != nil {
		return fmt.Errorf("publish DKIM record: %w", err)
	}
	return nil
}
