package tenant

import (
	"cmp"
	"slices"
)

// Finding is what one look at the DNS, or at a machine, came to.
type Finding uint8

const (
	FindingNone  Finding = iota // it could not be asked: says nothing, and unsays nothing
	FindingRight                // it is as it must be
	FindingWrong
)

var findingNames = map[Finding]string{FindingNone: "unknown", FindingRight: "right", FindingWrong: "wrong"}

func (f Finding) String() string { return findingNames[f] }

// Found records what a node saw of sources and sender domains since it last said
// so. It is a fact and never refused for what it says: what is not known any
// more is passed over, and what could not be asked leaves what was known.
type Found struct {
	Node    NodeID
	Sources []SourceFinding
	Domains []DomainFinding
}

// SourceFinding is what a node saw of a source.
type SourceFinding struct {
	Source  SourceID
	Plumbed Finding // the address is on its machine; counts from that node only
	Names   Finding // PTR, EHLO name and its addresses agree
	Text    string  // what is wrong with the names; "" else
}

// DomainFinding is what a node saw of a sender domain's SPF. A source in neither
// list could not be judged.
type DomainFinding struct {
	Domain        string
	Passes, Lacks []SourceID // ascending, apart
	Text          string     // why it lacks; "" else
}

func (Found) op()           {}
func (Found) since() uint32 { return readyVersion }

// Bounds of one Found and of what is kept of it.
const (
	MaxFound     = 256      // sources and domains of one command
	MaxFoundText = maxWords // octets of a text
	maxExits     = 256      // of one domain; of more, the first ones count
)

// condition is what nodes saw of one source, by node.
type condition struct {
	source SourceID
	words  []conditionWord
}

type conditionWord struct {
	node           NodeID
	plumbed, names Finding
	text           string
}

// outlook is what nodes saw of one sender domain, by node.
type outlook struct {
	domain string
	words  []outlookWord
}

type outlookWord struct {
	node          NodeID
	passes, lacks []SourceID
	text          string
}

func (d *draft) found(c Found) error {
	if len(c.Sources)+len(c.Domains) > MaxFound {
		return refuse("more than %d findings in one command", MaxFound)
	}
	news := d.Unsaid(c)
	for _, x := range news.Sources {
		next := &condition{source: x.Source}
		if old := d.fitness.get(x.Source); old != nil {
			next.words = slices.Clone(old.words)
		}
		w := conditionWord{node: c.Node, plumbed: x.Plumbed, names: x.Names, text: x.Text}
		i, said := slices.BinarySearchFunc(next.words, c.Node, func(w conditionWord, n NodeID) int { return cmp.Compare(w.node, n) })
		if said {
			next.words[i] = w
		} else {
			next.words = slices.Insert(next.words, i, w)
		}
		put(d, &d.fitness, x.Source, next)
	}
	for _, x := range news.Domains {
		next := &outlook{domain: x.Domain}
		if old := d.outlooks.get(x.Domain); old != nil {
			next.words = slices.Clone(old.words)
		}
		w := outlookWord{node: c.Node, passes: x.Passes, lacks: x.Lacks, text: x.Text}
		i, said := slices.BinarySearchFunc(next.words, c.Node, func(w outlookWord, n NodeID) int { return cmp.Compare(w.node, n) })
		if said {
			next.words[i] = w
		} else {
			next.words = slices.Insert(next.words, i, w)
		}
		put(d, &d.outlooks, x.Domain, next)
	}
	d.names = true
	return nil
}

// Unsaid is what of c the state does not know yet, each finding as it would be
// kept: what could not be asked now is as it was. Nodes propose no more than
// this.
func (s *State) Unsaid(c Found) (news Found) {
	news.Node = c.Node
	if !s.nodes.has(c.Node) {
		return news
	}
	for _, x := range c.Sources {
		src := s.sources.get(x.Source)
		if src == nil || x.Plumbed > FindingWrong || x.Names > FindingWrong || !validText(x.Text, MaxFoundText) {
			continue
		}
		if src.Node != c.Node {
			x.Plumbed = FindingNone
		}
		var was conditionWord
		if old := s.fitness.get(x.Source); old != nil {
			was = old.word(c.Node)
		}
		if x.Plumbed == FindingNone {
			x.Plumbed = was.plumbed
		}
		switch x.Names {
		case FindingNone:
			x.Names, x.Text = was.names, was.text
		case FindingRight:
			x.Text = ""
		}
		if is := (conditionWord{c.Node, x.Plumbed, x.Names, x.Text}); is != was && (is != conditionWord{node: c.Node}) {
			news.Sources = append(news.Sources, x)
		}
	}
	for _, x := range c.Domains {
		of := s.domains.get(x.Domain)
		if of == nil || !validText(x.Text, MaxFoundText) || len(x.Passes)+len(x.Lacks) > maxExits {
			continue
		}
		var was outlookWord
		if old := s.outlooks.get(x.Domain); old != nil {
			was = old.word(c.Node)
		}
		is := s.judgeSPF(of, was, x)
		if len(is.passes)+len(is.lacks) > 0 && (is.text != was.text || !slices.Equal(is.passes, was.passes) || !slices.Equal(is.lacks, was.lacks)) {
			news.Domains = append(news.Domains, DomainFinding{Domain: x.Domain, Passes: is.passes, Lacks: is.lacks, Text: is.text})
		}
	}
	return news
}

// judgeSPF puts what a node says now over what it said before, for the sources
// that the domain's mail may leave from.
func (s *State) judgeSPF(of *Domain, was outlookWord, x DomainFinding) outlookWord {
	is := outlookWord{node: was.node}
	exits := Exits(s, s.tenants.get(of.Tenant))
	for _, e := range exits[:min(len(exits), maxExits)] {
		passes, lacks := slices.Contains(x.Passes, e.ID), slices.Contains(x.Lacks, e.ID)
		if !passes && !lacks {
			passes, lacks = slices.Contains(was.passes, e.ID), slices.Contains(was.lacks, e.ID)
		}
		switch {
		case lacks:
			is.lacks = append(is.lacks, e.ID)
		case passes:
			is.passes = append(is.passes, e.ID)
		}
	}
	slices.Sort(is.passes)
	slices.Sort(is.lacks)
	switch {
	case len(is.lacks) == 0:
	case x.Text == "":
		is.text = was.text
	default:
		is.text = x.Text
	}
	return is
}

func (x *condition) word(n NodeID) conditionWord {
	for _, w := range x.words {
		if w.node == n {
			return w
		}
	}
	return conditionWord{node: n}
}

func (x *outlook) word(n NodeID) outlookWord {
	for _, w := range x.words {
		if w.node == n {
			return w
		}
	}
	return outlookWord{node: n}
}

// forgetFound drops what was found of a source that is gone, or by a node that
// is; 0 is none.
func (d *draft) forgetFound(src SourceID, n NodeID) {
	d.forgetBounces(src, n)
	if src != 0 {
		remove(d, &d.fitness, src)
	}
	if n != 0 {
		for _, x := range slices.Clone(d.fitness.vals) {
			kept := without(x.words, func(w conditionWord) bool { return w.node == n })
			switch {
			case len(kept) == 0:
				remove(d, &d.fitness, x.source)
			case len(kept) < len(x.words):
				put(d, &d.fitness, x.source, &condition{source: x.source, words: kept})
			}
		}
	}
	for _, x := range slices.Clone(d.outlooks.vals) {
		var kept []outlookWord
		changed := false
		for _, w := range x.words {
			is := outlookWord{node: w.node, text: w.text}
			is.passes = without(w.passes, func(y SourceID) bool { return y == src })
			if is.lacks = without(w.lacks, func(y SourceID) bool { return y == src }); len(is.lacks) == 0 {
				is.text = ""
			}
			left := len(is.passes) + len(is.lacks)
			if changed = changed || w.node == n || left < len(w.passes)+len(w.lacks); w.node != n && left > 0 {
				kept = append(kept, is)
			}
		}
		switch {
		case len(kept) == 0:
			remove(d, &d.outlooks, x.domain)
		case changed:
			put(d, &d.outlooks, x.domain, &outlook{domain: x.domain, words: kept})
		}
	}
}
