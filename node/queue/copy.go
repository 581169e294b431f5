package queue

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
)

// A copy is what travels of a message besides its chunk file: the payloads of
// its records as they stand on disk, and the newest state of its items. The
// one that takes it in makes the keys of it, so that both have the same ones.

// itemCopy is the newest state of an item. One that was never attempted and is
// not in doubt has none: the message implies it.
type itemCopy struct {
	n     uint16
	rev   uint32
	share []byte // payload of its share record; nil at rev 0
	doubt bool   // an attempt behind rev was started and not settled
}

// rowCopy is one row of a message's history, or says that an attempt was
// started and not settled.
type rowCopy struct {
	tab     byte // tabOutcome, tabTalk or tabDoubt
	n       uint16
	rev     uint32
	payload []byte
}

// messageCopy is a message, or only the state of one that is there already.
type messageCopy struct {
	id      ID
	same    bool // nothing of it differs; the rest is empty
	items   []itemCopy
	rows    []rowCopy
	message []byte // payload of the message record; nil: the states only
	body    []byte // payload of the body record, if it has one
}

const (
	copySame = 1 << iota
	copyMessage
	copyBody
)

// Bounds of one page of copies, and of what one step holds in memory.
const (
	stepMessages = 256
	stepOctets   = 1 << 20
	maxPage      = maxFrame - 4096 // one message of the largest kind, or a step of others
	maxRows      = 512 << 10
)

func putBytes(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// octets is about what the copy takes in a page.
func (c *messageCopy) octets() int {
	n := 32 + len(c.message) + len(c.body)
	for i := range c.items {
		n += 16 + len(c.items[i].share)
	}
	for i := range c.rows {
		n += 16 + len(c.rows[i].payload)
	}
	return n
}

func (c *messageCopy) append(b []byte) []byte {
	var flags byte
	if c.same {
		flags |= copySame
	}
	if c.message != nil {
		flags |= copyMessage
	}
	if c.body != nil {
		flags |= copyBody
	}
	b = appendPlace(append(b, flags), c.id)
	if c.same {
		return b
	}
	b = appendItems(b, c.items)
	b = binary.AppendUvarint(b, uint64(len(c.rows)))
	for _, r := range c.rows {
		b = binary.AppendUvarint(append(b, r.tab), uint64(r.n))
		b = putBytes(binary.AppendUvarint(b, uint64(r.rev)), r.payload)
	}
	if c.message != nil {
		b = putBytes(b, c.message)
	}
	if c.body != nil {
		b = putBytes(b, c.body)
	}
	return b
}

func appendItems(b []byte, items []itemCopy) []byte {
	b = binary.AppendUvarint(b, uint64(len(items)))
	for _, it := range items {
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(it.n)), uint64(it.rev))
		b = append(b, flagOctet(it.doubt))
		b = putBytes(b, it.share)
	}
	return b
}

func flagOctet(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// appendPlace writes an id without its tenant.
func appendPlace(b []byte, id ID) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, id.Epoch), id.Seq)
}

func (r *reader) place(t ID) ID { return ID{Tenant: t.Tenant, Epoch: r.uint(), Seq: r.uint()} }

func (r *reader) uint16() uint16 {
	v := r.uint()
	if v > 1<<16-1 {
		r.fail()
	}
	return uint16(v)
}

func (r *reader) uint32() uint32 {
	v := r.uint()
	if v > 1<<32-1 {
		r.fail()
	}
	return uint32(v)
}

// part reads octets that stand behind their length; they point into the page.
func (r *reader) part() []byte { return r.bytes(r.count()) }

func (r *reader) items() (items []itemCopy) {
	n := r.count()
	for i := 0; i < n && !r.bad; i++ {
		it := itemCopy{n: r.uint16(), rev: r.uint32(), doubt: r.byte() == 1}
		it.share = r.part()
		if (it.rev == 0) != (len(it.share) == 0) || i > 0 && it.n <= items[i-1].n {
			r.fail()
		}
		if it.rev == 0 {
			it.share = nil
		}
		items = append(items, it)
	}
	return items
}

func readCopy(r *reader, t ID) (c messageCopy) {
	flags := r.byte()
	c.id, c.same = r.place(t), flags&copySame != 0
	if c.same {
		return c
	}
	c.items = r.items()
	n := r.count()
	for i := 0; i < n && !r.bad; i++ {
		row := rowCopy{tab: r.byte(), n: r.uint16(), rev: r.uint32()}
		row.payload = r.part()
		if row.tab != tabOutcome && row.tab != tabTalk && row.tab != tabDoubt {
			r.fail()
		}
		c.rows = append(c.rows, row)
	}
	if flags&copyMessage != 0 {
		c.message = r.part()
	}
	if flags&copyBody != 0 {
		c.body = r.part()
	}
	return c
}

// digest tells two states of a message's items apart.
func digest(items []itemCopy) uint64 {
	h := fnv.New64a()
	var b [1 + 2 + 4 + 1]byte
	for _, it := range items {
		binary.BigEndian.PutUint16(b[1:], it.n)
		binary.BigEndian.PutUint32(b[3:], it.rev)
		b[7] = flagOctet(it.doubt)
		_, _ = h.Write(b[:])
		_, _ = h.Write(it.share)
	}
	return h.Sum64()
}

// appendCopies and readCopies are a list of copies in order of their ids.
func appendCopies(b []byte, cs []messageCopy) []byte {
	b = binary.AppendUvarint(b, uint64(len(cs)))
	for i := range cs {
		b = cs[i].append(b)
	}
	return b
}

func readCopies(r *reader, t ID) (cs []messageCopy) {
	n := r.count()
	for i := 0; i < n && !r.bad; i++ {
		c := readCopy(r, t)
		if i > 0 && compareIDs(c.id, cs[i-1].id) <= 0 {
			r.fail()
		}
		cs = append(cs, c)
	}
	return cs
}

// unsealPage checks what came from another node.
func unsealPage(b []byte) (*reader, error) {
	if len(b) > maxPage+recordOverhead {
		return nil, fmt.Errorf("read page: %w: %d octets", errCorrupt, len(b))
	}
	p, err := unseal(b)
	return &reader{b: p}, err
}
