package tenant

import (
	"cmp"
	"slices"
	"time"
)

// Used tells what accounts sent by which source since it was last told. It is
// a fact and never refused for what it says.
type Used struct {
	Node NodeID
	Uses []Use
}

// Use is what one account sent by one source.
type Use struct {
	Account AccountID
	Source  SourceID
	At      time.Time // no later than the state's clock
	Counts  Counts
}

// Counts are recipients by what became of them.
type Counts struct {
	Tried     uint64 // attempts that came to an end
	Delivered uint64
	Unknown   uint64 // refused because there is no such recipient
	Content   uint64 // refused for what the message says
}

// Plus adds.
func (c Counts) Plus(o Counts) Counts {
	return Counts{plus(c.Tried, o.Tried), plus(c.Delivered, o.Delivered), plus(c.Unknown, o.Unknown), plus(c.Content, o.Content)}
}

func (Used) op()           {}
func (Used) since() uint32 { return containVersion }

// MaxUses is the most uses of one Used; a node with more sends several.
const MaxUses = 1024

// maxUses bounds the spans kept of one account.
const maxUses = 512

// uses is what one account sent, by span of time and source.
type uses struct {
	account AccountID
	spans   []useSpan // ascending by slot and source
}

type useSpan struct {
	slot   uint64 // number of the span since 1970
	source SourceID
	counts Counts
}

func compareUse(a, b useSpan) int {
	return cmp.Or(cmp.Compare(a.slot, b.slot), cmp.Compare(a.source, b.source))
}

func slotOf(t time.Time, length time.Duration) uint64 {
	return uint64(max(t.UnixNano(), 0)) / uint64(length)
}

func (d *draft) used(c Used) error {
	if len(c.Uses) > MaxUses {
		return refuse("more than %d uses in one command", MaxUses)
	}
	if d.Contain() == nil {
		return nil
	}
	again := false
	for _, u := range c.Uses {
		if !d.accounts.has(u.Account) || !d.sources.has(u.Source) || !inRange(u.At) || u.Counts == (Counts{}) {
			continue
		}
		before, now := d.use(u)
		again = again || d.saysMore(u.Account, before, now)
	}
	if again && d.from(weighVersion) {
		d.review()
	}
	return nil
}

// use counts, and gives what the account had sent in that span before and has now.
func (d *draft) use(u Use) (before, now uint64) {
	r := d.containRule()
	if u.At.After(d.Now()) {
		u.At = d.Now()
	}
	next := &uses{account: u.Account}
	if old := d.uses.get(u.Account); old != nil {
		next.spans = slices.Clone(old.spans)
	}
	x := useSpan{slot: slotOf(u.At, r.Slot), source: u.Source, counts: u.Counts}
	if i, found := slices.BinarySearchFunc(next.spans, x, compareUse); found {
		next.spans[i].counts = next.spans[i].counts.Plus(u.Counts)
	} else {
		next.spans = slices.Insert(next.spans, i, x)
	}
	before = d.uses.get(u.Account).tried(x.slot)
	next.forget(slotOf(d.Now(), r.Slot), r)
	put(d, &d.uses, u.Account, next)
	return before, next.tried(x.slot)
}

// forget drops what is too old to be usual, and of what is too old to count the
// source. The very first span stays, as long as something does: it says since
// when the account sends.
func (x *uses) forget(now uint64, r ContainRule) {
	history, window := uint64(r.History/r.Slot), uint64(r.Window/r.Slot)+1
	out := x.spans[:0:0]
	for _, s := range x.spans {
		if s.slot+history < now {
			continue
		}
		if s.slot+window < now {
			s.source = 0
		}
		if n := len(out); n > 0 && out[n-1].slot == s.slot && out[n-1].source == s.source {
			out[n-1].counts = out[n-1].counts.Plus(s.counts)
			continue
		}
		out = append(out, s)
	}
	if n := len(out); n > maxUses {
		out = slices.Clone(out[n-maxUses:])
	}
	x.spans = out
}

// forgetUses drops what was counted of a source that is gone.
func (d *draft) forgetUses(src SourceID) {
	for _, x := range slices.Clone(d.uses.vals) {
		if !slices.ContainsFunc(x.spans, func(s useSpan) bool { return s.source == src }) {
			continue
		}
		next := &uses{account: x.account}
		for _, s := range x.spans {
			if s.source == src {
				s.source = 0
			}
			i, found := slices.BinarySearchFunc(next.spans, s, compareUse)
			if found {
				next.spans[i].counts = next.spans[i].counts.Plus(s.counts)
			} else {
				next.spans = slices.Insert(next.spans, i, s)
			}
		}
		put(d, &d.uses, x.account, next)
	}
}

// in sums what an account sent by a source in the window that ends now.
func (x *uses) in(src SourceID, now, window uint64) (c Counts) {
	if x == nil {
		return c
	}
	for _, s := range x.spans {
		if s.source == src && s.slot+window >= now && s.slot <= now {
			c = c.Plus(s.counts)
		}
	}
	return c
}

// anywhere sums what it sent by all sources in the window that ends now.
func (x *uses) anywhere(now, window uint64) (c Counts) {
	if x == nil {
		return c
	}
	for _, s := range x.spans {
		if s.slot+window >= now && s.slot <= now {
			c = c.Plus(s.counts)
		}
	}
	return c
}

// tried sums what it sent in one span, by whatever source.
func (x *uses) tried(slot uint64) (n uint64) {
	if x == nil {
		return 0
	}
	i, _ := slices.BinarySearchFunc(x.spans, slot, func(s useSpan, n uint64) int { return cmp.Compare(s.slot, n) })
	for ; i < len(x.spans) && x.spans[i].slot == slot; i++ {
		n = plus(n, x.spans[i].counts.Tried)
	}
	return n
}
