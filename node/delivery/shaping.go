package delivery

import (
	"strings"

	"postern/node/bounce"
)

// Limits of one provider for one source, over all tenants. Zero means no limit.
type Limits struct {
	Conns             int  // open connections
	MessagesPerConn   int  // messages on one connection
	ConnsPerMinute    int  // new connections in any minute
	MessagesPerSecond int  // messages over all connections
	TLS               bool // nothing goes out in clear
}

// Provider is a group of sites that count together.
type Provider struct {
	Name     string   // a label of metrics: a closed set
	Suffixes []string // of MX host names, lower case, with the leading dot
	Limits
}

// Shaping is the table of limits, as data. The first provider with a matching
// suffix counts; a site of none counts by itself with Default.
type Shaping struct {
	Providers []Provider
	Default   Limits
	Route     Limits // for each static route
}

// Names of what is not in the table, for metrics.
const (
	providerOther = "other"
	providerRoute = "route"
)

// DefaultShaping is the built-in table: what large
// providers are known to accept from one address.
func DefaultShaping() *Shaping {
	of := func(name string, conns, messages int, tls bool) Provider {
		return Provider{Name: name, Suffixes: bounce.HostsOf(name), Limits: Limits{
			Conns: conns, MessagesPerConn: messages, ConnsPerMinute: 100, MessagesPerSecond: 100, TLS: tls,
		}}
	}
	yahooJP := of("yahoo.co.jp", 2, 20, false)
	yahooJP.MessagesPerSecond = 10
	return &Shaping{
		Providers: []Provider{
			of("google", 5, 50, true),
			of("yahoo", 10, 20, false),
			of("microsoft", 5, 50, false),
			of("icloud", 10, 5, false),
			of("comcast", 25, 1000, false),
			of("mimecast", 10, 100, false),
			of("orange", 2, 100, true),
			of("gmx", 4, 20, true),
			of("barracuda", 10, 15, false),
			of("kpn", 10, 10, false),
			of("qq", 4, 8, false),
			of("netease", 4, 7, false),
			yahooJP,
		},
		Default: Limits{Conns: 10, MessagesPerConn: 100, ConnsPerMinute: 100, MessagesPerSecond: 100},
		Route:   Limits{Conns: 20},
	}
}

// provider finds the provider of an MX host by its name, or nil.
func (s *Shaping) provider(host string) *Provider {
	for i := range s.Providers {
		for _, suffix := range s.Providers[i].Suffixes {
			if strings.HasSuffix(host, suffix) || host == suffix[1:] {
				return &s.Providers[i]
			}
		}
	}
	return nil
}

// group says under which key a site counts, its name for metrics, and its limits.
func (s *Shaping) group(t *site) (key, name string, l Limits) {
	if t.Route {
		return t.Key, providerRoute, s.Route
	}
	if len(t.Hosts) > 0 {
		if p := s.provider(t.Hosts[0].Name); p != nil {
			return "provider:" + p.Name, p.Name, p.Limits
		}
	}
	return "site:" + t.Key, providerOther, s.Default
}
