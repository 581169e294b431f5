package tenant

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// sum is a 256-bit number, least significant word first: the sum of the hashes
// of all records. Adding commutes, so touching one record costs one record,
// whatever the size of the state. It finds nodes that went apart; it is no
// defence against someone who chooses records to make it collide.
type sum [4]uint64

func (s *sum) add(h [32]byte) {
	var c uint64
	for i := range s {
		s[i], c = bits.Add64(s[i], binary.LittleEndian.Uint64(h[8*i:]), c)
	}
}

func (s *sum) sub(h [32]byte) {
	var b uint64
	for i := range s {
		s[i], b = bits.Sub64(s[i], binary.LittleEndian.Uint64(h[8*i:]), b)
	}
}

func (s *sum) bytes() (h [32]byte) {
	for i := range s {
		binary.LittleEndian.PutUint64(h[8*i:], s[i])
	}
	return h
}

// hashRecord hashes a record with its kind, using buf as scratch.
func hashRecord(c *coder, r record) [32]byte {
	c.out = append(c.out[:0], byte(r.kind()))
	r.code(c)
	return sha256.Sum256(c.out)
}

// Digest is a hash over everything the state holds, its index and clock
// included. It is kept up to date by Apply and costs one small hash to read.
func (s *State) Digest() [32]byte {
	total := s.sum
	h := s.header
	total.add(hashRecord(&coder{}, &h))
	return total.bytes()
}

// recount computes the sum of all records from scratch.
func (s *State) recount() (total sum) {
	c := &coder{}
	sumTable(&total, c, &s.nodes)
	sumTable(&total, c, &s.sources)
	sumTable(&total, c, &s.tenants)
	sumTable(&total, c, &s.accounts)
	sumTable(&total, c, &s.domains)
	sumTable(&total, c, &s.routes)
	sumTable(&total, c, &s.open)
	sumTable(&total, c, &s.closed)
	sumTable(&total, c, &s.authority)
	sumTable(&total, c, &s.tokens)
	sumTable(&total, c, &s.lists)
	sumTable(&total, c, &s.seen)
	sumTable(&total, c, &s.watches)
	sumTable(&total, c, &s.listings)
	sumTable(&total, c, &s.contain)
	sumTable(&total, c, &s.uses)
	sumTable(&total, c, &s.evidence)
	sumTable(&total, c, &s.dismissed)
	sumTable(&total, c, &s.cases)
	sumTable(&total, c, &s.plights)
	sumTable(&total, c, &s.heads)
	sumTable(&total, c, &s.fitness)
	sumTable(&total, c, &s.outlooks)
	sumTable(&total, c, &s.conducts)
	sumTable(&total, c, &s.pooled)
	sumTable(&total, c, &s.denials)
	sumTable(&total, c, &s.notices)
	sumTable(&total, c, &s.outbox)
	sumTable(&total, c, &s.bounces)
	sumTable(&total, c, &s.intakes)
	sumTable(&total, c, &s.hashes)
	sumTable(&total, c, &s.enrolled)
	sumTable(&total, c, &s.listWords)
	sumTable(&total, c, &s.closures)
	sumTable(&total, c, &s.bans)
	sumTable(&total, c, &s.customers)
	sumTable(&total, c, &s.askings)
	sumTable(&total, c, &s.echoes)
	sumTable(&total, c, &s.circles)
	sumTable(&total, c, &s.domainSeen)
	sumTable(&total, c, &s.senders)
	sumTable(&total, c, &s.suspensions)
	sumTable(&total, c, &s.retention)
	sumTable(&total, c, &s.erasures)
	sumTable(&total, c, &s.sold)
	sumTable(&total, c, &s.warmths)
	sumTable(&total, c, &s.imports)
	sumTable(&total, c, &s.links)
	sumTable(&total, c, &s.linked)
	sumTable(&total, c, &s.traces)
	for r := range s.requests.all() {
		total.add(hashRecord(c, r))
	}
	return total
}

func sumTable[K cmp.Ordered, R record](total *sum, c *coder, t *table[K, R]) {
	for r := range t.all() {
		total.add(hashRecord(c, r))
	}
}
