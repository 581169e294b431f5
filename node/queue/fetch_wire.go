package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"postern/tenant"
)

// Questions of a fetch. The numbers are on the wire.
const (
	fetchAbout    byte = 1 // where the copy stands, and its day marks
	fetchContents byte = 2 // whole messages
	fetchRows     byte = 3 // outcomes of messages
	fetchSums     byte = 4 // spending
	fetchChunk    byte = 5 // a piece of a chunk file

	fetchSuppressed byte = 6 // the list of addresses that nothing is sent to
)

const chunkPiece = 64 << 10

// fetchAsk is one question.
type fetchAsk struct {
	what   byte
	tenant tenant.ID
	ids    []ID
	key    []byte // fetchSums, fetchSuppressed: from here on
	chunk  chunkName
	offset int64
}

func (q *fetchAsk) encode() []byte {
	b := be64(append(newRecord(nil), q.what), uint64(q.tenant))
	switch q.what {
	case fetchContents, fetchRows:
		b = binary.AppendUvarint(b, uint64(len(q.ids)))
		for _, id := range q.ids {
			b = appendPlace(b, id)
		}
	case fetchSums, fetchSuppressed:
		b = putBytes(b, q.key)
	case fetchChunk:
		b = binary.AppendUvarint(append(b, q.chunk[:]...), uint64(q.offset))
	}
	return seal(b)
}

func decodeFetchAsk(b []byte) (*fetchAsk, error) {
	r, err := unsealPage(b)
	if err != nil {
		return nil, err
	}
	q := &fetchAsk{what: r.byte()}
	if t := r.bytes(8); t != nil {
		q.tenant = tenant.ID(binary.BigEndian.Uint64(t))
	}
	switch q.what {
	case fetchAbout:
	case fetchContents, fetchRows:
		n := r.count()
		if n > inventoryLimit {
			r.fail()
		}
		for i := 0; i < n && !r.bad; i++ {
			q.ids = append(q.ids, r.place(ID{Tenant: q.tenant}))
		}
	case fetchSums, fetchSuppressed:
		q.key = r.part()
	case fetchChunk:
		copy(q.chunk[:], r.bytes(len(q.chunk)))
		q.offset = int64(r.uint() & (1<<62 - 1))
	default:
		r.fail()
	}
	return q, r.done("question")
}

// about is where a store's copy of a log stands.
type about struct {
	epoch, generation uint64    // the newest it has records of
	written           bool      // it wrote that epoch itself
	since             uint64    // written without all that is older: only epochs from here on are whole; 0: all are
	end               ID        // it knows of every message up to here, where it covers it
	sync              syncState // of a copy
	counts            sum
	marks             []dayMark
	denials           []denial
}

// covers reports whether the copy is as its owner's was at id.
func (a *about) covers(id ID) bool {
	if a.written {
		return id.Epoch >= a.since
	}
	return a.epoch == a.sync.epoch && a.generation == a.sync.generation && a.sync.covers(id)
}

// denies reports whether a message that is not in the copy ended: the copy is as
// its owner's was, when the message had been put.
func (a *about) denies(id ID) bool { return a.covers(id) && compareIDs(id, a.end) <= 0 }

// whole reports whether the copy is as its owner's was all over.
func (a *about) whole() bool {
	if a.written {
		return a.since == 0
	}
	return a.epoch == a.sync.epoch && a.generation == a.sync.generation && a.sync.done && a.sync.since == 0
}

// summed reports whether its sums are whole.
func (a *about) summed() bool {
	return a.written || a.epoch == a.sync.epoch && a.generation == a.sync.generation && a.sync.summed
}

// newer reports whether a has seen more of the log's life than o.
func (a *about) newer(o *about) bool {
	if a.epoch != o.epoch {
		return a.epoch > o.epoch
	}
	if a.written != o.written {
		return a.written
	}
	return a.generation > o.generation
}

func (a *about) encode() []byte {
	b := binary.AppendUvarint(binary.AppendUvarint(newRecord(nil), a.epoch), a.generation)
	b = appendPlace(binary.AppendUvarint(append(b, flagOctet(a.written)), a.since), a.end)
	b = a.sync.append(b)
	b = binary.AppendVarint(binary.AppendVarint(b, a.counts.a), a.counts.b)
	return seal(appendDenials(appendMarks(b, a.marks), a.denials))
}

func decodeAbout(t tenant.ID, b []byte) (*about, error) {
	r, err := unsealPage(b)
	if err != nil {
		return nil, err
	}
	a := &about{epoch: r.uint(), generation: r.uint(), written: r.byte() == 1, since: r.uint(), end: r.place(ID{Tenant: t})}
	a.sync = r.syncState(ID{Tenant: t})
	a.counts = sum{r.int(), r.int()}
	a.marks, a.denials = readMarks(r, t), readDenials(r, t)
	return a, r.done("answer")
}

// answerFetch answers one question after the other.
func (s *Store) answerFetch(_ context.Context, c *call) error {
	return c.each(func(b []byte) ([]byte, error) {
		q, err := decodeFetchAsk(b)
		if err != nil {
			return nil, err
		}
		return s.fetchAnswer(q)
	})
}

func (s *Store) fetchAnswer(q *fetchAsk) ([]byte, error) {
	switch q.what {
	case fetchAbout:
		a, err := s.aboutOf(q.tenant)
		if err != nil {
			return nil, err
		}
		return a.encode(), nil
	case fetchContents, fetchRows:
		return s.copiesFor(q)
	case fetchSums:
		prefix := tenantPrefix(nil, tabSpend, q.tenant)
		end := after(prefix)
		rows, next, err := s.sumsIn(s.db, append(prefix, q.key...), end, 8*sumsPage)
		if err != nil {
			return nil, err
		}
		return seal(appendSums(putBytes(newRecord(nil), next), rows)), nil
	case fetchSuppressed:
		rows, next, err := s.suppressRows(q.tenant, q.key)
		if err != nil {
			return nil, err
		}
		return seal(appendSuppressRows(newRecord(nil), next, rows, 1+8)), nil
	case fetchChunk:
		return s.chunkPieceOf(q)
	}
	return nil, errCorrupt
}

// copiesFor answers for as many ids as fit, at least one. Messages that are not
// here are left out; their rows are given all the same.
func (s *Store) copiesFor(q *fetchAsk) ([]byte, error) {
	var list []messageCopy
	size, n := 0, 0
	for _, id := range q.ids {
		c := messageCopy{id: id}
		var err error
		if q.what == fetchRows {
			err = errors.Join(s.readRows(&c, tabOutcome, tabDoubt), s.hold.addStarts(&c))
		} else if _, err = s.readContent(&c); err == nil {
			err = s.readRows(&c, tabOutcome, tabTalk)
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		if size += c.octets(); size > stepOctets && n > 0 {
			break
		}
		n++
		if err == nil && (c.message != nil || len(c.rows) > 0) {
			list = append(list, c)
		}
	}
	b := binary.AppendUvarint(newRecord(nil), uint64(n))
	return seal(appendCopies(b, list)), nil
}

func (s *Store) chunkPieceOf(q *fetchAsk) ([]byte, error) {
	f, err := s.fs.Open(s.fs.PathJoin(s.chunks, q.chunk.file()))
	if err != nil {
		return nil, fmt.Errorf("open chunk file: %w", err)
	}
	defer f.Close()
	b := newRecord(make([]byte, 0, chunkPiece+64))
	at := len(b)
	b = b[:at+chunkPiece]
	n, err := f.ReadAt(b[at:], q.offset)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read chunk file: %w", err)
	}
	return seal(b[:at+n]), nil
}

// fetchCall puts questions over a call that is open.
type fetchCall struct{ *call }

func (c fetchCall) ask(q *fetchAsk) (*reader, []byte, error) {
	if err := c.send(q.encode()); err != nil {
		return nil, nil, err
	}
	b, err := c.answer()
	if err != nil {
		return nil, nil, err
	}
	r, err := unsealPage(b)
	return r, b, err
}

// copies asks for ids, all of them, part by part.
func (c fetchCall) copies(q fetchAsk, take func([]messageCopy) error) error {
	for len(q.ids) > 0 {
		part := q
		part.ids = q.ids[:min(len(q.ids), inventoryLimit)]
		r, _, err := c.ask(&part)
		if err != nil {
			return err
		}
		n := r.uint()
		list := readCopies(r, ID{Tenant: q.tenant})
		if err := r.done("answer"); err != nil {
			return err
		}
		if n == 0 || n > uint64(len(part.ids)) {
			return fmt.Errorf("read answer: %w: %d of %d", errCorrupt, n, len(part.ids))
		}
		if err := take(list); err != nil {
			return err
		}
		q.ids = q.ids[n:]
	}
	return nil
}
