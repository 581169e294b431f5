package migrate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"postern/node/admin"
	"postern/tenant"
)

// exit is how a transport leaves the machine.
type exit struct {
	transport  string
	addr, six  string // what it binds to
	ehlo       string
	known      bool // it is a service that speaks SMTP
	everybodys bool // it is not chosen by the sender
}

// way finds the address the tenant leaves by and makes it its source.
func (b *builder) way(t *admin.DeclaredTenant) error {
	mine, others, err := b.transports()
	if err != nil {
		return err
	}
	names := slices.Sorted(keys(mine))
	if len(names) == 0 {
		name, err := b.main.value("default_transport")
		if err != nil {
			return err
		}
		name, _, _ = strings.Cut(name, ":")
		names = []string{name}
	}
	var found []exit
	for _, name := range names {
		e, err := b.exit(name)
		if err != nil {
			return err
		}
		e.everybodys = mine[name] == ""
		switch what := "transport " + clip(name); {
		case !e.known:
			b.left(what, "master.cf has no such service that speaks SMTP", "")
		case e.addr == "" && e.six == "":
			b.becomes(what, "the cluster's own sources: it binds to no address there")
		case others[name] != "":
			b.left(what+", from "+e.bound(), "senders at "+clip(others[name])+" leave by it, too, and a source of its own carries one tenant",
				"that address can move when the last of them has come: postern source add, then postern tenant place")
		case e.everybodys && len(b.Only) > 0:
			b.left(what+", from "+e.bound(), "all customers of that server leave by it", "the tenant leaves by the cluster's sources")
		default:
			found = append(found, e)
		}
	}
	for i, e := range found {
		if i > 0 {
			b.left("transport "+clip(e.transport)+", from "+e.bound(), "a tenant leaves by one address of its own, and that is "+found[0].bound(),
				"make those senders another tenant: --only names them")
			continue
		}
		b.source(t, e)
	}
	return nil
}

// source declares the address of a transport.
func (b *builder) source(t *admin.DeclaredTenant, e exit) {
	what := "transport " + clip(e.transport) + ", from " + e.bound()
	if e.addr != "" && e.six != "" {
		b.left("smtp_bind_address6 "+clip(e.six), "a tenant leaves by one address of its own, and that is "+e.addr, "")
	}
	addr := strings.Trim(e.bound(), "[]")
	ehlo := strings.ToLower(e.ehlo)
	if b.EHLO != "" {
		ehlo = b.EHLO
	}
	node, at, placed := strings.Cut(b.Node, "/")
	switch {
	case !validAddr(addr):
		b.left(what, "that is no address", "")
	case b.Node == "":
		b.left(what, "no node was named that the address moves to", "name it with --node, to take the address along; else the tenant leaves by the cluster's sources")
	case placed:
		b.left(what, "--node says that it leaves by "+clip(at), "")
	case !tenant.ValidHost(ehlo):
		b.left(what, "nothing says what it greets with", "say it with --ehlo: the name its PTR says")
	default:
		b.plan.Declaration.Sources = &[]admin.DeclaredSource{{Addr: addr, Node: node, EHLO: ehlo, WarmSince: b.WarmSince}}
		t.Home = node + "/" + addr
		now := "source " + addr + " on node " + node + ", EHLO " + ehlo
		if b.WarmSince != "" {
			now += ", warm since " + b.WarmSince
		}
		b.becomes(what, now)
	}
}

func (e exit) bound() string {
	if e.addr != "" {
		return clip(e.addr)
	}
	return clip(e.six)
}

// transports are those the tenant's senders choose, and which of them others do,
// each with one who does.
func (b *builder) transports() (mine, others map[string]string, err error) {
	mine, others = map[string]string{}, map[string]string{}
	all, err := b.table("sender_dependent_default_transport_maps")
	if err != nil {
		return nil, nil, err
	}
	for _, e := range all {
		name, nexthop, _ := strings.Cut(e.value, ":")
		if name == "" || strings.EqualFold(name, "dunno") {
			continue
		}
		_, domain, ok := strings.Cut(e.key, "@")
		if !ok || !slices.Contains(b.domains, domain) {
			others[name] = e.key
			continue
		}
		mine[name] = e.key
		if nexthop != "" {
			b.left("next host "+clip(nexthop)+" of senders at "+clip(domain), "here mail goes to the recipients' own hosts", "postern node route set has those of single domains")
		}
	}
	relays, err := b.table("sender_dependent_relayhost_maps")
	for _, e := range relays {
		if _, domain, ok := strings.Cut(e.key, "@"); ok && slices.Contains(b.domains, domain) {
			b.left("relay host "+clip(e.value)+" of senders at "+clip(domain), "here mail goes to the recipients' own hosts", "")
		}
	}
	return mine, others, err
}

// exit is what a transport's service says, and main.cf else.
func (b *builder) exit(name string) (e exit, err error) {
	e.transport = name
	i := slices.IndexFunc(b.master, func(s service) bool {
		return s.name == name && s.kind != "inet" && (s.command == "smtp" || s.command == "lmtp" || s.command == "relay")
	})
	if i < 0 {
		return e, nil
	}
	e.known = true
	// An option counts for this service, also inside of what main.cf says.
	own := &settings{set: map[string]string{}, defaults: b.main.defaults}
	for k, v := range b.main.set {
		own.set[k] = v
	}
	for k, v := range b.master[i].options {
		own.set[k] = v
	}
	for setting, to := range map[string]*string{"smtp_bind_address": &e.addr, "smtp_bind_address6": &e.six, "smtp_helo_name": &e.ehlo} {
		if *to, err = own.value(setting); err != nil {
			return e, fmt.Errorf("master.cf: service %s: %w", clip(name), err)
		}
	}
	return e, nil
}

// routes carries transport_maps: which domains go to which hosts.
func (b *builder) routes() error {
	all, err := b.table("transport_maps")
	if err != nil || len(all) == 0 {
		return err
	}
	if !b.Routes {
		b.left(some(len(all), "entry", "entries")+" of transport_maps", "routes are the whole cluster's, not one tenant's", "carry them with --routes, or set one with postern node route set")
		return nil
	}
	routes := []admin.DeclaredRoute{}
	seen := map[string]bool{}
	for _, e := range all {
		r, why := routeOf(e)
		if why != "" {
			b.left("transport of "+clip(e.key), why, "")
			continue
		}
		if seen[r.Domain] {
			continue
		}
		seen[r.Domain] = true
		routes = append(routes, r)
		b.becomes("transport of "+r.Domain, fmt.Sprintf("route to %s port %d", r.Host, r.Port))
	}
	b.plan.Declaration.Routes = &routes
	return nil
}

// routeOf reads DOMAIN and smtp:[HOST]:PORT.
func routeOf(e entry) (r admin.DeclaredRoute, why string) {
	transport, nexthop, _ := strings.Cut(e.value, ":")
	if e.key != "*" && !tenant.ValidHost(e.key) {
		return r, "only whole domains have routes"
	}
	if transport != "" && transport != "smtp" && transport != "relay" {
		return r, "transport " + clip(transport) + " is no way to another host here"
	}
	host, port, _ := strings.Cut(nexthop, "]")
	host, ok := strings.CutPrefix(host, "[")
	if !ok || host == "" {
		return r, "its host is looked up by MX there; here a route names the host itself: [" + clip(nexthop) + "]"
	}
	r = admin.DeclaredRoute{Domain: e.key, Host: strings.ToLower(host), Port: 25}
	if port, ok = strings.CutPrefix(port, ":"); ok && port != "smtp" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return r, "port " + clip(port) + " is no number"
		}
		r.Port = uint16(n)
	}
	return r, ""
}
