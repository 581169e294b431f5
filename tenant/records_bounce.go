package tenant

import (
	"errors"
	"fmt"
	"strings"
)

func (c *coder) foundBounces(o *FoundBounces) {
	number(c, &o.Node)
	list(c, &o.Hosts, MaxIntakeHosts, func(c *coder, h *string) { c.str(h, maxHost) })
	list(c, &o.Paths, MaxFound, func(c *coder, x *BounceFinding) {
		c.str(&x.Domain, maxHost)
		c.str(&x.Name, maxHost)
		number(c, &x.MX)
		list(c, &x.Passes, maxExits, number[SourceID])
		list(c, &x.Lacks, maxExits, number[SourceID])
		c.str(&x.Text, MaxFoundText)
	})
}

func (*bouncePath) kind() recordKind { return kindBounce }

func (x *bouncePath) code(c *coder) {
	c.str(&x.domain, maxHost)
	c.str(&x.name, maxHost)
	list(c, &x.words, maxNodes, func(c *coder, w *bounceWord) {
		number(c, &w.node)
		number(c, &w.mx)
		list(c, &w.passes, maxExits, number[SourceID])
		list(c, &w.lacks, maxExits, number[SourceID])
		c.str(&w.text, MaxFoundText)
	})
}

func (*intakeHosts) kind() recordKind { return kindIntake }

func (x *intakeHosts) code(c *coder) {
	number(c, &x.node)
	list(c, &x.hosts, MaxIntakeHosts, func(c *coder, h *string) { c.str(h, maxHost) })
}

// checkBounces judges bounce subdomains and the names of intakes.
func (s *State) checkBounces() error {
	for i, x := range s.bounces.vals {
		if x.domain != s.bounces.keys[i] || !s.domains.has(x.domain) || !ValidHost(x.name) || !strings.HasSuffix(x.name, "."+x.domain) {
			return fmt.Errorf("bounce subdomain of %q", x.domain)
		}
		for k, w := range x.words {
			if !s.nodes.has(w.node) || k > 0 && x.words[k-1].node >= w.node {
				return fmt.Errorf("bounce subdomain of %q: word of node %d", x.domain, w.node)
			}
			if err := s.checkBounceWord(w); err != nil {
				return fmt.Errorf("bounce subdomain of %q: node %d: %w", x.domain, w.node, err)
			}
		}
	}
	for i, x := range s.intakes.vals {
		if x.node != s.intakes.keys[i] || !s.nodes.has(x.node) || len(x.hosts) == 0 || !validHosts(x.hosts) {
			return fmt.Errorf("intake of node %d", x.node)
		}
	}
	return nil
}

func (s *State) checkBounceWord(w bounceWord) error {
	if w.mx != FindingRight && w.mx != FindingWrong || !validText(w.text, MaxFoundText) {
		return errors.New("its MX or text")
	}
	x := w.outlookWord
	x.text = ""
	return s.checkSPF(x)
}
