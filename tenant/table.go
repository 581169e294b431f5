package tenant

import (
	"cmp"
	"iter"
	"slices"
)

// record is one unit of the state: encoded, hashed and copied as a whole.
type record interface {
	kind() recordKind
	code(*coder)
}

// recordKind keeps the hashes of different tables apart. Values are stored: do
// not reorder.
type recordKind byte

const (
	kindHeader recordKind = iota + 1
	kindNode
	kindSource
	kindTenant
	kindAccount
	kindDomain
	kindRoute
	kindOpen
	kindClosed
	kindRequest
	kindAuthority
	kindToken
	kindLists
	kindSightings
	kindWatch
	kindListing
	kindContain
	kindUses
	kindEvidence
	kindDismissal
	kindCase
	kindPlight
	kindJournal
	kindCondition
	kindOutlook
	kindDenial
	kindClosure
	kindBan
	kindCustomer
	kindDelisting
	kindConduct
	kindPoolMember
	kindEcho
	kindNotices
	kindNotice
	kindBounce
	kindIntake
	kindHashed
	kindEnrolments
	kindListWords
	kindCircle
	kindDomainSeen
	kindSender
	kindSuspension
	kindRetention
	kindErasure
	kindSold
	kindWarm
	kindImport
	kindLinks
	kindLinkDomain
	kindTraces
)

// table is a sorted list of records. It is read without a lock by all versions
// of the state that share it; a draft clones a slice before its first write.
// Sorted slices and not maps: the order is canonical, and cloning is one copy
// of memory.
type table[K cmp.Ordered, R record] struct {
	keys               []K
	vals               []R
	ownKeys, ownValues bool // the slices belong to one draft
}

// get returns the record or the nil of its type.
func (t *table[K, R]) get(k K) (r R) {
	if i, ok := slices.BinarySearch(t.keys, k); ok {
		return t.vals[i]
	}
	return r
}

func (t *table[K, R]) has(k K) bool {
	_, ok := slices.BinarySearch(t.keys, k)
	return ok
}

func (t *table[K, R]) all() iter.Seq[R] { return slices.Values(t.vals) }

func (t *table[K, R]) len() int { return len(t.vals) }

// same reports whether both tables share their records.
func (t *table[K, R]) same(u *table[K, R]) bool {
	return len(t.vals) == len(u.vals) && (len(t.vals) == 0 || &t.vals[0] == &u.vals[0])
}

// own makes the slices private to the draft.
func (t *table[K, R]) own(keys bool) {
	if !t.ownValues {
		t.vals = append(make([]R, 0, len(t.vals)+1), t.vals...)
		t.ownValues = true
	}
	if keys && !t.ownKeys {
		t.keys = append(make([]K, 0, len(t.keys)+1), t.keys...)
		t.ownKeys = true
	}
}

// publish ends the draft's ownership.
func (t *table[K, R]) publish() { t.ownKeys, t.ownValues = false, false }

// put adds or replaces a record and keeps the digest.
func put[K cmp.Ordered, R record](d *draft, t *table[K, R], k K, r R) {
	i, ok := slices.BinarySearch(t.keys, k)
	t.own(!ok)
	if ok {
		d.sum.sub(d.hash(t.vals[i]))
		t.vals[i] = r
	} else {
		t.keys = slices.Insert(t.keys, i, k)
		t.vals = slices.Insert(t.vals, i, r)
	}
	d.sum.add(d.hash(r))
}

// remove takes a record away, if it is there, and keeps the digest.
func remove[K cmp.Ordered, R record](d *draft, t *table[K, R], k K) {
	i, ok := slices.BinarySearch(t.keys, k)
	if !ok {
		return
	}
	t.own(true)
	d.sum.sub(d.hash(t.vals[i]))
	t.keys = slices.Delete(t.keys, i, i+1)
	t.vals = slices.Delete(t.vals, i, i+1)
}
