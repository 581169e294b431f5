package tenant

import "fmt"

// MaxBatch is the most operations of one Batch, so that an entry stays small
// and is carried out in a moment.
const MaxBatch = 200

// Batch carries out several operations of an operator as one: all of them or
// none. It says what state they were made of, because they name what others of
// the batch make, and because a second operator's word must not be overwritten
// by one who never saw it.
type Batch struct {
	// After is the index of the state that the operations were made of.
	After uint64
	// Name is what the journal calls it; "" notes the operations alone.
	Name string
	Ops  []Op // settings; Vetted ones, too
}

func (Batch) op() {}

func (b Batch) since() uint32 {
	v := uint32(batchVersion)
	for _, op := range b.Ops {
		v = max(v, sinceOf(op))
		v = max(v, keptSince(op))
	}
	return v
}

// Stale is the reason of a batch that was made of a state in which an operator's
// later word was missing.
const Stale = "another operator changed something meanwhile"

// settings says whether an operation sets what an operator declares, and so may
// be part of a batch.
func settings(op Op) bool {
	if v, ok := op.(Vetted); ok {
		op = v.Op
	}
	switch op.(type) {
	case AddSource, RemoveSource, SetPool, AddTenant, RemoveTenant, SetPlace, SetConduct, SetCustomer,
		AddAccount, SetAccount, RemoveAccount, SetDomain, SetBounce, RemoveDomain, SetRoute, SetLists, SetContain, SetNotices:
		return true
	}
	return false
}

// keptSince is the version since which an operation is a setting that was none
// before, or 0.
func keptSince(op Op) uint32 {
	if v, ok := op.(Vetted); ok {
		op = v.Op
	}
	switch op.(type) {
	case AddHashed, SetHash, Enrol:
		return keptVersion
	case SetWarm, NoteImport:
		return importVersion
	case SetRetention:
		return eraseVersion
	}
	return 0
}

func (d *draft) batch(b Batch, actor string) error {
	switch {
	case len(b.Ops) == 0 || len(b.Ops) > MaxBatch:
		return refuse("a batch has 1 to %d operations", MaxBatch)
	case !d.Journals():
		return refuse("a batch needs the journal, which opens when all nodes' programs know it")
	case d.spokenSince(b.After):
		return refuse("%s", Stale)
	}
	if b.Name != "" {
		d.note(Entry{Actor: actor, Act: "apply", Subject: b.Name, Why: fmt.Sprintf("%d changes at first", len(b.Ops))})
	}
	for i, op := range b.Ops {
		if err := d.step(op, actor); err != nil {
			return refuse("operation %d of the batch: %v", i+1, err)
		}
	}
	return nil
}

// step carries out one operation of several.
func (d *draft) step(op Op, actor string) error {
	v := keptSince(op)
	switch {
	case settings(op):
	case v == 0:
		return refuse("it is no setting")
	case !d.from(v):
		what := map[uint32]string{keptVersion: "imported passwords and enrolments are", importVersion: "imports, and sources that are warm, are",
			eraseVersion: "retention is"}[v]
		return refuse("%s declared since version %d and a node knows %d only: upgrade it first", what, v, d.Version())
	}
	d.journalOp(op, actor)
	if err := d.unvetted(op); err != nil {
		return err
	}
	if err := d.run(op); err != nil {
		return err
	}
	if d.names { // the next one may name what this one made
		d.lookup, d.names = buildIndex(&d.State), false
	}
	return nil
}

// spokenSince says whether an operator's word was carried out in an entry after
// index, as the journal tells. When it does not reach back so far, one was.
func (s *State) spokenSince(index uint64) bool {
	h := s.heads.get(0)
	for seq := h.next - 1; seq >= h.first && seq > 0; seq-- {
		e := s.JournalEntry(seq)
		if e.Index <= index {
			return false
		}
		if e.Actor != ActorAutomation {
			return true
		}
	}
	return h.first > 1
}

func (c *coder) batch(b *Batch) {
	if c.wrapped > inBy { // before it goes deeper
		c.fail(errBounds)
		return
	}
	c.uint(&b.After)
	c.str(&b.Name, maxSubject)
	was := c.wrapped
	c.wrapped = inBatch
	list(c, &b.Ops, MaxBatch, func(c *coder, op *Op) {
		inner := Command{Op: *op}
		codeOperation(c, &inner)
		*op = inner.Op
	})
	c.wrapped = was
}
