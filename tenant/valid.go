package tenant

import (
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ValidName reports whether s can name a node or a tenant: 1 to 63 of a-z, 0-9
// and "-".
func ValidName(s string) bool {
	if len(s) == 0 || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !letterDigit(c) && c != '-' {
			return false
		}
	}
	return true
}

func letterDigit(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// ValidHost reports whether s is a host name of lower-case letter-digit-hyphen
// labels (RFC 1123 section 2.1, RFC 5890 section 2.3.1), at most 253 octets,
// without a final dot. The last label is not all digits, so no name reads as an
// address.
func ValidHost(s string) bool {
	if len(s) == 0 || len(s) > maxHost {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if !validLabel(label) {
			return false
		}
		last = label
	}
	return strings.Trim(last, "0123456789") != ""
}

func validLabel(s string) bool {
	return ValidName(s) && s[0] != '-' && s[len(s)-1] != '-'
}

// validDomain is a host name of two labels or more: a sender domain.
func validDomain(s string) bool { return ValidHost(s) && strings.Contains(s, ".") }

// validSelector follows RFC 6376 section 3.1: labels with dots between, and the
// underscore that some name servers' users put in.
func validSelector(s string) bool {
	return len(s) <= maxName && ValidHost("s."+strings.ReplaceAll(s, "_", "x")+".s")
}

// ValidAddress reports whether s is a lower-case mail address with a plain
// (dot-atom) local part and a host name, at most 254 octets (RFC 5321 section
// 4.5.3.1 and 4.1.2).
func ValidAddress(s string) bool {
	if len(s) > maxAddress {
		return false
	}
	i := strings.LastIndexByte(s, '@')
	if i < 1 || i > 64 || !ValidHost(s[i+1:]) {
		return false
	}
	local := s[:i]
	if local[0] == '.' || local[len(local)-1] == '.' || strings.Contains(local, "..") {
		return false
	}
	for i := range len(local) {
		if c := local[i]; !letterDigit(c) && strings.IndexByte("!#$%&'*+-/=?^_`{|}~.", c) < 0 {
			return false
		}
	}
	return true
}

// validText is a bounded text without control characters.
func validText(s string, most int) bool {
	if len(s) > most || !utf8.ValidString(s) {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }) < 0
}

func validRouteHost(s string) bool {
	if ValidHost(s) {
		return true
	}
	a, err := netip.ParseAddr(s)
	return err == nil && a.Zone() == "" && !a.Is4In6() && a.String() == s
}

// validSource is an address mail can leave from.
func validSource(a netip.Addr) bool {
	return a.IsValid() && a.Zone() == "" && !a.Is4In6() && !a.IsUnspecified() && !a.IsMulticast() &&
		a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// validNetwork keeps a slip of the pen from opening the relay to the world: no
// IPv4 network wider than /8, no IPv6 one wider than /16.
func validNetwork(p netip.Prefix) bool {
	if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() || p.Addr().Zone() != "" {
		return false
	}
	if p.Addr().Is4() {
		return p.Bits() >= 8
	}
	return p.Bits() >= 16
}

// clip bounds what a reason repeats of its input.
func clip(s string) string {
	if len(s) <= maxAddress {
		return s
	}
	return s[:maxAddress]
}

// lower maps A-Z only: Unicode folding would make two names one (the Kelvin
// sign is no k).
func lower(s string) string {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}
