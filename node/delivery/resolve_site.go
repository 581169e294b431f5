package delivery

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"postern/node/queue"
)

// readMX gives the hosts of MX records, at most maxMX, best preference first.
// An empty list means null MX: all records name the root.
func readMX(rrs []dns.RR) []host {
	var list []host
	for _, rr := range rrs {
		mx, ok := rr.(*dns.MX)
		if !ok || canonical(mx.Mx) == "" {
			continue
		}
		list = append(list, host{Name: canonical(mx.Mx), Pref: mx.Preference})
	}
	slices.SortStableFunc(list, func(a, b host) int {
		return cmp.Or(cmp.Compare(a.Pref, b.Pref), cmp.Compare(a.Name, b.Name))
	})
	seen := map[string]bool{}
	list = slices.DeleteFunc(list, func(h host) bool {
		twice := seen[h.Name]
		seen[h.Name] = true
		return twice
	})
	return list[:min(len(list), maxMX)]
}

// shufflePrefs mixes hosts of equal preference (RFC 5321 §5.1); list is sorted.
func shufflePrefs(list []host) {
	for from := 0; from < len(list); {
		to := from + 1
		for to < len(list) && list[to].Pref == list[from].Pref {
			to++
		}
		same := list[from:to]
		rand.Shuffle(len(same), func(i, j int) { same[i], same[j] = same[j], same[i] })
		from = to
	}
}

// shuffled is s with its equal hosts in another order, so that a kept site does
// not send everything to one host of many.
func (s *site) shuffled() *site {
	equal := false
	for i := 1; i < len(s.Hosts); i++ {
		equal = equal || s.Hosts[i].Pref == s.Hosts[i-1].Pref
	}
	if !equal {
		return s
	}
	fresh := *s
	fresh.Hosts = slices.Clone(s.Hosts)
	shufflePrefs(fresh.Hosts)
	return &fresh
}

// siteKey names a set of hosts whatever their order: the sorted names, or for
// long lists the first one and a hash.
func siteKey(list []host) string {
	names := make([]string, len(list))
	for i, h := range list {
		names[i] = h.Name
	}
	slices.Sort(names)
	key := strings.Join(names, ",")
	if len(key) > 255 {
		sum := sha256.Sum256([]byte(key))
		key = names[0] + ",+" + hex.EncodeToString(sum[:12])
	}
	return key
}

// literalSite is the site of a domain like [192.0.2.1] (RFC 5321 §4.1.3).
func (r *mxResolver) literalSite(domain string, a netip.Addr) (*site, error) {
	if r.own[a] {
		return nil, routeFault(true, "5.4.6", "mail for the domain would loop back to this host", nil)
	}
	var why siteFaults
	if len(r.usable([]netip.Addr{a}, &why)) == 0 {
		return nil, routeFault(true, "5.1.2", "the address is not on the public Internet", nil)
	}
	h := host{Name: domain, Addrs: []netip.Addr{a}, Port: r.cfg.Port}
	return &site{Key: domain, Hosts: []host{h}, Until: r.cfg.Now().Add(maxTTL)}, nil
}

func addressLiteral(domain string) (netip.Addr, bool) {
	inner, ok := strings.CutPrefix(domain, "[")
	if !ok {
		return netip.Addr{}, false
	}
	inner, ok = strings.CutSuffix(inner, "]")
	if !ok {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(strings.TrimPrefix(inner, "ipv6:"))
	return a.Unmap(), err == nil && a.Zone() == ""
}

// usable drops addresses no mail exchanger of the public Internet can have.
// Whoever writes DNS records must not make us talk to hosts behind the firewall.
func (r *mxResolver) usable(list []netip.Addr, why *siteFaults) []netip.Addr {
	var kept []netip.Addr
	for _, a := range list {
		if public(a) || r.cfg.AllowLoopback && a.IsLoopback() {
			kept = append(kept, a)
		} else {
			why.refused = true
		}
	}
	return kept
}

// special is address space that IANA keeps apart and netip does not name.
var special = [...]netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"), // with the broadcast address
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("fec0::/10"),
}

func public(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.Zone() != "" {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// routeFault is our own diagnosis that a domain has no site.
func routeFault(permanent bool, enhanced, text string, err error) *routeError {
	code := 451
	switch {
	case enhanced == "5.1.10":
		code = 556 // RFC 7505 §5
	case permanent:
		code = 550
	}
	return &routeError{Reply: queue.Reply{Code: code, Enhanced: enhanced, Text: text}, Permanent: permanent, Err: err}
}

// Unwrap gives the cause: what the resolver ran into.
func (e *routeError) Unwrap() error { return e.Err }

// clampTTL bounds how long a found site is kept: a TTL of zero must not mean a
// question for each message, and a week not a week of a dead host.
func clampTTL(d time.Duration) time.Duration { return min(max(d, minTTL), maxTTL) }

func clampNegative(d time.Duration) time.Duration { return min(max(d, minTTL), maxNegative) }
