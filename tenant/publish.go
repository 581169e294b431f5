package tenant

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// DNSRecord is one record that somebody has to publish.
type DNSRecord struct {
	Name  string // owner name, without the final dot
	Type  string // A, AAAA, MX, PTR or TXT
	Value string // an address, a name without the final dot, behind its preference of an MX, or a TXT's text
}

// DomainDNS is what a tenant publishes for one sender domain.
type DomainDNS struct {
	Domain string
	// SPF is the record of a domain that has none yet. Of one that it has,
	// only Terms are missing: two SPF records are an error (RFC 7208 section
	// 3.2).
	SPF   DNSRecord
	Terms []string
	// KeyName is where the DKIM key's TXT record belongs; empty: not signed.
	KeyName string
	DMARC   DNSRecord
	// Alignment says how mail of this domain passes DMARC.
	Alignment string
	// Bounce is what the domain's bounce subdomain publishes; nil: it has none.
	Bounce *BounceDNS
}

// BounceDNS is what a tenant publishes for a bounce subdomain.
type BounceDNS struct {
	Name string
	// MX are one record for each node that takes bounces; any of them will do.
	// None: no node does, and the subdomain cannot be used.
	MX []DNSRecord
	// SPF is the subdomain's own: MAIL FROM is of it.
	SPF DNSRecord
	// Fault says why it is not used yet, as far as nodes looked; "" else.
	Fault string
}

// Exit is a source that a tenant may leave from.
type Exit struct {
	*Source
	// Backup: by its backup place alone.
	Backup bool
}

// Bounds of one SPF record's text, in octets: what fits a DNS answer of 512
// (RFC 7208 section 3.4), and how much of it terms may take.
const (
	MaxSPF   = 450
	spfTerms = 420
)

// Exits lists what a tenant may leave from, the home's sources first, each
// once. Both places, because mail must not wait for a record when it moves.
func Exits(s *State, t *Tenant) []Exit {
	var all []Exit
	for i, p := range [2]Place{t.Home, t.Backup} {
		if p == (Place{}) {
			continue
		}
		for _, src := range s.SourcesAt(p) {
			if !slices.ContainsFunc(all, func(e Exit) bool { return e.ID == src.ID }) {
				all = append(all, Exit{Source: src, Backup: i == 1})
			}
		}
	}
	return all
}

// PublishTenant is what a tenant publishes, ascending by domain. include, when
// not empty, is the name of the provider's own SPF record (PublishProvider),
// which the tenant names instead of the addresses.
func PublishTenant(s *State, t *Tenant, include string) []DomainDNS {
	terms := SPFTerms(Exits(s, t))
	if include != "" {
		terms = []string{"include:" + include}
	}
	var all []DomainDNS
	for d := range s.DomainsOf(t.ID) {
		x := DomainDNS{Domain: d.Name, SPF: SPFRecord(d.Name, terms, "~all"), Terms: terms, DMARC: DMARCRecord(d.Name), Alignment: alignment(d)}
		if d.Selector != "" {
			x.KeyName = KeyName(d)
		}
		x.Bounce = PublishBounce(s, d.Name, terms)
		all = append(all, x)
	}
	return all
}

// PublishBounce is what the bounce subdomain of a sender domain publishes, nil
// without one; terms are the SPF mechanisms of what its mail leaves from.
func PublishBounce(s *State, domain string, terms []string) *BounceDNS {
	name := s.BounceName(domain)
	if name == "" {
		return nil
	}
	x := &BounceDNS{Name: name, SPF: SPFRecord(name, terms, "-all"), Fault: s.BounceFault(domain)}
	for _, host := range s.IntakeHosts() {
		x.MX = append(x.MX, DNSRecord{Name: name, Type: "MX", Value: "10 " + host})
	}
	return x
}

// SPFTerms are the SPF mechanisms that let mail leave from exits.
func SPFTerms(exits []Exit) []string {
	terms := make([]string, 0, len(exits))
	for _, e := range exits {
		terms = append(terms, spfTerm(e.Addr))
	}
	return terms
}

func spfTerm(a netip.Addr) string {
	if a.Is4() {
		return "ip4:" + a.String()
	}
	return "ip6:" + a.String()
}

// SPFRecord is the whole record of a name that has none.
func SPFRecord(name string, terms []string, end string) DNSRecord {
	return DNSRecord{Name: name, Type: "TXT", Value: strings.Join(slices.Concat([]string{"v=spf1"}, terms, []string{end}), " ")}
}

// DMARCRecord is the least record receivers ask for: it claims nothing, and
// alignment is relaxed (RFC 7489 section 6.3).
func DMARCRecord(domain string) DNSRecord {
	return DNSRecord{Name: "_dmarc." + domain, Type: "TXT", Value: "v=DMARC1; p=none"}
}

// KeyName is where the key of a signed domain is published (RFC 6376 section
// 3.6.2.1).
func KeyName(d *Domain) string { return d.Selector + "._domainkey." + d.Name }

func alignment(d *Domain) string {
	if d.Selector == "" {
		return "Its mail is not signed here, so DMARC rests on SPF alone: MAIL FROM must be of the domain in From, and forwarded mail fails. A DKIM key mends that."
	}
	return "Mail From " + d.Name + " is signed by " + d.Name + ": aligned, also when it is forwarded. SPF is aligned as well when MAIL FROM is of the same domain."
}

// PublishSource is what the operator publishes for a source: its name's address
// and, in the zone of whoever gave the address, its reverse.
func PublishSource(src *Source) (forward, reverse DNSRecord) {
	kind := "A"
	if src.Addr.Is6() {
		kind = "AAAA"
	}
	return DNSRecord{Name: src.EHLO, Type: kind, Value: src.Addr.String()},
		DNSRecord{Name: ReverseName(src.Addr), Type: "PTR", Value: src.EHLO}
}

// PublishProvider are the SPF records by which tenants name all sources of the
// cluster with one include. Sources that do not fit one record are divided
// among _1.name, _2.name and so on; each costs receivers one of ten look-ups.
func PublishProvider(s *State, name string) []DNSRecord {
	var parts [][]string
	size := spfTerms
	for src := range s.Sources() {
		term := spfTerm(src.Addr)
		if size += 1 + len(term); size > spfTerms {
			parts, size = append(parts, nil), len(term)
		}
		parts[len(parts)-1] = append(parts[len(parts)-1], term)
	}
	if len(parts) <= 1 {
		return []DNSRecord{SPFRecord(name, slices.Concat(parts...), "-all")}
	}
	var includes []string
	all := make([]DNSRecord, 1, 1+len(parts))
	for i, terms := range parts {
		part := "_" + strconv.Itoa(i+1) + "." + name
		includes = append(includes, "include:"+part)
		all = append(all, SPFRecord(part, terms, "-all"))
	}
	all[0] = SPFRecord(name, includes, "-all")
	return all
}

// ReverseName is where an address has its PTR record (RFC 1035 section 3.5, RFC
// 3596 section 2.5), without the final dot.
func ReverseName(a netip.Addr) string {
	var b strings.Builder
	if a = a.Unmap(); a.Is4() {
		four := a.As4()
		for i := len(four) - 1; i >= 0; i-- {
			b.WriteString(strconv.Itoa(int(four[i])) + ".")
		}
		return b.String() + "in-addr.arpa"
	}
	const hex = "0123456789abcdef"
	six := a.As16()
	for i := len(six) - 1; i >= 0; i-- {
		b.WriteByte(hex[six[i]&15])
		b.WriteByte('.')
		b.WriteByte(hex[six[i]>>4])
		b.WriteByte('.')
	}
	return b.String() + "ip6.arpa"
}
