package migrate

import (
	"errors"
	"fmt"
	"strings"
)

// service is one of master.cf's.
type service struct {
	name    string
	kind    string // inet, unix, …
	command string
	options map[string]string // of -o, as they are written
}

// parseMaster reads master.cf. Of services that are there twice the last counts.
func parseMaster(text string) ([]service, error) {
	lines, err := logical(text)
	if err != nil {
		return nil, fmt.Errorf("master.cf: %w", err)
	}
	var all []service
	for _, l := range lines {
		words, err := masterWords(l.text)
		if err != nil {
			return nil, fmt.Errorf("master.cf: line %d: %w", l.number, err)
		}
		if len(words) < 8 {
			return nil, fmt.Errorf("master.cf: line %d: %q is no service: it has less than eight columns", l.number, clip(l.text))
		}
		s := service{name: words[0], kind: words[1], command: words[7], options: map[string]string{}}
		for i, args := 0, words[8:]; i < len(args); i++ {
			option, found := strings.CutPrefix(args[i], "-o")
			if !found {
				continue
			}
			if option == "" && i+1 < len(args) {
				i++
				option = args[i]
			}
			if inner, _, ok := braced(option); ok {
				option = inner
			}
			name, value, ok := strings.Cut(option, "=")
			if !ok {
				return nil, fmt.Errorf("master.cf: line %d: -o %q is no name=value", l.number, clip(option))
			}
			s.options[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
		all = append(all, s)
	}
	return all, nil
}

// masterWords parts a service's line; braces keep white space together.
func masterWords(text string) ([]string, error) {
	var all []string
	for {
		text = strings.TrimLeft(text, " \t")
		switch {
		case text == "":
			return all, nil
		case text[0] == '{':
			inner, rest, ok := braced(text)
			if !ok {
				return nil, errors.New("a brace has no end")
			}
			all, text = append(all, "{"+inner+"}"), rest
		default:
			n := strings.IndexAny(text, " \t")
			if n < 0 {
				n = len(text)
			}
			all, text = append(all, text[:n]), text[n:]
		}
	}
}
