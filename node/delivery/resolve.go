package delivery

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"postern/node/queue"
)

// host is one place to try: an MX host and its addresses, IPv6 first.
type host struct {
	Name  string
	Pref  uint16
	Addrs []netip.Addr
	Port  uint16
}

// site is what a recipient domain resolves to; its key names the site (the
// sorted MX host names), so domains with the same MXs share connections.
type site struct {
	Key   string
	Hosts []host    // in order of trial; equal preferences already shuffled
	Until time.Time // cache end
	Route bool      // a static route: no provider limits
}

// resolver finds sites; safe for concurrent use; answers come from a bounded
// cache that honours TTLs (positive and negative).
type resolver interface {
	// Site resolves domain. The error is a *routeError.
	Site(ctx context.Context, domain string) (*site, error)
}

// routeError is why a domain has no site. Permanent: null MX (5.1.10), no such
// domain (5.1.2), MX is ourselves (5.4.6). Otherwise temporary (4.4.3, 4.4.4).
type routeError struct {
	Reply     queue.Reply
	Permanent bool
	Err       error
}

func (e *routeError) Error() string { return e.Reply.Text }

// Bounds of what the resolver takes from others.
const (
	maxTTL      = time.Hour
	minTTL      = 5 * time.Second
	maxNegative = 5 * time.Minute
	keepFailure = 30 * time.Second // SERVFAIL and silence (RFC 9520 §3.2)

	maxMX       = 100 // records read of one domain
	maxHosts    = 10  // hosts tried of one domain
	maxAddrs    = 20  // addresses tried of one domain
	maxHostAddr = 10  // addresses taken of one host
	maxParallel = 8   // host look-ups at once for one domain
)

// resolverConfig of an mxResolver. Zero values mean the default in brackets.
type resolverConfig struct {
	Servers       []netip.AddrPort
	Port          uint16 // SMTP port of MX hosts [25]
	Own           []netip.Addr
	OwnName       func(name string) bool // whether an MX of that name is ourselves; may be nil
	AllowLoopback bool
	Timeout       time.Duration // for one question to one server [2 s]
	Tries         int           // rounds over all servers [2]
	Entries       int           // domains kept, and as many hosts [10000]
	Now           func() time.Time
}

// mxResolver finds the hosts of a domain by DNS.
type mxResolver struct {
	cfg   resolverConfig
	dns   dnsClient
	own   map[netip.Addr]bool
	sites *cache[*site]
	addrs *cache[[]netip.Addr]
}

func newResolver(cfg resolverConfig) *mxResolver {
	cfg.Port = cmp.Or(cfg.Port, 25)
	cfg.Timeout = cmp.Or(cfg.Timeout, 2*time.Second)
	cfg.Tries = cmp.Or(cfg.Tries, 2)
	cfg.Entries = cmp.Or(cfg.Entries, 10000)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	r := &mxResolver{
		cfg:   cfg,
		dns:   dnsClient{timeout: cfg.Timeout, tries: cfg.Tries},
		own:   map[netip.Addr]bool{},
		sites: newCache[*site](cfg.Entries, cfg.Now),
		addrs: newCache[[]netip.Addr](cfg.Entries, cfg.Now),
	}
	r.dns.setServers(cfg.Servers)
	for _, a := range cfg.Own {
		r.own[a.Unmap()] = true
	}
	return r
}

var _ resolver = (*mxResolver)(nil)

// Site resolves domain: its MX hosts, or itself where it has none (RFC 5321 §5.1).
func (r *mxResolver) Site(ctx context.Context, domain string) (*site, error) {
	domain = canonical(domain)
	if a, ok := addressLiteral(domain); ok {
		return r.literalSite(domain, a)
	}
	if _, ok := dns.IsDomainName(domain); !ok || domain == "" || len(domain) > 253 {
		return nil, routeFault(true, "5.1.2", "domain name is not valid", nil)
	}
	s, _, err := r.sites.get(ctx, domain, func(ctx context.Context) (*site, time.Time, error) {
		s, keep, err := r.findSite(ctx, domain)
		until := r.cfg.Now().Add(keep)
		if s != nil {
			s.Until = until
		}
		return s, until, err
	})
	if err != nil {
		if re, ok := errors.AsType[*routeError](err); ok {
			return nil, re
		}
		return nil, routeFault(false, "4.4.3", "look-up of the domain ended early", err)
	}
	return s.shuffled(), nil
}

// Route resolves the target of a static route: a host name or an address. It
// is the operator's word, so any address space is allowed.
func (r *mxResolver) Route(ctx context.Context, name string, port uint16) (*site, error) {
	h := host{Name: canonical(name), Port: cmp.Or(port, r.cfg.Port)}
	s := &site{Key: "route:" + net.JoinHostPort(h.Name, strconv.Itoa(int(h.Port))), Route: true, Until: r.cfg.Now().Add(maxTTL)}
	if a, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		h.Addrs = []netip.Addr{a.Unmap()}
	} else if h.Name == "localhost" {
		h.Addrs = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	} else {
		addrs, until, err := r.hostAddrs(ctx, h.Name)
		if err != nil {
			return nil, routeFault(false, "4.4.3", "look-up of the route's host failed", err)
		}
		if len(addrs) == 0 {
			return nil, routeFault(false, "4.4.4", "the route's host has no address", nil)
		}
		h.Addrs, s.Until = addrs, until
	}
	s.Hosts = []host{h}
	return s, nil
}

// findSite asks for the MX records and then for their addresses. The duration
// is how long the outcome may be kept.
func (r *mxResolver) findSite(ctx context.Context, domain string) (*site, time.Duration, error) {
	mx, err := r.lookUp(ctx, domain, dns.TypeMX, 0)
	switch {
	case err != nil:
		return nil, keepFailure, routeFault(false, "4.4.3", "look-up of the domain's mail exchangers failed", err)
	case mx.loop:
		return nil, keepFailure, routeFault(false, "4.4.3", "the domain's CNAME records form a loop", nil)
	case mx.none:
		return r.confirmNone(ctx, domain, mx)
	case len(mx.rrs) == 0:
		return r.implicitSite(ctx, mx)
	}
	list := readMX(mx.rrs)
	if len(list) == 0 {
		// RFC 7505 §3: no mail for this domain.
		return nil, clampNegative(mx.ttl), routeFault(true, "5.1.10", "domain accepts no mail (null MX)", nil)
	}
	return r.resolveHosts(ctx, list, mx.ttl)
}

// confirmNone takes a second opinion before mail is bounced for good: one
// resolver that for a moment says NXDOMAIN to everything must not do that.
func (r *mxResolver) confirmNone(ctx context.Context, domain string, mx records) (*site, time.Duration, error) {
	a, err := r.lookUp(ctx, domain, dns.TypeA, 1)
	if err != nil || !a.none {
		return nil, minTTL, routeFault(false, "4.4.3", "resolvers disagree whether the domain exists", err)
	}
	return nil, clampNegative(min(mx.ttl, a.ttl)), routeFault(true, "5.1.2", "domain does not exist", nil)
}

// implicitSite is the domain itself as its only host (RFC 5321 §5.1).
func (r *mxResolver) implicitSite(ctx context.Context, mx records) (*site, time.Duration, error) {
	s, keep, err := r.resolveHosts(ctx, []host{{Name: mx.name, Port: r.cfg.Port}}, maxTTL)
	if re, ok := errors.AsType[*routeError](err); ok && errors.Is(re.Err, errNoAddress) {
		return nil, clampNegative(mx.ttl), routeFault(true, "5.1.2", "domain has neither mail exchanger nor address", nil)
	}
	return s, min(keep, clampTTL(max(mx.ttl, keepFailure))), err
}

// errNoAddress marks a site whose hosts exist in no address record.
var errNoAddress = errors.New("no address record")

// resolveHosts looks up the hosts in order of preference and cuts the list at
// the place where we are on it ourselves.
func (r *mxResolver) resolveHosts(ctx context.Context, list []host, ttl time.Duration) (*site, time.Duration, error) {
	slices.SortStableFunc(list, func(a, b host) int { return cmp.Compare(a.Pref, b.Pref) })
	shufflePrefs(list)
	names := list
	list = list[:min(len(list), maxHosts)]
	found := r.addressesOf(ctx, list)

	var why siteFaults
	left, cut := maxAddrs, uint32(1<<16)
	hosts := make([]host, 0, len(list))
	for i, h := range list {
		ours := r.cfg.OwnName != nil && r.cfg.OwnName(h.Name)
		for _, a := range found[i].addrs {
			ours = ours || r.own[a]
		}
		if ours {
			cut = min(cut, uint32(h.Pref))
			break
		}
		h.Port = r.cfg.Port
		h.Addrs = r.usable(found[i].addrs, &why)
		h.Addrs = h.Addrs[:min(len(h.Addrs), left)]
		switch left -= len(h.Addrs); {
		case found[i].err != nil:
			why.failed = found[i].err
		case len(h.Addrs) > 0:
			hosts = append(hosts, h)
			ttl = min(ttl, found[i].ttl)
		}
	}
	// RFC 5321 §5.1: hosts of our own preference and worse would send the mail
	// back to us.
	below := func(h host) bool { return uint32(h.Pref) >= cut }
	hosts = slices.DeleteFunc(hosts, below)
	if len(hosts) == 0 {
		return why.fault(cut < 1<<16)
	}
	if why.failed != nil {
		ttl = min(ttl, keepFailure) // ask again soon for the missing one
	}
	names = slices.DeleteFunc(slices.Clone(names), below)
	return &site{Key: siteKey(names), Hosts: hosts}, clampTTL(ttl), nil
}

// siteFaults gathers why hosts could not be used.
type siteFaults struct {
	failed  error
	refused bool // address space mail must not go to
}

func (f siteFaults) fault(ours bool) (*site, time.Duration, error) {
	switch {
	case ours && f.failed == nil:
		return nil, maxNegative, routeFault(true, "5.4.6", "mail for the domain would loop back to this host", nil)
	case f.failed != nil:
		return nil, keepFailure, routeFault(false, "4.4.3", "look-up of the mail exchangers' addresses failed", f.failed)
	case f.refused:
		return nil, maxNegative, routeFault(false, "4.4.4", "the mail exchangers' addresses are not on the public Internet", nil)
	}
	return nil, maxNegative, routeFault(false, "4.4.4", "no mail exchanger of the domain has an address", errNoAddress)
}
