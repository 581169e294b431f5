package queue

import (
	"slices"
)

// judge says what shall live of what lives here and there, in order of the ids.
//
// Whose copy has seen more of the log's life is right wherever it was equal to
// its owner's. Elsewhere the older copy is what there is, moved forward by the
// outcomes that the newer one has: an owner's settlements come to its holder
// from the first moment on, messages and all. What the newer one has there
// beyond the older is of an earlier time, and ended, if the older can tell.
// Without merge what is here is of no use but for what this store alone has.
func (f *fetching) judge(mine, theirs []messageCopy) (want []messageCopy, err error) {
	newer, older, newAbout, oldAbout := mine, theirs, f.here, f.there
	mineNewer := f.here.newer(f.there)
	if !mineNewer || !f.merge {
		newer, older, newAbout, oldAbout = theirs, mine, f.there, f.here
		mineNewer = false
	}
	covers := newAbout.covers
	var ask []ID // whose history at the other decides
	type pair struct {
		new, old *messageCopy
		open     bool // the newer copy does not say
	}
	keep, err := f.s.toReturn(f.t)
	if err != nil {
		return nil, err
	}
	alone := func(id ID) bool { return keep != nil && keep(id) }
	pairs := map[ID]*pair{}
	var ids []ID
	for i := range newer {
		id := newer[i].id
		pairs[id] = &pair{new: &newer[i], open: !covers(id)}
		ids = append(ids, id)
	}
	for i := range older {
		id := older[i].id
		p := pairs[id]
		if p == nil {
			// Not what this store alone may have: the other says whether it ended.
			p = &pair{open: f.merge && !covers(id) || !mineNewer && alone(id)}
			pairs[id] = p
			ids = append(ids, id)
		}
		p.old = &older[i]
	}
	slices.SortFunc(ids, compareIDs)
	for _, id := range ids {
		p := pairs[id]
		if p.open && p.old == nil && f.merge && oldAbout.denies(id) && !(mineNewer && alone(id)) {
			p.new, p.open = nil, false
		}
		if p.open {
			ask = append(ask, id)
		}
	}
	told := map[ID][]rowCopy{}
	err = f.fetch.copies(fetchAsk{what: fetchRows, tenant: f.t, ids: ask}, func(list []messageCopy) error {
		for i := range list {
			told[list[i].id] = ownRows(list[i].rows)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		p := pairs[id]
		c := p.new
		if p.open {
			if c, err = f.moveOn(p.new, p.old, told[id]); err != nil {
				return nil, err
			}
		}
		if c != nil {
			want = append(want, *c)
		}
	}
	return want, nil
}

func ownRows(rows []rowCopy) []rowCopy {
	out := slices.Clone(rows)
	for i := range out {
		out[i].payload = slices.Clone(out[i].payload)
	}
	return out
}

// moveOn joins what two copies say of a message that the newer one does not
// cover, and moves it forward by the outcomes that either has: each was holder
// for a time. nil says that it ended. told is its history at the other.
func (f *fetching) moveOn(newer, older *messageCopy, told []rowCopy) (*messageCopy, error) {
	c := messageCopy{}
	switch {
	case older == nil:
		c.id, c.items = newer.id, newer.items
	case newer == nil:
		c.id, c.items = older.id, older.items
	default:
		c.id, c.items = older.id, higher(newer.items, older.items)
	}
	x := messageCopy{id: c.id}
	if err := f.s.readRows(&x, tabOutcome); err != nil {
		return nil, err
	}
	items, ended, err := advance(c.items, append(x.rows, told...), f.s.now())
	if err != nil || ended {
		return nil, err
	}
	c.items = items
	return &c, nil
}

// higher takes of each item the state that is further on.
func higher(a, b []itemCopy) []itemCopy {
	out := slices.Clone(a)
	for _, it := range b {
		i, have := slices.BinarySearchFunc(out, it.n, func(x itemCopy, n uint16) int { return int(x.n) - int(n) })
		switch {
		case !have:
			out = slices.Insert(out, i, it)
		case it.rev > out[i].rev:
			out[i] = it
		case it.rev == out[i].rev:
			out[i].doubt = out[i].doubt || it.doubt
		}
	}
	return out
}

// advance moves items forward by outcomes of attempts they do not know of.
// What an attempt deferred is due at once: when it was to be due is not known.
func advance(items []itemCopy, rows []rowCopy, now int64) (out []itemCopy, ended bool, err error) {
	out = slices.Clone(items)
	for _, r := range rows {
		if r.tab != tabOutcome {
			continue
		}
		x, err := readTraced(r.payload)
		if err != nil {
			return nil, false, err
		}
		if x.env != nil {
			return nil, true, nil
		}
		i, have := slices.BinarySearchFunc(out, r.n, func(c itemCopy, n uint16) int { return int(c.n) - int(n) })
		if have && out[i].rev >= r.rev {
			continue
		}
		sh := shareState{attempts: max(x.attempt.N, int(r.rev)), at: x.at.UnixMicro()}
		for _, o := range x.outcomes {
			if o.Result == Deferred {
				sh.rcpts, sh.last = append(sh.rcpts, o.Rcpt), o.Reply
			}
		}
		sh.ended = len(sh.rcpts) == 0
		if !sh.ended {
			sh.due = now
		}
		it := itemCopy{n: r.n, rev: r.rev, share: sh.append(nil)}
		if have {
			out[i] = it
		} else {
			out = slices.Insert(out, i, it)
		}
	}
	for _, r := range rows {
		if r.tab == tabDoubt {
			out = markDoubt(out, r.n, r.rev)
		}
	}
	return out, false, nil
}
