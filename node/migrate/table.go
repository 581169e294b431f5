package migrate

import (
	"errors"
	"fmt"
	"strings"
)

// entry is one of a table.
type entry struct {
	key   string // in lower case, as it is looked for
	value string
}

// tableRef names a table: hash:/etc/postfix/transport.
type tableRef struct{ kind, name string }

func (r tableRef) String() string {
	if r.kind == "inline" {
		return "inline:{...}"
	}
	return clip(r.kind + ":" + r.name)
}

// tables parts a list of them; commas and white space part, braces do not.
func (s *settings) tables(list string) ([]tableRef, error) {
	var all []tableRef
	for {
		list = strings.TrimLeft(list, ", \t")
		if list == "" {
			return all, nil
		}
		n, depth := 0, 0
		for ; n < len(list); n++ {
			switch c := list[n]; {
			case c == '{':
				depth++
			case c == '}':
				depth--
			}
			if depth < 0 || depth == 0 && strings.IndexByte(", \t", list[n]) >= 0 {
				break
			}
		}
		word := list[:n]
		if depth != 0 {
			return nil, fmt.Errorf("the braces of %q do not match", clip(list))
		}
		list = list[n:]
		kind, name, ok := strings.Cut(word, ":")
		if !ok {
			base, err := s.value("default_database_type")
			if err != nil {
				return nil, err
			}
			kind, name = base, word
		}
		for kind == "proxy" { // it reads for others what another kind says
			if kind, name, ok = strings.Cut(name, ":"); !ok {
				return nil, fmt.Errorf("%q names no table", clip(word))
			}
		}
		if len(all) == 100 {
			return nil, errors.New("more than 100 tables")
		}
		all = append(all, tableRef{kind, name})
	}
}

// compiled are the kinds of tables that are made of a text file of their name.
var compiled = map[string]bool{"hash": true, "btree": true, "lmdb": true, "cdb": true, "dbm": true, "sdbm": true, "texthash": true}

// whyNot says of other kinds why they are not carried.
func whyNot(kind string) (why, do string) {
	switch kind {
	case "ldap", "mysql", "pgsql", "sqlite", "memcache", "mongodb":
		return "it is a database, which is not asked here", "write its rows as a text file of keys and values, and name that in its place: texthash:FILE"
	case "regexp", "pcre", "cidr":
		return "it has rules, not entries", "write the entries that matter as a text file, and name that in its place: texthash:FILE"
	}
	return "tables of this kind are not read here", "write its entries as a text file, and name that in its place: texthash:FILE"
}

// errNotCarried is that a table is of a kind that is not read.
var errNotCarried = errors.New("not carried")

// table reads a table's entries in their order.
func (t *tree) table(base string, ref tableRef) ([]entry, error) {
	switch {
	case ref.kind == "inline":
		return inline(ref.name)
	case !compiled[ref.kind]:
		return nil, errNotCarried
	}
	text, err := t.read(inTree(base, ref.name), maxFile)
	if err != nil {
		return nil, err
	}
	all, err := parseTable(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	return all, nil
}

// parseTable reads keys and values; a key with white space is in quotes.
func parseTable(text string) ([]entry, error) {
	lines, err := logical(text)
	if err != nil {
		return nil, err
	}
	all := make([]entry, 0, len(lines))
	for _, l := range lines {
		key, value, ok := tableLine(l.text)
		if !ok {
			return nil, fmt.Errorf("line %d: %q is no key with a value", l.number, clip(l.text))
		}
		all = append(all, entry{strings.ToLower(key), value})
	}
	return all, nil
}

func tableLine(text string) (key, value string, ok bool) {
	if rest, quoted := strings.CutPrefix(text, `"`); quoted {
		if key, value, ok = strings.Cut(rest, `"`); !ok || key == "" {
			return "", "", false
		}
	} else if n := strings.IndexAny(text, " \t"); n > 0 {
		key, value = text[:n], text[n:]
	}
	value = strings.TrimSpace(value)
	return key, value, key != "" && value != ""
}

// inline reads {key = value, { key = value with commas }}.
func inline(text string) ([]entry, error) {
	inner, rest, ok := braced(strings.TrimSpace(text))
	if !ok || strings.TrimSpace(rest) != "" {
		return nil, errors.New("inline: its braces do not match")
	}
	var all []entry
	for {
		inner = strings.TrimLeft(inner, ", \t")
		if inner == "" {
			return all, nil
		}
		var one string
		if inner[0] == '{' {
			if one, inner, ok = braced(inner); !ok {
				return nil, errors.New("inline: its braces do not match")
			}
		} else {
			// The sign may stand apart from the key, and the value from the sign.
			n := strings.IndexByte(inner, '=')
			if n < 0 {
				return nil, fmt.Errorf("inline: %q has no value", clip(inner))
			}
			value := strings.TrimLeft(inner[n+1:], " \t")
			end := strings.IndexAny(value, ", \t")
			if end < 0 {
				end = len(value)
			}
			one, inner = inner[:n]+"="+value[:end], value[end:]
		}
		key, value, ok := strings.Cut(one, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !ok || key == "" || value == "" || len(all) == maxEntries {
			return nil, fmt.Errorf("inline: %q is no key with a value", clip(one))
		}
		all = append(all, entry{strings.ToLower(key), value})
	}
}

// words parts a value that is a list.
func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}
