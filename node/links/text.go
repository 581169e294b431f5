package links

import (
	"bytes"
	"net/url"
	"unicode"
	"unicode/utf8"
)

// text finds links in words: http:// and https://, also in the query of another
// link that only leads on, and names that begin with www.
func (f *finder) text(b []byte) {
	f.each(b, ':', func(at int) {
		if scheme(b[:at]) && bytes.HasPrefix(b[at+1:], []byte("//")) {
			f.authority(words(b[at+3:]))
		}
	})
	f.each(b, '%', func(at int) {
		if colon := b[at:]; len(colon) > 9 && bytes.EqualFold(colon[:9], []byte("%3a%2f%2f")) && scheme(b[:at]) {
			rest := words(colon[9:])
			if plain, err := url.QueryUnescape(string(rest[:lastEscape(rest)])); err == nil {
				f.authority(words([]byte(plain)))
			}
		}
	})
	f.each(b, '.', func(at int) {
		if at < 3 || !bytes.EqualFold(b[at-3:at], []byte("www")) || at > 3 && inName(b[at-4]) {
			return
		}
		f.authority(words(b[at-3:]))
	})
}

// each calls find for every place of an octet until enough was found.
func (f *finder) each(b []byte, c byte, find func(at int)) {
	for at := 0; !f.full(); at++ {
		i := bytes.IndexByte(b[at:], c)
		if i < 0 {
			return
		}
		at += i
		find(at)
	}
}

// scheme says whether what stands before a colon is http or https.
func scheme(b []byte) bool {
	if n := len(b); n > 0 && b[n-1]|0x20 == 's' {
		b = b[:n-1]
	}
	return len(b) >= 4 && bytes.EqualFold(b[len(b)-4:], []byte("http"))
}

// maxAuthority is the longest authority of a link that is looked at.
const maxAuthority = 1000

// words is as much of b as belongs to a link in words: up to a space, a bracket,
// a quotation mark.
func words(b []byte) []byte {
	b = b[:min(len(b), maxAuthority)]
	for i := 0; i < len(b); {
		c := b[i]
		if c < utf8.RuneSelf {
			if c <= ' ' || c == 0x7f || bytes.IndexByte([]byte("<>\"`{}|^"), c) >= 0 {
				return b[:i]
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if unicode.IsSpace(r) || unicode.In(r, unicode.Pi, unicode.Pf, unicode.Ps, unicode.Pe) {
			return b[:i]
		}
		i += n
	}
	return b
}

// lastEscape is where b ends without an escape that was cut.
func lastEscape(b []byte) int {
	if i := bytes.LastIndexByte(b, '%'); i >= 0 && i > len(b)-3 {
		return i
	}
	return len(b)
}

func inName(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '-' || c == '_' || c == '.' || c == '/' || c == '@'
}
