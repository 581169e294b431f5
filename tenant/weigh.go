package tenant

import (
	"fmt"
	"math/bits"
	"slices"
	"time"
)

// weighing is how suspicion is measured since weighVersion. What an account sent
// by the source counts up to the listing, and after it what it sends by whichever
// source: a spammer that was moved goes on being one.
type weighing struct {
	*State
	r      ContainRule
	src    SourceID
	raised time.Time
	// Spans: since which one what was sent counts, that of the listing, and now.
	from, at, now uint64
	loops         bool         // some provider told of complaints
	domainsSeen   *domainSight // nil until it is asked for
}

func (s *State) weighing(src SourceID, raised time.Time) *weighing {
	r := s.containRule()
	w := &weighing{State: s, r: r, src: src, raised: raised, at: slotOf(raised, r.Slot), now: slotOf(s.Now(), r.Slot), loops: s.loops(raised, r)}
	w.from = w.at - min(w.at, uint64(r.Window/r.Slot))
	return w
}

// terms are all that may speak against an account that sent so much of what left
// by the source.
func (w *weighing) terms(a AccountID, tried, total uint64) []SuspectTerm {
	return []SuspectTerm{
		w.trapped(w.named(a, w.src, w.raised, w.r), a, w.raised, w.r),
		w.unknown(a), w.content(a), w.growth(a), w.followed(a, w.src, w.raised, w.r), share(tried, total),
		w.complained(a), w.domainLists(a), w.strangers(a), w.loggedIn(a, w.raised, w.r)}
}

// The last step of each share is twice or more of what makes large senders'
// programmes stop an account for that alone.
func (w *weighing) unknown(a AccountID) SuspectTerm {
	steps := [][2]uint64{{50, 10}, {100, 20}, {200, 25}, {300, 35}}
	of := func(c Counts) uint64 { return c.Unknown }
	t := w.worst("unknown users", w.uses.get(a), of, 50, steps)
	late := w.echoes.get(a).told(EchoBounce, w.raised, w.r)
	if late == 0 {
		return t
	}
	c := w.uses.get(a).anywhere(w.now, w.now-w.from)
	all := ratio(t.Name, plus(c.Unknown, late), c.Tried, 50, steps...)
	if all.NoData || all.Points < t.Points {
		return t
	}
	all.Text += fmt.Sprintf(", %d of them told later", late)
	return all
}

func (w *weighing) content(a AccountID) SuspectTerm {
	steps := [][2]uint64{{20, 12}, {50, 25}, {100, 40}}
	if w.level < pointsVersion {
		steps = [][2]uint64{{20, 8}, {50, 15}, {100, 25}}
	}
	return w.worst("content refused", w.uses.get(a), func(c Counts) uint64 { return c.Content }, 20, steps)
}

// fewest is how many recipients must speak against an account before a part of
// the window is judged alone: of fewer, some part is always bad by chance.
const fewest = 10

// worst is the share that says most: over the whole window, or any day or quarter
// of a day in it. A stolen password spoils hours, and its owner's mail of three
// days would hide them.
func (w *weighing) worst(name string, x *uses, of func(Counts) uint64, least uint64, steps [][2]uint64) SuspectTerm {
	c := w.sent(x, w.from, w.now)
	t, bad := ratio(name, of(c), c.Tried, least, steps...), c
	for _, length := range []uint64{1, uint64(scaledDay(w.r) / w.r.Slot)} {
		for end := w.from + length; end <= w.now; end++ {
			c := w.sent(x, end-length, end)
			if of(c) < fewest {
				continue
			}
			if part := ratio(name, of(c), c.Tried, least, steps...); part.Points > t.Points {
				t, bad = part, c
				t.Text += " within " + spell(time.Duration(length+1)*w.r.Slot)
			}
		}
	}
	return w.asEver(t, w.past(x), bad, of)
}

// past is what an account sent before what counts. Some lists list only after
// days of hits: since pointsVersion the week before a listing is left out, or who
// began quietly would be excused by it.
func (w *weighing) past(x *uses) Counts {
	end := w.from - min(w.from, 1)
	if w.level >= pointsVersion {
		end = w.at - min(w.at, 7*daySlots(w.r)+1)
	}
	return x.anywhere(end, end)
}

// asEver halves the points of who was hardly better in the weeks before: a
// careless sender is bad in the same way for months, and was not listed for it.
// What begins in these days is what a list has just seen.
func (w *weighing) asEver(t SuspectTerm, before, bad Counts, of func(Counts) uint64) SuspectTerm {
	if w.level < pastVersion || t.Points == 0 || before.Tried < leastVolume {
		return t
	}
	if usual := of(before) * 1000 / before.Tried; 2*usual >= of(bad)*1000/bad.Tried {
		t.Points /= 2
		t.Text += fmt.Sprintf("; %d.%d %% before that too", usual/10, usual%10)
	}
	return t
}

// sent sums what an account sent from one span to another, and including it.
func (w *weighing) sent(x *uses, from, to uint64) (c Counts) {
	if x == nil {
		return c
	}
	for _, s := range x.spans {
		if s.slot >= from && s.slot <= to && (s.source == w.src || s.slot > w.at) {
			c = c.Plus(s.counts)
		}
	}
	return c
}

// enoughMails is below how many a share of complaints is one of so many: three
// complaints about a few dozen mails say much, but not that they are a tenth.
const enoughMails, fewerMails = 500, 200 // fewer before pointsVersion

// complained measures all complaints since the window began by all that got to
// providers that tell of them since then, also what came after the listing.
// People complain hours after they got a mail, so since pointsVersion what got
// there on the day before the window counts, too.
func (w *weighing) complained(a AccountID) SuspectTerm {
	since, enough := w.from, uint64(fewerMails)
	if w.level >= pointsVersion {
		since, enough = w.from-min(w.from, daySlots(w.r)), enoughMails
	}
	t, x := SuspectTerm{Name: "complaints"}, w.echoes.get(a)
	if !w.loops {
		t.NoData = true
		if w.echoes.len() > 0 {
			t.Text = "none came in about anybody"
		}
		return t
	}
	n, of := x.told(EchoComplaint, w.raised, w.r), uint64(0)
	if x != nil {
		for _, f := range x.fed {
			if f.slot >= since {
				of = plus(of, f.delivered)
			}
		}
	}
	t.Text = fmt.Sprintf("%d of %d at providers that tell of them", n, of)
	t.NoData = n < 3 && of < enough
	if n >= 3 {
		t.Points = steps(n*1000/max(of, enough), [][2]uint64{{1, 10}, {3, 20}, {5, 30}, {10, 40}, {20, 50}}...)
	}
	return t
}

// growth compares two spans with the same ones of earlier days: any two of the
// last two days before the listing, for lists take hours to list, and a spammer
// sleeps. Who sends on some days only is compared with those.
func (w *weighing) growth(a AccountID) SuspectTerm {
	t, x := SuspectTerm{Name: "growth"}, w.uses.get(a)
	if x == nil || len(x.spans) == 0 {
		t.NoData = true
		return t
	}
	day := daySlots(w.r)
	first, most, known := x.spans[0].slot, uint64(0), false
	for end := w.at - min(w.at, 2*day-1); end <= w.at; end++ {
		recent := x.two(end)
		most = max(most, recent)
		usual, ok := x.usual(end, first, day)
		if known = known || ok; !ok {
			continue
		}
		p := 0
		if recent >= leastVolume {
			p = steps(recent/max(usual, 1), [2]uint64{5, 10}, [2]uint64{10, 20})
		}
		if p > t.Points || t.Text == "" || p == t.Points && end == w.at {
			t.Points, t.Text = p, fmt.Sprintf("%d recipients within %s, usually %d", recent, spell(2*w.r.Slot), usual)
		}
	}
	if age := time.Duration(w.at-min(first, w.at)) * w.r.Slot; age < w.r.Young && t.Points < 10 {
		t.Text = fmt.Sprintf("new, with %d recipients only", most)
		if most >= leastVolume {
			t.Points, t.Text = 10, "new: it began to send "+spell(age)+" ago"
		}
	} else if !known {
		t.NoData = true
	}
	return t
}

// two is what was sent in a span and the one before it.
func (x *uses) two(slot uint64) uint64 { return plus(x.tried(slot), x.tried(slot-1)) }

// usual is the median of the same two spans of the days before, of three at
// least; or of those in which anything was sent if that is more and there are
// three: a newsletter that leaves twice a week does not grow each time it does.
func (x *uses) usual(end, first, day uint64) (n uint64, known bool) {
	var all []uint64
	for slot := end - min(end, day); slot > first; slot -= min(slot, day) {
		all = append(all, x.two(slot))
	}
	if len(all) < 3 {
		return 0, false
	}
	slices.Sort(all)
	n = all[len(all)/2]
	if i := slices.IndexFunc(all, func(n uint64) bool { return n > 0 }); i >= 0 && len(all)-i >= 3 {
		n = max(n, all[i+(len(all)-i)/2])
	}
	return n, true
}

// busy is how many recipients in a span may say more of an account.
const busy = 50

// saysMore says whether an account that is suspected in an open case has sent twice
// as much in a span as when it was weighed last: so what it does after the listing
// speaks too, and a busy one is not weighed with every batch.
func (s *State) saysMore(a AccountID, before, now uint64) bool {
	if now < busy || bits.Len64(before) == bits.Len64(now) {
		return false
	}
	return slices.ContainsFunc(s.cases.vals, func(c *Case) bool {
		return c.Ended.IsZero() && c.Culprit == 0 && slices.ContainsFunc(c.Suspects, func(x Suspect) bool { return x.Account == a })
	})
}
