package tenant

import (
	"cmp"
	"slices"
	"time"
)

// book holds one account's quotas: the open ones (now and a while after their
// window passed) or the closed ones (history). They are apart so that the
// entries written every second copy and hash the small part only.
type book struct {
	account AccountID
	closed  bool
	quotas  []quota // by window, oldest first
}

// quota is the accounting of one account in one window.
type quota struct {
	window Window
	used   Amount // settled
	// epochs is what each epoch settled here, ascending, so that a log read
	// again settles nothing twice. At or below floor nothing settles any more.
	epochs []epochUse
	floor  uint64
	live   liveGrant // ID 0 when there is none
}

type epochUse struct {
	epoch  uint64
	amount Amount
}

// liveGrant is a grant with what the owner last said of it, and, for each of the
// two numbers, the limit and the settled use when it last grew: base + Given <=
// limit.
type liveGrant struct {
	Grant
	spent       Amount
	limit, base Amount
}

// settle records that epoch spent amount in all. A fact: it may go beyond what
// was given, and it is never taken back.
func (q *quota) settle(epoch uint64, amount Amount) {
	if epoch <= q.floor || amount.IsZero() {
		return
	}
	i, ok := slices.BinarySearchFunc(q.epochs, epoch, func(e epochUse, x uint64) int { return cmp.Compare(e.epoch, x) })
	q.epochs = slices.Clone(q.epochs)
	if !ok {
		q.epochs = slices.Insert(q.epochs, i, epochUse{epoch: epoch})
	}
	e := &q.epochs[i]
	q.used = q.used.Plus(amount.Minus(e.amount))
	e.amount = e.amount.Max(amount)
	if len(q.epochs) > maxEpochs {
		q.floor = q.epochs[0].epoch
		q.epochs = slices.Delete(q.epochs, 0, 1)
	}
}

// report takes in the cumulative spending of an epoch.
func (q *quota) report(epoch uint64, amount Amount) {
	if q.live.ID != 0 && q.live.Epoch == epoch {
		q.live.spent = q.live.spent.Max(amount)
		return
	}
	q.settle(epoch, amount)
}

// end turns the spent part of the live grant into settled use.
func (q *quota) end() {
	if q.live.ID != 0 {
		q.settle(q.live.Epoch, q.live.spent)
		q.live = liveGrant{}
	}
}

// grow gives at least need beyond what is spent, as far as the limit allows.
func (q *quota) grow(need, limit Amount) {
	g := &q.live
	given := g.spent.Plus(need).upTo(limit, q.used).Max(g.Given)
	if given.Mails != g.Given.Mails {
		g.limit.Mails, g.base.Mails = limit.Mails, q.used.Mails
	}
	if given.Bytes != g.Given.Bytes {
		g.limit.Bytes, g.base.Bytes = limit.Bytes, q.used.Bytes
	}
	g.Given = given
}

// kept is how long a passed window stays: two years in the history, or no
// longer than it is open when it is a short one.
func (w Window) kept() time.Time {
	if w.Kind.short() {
		return w.settles()
	}
	return w.End().AddDate(2, 0, 0)
}

// settles is when a passed window closes: one window later.
func (w Window) settles() time.Time { return w.Next().End() }

// expired reports whether w is a short window that nothing is reported of any
// more at a time in nanoseconds.
func (w Window) expired(now int64) bool {
	n := w.Kind.seconds()
	return n > 0 && w.Start+2*n <= now/int64(time.Second)
}

// quotaIn finds the account's quota of a window, open or closed, or nil.
func (s *State) quotaIn(a AccountID, w Window) *quota {
	for _, b := range [2]*book{s.open.get(a), s.closed.get(a)} {
		if b == nil {
			continue
		}
		if i, ok := b.find(w); ok {
			return &b.quotas[i]
		}
	}
	return nil
}

func (b *book) find(w Window) (int, bool) {
	return slices.BinarySearchFunc(b.quotas, w, quota.byWindow)
}

func (q quota) byWindow(w Window) int { return q.window.compare(w) }

// edit changes the account's quota of a window on a copy, made when missing.
// Change reports whether the quota is to be kept. Short windows that passed
// leave on this occasion, so a book holds two of a kind and no entry pays for
// more.
func (d *draft) edit(a AccountID, w Window, change func(*quota) bool) {
	if w.expired(d.now) {
		return
	}
	t, b := &d.open, d.open.get(a)
	if !w.settles().After(d.Now()) {
		t, b = &d.closed, d.closed.get(a)
	}
	cp := book{account: a, closed: t == &d.closed}
	var have []quota
	if b != nil {
		have = b.quotas
	}
	i, ok := slices.BinarySearchFunc(have, w, quota.byWindow)
	q := quota{window: w}
	if ok {
		q = have[i]
	}
	if !change(&q) {
		return
	}
	cp.quotas = make([]quota, 0, len(have)+1)
	for k := range have {
		if k == i {
			cp.quotas = append(cp.quotas, q)
		}
		if !(ok && k == i) && !have[k].window.expired(d.now) {
			cp.quotas = append(cp.quotas, have[k])
		}
	}
	if i == len(have) {
		cp.quotas = append(cp.quotas, q)
	}
	put(d, t, a, &cp)
	d.touch(a)
}

// roll closes the account's months that passed, and drops short windows that
// did and months out of keeping.
func (d *draft) roll(a AccountID) {
	now := d.Now()
	if b := d.open.get(a); b != nil {
		var past, left []quota
		for _, q := range b.quotas {
			switch {
			case q.window.settles().After(now):
				left = append(left, q)
			case !q.window.Kind.short():
				past = append(past, q)
			}
		}
		if len(left) < len(b.quotas) {
			d.closeWindows(a, past, left)
		}
	}
	if b := d.closed.get(a); b != nil {
		n := 0
		for n < len(b.quotas) && !b.quotas[n].window.kept().After(now) {
			n++
		}
		if n == len(b.quotas) {
			remove(d, &d.closed, a)
		} else if n > 0 {
			put(d, &d.closed, a, &book{account: a, closed: true, quotas: slices.Clone(b.quotas[n:])})
		}
	}
}

// closeWindows moves past windows to the history and leaves the others open.
func (d *draft) closeWindows(a AccountID, passed, left []quota) {
	if len(passed) > 0 {
		past := book{account: a, closed: true}
		if old := d.closed.get(a); old != nil {
			past.quotas = slices.Clone(old.quotas)
		}
		for _, q := range passed {
			q.end()
			if i, ok := past.find(q.window); !ok {
				past.quotas = slices.Insert(past.quotas, i, q)
			}
		}
		put(d, &d.closed, a, &past)
	}
	if len(left) == 0 {
		remove(d, &d.open, a)
	} else {
		put(d, &d.open, a, &book{account: a, quotas: left})
	}
	d.touch(a)
}

// rollAll does it for everybody when a month begins: windows close and leave at
// such a moment only, and accounts nobody uses any more lose theirs too.
func (d *draft) rollAll() {
	for _, t := range [2][]AccountID{slices.Clone(d.open.keys), slices.Clone(d.closed.keys)} {
		for _, a := range t {
			d.roll(a)
		}
	}
}

func (d *draft) takeGrant(c TakeGrant) error {
	if !d.nodes.has(c.Node) {
		return refuse("node %d is not known", c.Node)
	}
	if len(c.Wants) > MaxWants {
		return refuse("more than %d wants in one command", MaxWants)
	}
	for _, w := range c.Wants {
		d.emit(d.want(c.Node, w))
	}
	return nil
}

// want serves one want. What cannot be served is Short and nothing else, so
// that one account never stops the others of the command.
func (d *draft) want(node NodeID, w Want) Granted {
	g := Granted{Grant: Grant{Account: w.Account, Window: w.Window, Epoch: w.Epoch}, Short: !w.Need.IsZero()}
	a := d.accounts.get(w.Account)
	if a == nil {
		return g
	}
	t := d.tenants.get(a.Tenant)
	if t == nil || t.Owner != node || t.Epoch != w.Epoch {
		return g
	}
	current := d.current(a, w.Window)
	if !current && !d.settleable(w.Window) {
		return g
	}
	d.edit(w.Account, w.Window, func(q *quota) bool {
		before := q.live
		if q.live.ID != 0 && q.live.Epoch != w.Epoch {
			return false // nobody has settled the older owner's grant yet
		}
		if q.live.ID == 0 && current {
			q.live.Grant = Grant{ID: d.lastGrant + 1, Account: w.Account, Window: w.Window, Epoch: w.Epoch}
		}
		used := q.used
		q.report(w.Epoch, w.Spent)
		if current && a.Held == "" && t.Held == "" {
			q.grow(w.Need, d.Limit(w.Account, w.Window.Kind))
		}
		if before.ID == 0 && q.live.ID != 0 {
			if q.live.Given.IsZero() && q.live.spent.IsZero() {
				return false
			}
			d.lastGrant++
		}
		if q.live.ID != 0 {
			g.Grant = q.live.Grant
		}
		g.Short = !g.Grant.Given.Covers(w.Spent.Plus(w.Need)) && !w.Need.IsZero()
		return q.live != before || q.used != used
	})
	return g
}

// skew is how far the clock of a node may be before the state's: at the edge of
// a window its messages spend in the next one already.
const skew = 5 * time.Second

// current reports whether grants are given in w: it is one of the account's
// windows that run now or begin within moments.
func (d *draft) current(a *Account, w Window) bool {
	if w.Kind != Month && d.Limit(a.ID, w.Kind).IsZero() {
		return false
	}
	now := d.Now()
	return w == WindowAt(w.Kind, now) || w == WindowAt(w.Kind, now.Add(skew))
}

// settleable reports whether use in w may still be reported by an owner: the
// window has begun, and closes one window after it passed.
func (d *draft) settleable(w Window) bool {
	return w.Valid() && d.begun(w) && w.settles().After(d.Now())
}

func (d *draft) begun(w Window) bool { return w.Start <= d.Now().Add(skew).Unix() }
