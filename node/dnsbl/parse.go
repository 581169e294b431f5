package dnsbl

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"postern/tenant"
)

// zonesParser walks the tree itself: the library's strict decoding ends at the
// first fault.
type zonesParser struct{ faults []Fault }

// fields are what a mapping may hold: each reads one value.
type fields map[string]func(ast.Node, string)

func (p *zonesParser) file(text []byte) *Book {
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		p.broken(err)
		return nil
	}
	b := &Book{Rule: tenant.DefaultListingRule()}
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
		p.mapping(root, "", fields{
			"groups": func(n ast.Node, at string) {
				p.list(n, at, maxGroups, func(n ast.Node, at string) { p.group(b, n, at) })
			},
			"rule": func(n ast.Node, at string) { p.rule(&b.Rule, n, at) },
			"zones": func(n ast.Node, at string) {
				p.list(n, at, maxZones, func(n ast.Node, at string) { p.zone(b, n, at) })
			},
		})
	}
	if len(b.Zones) == 0 && len(p.faults) == 0 {
		p.faults = append(p.faults, Fault{Key: "zones", Text: "no zone at all", Mend: "start from what postern zones prints"})
	}
	return b
}

func (p *zonesParser) group(b *Book, n ast.Node, at string) {
	var g tenant.ZoneGroup
	before := len(p.faults)
	ok := p.mapping(n, at, fields{
		"name": p.text(&g.Name),
		"cap":  func(n ast.Node, at string) { g.Cap = uint16(p.number(n, at, 0, tenant.MaxWeight)) },
	})
	switch {
	case !ok || len(p.faults) > before:
	case g.Name == "":
		p.add(n, at, "give it one", "no name")
	case slices.ContainsFunc(b.Groups, func(o tenant.ZoneGroup) bool { return o.Name == g.Name }):
		p.add(n, at, "", "a second group %q", g.Name)
	default:
		b.Groups = append(b.Groups, g)
	}
}

// rule reads how many nodes, rounds and points a verdict needs.
func (p *zonesParser) rule(r *tenant.ListingRule, n ast.Node, at string) {
	count := func(into *int, least, most int) func(ast.Node, string) {
		return func(n ast.Node, at string) { *into = p.number(n, at, least, most) }
	}
	span := func(into *time.Duration, least time.Duration) func(ast.Node, string) {
		return func(n ast.Node, at string) { *into = p.between(n, at, least, 30*24*time.Hour) }
	}
	p.mapping(n, at, fields{
		"nodes": count(&r.Nodes, 1, 64), "rounds": count(&r.Rounds, 1, 100), "alone": count(&r.Alone, 1, 100),
		"apart": span(&r.Apart, time.Second), "fresh": span(&r.Fresh, time.Minute),
		"move": count(&r.Move, 1, 1000), "warn": count(&r.Warn, 1, 1000), "evidence": count(&r.Evidence, 0, 1000),
		"world_least": count(&r.WorldLeast, 2, 4096), "world_percent": count(&r.WorldPercent, 0, 100),
		"world_window": span(&r.WorldWindow, time.Minute), "calm": span(&r.Calm, time.Minute),
	})
}

func (p *zonesParser) zone(b *Book, n ast.Node, at string) {
	z := Zone{Zone: tenant.Zone{Rate: 20, Test: "test"}}
	before := len(p.faults)
	ok := p.mapping(n, at, fields{
		"name": func(n ast.Node, at string) {
			p.text(&z.Name)(n, at)
			if z.Name = canonical(z.Name); !isName(z.Name) {
				p.add(n, at, "write a domain such as zen.spamhaus.org", "no domain name")
			}
		},
		"asks": func(n ast.Node, at string) {
			p.list(n, at, 3, func(n ast.Node, at string) { z.Spaces = append(z.Spaces, p.space(n, at)) })
		},
		"heavy": p.flag(&z.Heavy),
		"every": func(n ast.Node, at string) { z.Every = p.span(n, at) },
		"rate":  func(n ast.Node, at string) { z.Rate = p.number(n, at, 1, 1000) },
		"group": func(n ast.Node, at string) {
			p.text(&z.Group)(n, at)
			if !slices.ContainsFunc(b.Groups, func(g tenant.ZoneGroup) bool { return g.Name == z.Group }) {
				p.add(n, at, "name it under groups, above the zones", "no group %q", z.Group)
			}
		},
		"bits": p.flag(&z.Bits),
		"test": func(n ast.Node, at string) {
			p.text(&z.Test)(n, at)
			if z.Test = canonical(z.Test); !isName(z.Test) {
				p.add(n, at, "write a domain", "no domain name")
			}
		},
		"delist":         p.text(&z.Delist),
		"key_file":       p.text(&z.KeyFile),
		"key_credential": p.text(&z.KeyCredential),
		"codes": func(n ast.Node, at string) {
			p.list(n, at, maxCodes, func(n ast.Node, at string) { p.code(&z, n, at) })
		},
	})
	if !ok || len(p.faults) > before {
		return
	}
	p.whole(b, &z, n, at)
	b.Zones = append(b.Zones, z)
}

// whole finds what is missing in a zone, or does not go together.
func (p *zonesParser) whole(b *Book, z *Zone, n ast.Node, at string) {
	switch {
	case z.Name == "":
		p.add(n, at, "give it one", "a zone without a name")
	case slices.ContainsFunc(b.Zones, func(o Zone) bool { return o.Name == z.Name }):
		p.add(n, at, "a zone stands here once", "a second zone %s", z.Name)
	case len(z.Spaces) == 0:
		p.add(n, at, "write asks: [ipv4], or ipv6 or domain", "%s: it is not said what the zone may be asked", z.Name)
	case z.Asks(tenant.SpaceDomain) && len(z.Spaces) > 1:
		p.add(n, at, "make two zones of it", "%s: addresses and domains have different codes", z.Name)
	case z.Every == 0:
		p.add(n, at, "write every: 10m", "%s: it is not said how often it is asked", z.Name)
	case len(z.Codes) == 0:
		p.add(n, at, "write what its answers mean", "%s: no codes", z.Name)
	case z.KeyFile != "" && z.KeyCredential != "":
		p.add(n, at, "keep one", "%s: key_file and key_credential", z.Name)
	case strings.ContainsAny(z.KeyCredential, "/\x00") || z.KeyCredential == ".." || z.KeyCredential == ".":
		p.add(n, at, "write the name only", "%s: key_credential is no name of a credential", z.Name)
	}
}

func (p *zonesParser) code(z *Zone, n ast.Node, at string) {
	c := tenant.ZoneCode{Policy: tenant.PolicyMove}
	policy, weighed, before := "", false, len(p.faults)
	ok := p.mapping(n, at, fields{
		"code": func(n ast.Node, at string) {
			var text string
			p.text(&text)(n, at)
			var err error
			if c.First, c.Last, err = parseCode(text); err != nil {
				p.add(n, at, "write 127.0.0.2, or 127.0.0.4-7", "%q: %v", text, err)
			}
		},
		"means":  p.text(&c.Means),
		"weight": func(n ast.Node, at string) { c.Weight, weighed = uint16(p.number(n, at, 0, tenant.MaxWeight)), true },
		"policy": func(n ast.Node, at string) {
			p.text(&policy)(n, at)
			var err error
			if c.Policy, err = tenant.ParsePolicy(policy); err != nil {
				p.add(n, at, "", "%v", err)
			}
		},
	})
	switch {
	case !ok || len(p.faults) > before:
	case !c.First.IsValid():
		p.add(n, at, "write code: 127.0.0.2", "no code")
	case c.Means == "":
		p.add(n, at, "say it in a few words", "the code has no meaning")
	case c.Policy == tenant.PolicyMove && !weighed:
		p.add(n, at, "write weight: 0 to 100, or another policy", "no weight")
	case c.Policy != tenant.PolicyMove && c.Weight > 0:
		p.add(n, at, "only policy move has a weight", "a weight that never counts")
	default:
		if o := slices.IndexFunc(z.Codes, func(o tenant.ZoneCode) bool {
			return c.First.Compare(o.Last) <= 0 && o.First.Compare(c.Last) <= 0
		}); o >= 0 {
			p.add(n, at, "a code has one meaning", "%s is in two codes", c.First)
			return
		}
		z.Codes = append(z.Codes, c)
	}
}

func (p *zonesParser) space(n ast.Node, at string) tenant.Space {
	var name string
	p.text(&name)(n, at)
	for _, s := range []tenant.Space{tenant.SpaceIPv4, tenant.SpaceIPv6, tenant.SpaceDomain} {
		if s.String() == name {
			return s
		}
	}
	p.add(n, at, "there is ipv4, ipv6 and domain", "a zone cannot be asked for %q", name)
	return 0
}

func (p *zonesParser) add(n ast.Node, key, mend, format string, args ...any) {
	f := Fault{Key: key, Text: fmt.Sprintf(format, args...), Mend: mend}
	if t := n.GetToken(); t != nil && t.Position != nil {
		f.Line = t.Position.Line
	}
	p.faults = append(p.faults, f)
}

// broken reports an error of the library with the line it tells.
func (p *zonesParser) broken(err error) {
	f := Fault{Text: err.Error()}
	var known yaml.Error
	if errors.As(err, &known) {
		f.Text = known.GetMessage()
		if t := known.GetToken(); t != nil && t.Position != nil {
			f.Line = t.Position.Line
		}
	}
	p.faults = append(p.faults, f)
}

// mapping reads key: value lines; false when n holds something else.
func (p *zonesParser) mapping(n ast.Node, at string, known fields) bool {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		p.add(n, at, "write key: value lines", "is no mapping")
		return false
	}
	ok := true
	for _, v := range values {
		key := strings.Trim(v.Key.String(), `"' `)
		read := known[key]
		if read == nil {
			var all []string
			for k := range known {
				all = append(all, k)
			}
			slices.Sort(all)
			p.add(v.Key, under(at, key), "there is "+strings.Join(all, ", "), "unknown key")
			ok = false
			continue
		}
		if v.Value == nil || v.Value.Type() == ast.NullType {
			p.add(v.Key, under(at, key), "write one, or leave the key out", "no value")
			ok = false
			continue
		}
		read(v.Value, under(at, key))
	}
	return ok
}

func under(at, key string) string {
	if at == "" {
		return key
	}
	return at + "." + key
}

func (p *zonesParser) list(n ast.Node, at string, most int, one func(ast.Node, string)) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		p.add(n, at, "write it as a list", "is no list")
		return
	}
	if len(seq.Values) > most {
		p.add(n, at, "", "%d entries; %d at most", len(seq.Values), most)
		return
	}
	for i, v := range seq.Values {
		one(v, at+"["+strconv.Itoa(i)+"]")
	}
}

// scalar gives the text of a single value. Anchors and aliases are none: the
// file is read by people, who want to see each zone whole.
func (p *zonesParser) scalar(n ast.Node, at string) (string, bool) {
	switch n.(type) {
	case *ast.StringNode, *ast.LiteralNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
	default:
		p.add(n, at, "write one value", "is not one value")
		return "", false
	}
	var text string
	if s, ok := n.(*ast.StringNode); ok {
		text = s.Value
	} else if s, ok := n.(*ast.LiteralNode); ok {
		text = s.Value.Value
	} else {
		text = n.GetToken().Value
	}
	if len(text) > maxText || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		p.add(n, at, "", "too long (%d at most), or with control characters", maxText)
		return "", false
	}
	return text, true
}

func (p *zonesParser) text(into *string) func(ast.Node, string) {
	return func(n ast.Node, at string) {
		if text, ok := p.scalar(n, at); ok {
			*into = text
		}
	}
}

func (p *zonesParser) flag(into *bool) func(ast.Node, string) {
	return func(n ast.Node, at string) {
		b, ok := n.(*ast.BoolNode)
		if !ok {
			p.add(n, at, "write true or false", "is neither true nor false")
			return
		}
		*into = b.Value
	}
}

func (p *zonesParser) number(n ast.Node, at string, least, most int) int {
	text, ok := p.scalar(n, at)
	if !ok {
		return least
	}
	v, err := strconv.Atoi(text)
	if err != nil || v < least || v > most {
		p.add(n, at, fmt.Sprintf("write %d to %d", least, most), "%q does not fit", text)
		return least
	}
	return v
}

func (p *zonesParser) span(n ast.Node, at string) time.Duration {
	return p.between(n, at, time.Minute, 24*time.Hour)
}

func (p *zonesParser) between(n ast.Node, at string, least, most time.Duration) time.Duration {
	text, ok := p.scalar(n, at)
	if !ok {
		return least
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < least || d > most {
		p.add(n, at, fmt.Sprintf("write %s to %s", whole(least), whole(most)), "%q does not fit", text)
		return least
	}
	return d
}

// whole writes a length of time as a person would: 24h, not 24h0m0s.
func whole(d time.Duration) string {
	return strings.TrimSuffix(strings.TrimSuffix(d.String(), "0s"), "0m")
}
