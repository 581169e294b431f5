package bounce

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// headField is one field of a header section, or of a report's own fields.
type headField struct {
	name  string // lower case; "" for an empty line between groups
	value string // unfolded, bounded
}

// scanFields reads fields up to the first empty line, or, with all, to the end:
// then an empty line is a field without a name. Lines that are no fields are
// passed over: truncated and mangled headers are the rule in reports.
func scanFields(b []byte, all bool) (list []headField, rest []byte) {
	b = bytes.TrimLeft(b, "\r\n")
	for len(b) > 0 && len(list) < maxFields {
		line, after, _ := bytes.Cut(b, []byte{'\n'})
		b = after
		line = bytes.TrimRight(line, "\r")
		switch {
		case len(bytes.TrimSpace(line)) == 0:
			if !all {
				return list, b
			}
			list = append(list, headField{})
		case line[0] == ' ' || line[0] == '\t':
			if n := len(list); n > 0 && len(list[n-1].value)+len(line) < maxValue {
				list[n-1].value += " " + flatten(bytes.TrimSpace(line))
			}
		default:
			colon := bytes.IndexByte(line, ':')
			if colon < 1 || colon > 100 || bytes.ContainsAny(line[:colon], " \t@<=\"") {
				// Some hosts fold without a blank: "…;" and "boundary=…".
				if n := len(list); n > 0 && strings.HasSuffix(list[n-1].value, ";") && len(list[n-1].value)+len(line) < maxValue {
					list[n-1].value += " " + flatten(line)
				}
				continue
			}
			value := bytes.TrimSpace(line[colon+1:])
			list = append(list, headField{strings.ToLower(string(line[:colon])), flatten(value[:min(len(value), maxValue)])})
		}
	}
	return list, b
}

// flatten makes octets from outside one printable line.
func flatten(b []byte) string {
	plain := true
	for _, c := range b {
		plain = plain && c >= ' ' && c < 0x7f
	}
	if plain {
		return string(b)
	}
	var s strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			s.WriteByte(' ')
		case r == utf8.RuneError || !unicode.IsPrint(r):
			s.WriteByte('?')
		default:
			s.Write(b[:n])
		}
		b = b[n:]
	}
	return s.String()
}

// cut bounds a printable text without breaking a character.
func cutText(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

// mailbox reads an address out of a field's value: "rfc822; <a@b.c>", "a@b.c",
// "Name <a@b.c>". It is "" when there is none.
func mailbox(s string) string {
	if kind, rest, ok := strings.Cut(s, ";"); ok && !strings.ContainsAny(kind, "@<\"") {
		s = rest
	}
	if i := strings.IndexByte(s, '<'); i >= 0 {
		if j := strings.IndexByte(s[i:], '>'); j > 0 {
			s = s[i+1 : i+j]
		}
	}
	s = strings.Trim(s, " \t<>\"',;")
	if i := strings.IndexAny(s, " \t("); i >= 0 {
		s = s[:i]
	}
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at == len(s)-1 || len(s) > maxFeedAddr || strings.ContainsAny(s, "<>,;:\\") && !strings.HasPrefix(s, "\"") {
		return ""
	}
	return s
}

// domainOf is the domain of an address, in lower case.
func domainOf(addr string) string {
	d := strings.ToLower(addr[strings.LastIndexByte(addr, '@')+1:])
	if domainAt(d) != d {
		return ""
	}
	return d
}

// statusIn finds the first enhanced status code in text: "5.1.1".
func statusIn(text string) string {
	for i := 0; i+5 <= len(text); i++ {
		if text[i] != '2' && text[i] != '4' && text[i] != '5' || text[i+1] != '.' || i > 0 && (alnum(text[i-1]) || text[i-1] == '.') {
			continue
		}
		j, parts := i+2, 1
		from := j
		for j < len(text) && parts < 4 {
			c := text[j]
			if c >= '0' && c <= '9' && j-from < 3 {
				j++
				continue
			}
			if c != '.' || j == from || parts == 2 {
				break
			}
			parts++
			j++
			from = j
		}
		if parts == 2 && j > from && (j == len(text) || !alnum(text[j]) && text[j] != '.' || text[j] == '.' && (j+1 == len(text) || text[j+1] == ' ')) {
			return text[i:j]
		}
	}
	return ""
}

// codeIn finds the first SMTP code of a refusal in text: "550".
func codeIn(text string) int {
	for i := 0; i+3 <= len(text); i++ {
		c := text[i : i+3]
		if (c[0] == '4' || c[0] == '5') && c[1] >= '0' && c[1] <= '5' && c[2] >= '0' && c[2] <= '9' &&
			(i == 0 || !alnum(text[i-1]) && text[i-1] != '.') && (i+3 == len(text) || text[i+3] == ' ' || text[i+3] == '-') {
			return int(c[0]-'0')*100 + int(c[1]-'0')*10 + int(c[2]-'0')
		}
	}
	return 0
}
