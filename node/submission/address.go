package submission

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Limits of RFC 5321 §4.5.3.1, in octets.
const (
	maxLocal  = 64
	maxDomain = 255
)

// What may be wrong with an address.
var (
	errAddrSyntax = errors.New("bad address syntax")
	errAddrRoute  = errors.New("source route")
	errAddrUTF8   = errors.New("address needs SMTPUTF8")
)

// address is a checked mailbox: it holds no control characters and can stand
// between angle brackets as it is.
type address struct {
	local  string // quoted where it must be
	domain string // A-label, lower case; "[...]" for a literal
}

func (a address) String() string {
	if a.local == "" {
		return ""
	}
	return a.local + "@" + a.domain
}

// utf8 says that the address cannot travel without SMTPUTF8 (RFC 6531).
func (a address) utf8() bool { return !isASCII(a.local) }

// routed says that the local part asks for further routing.
func (a address) routed() bool {
	return strings.HasPrefix(a.domain, "[") || strings.ContainsAny(a.local, "%!@")
}

// parsePath reads "<mailbox>" or "<>" (RFC 5321 §4.1.2) and returns what
// follows it, the parameters. The command engine's own parser unquotes local
// parts and joins them raw, so its result is never used.
func parsePath(s string, eai bool) (a address, rest string, err error) {
	if !strings.HasPrefix(s, "<") {
		return a, "", errAddrSyntax
	}
	s = s[1:]
	if strings.HasPrefix(s, ">") {
		rest = s[1:]
		return a, rest, checkRest(rest)
	}
	if strings.HasPrefix(s, "@") {
		return a, "", errAddrRoute
	}
	local, s, err := parseLocal(s, eai)
	if err != nil {
		return a, "", err
	}
	if !strings.HasPrefix(s, "@") {
		return a, "", errAddrSyntax
	}
	domain, rest, ok := strings.Cut(s[1:], ">")
	if !ok {
		return a, "", errAddrSyntax
	}
	if domain, err = normalDomain(domain, eai); err != nil {
		return a, "", err
	}
	return address{local, domain}, rest, checkRest(rest)
}

func checkRest(rest string) error {
	if rest != "" && rest[0] != ' ' {
		return errAddrSyntax
	}
	return nil
}

// parseLocal reads a dot-string or a quoted string in front of "@" and returns
// it in its shortest form, quoted only where it must be.
func parseLocal(s string, eai bool) (local, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		i := strings.IndexByte(s, '@')
		if i < 0 {
			return "", "", errAddrSyntax
		}
		local, rest = s[:i], s[i:]
		if !isDotString(local) {
			return "", "", errAddrSyntax
		}
		return local, rest, checkLocal(local, eai)
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; c {
		case '"':
			local = b.String()
			if !isDotString(local) {
				local = quoteLocal(local)
			}
			return local, s[i+1:], checkLocal(local, eai)
		case '\\':
			if i++; i == len(s) || s[i] < ' ' || s[i] > '~' {
				return "", "", errAddrSyntax
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errAddrSyntax
}

func quoteLocal(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}

func checkLocal(s string, eai bool) error {
	if s == "" || len(s) > maxLocal {
		return errAddrSyntax
	}
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return errAddrSyntax
		}
	}
	return checkUTF8(s, eai)
}

// checkUTF8 lets octets above 127 pass only where the client announced them,
// and only as printable UTF-8.
func checkUTF8(s string, eai bool) error {
	if isASCII(s) {
		return nil
	}
	if !eai {
		return errAddrUTF8
	}
	if !utf8.ValidString(s) {
		return errAddrSyntax
	}
	for _, r := range s {
		// Delivery and notices write nothing else: what passed here and not there
		// would bounce untold.
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return errAddrSyntax
		}
	}
	return nil
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// isDotString: atoms between single dots (RFC 5321 §4.1.2, RFC 6531 §3.3).
func isDotString(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c >= utf8.RuneSelf:
		case strings.IndexByte("!#$%&'*+-/=?^_`{|}~.", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// normalDomain checks a domain and returns it as lower-case A-labels.
func normalDomain(s string, eai bool) (string, error) {
	if s == "" || len(s) > maxDomain {
		return "", errAddrSyntax
	}
	if s[0] == '[' {
		return normalLiteral(s)
	}
	if !isASCII(s) {
		if err := checkUTF8(s, eai); err != nil {
			return "", err
		}
		a, err := idna.Lookup.ToASCII(s)
		if err != nil {
			return "", errAddrSyntax
		}
		s = a
	}
	s = strings.ToLower(s)
	if !isDomain(s) {
		return "", errAddrSyntax
	}
	return s, nil
}

// normalLiteral accepts the shape of an address literal, so that it can be
// refused by name and not as bad syntax.
func normalLiteral(s string) (string, error) {
	if s[len(s)-1] != ']' {
		return "", errAddrSyntax
	}
	for i := 1; i < len(s)-1; i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '[' || c == ']' || c == '\\' {
			return "", errAddrSyntax
		}
	}
	return s, nil
}

// isDomain: at least two labels of letters, digits, hyphens and underscores
// (seen in the wild), the last one no number: an address without brackets is
// not a domain.
func isDomain(s string) bool {
	if len(s) > 253 {
		return false
	}
	labels, start, digits := 0, 0, true
	for i := 0; i <= len(s); i++ {
		if i == len(s) || s[i] == '.' {
			n := i - start
			if n < 1 || n > 63 || s[start] == '-' || s[i-1] == '-' {
				return false
			}
			labels++
			if i == len(s) {
				break
			}
			start, digits = i+1, true
			continue
		}
		c := s[i]
		switch {
		case '0' <= c && c <= '9':
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '-', c == '_':
			digits = false
		default:
			return false
		}
	}
	return labels >= 2 && !digits
}

// paramTwice finds a parameter that is given more than once.
func paramTwice(params string) bool {
	var seen []string
	for f := range strings.FieldsSeq(params) {
		key, _, _ := strings.Cut(f, "=")
		for _, k := range seen {
			if strings.EqualFold(k, key) {
				return true
			}
		}
		seen = append(seen, key)
	}
	return false
}
