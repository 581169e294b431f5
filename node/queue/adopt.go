package queue

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"postern/tenant"
)

// Adopt takes over a tenant's log under epoch: from now on Put, Take, Start and
// Settle work for it, older epochs' messages included. It returns what the logs
// of lower epochs spent in total, to be committed before anything is spent.
//
// An epoch below one adopted before is ErrStale, and so is one in which an
// earlier process wrote something: sequences start at 1 in each epoch. One that
// was adopted and not used may be adopted again.
//
// Adopt says that everything that older copies have was taken in; AdoptPart
// is for when some of them could not be read. waiting are messages that awaited a
// reply when their log was released (see Quiesce): in doubt, whatever is known
// of them here.
func (s *Store) Adopt(t tenant.ID, epoch uint64, waiting ...ID) (spent []tenant.Spent, err error) {
	return s.adopt(t, epoch, true, ID{}, waiting)
}

// AdoptReleased is Adopt of a log that its last owner released after Quiesce, at
// end, the last number of its epoch. Where all of it lies here nothing has to be
// counted anew: it costs the same for any number of messages.
func (s *Store) AdoptReleased(t tenant.ID, epoch uint64, end ID, waiting ...ID) (spent []tenant.Spent, err error) {
	return s.adopt(t, epoch, true, end, waiting)
}

// AdoptPart is Adopt without all copies of older epochs. A Fetch of one of them
// after a Release still takes in what it has.
func (s *Store) AdoptPart(t tenant.ID, epoch uint64, waiting ...ID) (spent []tenant.Spent, err error) {
	return s.adopt(t, epoch, false, ID{}, waiting)
}

func (s *Store) adopt(t tenant.ID, epoch uint64, whole bool, end ID, waiting []ID) (spent []tenant.Spent, err error) {
	if err := s.broken(); err != nil {
		return nil, err
	}
	s.owning.Lock()
	defer s.owning.Unlock()
	s.mu.Lock()
	old, past := s.index.logs[t], s.index.past[t]
	s.mu.Unlock()
	if old != nil {
		if epoch < old.epoch {
			return nil, ErrStale
		}
		if err := s.release(old); err != nil {
			return nil, err
		}
		past = old
	}
	fences, err := s.fences(t)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.hold.giveBack(t)
		}
	}()
	again := past != nil && past.epoch == epoch
	if past != nil && epoch < past.epoch || !again && len(fences) > 0 && fences[len(fences)-1] >= epoch {
		return nil, ErrStale
	}
	var since uint64
	if !whole {
		if since, err = s.partSince(t, epoch, fences); err != nil {
			return nil, err
		}
	}
	if err := s.catchUp(t, epoch); err != nil {
		return nil, err
	}
	if err := s.hold.takeOver(t, epoch); err != nil {
		return nil, err
	}
	if err := s.doubtWaiting(waiting); err != nil {
		return nil, err
	}
	g := &tlog{
		tenant: t, epoch: epoch, since: since, fences: fences, flying: map[*putting]struct{}{},
		entries: map[shareKey]*entry{}, msgs: map[ID]*message{}, lanes: map[Lane]*lane{},
	}
	if again { // its numbers go on
		g.seq, g.day = past.seq, past.day
		g.open.Store(past.open.Load())
	}
	if s.ship != nil {
		g.out = newStream(g.seq)
	}
	if spent, err = s.spentBelow(t, epoch); err != nil {
		return nil, err
	}
	if err := s.dropDenied(t); err != nil {
		return nil, err
	}
	if err := s.wholeCounts(t, end); err != nil {
		return nil, err
	}
	if err := s.loadCounts(g); err != nil {
		return nil, err
	}
	if err := s.loadDoubts(g); err != nil {
		return nil, err
	}
	if err := s.loadLanes(g); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.index.copying[t] != nil {
		s.mu.Unlock()
		return nil, fmt.Errorf("adopt tenant: %w", ErrBusy)
	}
	s.index.logs[t] = g
	for _, l := range g.lanes {
		s.index.place(g, l)
	}
	s.index.ready += len(g.entries)
	counts := g.counts
	s.mu.Unlock()
	s.poke()
	s.cfg.Log.Info("tenant adopted", "tenant", t, "epoch", epoch, "messages", counts.Messages, "in_doubt", counts.InDoubt)
	return spent, nil
}

// fences lists the epochs in which the tenant's log was written here.
func (s *Store) fences(t tenant.ID) (epochs []uint64, err error) {
	prefix := tenantPrefix(nil, tabFence, t)
	err = s.each(prefix, after(prefix), func(k, _ []byte) (bool, error) {
		epochs = append(epochs, binary.BigEndian.Uint64(k[9:]))
		return true, nil
	})
	return epochs, err
}

// openEpoch notes durably, before the first number of an epoch is used, that it
// is, and starts its first day.
func (s *Store) openEpoch(g *tlog) error {
	if g.open.Load() {
		return nil
	}
	g.opening.Lock()
	defer g.opening.Unlock()
	if g.open.Load() {
		return nil
	}
	b := s.db.NewBatch()
	defer b.Close()
	for _, e := range g.fences {
		if g.since > e { // what it wrote then may not have been returned
			continue
		}
		_ = b.SingleDelete(fenceKey(nil, g.tenant, e), nil)
		_ = b.Delete(returnedKey(nil, g.tenant, e), nil)
	}
	day := dayOf(s.now())
	var since []byte
	if g.since != 0 {
		since = be64(nil, g.since)
	}
	setFramed(b, fenceKey(nil, g.tenant, g.epoch), since, nil)
	setFramed(b, dayKey(nil, g.tenant, g.epoch, day), be64(nil, 1), nil)
	if err := s.commit(b); err != nil {
		return err
	}
	s.mu.Lock()
	g.day = max(g.day, day)
	s.mu.Unlock()
	g.open.Store(true)
	return nil
}

// each calls f for every key of a range until it gives false or an error. The
// value comes lazily: reading one may cost a blob.
func (s *Store) each(from, to []byte, f func(k, payload []byte) (bool, error)) error {
	it, err := s.newIter(from, to)
	if err != nil {
		return fmt.Errorf("read queue: %w", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("read queue: %w", err)
		}
		p, err := unseal(v)
		if err != nil {
			return err
		}
		if more, err := f(it.Key(), p); !more || err != nil {
			return err
		}
	}
	return it.Error()
}

// eachSum is each for the sums, which are records as a whole.
func (s *Store) eachSum(from, to []byte, f func(k []byte, v sum)) error {
	return s.each(from, to, func(k, p []byte) (bool, error) {
		r := &reader{b: p}
		v := sum{r.int(), r.int()}
		if err := r.done("sum"); err != nil {
			return false, err
		}
		f(k, v)
		return true, nil
	})
}

// Forget drops spending records of epochs below epoch, once committed.
func (s *Store) Forget(t tenant.ID, epoch uint64) error {
	if err := s.broken(); err != nil {
		return err
	}
	from := tenantPrefix(nil, tabSpend, t)
	k := keep(s.db.NewBatch())
	defer k.release()
	if err := k.b.DeleteRange(from, be64(bytes.Clone(from), epoch), nil); err != nil {
		return fmt.Errorf("forget spending: %w", err)
	}
	var o *outgoing
	s.mu.Lock()
	if g := s.index.logs[t]; g != nil && s.ship != nil && g.open.Load() {
		_, o = s.next(g, recOps)
	}
	s.mu.Unlock()
	s.dispatch(o, k, k.b.Repr()[batchHead:])
	if err := s.commit(k.b); err != nil {
		return err
	}
	s.isLocal(o)
	return nil
}
