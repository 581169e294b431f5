package tenant

import (
	"cmp"
	"fmt"
)

// Encode gives the canonical bytes (snapshot): equal states, equal bytes.
func (s *State) Encode() []byte {
	c := &coder{}
	version := s.form()
	s.codeAll(c, version)
	return frame(version, c.out)
}

// form is the snapshot version the state is written in: the oldest that can say
// all of it, so that programs of one command version read each other's.
func (s *State) form() byte {
	if s.level < listingVersion {
		return clusterSnapshot
	}
	if s.level < containVersion {
		return listingSnapshot
	}
	if s.level < journalVersion {
		return containSnapshot
	}
	if s.level < readyVersion {
		return journalSnapshot
	}
	if s.level < denialVersion {
		return readySnapshot
	}
	if s.level < banVersion {
		return denialSnapshot
	}
	if s.level < conductVersion {
		return banSnapshot
	}
	if s.level < heardVersion {
		return conductSnapshot
	}
	if s.level < noticeVersion {
		return heardSnapshot
	}
	if s.level < bounceVersion {
		return noticeSnapshot
	}
	if s.level < hashVersion {
		return bounceSnapshot
	}
	if s.level < listWordVersion {
		return hashSnapshot
	}
	if s.level < circleVersion {
		return wordSnapshot
	}
	if s.level < domainVersion {
		return circleSnapshot
	}
	if s.level < customerVersion {
		return domainSnapshot
	}
	if s.level < importVersion {
		return customerSnapshot
	}
	if s.level < eraseVersion {
		return importSnapshot
	}
	if s.level < linkVersion {
		return eraseSnapshot
	}
	return linkSnapshot
}

// Decode reads a snapshot back. It never panics, bounds what it allocates by
// the length of the input, and accepts only a state that passes Check.
func Decode(b []byte) (*State, error) {
	body, version, err := unframe(snapshotVersion, b, maxSnapshot)
	if err == nil {
		var s *State
		if s, err = decodeState(body, version); err == nil {
			return s, nil
		}
	}
	return nil, fmt.Errorf("decode state: %w", err)
}

func decodeState(body []byte, version byte) (*State, error) {
	s := &State{}
	if err := decode(body, version == firstVersion, func(c *coder) { s.codeAll(c, version) }); err != nil {
		return nil, err
	}
	if version != firstVersion && version != s.form() {
		return nil, fmt.Errorf("%w: command version %d in form %d", errCanon, s.level, version)
	}
	s.sum = s.recount()
	s.lookup = buildIndex(s)
	if err := s.Check(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *State) codeAll(c *coder, version byte) {
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
	if version >= listingSnapshot {
		codeTable(c, &s.lists, func(*Lists) byte { return 0 })
		codeTable(c, &s.seen, func(x *sightings) SourceID { return x.source })
		codeTable(c, &s.watches, func(w *watch) NodeID { return w.node })
		codeTable(c, &s.listings, func(l *Listing) SourceID { return l.Source })
	}
	if version >= containSnapshot {
		codeTable(c, &s.contain, func(*Contain) byte { return 0 })
		codeTable(c, &s.uses, func(x *uses) AccountID { return x.account })
		codeTable(c, &s.evidence, func(e *Evidence) uint64 { return e.ID })
		codeTable(c, &s.dismissed, func(x *dismissal) SourceID { return x.source })
		codeTable(c, &s.cases, func(x *Case) uint64 { return x.ID })
		codeTable(c, &s.plights, func(p *Plight) ID { return p.Tenant })
	}
	if version >= journalSnapshot {
		s.codeJournal(c)
	}
	if version >= readySnapshot {
		codeTable(c, &s.fitness, func(x *condition) SourceID { return x.source })
		codeTable(c, &s.outlooks, func(x *outlook) string { return x.domain })
	}
	if version >= denialSnapshot {
		codeTable(c, &s.denials, func(x *Denial) SourceID { return x.Source })
	}
	if version >= banSnapshot {
		codeTable(c, &s.closures, func(x *Closure) uint64 { return closureKey(x.Tenant, x.Account) })
		codeTable(c, &s.bans, func(b *Ban) uint64 { return b.ID })
		codeTable(c, &s.customers, func(x *customer) ID { return x.tenant })
		codeTable(c, &s.askings, func(x *Delisting) string { return delistingKey(x.Source, x.Zone) })
	}
	if version >= conductSnapshot {
		codeTable(c, &s.conducts, func(p *Conduct) ID { return p.Tenant })
		codeTable(c, &s.pooled, func(m *poolMember) SourceID { return m.source })
	}
	if version >= heardSnapshot {
		codeTable(c, &s.echoes, func(x *echoBook) AccountID { return x.account })
	}
	if version >= noticeSnapshot {
		codeTable(c, &s.notices, func(*Notices) byte { return 0 })
		codeTable(c, &s.outbox, func(x *Notice) uint64 { return x.ID })
	}
	if version >= bounceSnapshot {
		codeTable(c, &s.bounces, func(x *bouncePath) string { return x.domain })
		codeTable(c, &s.intakes, func(x *intakeHosts) NodeID { return x.node })
	}
	if version >= hashSnapshot {
		codeTable(c, &s.hashes, func(x *hashed) AccountID { return x.account })
		codeTable(c, &s.enrolled, func(x *enrolments) SourceID { return x.source })
	}
	if version >= wordSnapshot {
		codeTable(c, &s.listWords, func(x *listWords) SourceID { return x.source })
	}
	if version >= circleSnapshot {
		codeTable(c, &s.circles, func(x *circle) AccountID { return x.account })
	}
	if version >= domainSnapshot {
		codeTable(c, &s.domainSeen, func(x *domainSeen) string { return x.domain })
		codeTable(c, &s.senders, func(x *sender) AccountID { return x.account })
	}
	if version >= customerSnapshot {
		codeTable(c, &s.suspensions, func(x *Suspension) uint64 { return closureKey(x.Tenant, x.Account) })
		codeTable(c, &s.retention, func(*Retention) byte { return 0 })
		codeTable(c, &s.erasures, func(x *Erasure) ID { return x.Tenant })
		codeTable(c, &s.sold, func(x *sold) AccountID { return x.account })
	}
	if version >= importSnapshot {
		codeTable(c, &s.warmths, func(x *Warm) SourceID { return x.Source })
		codeTable(c, &s.imports, func(x *Import) ID { return x.Tenant })
	}
	if version >= eraseSnapshot {
		codeTable(c, &s.traces, func(x *traces) ID { return x.tenant })
	}
	if version >= linkSnapshot {
		codeTable(c, &s.links, func(x *links) AccountID { return x.account })
		codeTable(c, &s.linked, func(x *linkDomain) string { return x.domain })
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
