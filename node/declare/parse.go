package declare

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Place is where something stands in a file.
type Place struct {
	File      string `json:"file"`
	Line, Col int
}

func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// Fault is one thing wrong in a file.
type Fault struct {
	Place
	Key  string // "tenants[0].hostname"
	Text string
	Mend string
}

func (f Fault) String() string {
	text := f.Place.String() + ": "
	if f.Key != "" {
		text += f.Key + ": "
	}
	text += f.Text
	if f.Mend != "" {
		text += "; " + f.Mend
	}
	return text
}

// size is a number of octets: 500MB, 90KB, 1500.
type size uint64

// maxDepth bounds nesting: no declaration is so deep.
const maxDepth = 32

// maxFaults are told at most of one file.
const maxFaults = 50

// parser walks the tree itself: the library's strict decoding ends at the first
// fault, and forgets where things stood.
type fileParser struct {
	name   string
	at     map[string]Place
	faults []Fault
}

// parse reads text into a *document.
func parse(name string, text []byte) (*document, map[string]Place, []Fault) {
	p, d := &fileParser{name: name, at: map[string]Place{}}, &document{}
	if tooDeep(text) {
		return d, p.at, []Fault{{Place: Place{File: name}, Text: "nested too deeply"}}
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		p.broken("", err)
		return d, p.at, p.faults
	}
	var root ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case root == nil:
			root = doc.Body
		default:
			p.add(doc.Body, "", "keep one document in a file", "a second document")
		}
	}
	if root != nil {
		p.mapping(root, reflect.ValueOf(d).Elem(), "", 0)
	}
	return d, p.at, p.faults
}

// tooDeep looks for what would make the library go deep before it is walked:
// brackets within brackets, and very long indents.
func tooDeep(text []byte) bool {
	depth := 0
	for line := range strings.Lines(string(text)) {
		if len(line)-len(strings.TrimLeft(line, " -")) > 4*maxDepth {
			return true
		}
		for _, c := range line {
			switch c {
			case '[', '{':
				depth++
			case ']', '}':
				depth = max(depth-1, 0)
			}
		}
		if depth > 4*maxDepth {
			return true
		}
	}
	return false
}

func (p *fileParser) place(n ast.Node) Place {
	at := Place{File: p.name}
	if n == nil {
		return at
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		at.Line, at.Col = t.Position.Line, t.Position.Column
	}
	return at
}

func (p *fileParser) add(n ast.Node, key, mend, format string, args ...any) {
	if len(p.faults) < maxFaults {
		p.faults = append(p.faults, Fault{Place: p.place(n), Key: key, Text: fmt.Sprintf(format, args...), Mend: mend})
	}
}

// broken reports an error of the library with the place it tells.
func (p *fileParser) broken(key string, err error) {
	f := Fault{Place: Place{File: p.name}, Key: key, Text: err.Error()}
	var known yaml.Error
	if errors.As(err, &known) {
		f.Text = known.GetMessage()
		if t := known.GetToken(); t != nil && t.Position != nil {
			f.Line, f.Col = t.Position.Line, t.Position.Column
		}
	}
	p.faults = append(p.faults, f)
}

// pairs gives the values of a mapping; ok is false when n is none.
func (p *fileParser) pairs(n ast.Node, at string) (values []*ast.MappingValueNode, ok bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	case *ast.NullNode, *ast.CommentGroupNode:
		return nil, true
	}
	p.add(n, at, "write key: value lines", "is no mapping")
	return nil, false
}

func keyOf(v *ast.MappingValueNode) string { return strings.Trim(v.Key.String(), `"' `) }

func (p *fileParser) mapping(n ast.Node, into reflect.Value, at string, depth int) {
	values, _ := p.pairs(n, at)
	seen := map[string]bool{}
	for _, v := range values {
		key := keyOf(v)
		where := strings.TrimPrefix(at+"."+key, ".")
		field, ok := fieldOf(into, key)
		switch {
		case !ok:
			p.add(v.Key, where, known(into, key), "unknown key")
			continue
		case seen[key]:
			p.add(v.Key, where, "keep one", "is there twice")
			continue
		}
		seen[key] = true
		p.at[where] = p.place(v.Key)
		p.value(v.Value, field, where, depth+1)
	}
}

func (p *fileParser) value(n ast.Node, field reflect.Value, at string, depth int) {
	switch {
	case depth > maxDepth:
		p.add(n, at, "", "nested too deeply")
	case n == nil || n.Type() == ast.NullType: // "key:" alone says nothing
	case n.Type() == ast.AliasType || n.Type() == ast.AnchorType || n.Type() == ast.MergeKeyType:
		p.add(n, at, "write the value out, or name a plan", "anchors and aliases are not read here")
	case field.Kind() == reflect.Pointer:
		if field.IsNil() {
			field.Set(reflect.New(field.Type().Elem()))
		}
		p.value(n, field.Elem(), at, depth)
	case field.Kind() == reflect.Struct:
		p.mapping(n, field, at, depth)
	case field.Kind() == reflect.Map:
		p.table(n, field, at, depth)
	case field.Kind() == reflect.Slice:
		p.list(n, field, at, depth)
	default:
		p.scalar(n, field, at)
	}
}

// table reads a mapping whose keys are names.
func (p *fileParser) table(n ast.Node, field reflect.Value, at string, depth int) {
	values, _ := p.pairs(n, at)
	field.Set(reflect.MakeMap(field.Type()))
	for _, v := range values {
		key := keyOf(v)
		where := at + "." + key
		if field.MapIndex(reflect.ValueOf(key)).IsValid() {
			p.add(v.Key, where, "keep one", "is there twice")
			continue
		}
		p.at[where] = p.place(v.Key)
		one := reflect.New(field.Type().Elem()).Elem()
		p.value(v.Value, one, where, depth+1)
		field.SetMapIndex(reflect.ValueOf(key), one)
	}
}

func (p *fileParser) list(n ast.Node, field reflect.Value, at string, depth int) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		p.add(n, at, "write it as a list: lines with - before, or [a, b]", "is no list")
		return
	}
	all := reflect.MakeSlice(field.Type(), len(seq.Values), len(seq.Values))
	for i, v := range seq.Values {
		one := fmt.Sprintf("%s[%d]", at, i)
		p.at[one] = p.place(first(v))
		p.value(v, all.Index(i), one, depth+1)
	}
	field.Set(all)
}

// first is the first thing of a mapping: its own token is a colon.
func first(n ast.Node) ast.Node {
	switch m := n.(type) {
	case *ast.MappingNode:
		if len(m.Values) > 0 {
			return m.Values[0].Key
		}
	case *ast.MappingValueNode:
		return m.Key
	}
	return n
}

func (p *fileParser) scalar(n ast.Node, field reflect.Value, at string) {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode:
		p.add(n, at, "write "+kindWord(field), "is not one value")
		return
	}
	text, ok := textOf(n)
	bad := !ok
	if ok {
		switch field.Interface().(type) {
		case size:
			v, err := parseSize(text)
			field.SetUint(uint64(v))
			bad = err != nil
		case time.Duration:
			d, err := time.ParseDuration(text)
			field.SetInt(int64(d))
			bad = err != nil || d < 0
		case bool:
			b, isBool := n.(*ast.BoolNode)
			bad = !isBool
			field.SetBool(isBool && b.Value) // YAML has true, True and TRUE
		case string:
			// A name may look like a number, but on and no are what they say.
			field.SetString(text)
		default:
			v, err := strconv.ParseUint(strings.ReplaceAll(text, "_", ""), 10, 62)
			bad = err != nil || field.OverflowUint(v)
			field.SetUint(v)
		}
	}
	if bad {
		p.add(n, at, "write "+kindWord(field), "%q does not fit", clip(text))
	}
}

// textOf is a scalar as it was written.
func textOf(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func kindWord(v reflect.Value) string {
	switch v.Interface().(type) {
	case size:
		return "a size such as 500MB"
	case time.Duration:
		return "a time such as 2s"
	case bool:
		return "true or false"
	case string:
		return "a text"
	}
	return "a whole number"
}

func parseSize(text string) (size, error) {
	number := strings.TrimRight(text, "KMGTBkmgtb ")
	power, ok := map[string]uint64{"": 1, "B": 1, "K": 1e3, "KB": 1e3, "M": 1e6, "MB": 1e6, "G": 1e9, "GB": 1e9, "T": 1e12, "TB": 1e12}[strings.ToUpper(strings.TrimSpace(text[len(number):]))]
	whole, fraction, _ := strings.Cut(number, ".")
	if len(fraction) > 6 {
		ok = false
	}
	v, err := strconv.ParseUint(strings.ReplaceAll(whole, "_", ""), 10, 61)
	f, ferr := uint64(0), error(nil)
	if fraction != "" {
		f, ferr = strconv.ParseUint((fraction + "000000")[:6], 10, 32)
	}
	if err != nil || ferr != nil || !ok || v > 1<<60/power || f*power%1e6 != 0 {
		return 0, errors.New("no size")
	}
	return size(v*power + f*power/1e6), nil
}

// fieldOf finds the field a key names.
func fieldOf(v reflect.Value, key string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if v.Type().Field(i).Anonymous {
			if f, ok := fieldOf(v.Field(i), key); ok {
				return f, true
			}
		} else if v.Type().Field(i).Tag.Get("yaml") == key {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// keysOf are all keys of a mapping.
func keysOf(v reflect.Value) (all []string) {
	for i := range v.NumField() {
		if v.Type().Field(i).Anonymous {
			all = append(all, keysOf(v.Field(i))...)
		} else {
			all = append(all, v.Type().Field(i).Tag.Get("yaml"))
		}
	}
	return all
}

// known says which keys there are, those that look like key first.
func known(v reflect.Value, key string) string {
	all := keysOf(v)
	like := slices.DeleteFunc(slices.Clone(all), func(k string) bool {
		return len(key) < 3 || !strings.HasPrefix(k, key[:3]) && !strings.Contains(k, key) && !strings.Contains(key, k)
	})
	if len(like) > 0 {
		return "did you mean " + strings.Join(like, " or ") + "?"
	}
	return "there is " + strings.Join(all, ", ")
}

func clip(s string) string {
	if len(s) > 80 {
		s = s[:80] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
