package tenant

import (
	"errors"
	"fmt"
	"slices"
)

func (c *coder) found(o *Found) {
	number(c, &o.Node)
	list(c, &o.Sources, MaxFound, func(c *coder, x *SourceFinding) {
		number(c, &x.Source)
		number(c, &x.Plumbed)
		number(c, &x.Names)
		c.str(&x.Text, MaxFoundText)
	})
	list(c, &o.Domains, MaxFound, func(c *coder, x *DomainFinding) {
		c.str(&x.Domain, maxHost)
		list(c, &x.Passes, maxExits, number[SourceID])
		list(c, &x.Lacks, maxExits, number[SourceID])
		c.str(&x.Text, MaxFoundText)
	})
}

func (*condition) kind() recordKind { return kindCondition }

func (x *condition) code(c *coder) {
	number(c, &x.source)
	list(c, &x.words, maxNodes, func(c *coder, w *conditionWord) {
		number(c, &w.node)
		number(c, &w.plumbed)
		number(c, &w.names)
		c.str(&w.text, MaxFoundText)
	})
}

func (*outlook) kind() recordKind { return kindOutlook }

func (x *outlook) code(c *coder) {
	c.str(&x.domain, maxHost)
	list(c, &x.words, maxNodes, func(c *coder, w *outlookWord) {
		number(c, &w.node)
		list(c, &w.passes, maxExits, number[SourceID])
		list(c, &w.lacks, maxExits, number[SourceID])
		c.str(&w.text, MaxFoundText)
	})
}

// checkFound judges what nodes found.
func (s *State) checkFound() error {
	for i, x := range s.fitness.vals {
		if x.source != s.fitness.keys[i] || !s.sources.has(x.source) || len(x.words) == 0 {
			return fmt.Errorf("condition of source %d", x.source)
		}
		for k, w := range x.words {
			if !s.nodes.has(w.node) || k > 0 && x.words[k-1].node >= w.node || w.plumbed > FindingWrong || w.names > FindingWrong || w.plumbed|w.names == 0 ||
				!validText(w.text, MaxFoundText) || w.text != "" && w.names != FindingWrong {
				return fmt.Errorf("condition of source %d: word of node %d", x.source, w.node)
			}
		}
	}
	for i, x := range s.outlooks.vals {
		if x.domain != s.outlooks.keys[i] || !s.domains.has(x.domain) || len(x.words) == 0 {
			return fmt.Errorf("outlook of domain %q", x.domain)
		}
		for k, w := range x.words {
			if !s.nodes.has(w.node) || k > 0 && x.words[k-1].node >= w.node {
				return fmt.Errorf("outlook of domain %q: word of node %d", x.domain, w.node)
			}
			if err := s.checkSPF(w); err != nil {
				return fmt.Errorf("outlook of domain %q: node %d: %w", x.domain, w.node, err)
			}
		}
	}
	return nil
}

func (s *State) checkSPF(w outlookWord) error {
	all := slices.Concat(w.passes, w.lacks)
	ascends := func(ids []SourceID) bool {
		for i := range ids {
			if i > 0 && ids[i-1] >= ids[i] {
				return false
			}
		}
		return true
	}
	if len(all) == 0 || len(all) > maxExits || !ascends(w.passes) || !ascends(w.lacks) {
		return errors.New("its lists")
	}
	if slices.Sort(all); !ascends(all) || slices.ContainsFunc(all, func(id SourceID) bool { return !s.sources.has(id) }) {
		return errors.New("a source is in both lists, or is none")
	}
	if !validText(w.text, MaxFoundText) || w.text != "" && len(w.lacks) == 0 {
		return errors.New("its text")
	}
	return nil
}
