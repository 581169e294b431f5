package lab

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// forwardWait bounds one forwarded question; who asks gives up a little later.
const forwardWait = 2 * time.Second

// checkForwards says whether all zones that others answer can be forwarded.
func checkForwards(zones map[string][]netip.AddrPort) error {
	for zone, servers := range zones {
		if _, ok := dns.IsDomainName(zone); !ok || len(servers) == 0 {
			return fmt.Errorf("forward zone %q to %v: no such zone, or no server", zone, servers)
		}
	}
	return nil
}

// serverFor finds who answers about a name instead of the lab's own DNS.
func (n *nameserver) serverFor(q *dns.Msg) (server netip.AddrPort, ok bool) {
	if len(q.Question) != 1 {
		return server, false
	}
	for zone, servers := range n.forwards {
		if dns.IsSubDomain(canonical(zone), canonical(q.Question[0].Name)) {
			return servers[n.number%len(servers)], true
		}
	}
	return server, false
}

// forward asks another server what a resolver was asked. No answer is a
// SERVFAIL, as it would be with a recursive resolver.
func forward(ctx context.Context, q *dns.Msg, server netip.AddrPort) *dns.Msg {
	ctx, cancel := context.WithTimeout(ctx, forwardWait)
	defer cancel()
	ask := q.Copy()
	ask.Id = dns.Id()
	m, _, err := (&dns.Client{UDPSize: 4096}).ExchangeContext(ctx, ask, server.String())
	if err != nil {
		m = new(dns.Msg)
		return m.SetRcode(q, dns.RcodeServerFailure)
	}
	m.Id, m.RecursionAvailable = q.Id, true
	if m.Rcode == dns.RcodeRefused {
		m.Rcode = dns.RcodeServerFailure
	}
	return m
}
