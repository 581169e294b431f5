package delivery

import (
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// maxAliases bounds a chain of CNAMEs.
const maxAliases = 8

// records is what an answer says about a name after its aliases.
type records struct {
	name string // the name at the end of the CNAME chain
	rrs  []dns.RR
	ttl  time.Duration // least of all records used
	none bool          // NXDOMAIN
	loop bool          // the chain never ends
}

// readRecords follows the aliases inside m from name and gathers the records of
// qtype that belong to its end. Others in the answer are ignored.
func readRecords(m *dns.Msg, name string, qtype uint16) records {
	r := records{name: canonical(name), ttl: maxTTL}
	for hops := 0; ; hops++ {
		to := ""
		for _, rr := range m.Answer {
			h := rr.Header()
			if h.Class != dns.ClassINET || canonical(h.Name) != r.name {
				continue
			}
			if h.Rrtype == qtype {
				r.rrs = append(r.rrs, rr)
				r.ttl = min(r.ttl, seconds(h.Ttl))
			} else if c, ok := rr.(*dns.CNAME); ok && to == "" {
				to = canonical(c.Target)
				r.ttl = min(r.ttl, seconds(h.Ttl))
			}
		}
		if len(r.rrs) > 0 || to == "" {
			break
		}
		if hops == maxAliases || to == r.name {
			r.loop = true
			break
		}
		r.name = to
	}
	if len(r.rrs) == 0 {
		// RFC 2308 §5: a negative answer lives for the lesser of the SOA's TTL
		// and its minimum field; without an SOA it is kept for a moment only.
		r.none = m.Rcode == dns.RcodeNameError
		r.ttl = min(r.ttl, negativeTTL(m))
	}
	return r
}

func negativeTTL(m *dns.Msg) time.Duration {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(seconds(soa.Hdr.Ttl), seconds(soa.Minttl))
		}
	}
	return 0
}

// addresses gives the addresses among rrs, each once.
func (r records) addresses() []netip.Addr {
	var list []netip.Addr
	for _, rr := range r.rrs {
		var a netip.Addr
		var ok bool
		switch rr := rr.(type) {
		case *dns.A:
			a, ok = netip.AddrFromSlice(rr.A)
		case *dns.AAAA:
			a, ok = netip.AddrFromSlice(rr.AAAA)
		}
		if ok && !contains(list, a.Unmap()) {
			list = append(list, a.Unmap())
		}
	}
	return list
}

func contains(list []netip.Addr, a netip.Addr) bool {
	for _, b := range list {
		if a == b {
			return true
		}
	}
	return false
}

func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 { // RFC 2181 §8: the top bit set means zero
		return 0
	}
	return time.Duration(ttl) * time.Second
}

// canonical is a name in lower case without its final dot.
func canonical(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, "."))
}
