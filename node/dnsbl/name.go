package dnsbl

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"postern/tenant"
)

// Subject is what is asked about: an address or a domain. Its zero value is
// nothing.
type Subject struct {
	addr   netip.Addr
	domain string
}

var errNoSubject = errors.New("neither an IP address nor a domain")

// ParseSubject reads an address or a domain.
func ParseSubject(text string) (Subject, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return Subject{addr: a.Unmap()}, nil
	}
	name := canonical(text)
	// The last label of an address that is not one is a number; no domain's is.
	last := name[strings.LastIndexByte(name, '.')+1:]
	if _, err := strconv.Atoi(last); err == nil || !isName(name) || !strings.Contains(name, ".") || strings.Contains(text, ":") {
		return Subject{}, fmt.Errorf("read %q: %w", cut(text, 80), errNoSubject)
	}
	return Subject{domain: name}, nil
}

// AddrSubject is the subject of an address.
func AddrSubject(a netip.Addr) Subject { return Subject{addr: a.Unmap().WithZone("")} }

func (s Subject) String() string {
	if s.addr.IsValid() {
		return s.addr.String()
	}
	return s.domain
}

// Space is the kind of the subject.
func (s Subject) Space() tenant.Space {
	switch {
	case s.addr.Is4():
		return tenant.SpaceIPv4
	case s.addr.IsValid():
		return tenant.SpaceIPv6
	}
	return tenant.SpaceDomain
}

// label is the subject as the front of a question (RFC 5782 §2.1, §2.4): octets
// or nibbles from the last to the first, or the domain itself. The address is
// not unmapped here: the test points of IPv6 are IPv4 addresses in IPv6 form.
func (s Subject) label() string {
	switch {
	case !s.addr.IsValid():
		return s.domain
	case s.addr.Is4():
		b := s.addr.As4()
		return fmt.Sprintf("%d.%d.%d.%d", b[3], b[2], b[1], b[0])
	}
	const hex = "0123456789abcdef"
	b := s.addr.As16()
	text := make([]byte, 0, 63)
	for i := len(b) - 1; i >= 0; i-- {
		text = append(text, hex[b[i]&15], '.', hex[b[i]>>4], '.')
	}
	return string(text[:len(text)-1])
}

// question is the name to look up. It holds the zone's key: it must not leave
// this package.
func (z *Zone) question(label string) string {
	if z.key.text() != "" {
		return label + "." + z.key.text() + "." + z.Name + "."
	}
	return label + "." + z.Name + "."
}

// canonical is a name in lower case without its final dot.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// isName says whether a name fits into a question beside an address and a key.
func isName(name string) bool {
	if name == "" || len(name) > 120 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// parseCode reads 127.0.0.2 or 127.0.0.4-7.
func parseCode(text string) (first, last netip.Addr, err error) {
	low, high, ranged := strings.Cut(text, "-")
	first, err = netip.ParseAddr(low)
	if err != nil || !first.Is4() {
		return first, last, errors.New("no IPv4 address")
	}
	b := first.As4()
	if b[0] != 127 || b[1] == 255 && b[2] == 255 {
		return netip.Addr{}, last, errors.New("codes are in 127.0.0.0/8, and 127.255.255.0/24 is kept for errors")
	}
	if !ranged {
		return first, first, nil
	}
	n, err := strconv.ParseUint(high, 10, 8)
	if err != nil || byte(n) < b[3] {
		return netip.Addr{}, last, errors.New("the range ends before it begins, or beyond 255")
	}
	b[3] = byte(n)
	return first, netip.AddrFrom4(b), nil
}

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
