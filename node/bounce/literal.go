package bounce

import "net/netip"

// namesAddress reports whether IP literals stand in text, ours among them, and
// a network of ours. Loopback ones are a list's answer codes and name nobody.
func namesAddress(text string, source netip.Addr) (named, ours, network bool) {
	for i := 0; i < len(text); {
		if !literalOctet(text[i]) {
			i++
			continue
		}
		from := i
		for i < len(text) && literalOctet(text[i]) {
			i++
		}
		a, ok := literal(text[from:i])
		if !ok || a.IsLoopback() || a.IsUnspecified() {
			continue
		}
		named = true
		if a == source {
			ours = true
		} else if p, ok := prefix(a, text[i:]); ok && p.Contains(source) || a == networkOf(source) {
			ours, network = true, true
		}
	}
	return named, ours, network
}

func literalOctet(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' || c == '.' || c == ':'
}

// literal reads a word as an address. Words end sentences and follow colons; an
// IPv6 address may end in :: itself.
func literal(word string) (netip.Addr, bool) {
	if len(word) < 2 || len(word) > 50 {
		return netip.Addr{}, false
	}
	if a, err := netip.ParseAddr(word); err == nil {
		return a.Unmap(), true
	}
	for len(word) > 0 && (word[0] == '.' || word[0] == ':') && (len(word) < 2 || word[1] != ':') {
		word = word[1:]
	}
	for len(word) > 0 && (word[len(word)-1] == '.' || word[len(word)-1] == ':') {
		word = word[:len(word)-1]
	}
	a, err := netip.ParseAddr(word)
	return a.Unmap(), err == nil
}

// networkOf is the address by which a /24 or a /64 is named without its length.
func networkOf(a netip.Addr) netip.Addr {
	bits := 24
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Addr{} // no address, no network
	}
	return p.Addr()
}

// prefix reads "/24" behind an address. Half the Internet is nobody's network.
func prefix(a netip.Addr, rest string) (netip.Prefix, bool) {
	if len(rest) < 2 || rest[0] != '/' {
		return netip.Prefix{}, false
	}
	bits, i := 0, 1
	for ; i < len(rest) && i < 4 && rest[i] >= '0' && rest[i] <= '9'; i++ {
		bits = bits*10 + int(rest[i]-'0')
	}
	if i == 1 || bits < a.BitLen()/4 || bits > a.BitLen() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, bits), true
}
