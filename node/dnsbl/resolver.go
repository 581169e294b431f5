package dnsbl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"postern/tenant"
)

const (
	// ednsSize avoids fragments on every path (DNS flag day 2020).
	ednsSize = 1232
	// maxAliases bounds a chain of CNAMEs in one answer.
	maxAliases = 8
	// maxValues and maxReason bound what is kept of one answer.
	maxValues = 16
	maxReason = 200
)

// asker puts questions; the Resolver is the one there is.
type asker interface {
	values(ctx context.Context, name string) ([]netip.Addr, tenant.Why)
	reason(ctx context.Context, name string) string
}

// Resolver asks recursive resolvers, the first of the list first; safe for
// concurrent use. Its failures are reasons, not errors: an error's text would
// hold the name that was asked, and with it a key.
type Resolver struct {
	servers atomic.Pointer[[]string]
	timeout time.Duration // for one question to one server
	tries   int           // rounds over all servers
	dialer  net.Dialer
}

// NewResolver makes a Resolver of host:port addresses.
func NewResolver(servers []netip.AddrPort, timeout time.Duration) (*Resolver, error) {
	r := &Resolver{timeout: timeout, tries: 2}
	if err := r.SetServers(servers); err != nil {
		return nil, fmt.Errorf("make resolver: %w", err)
	}
	return r, nil
}

// SetServers changes who is asked, from the next question on.
func (r *Resolver) SetServers(servers []netip.AddrPort) error {
	if len(servers) == 0 {
		return errors.New("no server is given")
	}
	all := make([]string, len(servers))
	for i, s := range servers {
		if !s.IsValid() || s.Port() == 0 {
			return fmt.Errorf("%s is no address of a server", s)
		}
		all[i] = s.String()
	}
	r.servers.Store(&all)
	return nil
}

// SystemServers reads the name servers of a resolv.conf.
func SystemServers(file string) ([]netip.AddrPort, error) {
	c, err := dns.ClientConfigFromFile(file)
	if err != nil {
		return nil, fmt.Errorf("read name servers: %w", err)
	}
	var all []netip.AddrPort
	for _, s := range c.Servers {
		if a, err := netip.ParseAddr(s); err == nil {
			all = append(all, netip.AddrPortFrom(a, 53))
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("read name servers: none in %s", file)
	}
	return all, nil
}

// values asks for A records; why is empty when the answer is final.
func (r *Resolver) values(ctx context.Context, name string) ([]netip.Addr, tenant.Why) {
	m, why := r.ask(ctx, name, dns.TypeA)
	if why != "" {
		return nil, why
	}
	values, ok := valuesOf(m, name)
	if !ok {
		return nil, tenant.WhyGarbled
	}
	return values, ""
}

// valuesOf reads the A records of an answer. An address that cannot be read, or
// far too many of them, is no list's answer; leaving them out would make it look
// clean.
func valuesOf(m *dns.Msg, name string) (values []netip.Addr, ok bool) {
	found, ok := records(m, name, dns.TypeA)
	if !ok {
		return nil, false
	}
	for _, rr := range found {
		a, ok := rr.(*dns.A)
		if !ok || len(values) == maxValues {
			return nil, false
		}
		v, ok := netip.AddrFromSlice(a.A)
		if !ok {
			return nil, false
		}
		values = append(values, v.Unmap())
	}
	return values, true
}

// reason asks for the list's own words about a listing.
func (r *Resolver) reason(ctx context.Context, name string) string {
	m, why := r.ask(ctx, name, dns.TypeTXT)
	if why != "" {
		return ""
	}
	return reasonOf(m, name)
}

// reasonOf is the first text of an answer, on one line of plain characters.
func reasonOf(m *dns.Msg, name string) string {
	found, _ := records(m, name, dns.TypeTXT)
	for _, rr := range found {
		if txt, ok := rr.(*dns.TXT); ok && len(txt.Txt) > 0 {
			return strings.Map(func(c rune) rune {
				if c < ' ' || c > '~' {
					return '?'
				}
				return c
			}, unescape(strings.Join(txt.Txt, "")))
		}
	}
	return ""
}

// unescape undoes the library's presentation form: \DDD and \X.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		if i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 10, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		i++
		b.WriteByte(s[i])
	}
	return b.String()
}

// ask puts one question to the servers in turn until one gives a final answer.
func (r *Resolver) ask(ctx context.Context, name string, qtype uint16) (m *dns.Msg, why tenant.Why) {
	why = tenant.WhyTimeout
	servers := *r.servers.Load()
	for range r.tries {
		for _, server := range servers {
			if ctx.Err() != nil {
				return nil, why
			}
			if m, why = r.askServer(ctx, server, name, qtype); why == "" {
				return m, ""
			}
		}
	}
	return nil, why
}

// askServer asks by UDP, and by TCP when the answer was cut or is another's.
func (r *Resolver) askServer(ctx context.Context, server, name string, qtype uint16) (*dns.Msg, tenant.Why) {
	q := new(dns.Msg)
	q.SetQuestion(name, qtype)
	q.SetEdns0(ednsSize, false)
	m, err := r.exchange(ctx, "udp", server, q)
	var bad *dns.Error
	if err == nil && (m.Truncated || !answers(m, q)) || errors.As(err, &bad) {
		m, err = r.exchange(ctx, "tcp", server, q)
	}
	if err == nil && m.Rcode == dns.RcodeFormatError {
		// A server that does not know EDNS says FORMERR (RFC 6891 §7).
		q.Extra = nil
		m, err = r.exchange(ctx, "udp", server, q)
	}
	var late net.Error
	switch {
	case errors.As(err, &late) && late.Timeout():
		return nil, tenant.WhyTimeout
	case errors.As(err, &bad):
		return nil, tenant.WhyGarbled
	case err != nil:
		return nil, tenant.WhyNetwork
	case m.Rcode == dns.RcodeRefused:
		return nil, tenant.WhyRefused
	case m.Rcode == dns.RcodeServerFailure:
		return nil, tenant.WhyServFail
	case m.Truncated || !answers(m, q) || m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError:
		return nil, tenant.WhyGarbled
	}
	return m, ""
}

// exchange uses a fresh socket and id, so that both are random.
func (r *Resolver) exchange(ctx context.Context, network, server string, q *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	conn, err := r.dialer.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// The library minds the context's deadline only, not its end.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	q.Id = dns.Id()
	m, _, err := (&dns.Client{Timeout: r.timeout}).ExchangeWithConnContext(ctx, q, &dns.Conn{Conn: conn})
	if ctx.Err() != nil {
		return nil, context.DeadlineExceeded
	}
	return m, err
}

// answers says whether m answers q (RFC 5452 §9.1); the library compared ids.
func answers(m, q *dns.Msg) bool {
	if !m.Response || m.Opcode != dns.OpcodeQuery {
		return false
	}
	if m.Rcode == dns.RcodeFormatError && len(m.Question) == 0 {
		return true
	}
	return len(m.Question) == 1 && m.Question[0].Qtype == q.Question[0].Qtype && m.Question[0].Qclass == dns.ClassINET &&
		strings.EqualFold(m.Question[0].Name, q.Question[0].Name)
}

// records are those of qtype at the end of name's aliases; others in the answer
// are none of ours. False for a chain without an end.
func records(m *dns.Msg, name string, qtype uint16) (found []dns.RR, ok bool) {
	for range maxAliases {
		next := ""
		for _, rr := range m.Answer {
			h := rr.Header()
			if h.Class != dns.ClassINET || !strings.EqualFold(h.Name, name) {
				continue
			}
			if c, ok := rr.(*dns.CNAME); ok && next == "" {
				next = c.Target
			} else if h.Rrtype == qtype {
				found = append(found, rr)
			}
		}
		if len(found) > 0 || next == "" {
			return found, true
		}
		name = next
	}
	return nil, false
}
