package tenant

import (
	"cmp"
	"fmt"
)

// Encode gives the canonical bytes (snapshot): equal states, equal bytes.
func (s *State) Encode() []byte {
	c := &coder{}
	s.codeAll(c)
	return frame(snapshotVersion, c.out)
}

// Decode reads a snapshot back. It never panics, bounds what it allocates by
// the length of the input, and accepts only a state that passes Check.
func Decode(b []byte) (*State, error) {
	body, first, err := unframe(snapshotVersion, b, maxSnapshot)
	if err == nil {
		var s *State
		if s, err = decodeState(body, first); err == nil {
			return s, nil
		}
	}
	return nil, fmt.Errorf("decode state: %w", err)
}

func decodeState(body []byte, first bool) (*State, error) {
	s := &State{}
	if err := decode(body, first, s.codeAll); err != nil {
		return nil, err
	}
	s.sum = s.recount()
	if err := s.Check(); err != nil {
		return nil, err
	}
	s.lookup = buildIndex(s)
	return s, nil
}

func (s *State) codeAll(c *coder) {
	s.header.code(c)
	codeTable(c, &s.nodes, func(n *Node) NodeID { return n.ID })
	codeTable(c, &s.sources, func(x *Source) SourceID { return x.ID })
	codeTable(c, &s.tenants, func(t *Tenant) ID { return t.ID })
	codeTable(c, &s.accounts, func(a *Account) AccountID { return a.ID })
	codeTable(c, &s.domains, func(d *Domain) string { return d.Name })
	codeTable(c, &s.routes, func(r *Route) string { return r.Domain })
	codeTable(c, &s.open, func(b *book) AccountID { return b.account })
	codeTable(c, &s.closed, func(b *book) AccountID { return b.account })
	if !c.first {
		codeTable(c, &s.authority, func(*Authority) byte { return 0 })
		codeTable(c, &s.tokens, func(t *JoinToken) string { return string(t.Hash[:]) })
	}
	s.codeRequests(c)
}

// codeTable codes a table as a list in ascending order of its keys.
func codeTable[K cmp.Ordered, V any, R interface {
	*V
	record
}](c *coder, t *table[K, R], key func(R) K) {
	n := uint64(t.len())
	c.uint(&n)
	if !c.reading {
		for _, r := range t.vals {
			r.code(c)
		}
		return
	}
	if n > uint64(len(c.in)) {
		c.fail(errBounds)
		return
	}
	for range n {
		r := R(new(V))
		r.code(c)
		if c.err != nil {
			return
		}
		k := key(r)
		if last := len(t.keys) - 1; last >= 0 && t.keys[last] >= k {
			c.fail(errCanon)
			return
		}
		t.keys = append(t.keys, k)
		t.vals = append(t.vals, r)
	}
}

func (s *State) codeRequests(c *coder) {
	n := uint64(s.requests.n)
	c.uint(&n)
	if !c.reading {
		for r := range s.requests.all() {
			r.code(c)
		}
		return
	}
	if n > maxRequests || n > uint64(len(c.in)) {
		c.fail(errBounds)
		return
	}
	for range n {
		r := new(request)
		r.code(c)
		if c.err != nil {
			return
		}
		if _, err := decodeOutcome(r.outcome); err != nil {
			if _, refused := err.(*Refused); !refused {
				c.fail(err)
				return
			}
		}
		s.requests.load(r)
	}
}
