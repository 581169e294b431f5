package queue

import (
	"encoding/binary"
	"slices"

	"postern/tenant"
)

// Parts of a return. The numbers are on the wire.
const (
	returnCopies   byte = 1 // whole messages
	returnOutcomes byte = 2 // states and outcomes of messages the owner has
	returnSums     byte = 3 // what was spent
)

// returnPart is one part of what is handed over; each is answered when it is
// durable at the owner and its holder.
type returnPart struct {
	what   byte
	tenant tenant.ID
	ends   []tenant.End
	copies []messageCopy
	sums   []sumRow
}

func (q *returnPart) encode() []byte {
	b := be64(append(newRecord(nil), q.what), uint64(q.tenant))
	b = appendEnds(b, q.ends)
	b = appendCopies(b, q.copies)
	return seal(appendSums(b, q.sums))
}

func decodeReturn(b []byte) (*returnPart, error) {
	r, err := unsealPage(b)
	if err != nil {
		return nil, err
	}
	q := &returnPart{what: r.byte()}
	if t := r.bytes(8); t != nil {
		q.tenant = tenant.ID(binary.BigEndian.Uint64(t))
	}
	q.ends = readEnds(r)
	q.copies = readCopies(r, ID{Tenant: q.tenant})
	prefix := tenantPrefix(nil, tabSpend, q.tenant)
	q.sums = readSums(r, prefix, prefix, after(prefix))
	if q.what < returnCopies || q.what > returnSums {
		r.fail()
	}
	return q, r.done("return")
}

func appendEnds(b []byte, ends []tenant.End) []byte {
	b = binary.AppendUvarint(b, uint64(len(ends)))
	for _, e := range ends {
		b = binary.AppendUvarint(binary.AppendUvarint(b, e.Epoch), e.Last)
	}
	return b
}

func readEnds(r *reader) (ends []tenant.End) {
	n := r.count()
	for i := 0; i < n && !r.bad; i++ {
		ends = append(ends, tenant.End{Epoch: r.uint(), Last: r.uint()})
	}
	return ends
}

// unread reports whether the owner may not know a message: one behind the end
// of its epoch's log, or of an epoch whose end nobody knows.
func unread(ends []tenant.End, id ID) bool {
	i := slices.IndexFunc(ends, func(e tenant.End) bool { return e.Epoch == id.Epoch })
	return i < 0 || id.Seq > ends[i].Last
}

// beyond reports whether a message is behind the end of its epoch's log.
func beyond(ends []tenant.End, id ID) bool {
	for _, e := range ends {
		if e.Epoch == id.Epoch {
			return id.Seq > e.Last
		}
	}
	return false
}
