package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// wide is how many columns a screen has.
const wide = 80

// show writes v as JSON when that was asked for, else what text writes.
func (a *app) show(v any, text func()) error {
	if !a.json {
		text()
		return nil
	}
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func (a *app) say(format string, args ...any) { fmt.Fprintf(a.out, format+"\n", args...) }

// table lays out rows under heads. A head "QUEUED>" is set to the right; one
// ending in "~" may be cut to make the table fit.
type table struct {
	heads []string
	right []bool
	soft  []bool
	rows  [][]string
}

func newTable(heads ...string) *table {
	t := &table{}
	for _, h := range heads {
		t.right = append(t.right, strings.HasSuffix(h, ">"))
		t.soft = append(t.soft, strings.HasSuffix(h, "~"))
		t.heads = append(t.heads, strings.TrimRight(h, ">~"))
	}
	return t
}

func (t *table) row(cells ...string) {
	for i := range cells {
		cells[i] = clean(cells[i])
	}
	t.rows = append(t.rows, cells)
}

// String lays the table out in at most 80 columns, as long as its hard columns
// fit.
func (t *table) String() string {
	width := make([]int, len(t.heads))
	for _, r := range append([][]string{t.heads}, t.rows...) {
		for i, c := range r {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	for total(width) > wide {
		widest := -1
		for i, w := range width {
			if t.soft[i] && w > max(8, len(t.heads[i])) && (widest < 0 || w > width[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		width[widest]--
	}
	var b strings.Builder
	for _, r := range append([][]string{t.heads}, t.rows...) {
		var line strings.Builder
		for i, c := range r {
			if i > 0 {
				line.WriteString("  ")
			}
			c = cutTo(c, width[i])
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			if t.right[i] {
				line.WriteString(pad + c)
			} else {
				line.WriteString(c + pad)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " "))
		b.WriteByte('\n')
	}
	return b.String()
}

func total(width []int) int {
	n := 2 * (len(width) - 1)
	for _, w := range width {
		n += w
	}
	return n
}

func cutTo(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// fields writes "name  value" lines; long values go on below, indented.
func (a *app) fields(pairs ...string) {
	width := 0
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			width = max(width, len(pairs[i]))
		}
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		for n, line := range fold(clean(pairs[i+1]), wide-width-2) {
			name := pairs[i]
			if n > 0 {
				name = ""
			}
			fmt.Fprintf(a.out, "%-*s  %s\n", width, name, line)
		}
	}
}

// paragraph writes a text folded, each line behind mark.
func (a *app) paragraph(mark, text string) {
	for _, line := range fold(clean(text), wide-utf8.RuneCountInString(mark)) {
		a.say("%s%s", mark, line)
	}
}

// note writes what is so and the command that mends it. A command is never
// broken over lines: it is there to be copied.
func (a *app) note(mark, text, command string) {
	text, command = clean(text), clean(command)
	if one := text + "; " + command; command != "" && utf8.RuneCountInString(mark+one) <= wide {
		a.say("%s%s", mark, one)
		return
	}
	a.paragraph(mark, text)
	if command != "" {
		a.say("%s-> %s", mark, command)
	}
}

// fold breaks s into lines of at most n columns, at spaces where there are.
func fold(s string, n int) []string {
	var lines []string
	r := []rune(s)
	for len(r) > n {
		at := n
		for i := n; i > n/2; i-- {
			if r[i] == ' ' {
				at = i
				break
			}
		}
		lines = append(lines, strings.TrimRight(string(r[:at]), " "))
		for at < len(r) && r[at] == ' ' {
			at++
		}
		r = r[at:]
	}
	return append(lines, string(r))
}

// clean keeps what came from outside from writing to the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	return strings.Join(lines, "\n")
}
