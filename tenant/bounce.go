package tenant

import (
	"cmp"
	"slices"
	"strings"
)

// SetBounce names the subdomain of a sender domain that bounces of its mail come
// back to, or with an empty name none. Its MX has to point to our intake; as
// long as nodes do not see that, mail leaves with the sender's own address.
type SetBounce struct {
	Domain string
	Name   string // below Domain
}

// FoundBounces records what a node saw of such subdomains, and by which names
// its own intake is reached. Like Found it is never refused for what it says.
type FoundBounces struct {
	Node  NodeID
	Hosts []string // ascending; none: this node takes no bounces
	Paths []BounceFinding
}

// BounceFinding is what a node saw of one bounce subdomain, all of it: what
// could not be asked is not told.
type BounceFinding struct {
	Domain, Name  string
	MX            Finding    // bounces come to our intake, and to nobody else
	Passes, Lacks []SourceID // by its SPF; ascending, apart
	Text          string     // what is wrong; "" else
}

func (SetBounce) op()              {}
func (FoundBounces) op()           {}
func (SetBounce) since() uint32    { return bounceVersion }
func (FoundBounces) since() uint32 { return bounceVersion }

// MaxIntakeHosts bounds the names of one node's intake.
const MaxIntakeHosts = 8

// bouncePath is a bounce subdomain, and what nodes saw of it, by node.
type bouncePath struct {
	domain, name string
	words        []bounceWord
}

type bounceWord struct {
	outlookWord
	mx Finding
}

// intakeHosts are the names of one node's intake.
type intakeHosts struct {
	node  NodeID
	hosts []string
}

// BounceName is the subdomain set for a sender domain, or "".
func (s *State) BounceName(domain string) string {
	if x := s.bounces.get(domain); x != nil {
		return x.name
	}
	return ""
}

// IntakeHosts lists the names by which nodes take bounces, ascending, each once.
func (s *State) IntakeHosts() []string {
	var all []string
	for x := range s.intakes.all() {
		all = append(all, x.hosts...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// ReturnDomain is the domain bounces of a sender domain's mail are to come back
// to when it leaves by a source, or "": the sender's own address stays. A path
// is used once a node that is up saw all of it right, and none sees it wrong:
// nothing is lost by the sender's own address, and every bounce by a path that
// nobody answers.
func (s *State) ReturnDomain(domain string, src SourceID) string {
	x := s.bounces.get(domain)
	if x == nil {
		return ""
	}
	right := false
	for _, w := range x.words {
		if !s.alive(w.node) {
			continue
		}
		if _, lacks := slices.BinarySearch(w.lacks, src); lacks || w.mx == FindingWrong {
			return ""
		}
		_, passes := slices.BinarySearch(w.passes, src)
		right = right || passes && w.mx == FindingRight
	}
	if !right || s.domains.has(x.name) || s.ProvedAbove(x.name) != domain {
		return ""
	}
	return x.name
}

// ProvedAbove is the nearest proved domain that a name lies below, or "".
func (s *State) ProvedAbove(name string) string {
	for {
		_, above, ok := strings.Cut(name, ".")
		if !ok {
			return ""
		}
		if s.domains.has(above) {
			return above
		}
		name = above
	}
}

// BounceFault says why a bounce path is not used though a node looked, or "".
func (s *State) BounceFault(domain string) string {
	if x := s.bounces.get(domain); x != nil {
		for _, w := range x.words {
			if w.text != "" && s.alive(w.node) {
				return w.text
			}
		}
	}
	return ""
}

func (d *draft) setBounce(c SetBounce) error {
	of := d.domains.get(c.Domain)
	switch {
	case of == nil:
		return refuse("domain %q is not known", clip(c.Domain))
	case c.Name == "":
		if !d.bounces.has(c.Domain) {
			return refuse("domain %q has no bounce subdomain", c.Domain)
		}
		remove(d, &d.bounces, c.Domain)
		d.names = true
		d.emit(DomainChanged{c.Domain})
		return nil
	case !ValidHost(c.Name) || !strings.HasSuffix(c.Name, "."+c.Domain):
		return refuse("bounce subdomain %q is not below %s", clip(c.Name), c.Domain)
	case d.domains.has(c.Name) || d.ProvedAbove(c.Name) != c.Domain:
		return refuse("bounce subdomain %q is a sender domain of its own, or below one", c.Name)
	}
	if err := d.stillOpen(of.Tenant, 0); err != nil {
		return err
	}
	if d.BounceName(c.Domain) != c.Name {
		put(d, &d.bounces, c.Domain, &bouncePath{domain: c.Domain, name: c.Name})
		d.names = true
	}
	d.emit(DomainChanged{c.Domain})
	return nil
}

func (d *draft) foundBounces(c FoundBounces) error {
	if len(c.Paths) > MaxFound || len(c.Hosts) > MaxIntakeHosts {
		return refuse("more than %d findings or %d names in one command", MaxFound, MaxIntakeHosts)
	}
	hosts, news := d.UnsaidBounces(c)
	if hosts {
		if len(c.Hosts) == 0 {
			remove(d, &d.intakes, c.Node)
		} else {
			put(d, &d.intakes, c.Node, &intakeHosts{node: c.Node, hosts: slices.Clone(c.Hosts)})
		}
	}
	for _, x := range news {
		old := d.bounces.get(x.Domain)
		next := &bouncePath{domain: old.domain, name: old.name, words: slices.Clone(old.words)}
		w := x.word(c.Node)
		i, said := next.find(c.Node)
		if said {
			next.words[i] = w
		} else {
			next.words = slices.Insert(next.words, i, w)
		}
		put(d, &d.bounces, x.Domain, next)
	}
	d.names = true
	return nil
}

func (x BounceFinding) word(n NodeID) bounceWord {
	return bounceWord{outlookWord{node: n, passes: slices.Clone(x.Passes), lacks: slices.Clone(x.Lacks), text: x.Text}, x.MX}
}

func (x *bouncePath) find(n NodeID) (int, bool) {
	return slices.BinarySearchFunc(x.words, n, func(w bounceWord, n NodeID) int { return cmp.Compare(w.node, n) })
}

// UnsaidBounces is what of c the state does not know yet: whether the names of
// the node's intake are others, and which paths.
func (s *State) UnsaidBounces(c FoundBounces) (hosts bool, news []BounceFinding) {
	if !s.nodes.has(c.Node) {
		return false, nil
	}
	var had []string
	if x := s.intakes.get(c.Node); x != nil {
		had = x.hosts
	}
	hosts = !slices.Equal(had, c.Hosts) && validHosts(c.Hosts)
	for _, x := range c.Paths {
		path := s.bounces.get(x.Domain)
		if path == nil || path.name != x.Name {
			continue
		}
		w := x.word(c.Node)
		if s.checkBounceWord(w) != nil {
			continue
		}
		if i, said := path.find(c.Node); !said || !path.words[i].same(w) {
			news = append(news, x)
		}
	}
	return hosts, news
}

func (w bounceWord) same(v bounceWord) bool {
	return w.mx == v.mx && w.text == v.text && slices.Equal(w.passes, v.passes) && slices.Equal(w.lacks, v.lacks)
}

func validHosts(hosts []string) bool {
	for i, h := range hosts {
		if !ValidHost(h) || i > 0 && hosts[i-1] >= h {
			return false
		}
	}
	return len(hosts) <= MaxIntakeHosts
}

// forgetBounces drops what was found by a node that is gone, or of a source that
// is; 0 is none.
func (d *draft) forgetBounces(src SourceID, n NodeID) {
	if n != 0 {
		remove(d, &d.intakes, n)
	}
	gone := func(y SourceID) bool { return y == src }
	for _, x := range slices.Clone(d.bounces.vals) {
		var kept []bounceWord
		changed := false
		for _, w := range x.words {
			is := w
			is.passes, is.lacks = without(w.passes, gone), without(w.lacks, gone)
			left := len(is.passes) + len(is.lacks)
			changed = changed || w.node == n || left < len(w.passes)+len(w.lacks)
			if w.node != n && left > 0 {
				kept = append(kept, is)
			}
		}
		if changed {
			put(d, &d.bounces, x.domain, &bouncePath{domain: x.domain, name: x.name, words: kept})
		}
	}
}
