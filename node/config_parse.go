package node

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Finding is one thing wrong, or doubtful, in a configuration.
type Finding struct {
	Line    int    `json:"line,omitempty"` // 0 when the file does not mention it
	Key     string `json:"key,omitempty"`
	Text    string `json:"text"`
	Mend    string `json:"mend,omitempty"`
	Warning bool   `json:"warning"` // the node starts all the same
}

func (f Finding) String() string {
	var b strings.Builder
	if f.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", f.Line)
	}
	if f.Key != "" {
		fmt.Fprintf(&b, "%s: ", f.Key)
	}
	b.WriteString(f.Text)
	if f.Mend != "" {
		fmt.Fprintf(&b, "; %s", f.Mend)
	}
	return b.String()
}

// ConfigError is a configuration the node does not start with.
type ConfigError struct {
	File     string
	Findings []Finding
}

func (e *ConfigError) Error() string {
	texts := make([]string, len(e.Findings))
	for i, f := range e.Findings {
		texts[i] = f.String()
	}
	return e.File + ": " + strings.Join(texts, "\n"+e.File+": ")
}

func faults(all []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(all), func(f Finding) bool { return f.Warning })
}

// lines says on which line a key stands: "tls.cert", "submission[1]".
type lines map[string]int

// parseConfig reads text over the defaults. The library's strict decoding ends
// at the first fault, so the tree is walked here: every fault is told at once,
// each with its line.
func parseConfig(text []byte) (Config, lines, []Finding) {
	c, p := DefaultConfig(), &configParser{at: lines{}}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		p.broken("", err)
		return c, p.at, p.found
	}
	var root ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case root == nil:
			root = doc.Body
		default:
			p.add(doc.Body, "", "keep one document in the file", "a second document")
		}
	}
	if root != nil {
		p.mapping(root, reflect.ValueOf(&c).Elem(), "")
	}
	return c, p.at, p.found
}

type configParser struct {
	at    lines
	found []Finding
}

func (p *configParser) add(n ast.Node, key, mend, format string, args ...any) {
	f := Finding{Key: key, Text: fmt.Sprintf(format, args...), Mend: mend}
	if t := n.GetToken(); t != nil && t.Position != nil {
		f.Line = t.Position.Line
	}
	p.found = append(p.found, f)
}

// broken reports an error of the library with the line it tells.
func (p *configParser) broken(key string, err error) {
	f := Finding{Key: key, Text: err.Error()}
	var known yaml.Error
	if errors.As(err, &known) {
		f.Text = known.GetMessage()
		if t := known.GetToken(); t != nil && t.Position != nil {
			f.Line = t.Position.Line
		}
	}
	p.found = append(p.found, f)
}

func (p *configParser) mapping(n ast.Node, into reflect.Value, under string) {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	case *ast.NullNode, *ast.CommentGroupNode:
		return
	default:
		p.add(n, strings.TrimSuffix(under, "."), "write key: value lines", "is no mapping")
		return
	}
	for _, v := range values {
		key := strings.Trim(v.Key.String(), `"' `)
		field, ok := fieldOf(into, key)
		if !ok {
			p.add(v.Key, under+key, known(into, key), "unknown key")
			continue
		}
		p.at[under+key] = v.Key.GetToken().Position.Line
		p.value(v.Value, field, under+key)
	}
}

func (p *configParser) value(n ast.Node, field reflect.Value, key string) {
	switch {
	case n == nil || n.Type() == ast.NullType: // "key:" alone means the default
	case n.Type() == ast.AliasType || n.Type() == ast.AnchorType || n.Type() == ast.MergeKeyType:
		p.add(n, key, "write the value out", "anchors and aliases are not read here")
	case field.Kind() == reflect.Struct:
		p.mapping(n, field, key+".")
	case field.Kind() == reflect.Slice:
		p.list(n, field, key)
	default:
		p.scalar(n, field, key)
	}
}

func (p *configParser) list(n ast.Node, field reflect.Value, key string) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		p.add(n, key, "write it as a list: [a, b]", "is no list")
		return
	}
	all := reflect.MakeSlice(field.Type(), len(seq.Values), len(seq.Values))
	for i, v := range seq.Values {
		one := fmt.Sprintf("%s[%d]", key, i)
		if t := v.GetToken(); t != nil && t.Position != nil {
			p.at[one] = t.Position.Line
		}
		p.scalar(v, all.Index(i), one)
	}
	field.Set(all)
}

func (p *configParser) scalar(n ast.Node, field reflect.Value, key string) {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode:
		p.add(n, key, "write "+kindWord(field), "is not one value")
		return
	}
	// The library turns numbers into text; a name that looks like a number is
	// fine, but a bool where text belongs is a mistake.
	if field.Kind() == reflect.String && n.Type() == ast.BoolType {
		p.add(n, key, "put it in quotes if it is meant", "is true or false, not a text")
		return
	}
	if err := yaml.NodeToValue(n, field.Addr().Interface()); err != nil {
		p.add(n, key, "write "+kindWord(field), "%q does not fit", strings.TrimSpace(n.String()))
	}
}

func kindWord(v reflect.Value) string {
	switch {
	case v.Type().PkgPath() == "time":
		return "a time such as 5m or 1h30m"
	case v.Kind() == reflect.Bool:
		return "true or false"
	case v.CanUint():
		return fmt.Sprintf("a whole number, %d at most", ^uint64(0)>>(64-v.Type().Bits()))
	}
	return "a text"
}

// fieldOf finds the field a key names.
func fieldOf(v reflect.Value, key string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("yaml") == key {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// known names the key that was perhaps meant, else all there are.
func known(v reflect.Value, key string) string {
	var all []string
	for i := range v.NumField() {
		all = append(all, v.Type().Field(i).Tag.Get("yaml"))
	}
	best, least := "", 3
	for _, k := range all {
		if d := distance(key, k); d < least {
			best, least = k, d
		}
	}
	if best != "" {
		return "did you mean " + best + "?"
	}
	return "there is " + strings.Join(all, ", ")
}

// distance counts the single letters to change, add or drop from a to b.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
