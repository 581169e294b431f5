package delivery

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// maxText bounds the texts taken of one name, in octets: of the records that
// concern mail none is near it.
const maxText = 16 << 10

// Lookup asks the node's resolvers, past the cache of deliveries: what was just
// published is seen. An answer without such records is an empty list; an error
// means that it is not known. Safe for concurrent use.
type Lookup struct{ r *mxResolver }

// NewLookup makes a Lookup that asks servers in turn.
func NewLookup(servers []netip.AddrPort) *Lookup {
	return &Lookup{newResolver(resolverConfig{Servers: servers})}
}

// SetServers changes who is asked, from the next question on.
func (l *Lookup) SetServers(servers []netip.AddrPort) { l.r.dns.setServers(servers) }

// records gives those of qtype at the end of name's aliases. A name that no DNS
// can hold has none.
func (l *Lookup) records(ctx context.Context, name string, qtype uint16) (records, error) {
	if _, ok := dns.IsDomainName(name); !ok || canonical(name) == "" {
		return records{none: true}, nil
	}
	r, err := l.r.lookUp(ctx, name, qtype, 0)
	if err == nil && r.loop {
		err = fmt.Errorf("ask %s: its CNAME records form a loop: %w", name, errDNS)
	}
	return r, err
}

// TXT gives the texts of name, the strings of each put together.
func (l *Lookup) TXT(ctx context.Context, name string) ([]string, error) {
	r, err := l.records(ctx, name, dns.TypeTXT)
	if err != nil {
		return nil, err
	}
	var all []string
	size := 0
	for _, rr := range r.rrs {
		txt, ok := rr.(*dns.TXT)
		if !ok {
			continue
		}
		text := plain(strings.Join(txt.Txt, ""))
		if size += len(text); size > maxText {
			return nil, fmt.Errorf("ask %s: more than %d octets of text: %w", name, maxText, errDNS)
		}
		all = append(all, text)
	}
	return all, nil
}

// MX gives the mail exchangers of name; the host of a null MX is "." (RFC 7505).
func (l *Lookup) MX(ctx context.Context, name string) ([]*net.MX, error) {
	r, err := l.records(ctx, name, dns.TypeMX)
	if err != nil {
		return nil, err
	}
	var all []*net.MX
	for _, rr := range r.rrs {
		if mx, ok := rr.(*dns.MX); ok && len(all) < maxMX {
			all = append(all, &net.MX{Host: dns.CanonicalName(mx.Mx), Pref: mx.Preference})
		}
	}
	return all, nil
}

// Addrs gives all addresses of name. An error beside addresses means that one
// family could not be asked: what is there is true, what is not there unknown.
func (l *Lookup) Addrs(ctx context.Context, name string) (all []netip.Addr, failed error) {
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		r, err := l.records(ctx, name, qtype)
		if err != nil {
			failed = err
			continue
		}
		all = append(all, r.addresses()...)
	}
	return all, failed
}

// PTR gives the names of the reverse name, in lower case without the final dot.
func (l *Lookup) PTR(ctx context.Context, reverse string) ([]string, error) {
	r, err := l.records(ctx, reverse, dns.TypePTR)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, rr := range r.rrs {
		if p, ok := rr.(*dns.PTR); ok && len(all) < maxHosts {
			all = append(all, canonical(p.Ptr))
		}
	}
	return all, nil
}

// plain undoes the library's presentation of a text: \DDD and \X.
func plain(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
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
