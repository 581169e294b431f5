package links

import (
	"bytes"
	"net/url"
	"strings"

	"golang.org/x/net/idna"
)

// url reads an attribute's link as browsers do: they pass over tabs and line
// breaks, take \ for /, and as many slashes as there are.
func (f *finder) url(b []byte) {
	f.tries++
	b = bytes.TrimLeftFunc(b, func(r rune) bool { return r <= ' ' })
	if bytes.ContainsAny(b[:min(len(b), maxAuthority)], "\t\r\n") {
		b = bytes.Map(func(r rune) rune {
			if r == '\t' || r == '\r' || r == '\n' {
				return -1
			}
			return r
		}, b)
	}
	rest := b
	if i := bytes.IndexByte(b, ':'); (i == 4 || i == 5) && scheme(b[:i]) {
		rest = b[i+1:]
	} else if !bytes.HasPrefix(b, []byte("//")) && !bytes.HasPrefix(b, []byte(`\\`)) {
		f.text(b) // another scheme, or none: perhaps a link in its words
		return
	}
	rest = bytes.TrimLeft(rest, `/\`)
	end := f.authority(rest[:min(len(rest), maxAuthority)])
	f.text(rest[end:]) // a link that only leads on
}

// authority takes the host out of what begins with a link's authority, and gives
// where that ends.
func (f *finder) authority(b []byte) (end int) {
	f.tries++
	if end = bytes.IndexAny(b, `/\?#`); end < 0 {
		end = len(b)
	}
	host := b[:end]
	if at := bytes.LastIndexByte(host, '@'); at >= 0 {
		host = host[at+1:] // what stands before is there to deceive
	}
	if f.seen[string(host)] {
		return end
	}
	f.seen[string(host)] = true
	name, ok := hostName(host)
	if ok && (name == string(host) || !f.seen[name]) && len(f.hosts) < maxHosts {
		f.seen[name] = true
		f.hosts = append(f.hosts, name)
	}
	return end
}

// lookup maps letters as browsers do, and lets names be that no registry allows.
var lookup = idna.New(idna.MapForLookup(), idna.StrictDomainName(false), idna.Transitional(false))

// hostName is a host as the DNS has it: false of what is none, and of addresses.
func hostName(b []byte) (string, bool) {
	if len(b) == 0 || b[0] == '[' {
		return "", false // an address of IPv6
	}
	s := string(b)
	if strings.IndexByte(s, '%') >= 0 {
		plain, err := url.PathUnescape(s)
		if err != nil {
			return "", false
		}
		s = plain
	}
	if i := strings.IndexFunc(s, outside); i >= 0 {
		s = s[:i] // a port, or what follows a link in words
	}
	if !ascii(s) {
		mapped, err := lookup.ToASCII(s)
		if err != nil && !ascii(mapped) {
			return "", false
		}
		s = mapped
	}
	s = strings.ToLower(strings.TrimRight(s, "."))
	if len(s) > 253 || !strings.Contains(s, ".") {
		return "", false
	}
	for label := range strings.SplitSeq(s, ".") {
		if len(label) == 0 || len(label) > 63 {
			return "", false
		}
	}
	last := s[strings.LastIndexByte(s, '.')+1:]
	if last[0] >= '0' && last[0] <= '9' || strings.IndexFunc(s, outside) >= 0 {
		return "", false // an address of IPv4, however it is written
	}
	return s, true
}

// outside says of a rune that no host name has it; of those beyond ASCII IDNA
// decides.
func outside(r rune) bool {
	return r < 0x80 && r != '.' && r != '-' && r != '_' && (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z')
}

func ascii(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}
