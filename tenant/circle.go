package tenant

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"time"
)

// Wrote tells to how many recipients accounts wrote, and which of them the state
// did not know yet. It is a fact and never refused for what it says.
type Wrote struct {
	Node       NodeID
	Written    []Written
	Recipients []Recipient
}

// Written is to how many recipients an account wrote since it was last told,
// whatever became of the mail; a retry writes to nobody.
type Written struct {
	Account    AccountID
	At         time.Time // no later than the state's clock
	Recipients uint64
}

// Recipient is somebody an account wrote to. The same one counts once, however
// many nodes tell.
type Recipient struct {
	Account AccountID
	Ref     uint32 // a keyed hash of account and address, alike on all nodes
	At      time.Time
}

func (Wrote) op()           {}
func (Wrote) since() uint32 { return circleVersion }

// MaxWrote is the most recipients, and the most of Written, of one Wrote; a node
// with more sends several.
const MaxWrote = 512

// maxCircle bounds the recipients that are kept of an account.
const maxCircle = 256

// circle is whom an account writes to: some of the recipients, chosen by their
// hash, each of which stands for two to the power of level.
type circle struct {
	account AccountID
	since   time.Time // when something was told of it first
	level   uint8     // refs that end in fewer zero bits are not kept
	known   []acquaintance
	written []writtenSpan // ascending
}

type acquaintance struct {
	ref         uint32
	first, last uint64 // spans; last is brought up to date now and then
}

type writtenSpan struct{ slot, recipients uint64 }

func compareRefs(a acquaintance, ref uint32) int { return cmp.Compare(a.ref, ref) }

// LacksRecipient says whether the state would learn from a Recipient: a node need
// not tell of others. Who is known already is told again when a quarter of what is
// remembered went by, or who is written to every week would become a stranger.
func (s *State) LacksRecipient(r Recipient) bool {
	return s.accounts.has(r.Account) && s.circles.get(r.Account).lacks(r.Ref, slotOf(r.At, s.containRule().Slot), s.containRule())
}

func (x *circle) lacks(ref uint32, slot uint64, r ContainRule) bool {
	if x == nil {
		return true
	}
	if bits.TrailingZeros32(ref) < int(x.level) {
		return false
	}
	i, found := slices.BinarySearchFunc(x.known, ref, compareRefs)
	return !found || x.known[i].last+uint64(r.History/r.Slot)/4 < slot || slot < x.known[i].first
}

func (d *draft) wrote(c Wrote) error {
	if len(c.Written) > MaxWrote || len(c.Recipients) > MaxWrote {
		return refuse("more than %d recipients in one command", MaxWrote)
	}
	if d.Contain() == nil {
		return nil // nobody asks
	}
	r, changed := d.containRule(), make(map[AccountID]*circle)
	take := func(a AccountID, at time.Time) (*circle, uint64) {
		if !d.accounts.has(a) || at.IsZero() || !inRange(at) {
			return nil, 0
		}
		if at.After(d.Now()) {
			at = d.Now() // a clock that is ahead: the fact stays one
		}
		x := changed[a]
		if x == nil {
			x = &circle{account: a, since: at}
			if old := d.circles.get(a); old != nil {
				*x = *old
				x.known, x.written = slices.Clone(old.known), slices.Clone(old.written)
			}
			changed[a] = x
		}
		return x, slotOf(at, r.Slot)
	}
	for _, w := range c.Written {
		if x, slot := take(w.Account, w.At); x != nil && w.Recipients > 0 {
			x.write(slot, w.Recipients)
		}
	}
	for _, m := range c.Recipients {
		if x, slot := take(m.Account, m.At); x != nil && x.lacks(m.Ref, slot, r) {
			x.meet(m.Ref, slot)
		}
	}
	ids := make([]AccountID, 0, len(changed))
	for a := range changed {
		ids = append(ids, a)
	}
	slices.Sort(ids)
	for _, a := range ids {
		if x := changed[a]; x.forget(slotOf(d.Now(), r.Slot), r) {
			put(d, &d.circles, a, x)
		} else {
			remove(d, &d.circles, a)
		}
	}
	return nil
}

func (x *circle) write(slot, n uint64) {
	i, found := slices.BinarySearchFunc(x.written, slot, func(s writtenSpan, slot uint64) int { return cmp.Compare(s.slot, slot) })
	if !found {
		x.written = slices.Insert(x.written, i, writtenSpan{slot: slot})
	}
	x.written[i].recipients = plus(x.written[i].recipients, n)
}

// meet keeps a recipient, and fewer of all when there are too many.
func (x *circle) meet(ref uint32, slot uint64) {
	i, found := slices.BinarySearchFunc(x.known, ref, compareRefs)
	if !found {
		x.known = slices.Insert(x.known, i, acquaintance{ref, slot, slot})
	}
	a := &x.known[i]
	a.first, a.last = min(a.first, slot), max(a.last, slot)
	for len(x.known) > maxCircle {
		x.level++
		x.known = slices.DeleteFunc(x.known, func(a acquaintance) bool { return bits.TrailingZeros32(a.ref) < int(x.level) })
	}
}

// forget drops what is too old to be usual, and says whether anything is left.
func (x *circle) forget(now uint64, r ContainRule) bool {
	history := uint64(r.History / r.Slot)
	x.known = slices.DeleteFunc(x.known, func(a acquaintance) bool { return a.last+history < now })
	x.written = slices.DeleteFunc(x.written, func(s writtenSpan) bool { return s.slot+history < now })
	if n := len(x.written); n > maxUses {
		x.written = slices.Clone(x.written[n-maxUses:])
	}
	return len(x.known)+len(x.written) > 0
}

// between counts the recipients written to from one span to another, including
// it, and those of them who were written to for the first time: some of these are
// kept, and stand for all.
func (x *circle) between(from, to uint64) (first, kept, all uint64) {
	for _, s := range x.written {
		if s.slot >= from && s.slot <= to {
			all = plus(all, s.recipients)
		}
	}
	for _, a := range x.known {
		if a.first >= from && a.first <= to {
			kept++
		}
	}
	return min(kept<<x.level, all), kept, all
}

// strangers speaks against who writes to people it never wrote to, and usually
// does not. What it usually does is measured from when it has been known for long
// enough to have written to everybody once, to where the window begins.
func (w *weighing) strangers(a AccountID) SuspectTerm {
	t, x := SuspectTerm{Name: "first-time recipients", NoData: true}, w.circles.get(a)
	if x == nil {
		return t
	}
	before, _, of := x.between(slotOf(x.since.Add(w.r.Young), w.r.Slot), w.from-min(w.from, 1))
	if of < leastVolume/10 {
		t.Text = "what is usual is not known yet"
		return t
	}
	usual := before * 1000 / of
	t.NoData, t.Text = false, fmt.Sprintf("%d.%d %% usually, and no more lately", usual/10, usual%10)
	most := uint64(0)
	for _, length := range []uint64{1, uint64(scaledDay(w.r) / w.r.Slot)} {
		for end := w.from + length; end <= w.now; end++ {
			first, kept, all := x.between(end-length, end)
			if kept < fewest || all < leastVolume/10 || first*1000/all <= most {
				continue
			}
			if most = first * 1000 / all; most >= 800 && most >= 2*usual {
				if t.Points = 15; w.level < pointsVersion {
					t.Points = 10
				}
				t.Text = fmt.Sprintf("%d of %d within %s, usually %d.%d %%", first, all, spell(time.Duration(length+1)*w.r.Slot), usual/10, usual%10)
			}
		}
	}
	return t
}

func (s *State) checkCircles() error {
	for i, x := range s.circles.vals {
		bad := x.account != s.circles.keys[i] || !s.accounts.has(x.account) || s.Contain() == nil || x.since.IsZero() || x.since.After(s.Now()) ||
			x.level > 32 || len(x.known) > maxCircle || len(x.written) > maxUses || len(x.known)+len(x.written) == 0
		for k, a := range x.known {
			bad = bad || a.last < a.first || bits.TrailingZeros32(a.ref) < int(x.level) || k > 0 && x.known[k-1].ref >= a.ref
		}
		for k, s := range x.written {
			bad = bad || s.recipients == 0 || k > 0 && x.written[k-1].slot >= s.slot
		}
		if bad {
			return fmt.Errorf("whom account %d wrote to", x.account)
		}
	}
	return nil
}
