package migrate

import (
	"errors"
	"fmt"
	"strings"
)

// settings are main.cf's, as they are written; the last of a name counts.
type settings struct {
	set      map[string]string
	defaults map[string]string // of what is not set and may be named
}

// defaults are Postfix's own for what is asked here, or what values name. Those
// it makes of the machine (myhostname) have none.
var defaults = map[string]string{
	"default_database_type": "hash",
	"default_transport":     "smtp",
	"mydomain":              "localdomain",
	"myorigin":              "$myhostname",
	"mydestination":         "$myhostname, localhost.$mydomain, localhost",
	"smtp_helo_name":        "$myhostname",
	"relay_domains":         "",
	"data_directory":        "/var/lib/postfix",
	"queue_directory":       "/var/spool/postfix",
	"meta_directory":        "/etc/postfix",
	"mail_name":             "Postfix",
}

func parseMain(text, directory string) (*settings, error) {
	lines, err := logical(text)
	if err != nil {
		return nil, fmt.Errorf("main.cf: %w", err)
	}
	s := &settings{set: map[string]string{}, defaults: map[string]string{"config_directory": directory}}
	for _, l := range lines {
		name, value, ok := strings.Cut(l.text, "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return nil, fmt.Errorf("main.cf: line %d: %q is no setting: name = value", l.number, clip(l.text))
		}
		s.set[name] = strings.TrimSpace(value)
	}
	return s, nil
}

// own says what is written of a setting.
func (s *settings) own(name string) (string, bool) {
	v, ok := s.set[name]
	return v, ok
}

func (s *settings) raw(name string) string {
	if v, ok := s.set[name]; ok {
		return v
	}
	if name == "mydomain" {
		// What is behind the host's first dot.
		if host, err := s.value("myhostname"); err == nil {
			if _, domain, ok := strings.Cut(host, "."); ok {
				return domain
			}
		}
	}
	if v, ok := s.defaults[name]; ok {
		return v
	}
	return defaults[name]
}

// value is a setting with what it names put in.
func (s *settings) value(name string) (string, error) {
	v, err := s.expand(s.raw(name))
	if err != nil {
		return "", fmt.Errorf("main.cf: %s: %w", name, err)
	}
	return v, nil
}

const (
	maxDepth    = 16   // of values that name values
	maxExpanded = 2000 // names put in of one value
)

var (
	errDeep    = errors.New("it names values too deeply, or itself")
	errUnknown = errors.New("this way of naming values is not read here; write the value itself")
)

// expander puts values in place of their names, within bounds.
type expander struct {
	s     *settings
	names int
	out   int
}

// expand puts in values: $name, $(name), ${name}, ${name?text}, ${name:text},
// ${name?{text}:{text}}; $$ is a dollar.
func (s *settings) expand(text string) (string, error) { return (&expander{s: s}).all(text, 0) }

func (x *expander) all(text string, depth int) (string, error) {
	if depth > maxDepth {
		return "", errDeep
	}
	var b strings.Builder
	for text != "" {
		plain, rest, found := strings.Cut(text, "$")
		if b.WriteString(plain); !found {
			break
		}
		value, left, err := x.one(rest, depth)
		if err != nil {
			return "", err
		}
		if x.out += len(value); x.out > maxLogical {
			return "", fmt.Errorf("its value is longer than %d KB", maxLogical>>10)
		}
		b.WriteString(value)
		text = left
	}
	return b.String(), nil
}

// one reads what stands behind a dollar.
func (x *expander) one(text string, depth int) (value, rest string, err error) {
	if x.names++; x.names > maxExpanded {
		return "", "", errDeep
	}
	switch {
	case strings.HasPrefix(text, "$"):
		return "$", text[1:], nil
	case strings.HasPrefix(text, "{"), strings.HasPrefix(text, "("):
		inner, rest, ok := braced(text)
		if !ok {
			return "", "", errors.New("a brace has no end")
		}
		value, err := x.named(inner, depth)
		return value, rest, err
	}
	n := 0
	for n < len(text) && nameOctet(text[n]) {
		n++
	}
	if n == 0 {
		return "$", text, nil
	}
	value, err = x.all(x.s.raw(text[:n]), depth+1)
	return value, text[n:], err
}

// named is the inside of braces.
func (x *expander) named(inner string, depth int) (string, error) {
	inner = strings.TrimSpace(inner)
	n := 0
	for n < len(inner) && nameOctet(inner[n]) {
		n++
	}
	name, rest := inner[:n], inner[n:]
	if name == "" {
		return "", errUnknown // a comparison, say
	}
	value, err := x.all(x.s.raw(name), depth+1)
	if err != nil || rest == "" {
		return value, err
	}
	how, text := rest[0], rest[1:]
	if how != '?' && how != ':' {
		return "", errUnknown
	}
	yes, no := text, ""
	if body := strings.TrimSpace(text); strings.HasPrefix(body, "{") {
		first, after, ok := braced(body)
		if !ok {
			return "", errUnknown
		}
		yes = strings.TrimSpace(first)
		if after = strings.TrimSpace(after); after != "" {
			after = strings.TrimSpace(strings.TrimPrefix(after, ":"))
			second, end, ok := braced(after)
			if !ok || strings.TrimSpace(end) != "" || how == ':' {
				return "", errUnknown
			}
			no = strings.TrimSpace(second)
		}
	}
	if (value != "") == (how == '?') {
		return x.all(yes, depth+1)
	}
	return x.all(no, depth+1)
}

// braced takes a pair of braces from the head of a text.
func braced(text string) (inner, rest string, ok bool) {
	if text == "" {
		return "", "", false
	}
	open, shut := text[0], byte('}')
	if open == '(' {
		shut = ')'
	} else if open != '{' {
		return "", "", false
	}
	depth := 0
	for i := range len(text) {
		switch text[i] {
		case open:
			depth++
		case shut:
			if depth--; depth == 0 {
				return text[1:i], text[i+1:], true
			}
		}
	}
	return "", "", false
}

func nameOctet(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}
