package queue

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"postern/tenant"
)

// Summary is one message as a list shows it.
type Summary struct {
	ID       ID
	Envelope *Envelope
	Items    []ItemState // those with recipients left
}

// ItemState is one item as a list shows it.
type ItemState struct {
	Domain   string
	Rcpts    []string
	Attempts int
	Due      time.Time
	Leased   bool
	Last     Reply
}

// Filter narrows List; zero fields match all.
type Filter struct {
	Tenant  tenant.ID
	Account tenant.AccountID
	Domain  string // recipient domain, A-label, lower case
	Limit   int    // [100, at most 1000]
	After   ID     // continue behind this one
}

func (f *Filter) limit() int {
	if f.Limit <= 0 {
		return 100
	}
	return min(f.Limit, 1000)
}

func (f *Filter) lane(l *Lane) bool {
	return (f.Account == 0 || f.Account == l.Account) && (f.Domain == "" || f.Domain == l.Domain)
}

// prefix bounds a table's keys to the filter's tenant.
func (f *Filter) prefix(tab byte) []byte {
	if f.Tenant == 0 {
		return []byte{tab}
	}
	return tenantPrefix(nil, tab, f.Tenant)
}

// List shows queued messages in the order of their ids. Without an account or a
// domain it reads just the page. With one it reads the due keys of the lanes
// that match, and keeps a page of ids in memory.
func (s *Store) List(f Filter) ([]Summary, error) {
	if err := s.broken(); err != nil {
		return nil, err
	}
	ids, err := s.listIDs(&f)
	if err != nil {
		return nil, err
	}
	list := make([]Summary, 0, len(ids))
	for _, id := range ids {
		m, err := s.Show(id)
		if errors.Is(err, ErrNotFound) {
			continue // it ended meanwhile
		}
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

func (s *Store) listIDs(f *Filter) ([]ID, error) {
	if f.Account == 0 && f.Domain == "" {
		return s.pageOfIDs(f)
	}
	// The smallest ids behind After, largest on top; at most a page of them.
	var page idHeap
	have := map[ID]bool{}
	err := s.eachLane(f, func(l Lane) error {
		return s.eachDue(l, func(at dueAt, _ int64) bool {
			id := ID{l.Tenant, at.epoch, at.seq}
			if !f.After.IsZero() && compareIDs(id, f.After) <= 0 || have[id] {
				return true
			}
			if len(page) == f.limit() {
				if compareIDs(id, page[0]) > 0 {
					return true
				}
				delete(have, heap.Pop(&page).(ID))
			}
			have[id] = true
			heap.Push(&page, id)
			return true
		})
	})
	slices.SortFunc(page, compareIDs)
	return page, err
}

// pageOfIDs reads the next page of message keys, not their values.
func (s *Store) pageOfIDs(f *Filter) (ids []ID, err error) {
	prefix := f.prefix(tabMessage)
	from := prefix
	if !f.After.IsZero() {
		if k := append(messageKey(nil, tabMessage, f.After), 0); bytes.Compare(k, from) > 0 {
			from = k
		}
	}
	it, err := s.newIter(from, after(prefix))
	if err != nil {
		return nil, fmt.Errorf("list messages: %w", err)
	}
	defer it.Close()
	for ok := it.First(); ok && len(ids) < f.limit(); ok = it.Next() {
		if id, ok := idOfKey(it.Key()); ok {
			ids = append(ids, id)
		}
	}
	return ids, it.Error()
}

func compareIDs(a, b ID) int {
	var x, y [24]byte
	for _, p := range []struct {
		b  *[24]byte
		id ID
	}{{&x, a}, {&y, b}} {
		binary.BigEndian.PutUint64(p.b[:], uint64(p.id.Tenant))
		binary.BigEndian.PutUint64(p.b[8:], p.id.Epoch)
		binary.BigEndian.PutUint64(p.b[16:], p.id.Seq)
	}
	return bytes.Compare(x[:], y[:])
}

type idHeap []ID

func (h idHeap) Len() int           { return len(h) }
func (h idHeap) Less(i, j int) bool { return compareIDs(h[i], h[j]) > 0 }
func (h idHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *idHeap) Push(x any)        { *h = append(*h, x.(ID)) }
func (h *idHeap) Pop() any {
	old := *h
	id := old[len(old)-1]
	*h = old[:len(old)-1]
	return id
}

// eachLane calls fn for every lane on disk that matches, hopping from one to
// the next.
func (s *Store) eachLane(f *Filter, fn func(Lane) error) error {
	prefix := f.prefix(tabDue)
	if f.Tenant != 0 && f.Account != 0 {
		prefix = be64(prefix, uint64(f.Account))
	}
	it, err := s.newIter(prefix, after(prefix))
	if err != nil {
		return fmt.Errorf("read lanes: %w", err)
	}
	defer it.Close()
	for ok := it.First(); ok; {
		l, _, good := parseDueKey(it.Key())
		if !good {
			return fmt.Errorf("read lanes: %w: due key", errCorrupt)
		}
		if f.lane(&l) {
			if err := fn(l); err != nil {
				return err
			}
		}
		ok = it.SeekGE(after(lanePrefix(nil, l)))
	}
	if err := it.Error(); err != nil {
		return fmt.Errorf("read lanes: %w", err)
	}
	return nil
}

// eachDue calls fn for every due key of a lane until it gives false.
func (s *Store) eachDue(l Lane, fn func(at dueAt, written int64) bool) error {
	prefix := lanePrefix(nil, l)
	it, err := s.newIter(prefix, after(prefix))
	if err != nil {
		return fmt.Errorf("read lane: %w", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		at, written, err := readDueEntry(it)
		if err != nil {
			return err
		}
		if !fn(at, written) {
			return nil
		}
	}
	if err := it.Error(); err != nil {
		return fmt.Errorf("read lane: %w", err)
	}
	return nil
}

// readDueEntry reads the position and the time of writing of a due key.
func readDueEntry(it *iterator) (dueAt, int64, error) {
	at, ok := parseDueTail(it.Key())
	v, err := it.ValueAndErr()
	if err != nil {
		return at, 0, fmt.Errorf("read lane: %w", err)
	}
	p, err := unseal(v)
	if err != nil {
		return at, 0, fmt.Errorf("read lane: %w", err)
	}
	if !ok || len(p) != 8 {
		return at, 0, fmt.Errorf("read lane: %w: due key", errCorrupt)
	}
	return at, int64(binary.BigEndian.Uint64(p)), nil
}

// Show shows one queued message.
func (s *Store) Show(id ID) (Summary, error) {
	if err := s.broken(); err != nil {
		return Summary{}, err
	}
	h, _, err := s.readMessage(id, false)
	if err != nil {
		return Summary{}, err
	}
	shares, err := s.readShares(id)
	if err != nil {
		return Summary{}, err
	}
	m := Summary{ID: id, Envelope: h.env}
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, domain := range h.domains {
		st := ItemState{Domain: domain, Due: fromMicro(h.due0)}
		rcpts := h.rcptsOf(uint16(n))
		if sh, ok := shares[uint16(n)]; ok {
			if sh.ended {
				continue
			}
			rcpts, st.Attempts, st.Due, st.Last = sh.rcpts, sh.attempts, fromMicro(sh.due), sh.last
		}
		for _, r := range rcpts {
			if r < len(h.env.Rcpts) {
				st.Rcpts = append(st.Rcpts, h.env.Rcpts[r].Addr)
			}
		}
		if g := s.index.logs[id.Tenant]; g != nil {
			if e := g.entries[shareKey{id.Epoch, id.Seq, uint16(n)}]; e != nil {
				st.Leased = e.phase == phaseLeased || e.phase == phaseSettled
				st.Due = fromMicro(e.due)
			}
		}
		m.Items = append(m.Items, st)
	}
	return m, nil
}

// Counts are a tenant's numbers, kept up to date, free to read.
type Counts struct {
	Queued   int // recipients without an outcome
	Messages int
	InDoubt  int
}

// Count returns the numbers of each adopted tenant.
func (s *Store) Count() map[tenant.ID]Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := make(map[tenant.ID]Counts, len(s.index.logs))
	for t, g := range s.index.logs {
		m[t] = g.counts
	}
	return m
}
