package tenant

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// circled is a street whose program knows circles, and whose first account wrote
// every day of four weeks to so many, so many of them for the first time.
func circled(t *testing.T, r *rand.Rand, all, first int) *town {
	w := street(t, 2)
	version := uint32(NewestVersion)
	w.must(t, SetNode{Node: 1, Version: &version})
	for range 28 {
		w.write(t, r, all, first)
		w.at = w.at.AddDate(0, 0, 1)
	}
	return w
}

// write tells of that many recipients, of whom some are strangers.
func (w *town) write(t *testing.T, r *rand.Rand, all, first int) {
	t.Helper()
	w.must(t, Wrote{Node: 1, Written: []Written{{1, w.at, uint64(all)}}})
	for ; first > 0; first -= min(first, MaxWrote) {
		var op Wrote
		for range min(first, MaxWrote) {
			if m := (Recipient{1, r.Uint32(), w.at}); w.s.LacksRecipient(m) {
				op.Recipients = append(op.Recipients, m)
			}
		}
		w.must(t, op)
	}
}

// Strangers speak against an account when nearly all are, and usually are not.
func TestFirstTimeRecipients(t *testing.T) {
	for _, x := range []struct {
		name         string
		usual, today [2]int // recipients, strangers
		points       int
		noData       bool
	}{
		{"as ever", [2]int{100, 20}, [2]int{100, 20}, 0, false},
		{"all are strangers", [2]int{100, 20}, [2]int{1000, 950}, 10, false},
		{"many more, whom it knows", [2]int{100, 20}, [2]int{1000, 100}, 0, false},
		{"always strangers", [2]int{100, 60}, [2]int{1000, 1000}, 0, false},
		{"a handful", [2]int{100, 10}, [2]int{9, 9}, 0, false},
		{"thousands", [2]int{5000, 200}, [2]int{20000, 19800}, 10, false},
		{"nothing is usual", [2]int{1, 1}, [2]int{1000, 1000}, 0, true},
	} {
		r := rand.New(rand.NewPCG(4, 5))
		w := circled(t, r, x.usual[0], x.usual[1])
		w.write(t, r, x.today[0], x.today[1])
		if got := weighed(t, w, 1, "first-time recipients"); got.Points != x.points || got.NoData != x.noData {
			t.Errorf("%s: %+v, want %d points", x.name, got, x.points)
		}
		if got := weighed(t, w, 2, "first-time recipients"); !got.NoData || got.Points != 0 {
			t.Errorf("%s: nobody told of the other: %+v", x.name, got)
		}
		if err := w.s.Check(); err != nil {
			t.Error(err)
		}
		w.s.level = pointsVersion
		if got := weighed(t, w, 1, "first-time recipients"); got.Points != x.points*3/2 {
			t.Errorf("%s: %+v, want %d points since version %d", x.name, got, x.points*3/2, pointsVersion)
		}
	}
	// Who began a week ago has no usual share: all are strangers to it.
	r := rand.New(rand.NewPCG(6, 7))
	w := circled(t, r, 0, 0)
	for range 8 {
		w.write(t, r, 100, 100)
		w.at = w.at.AddDate(0, 0, 1)
	}
	if got := weighed(t, w, 1, "first-time recipients"); !got.NoData {
		t.Errorf("new: %+v", got)
	}
}

// Whom an account wrote to is the same whoever tells it, in whatever order, and
// however often; and it stays small.
func TestCirclesMerge(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 9))
	var all []Recipient
	at := newTown().at
	for range 3000 {
		all = append(all, Recipient{1, r.Uint32() << r.IntN(4), at})
	}
	var forms [][]byte
	for range 3 {
		w := circled(t, r, 0, 0)
		told := slices.Concat(all, all[:1000])
		r.Shuffle(len(told), func(i, k int) { told[i], told[k] = told[k], told[i] })
		for part := range slices.Chunk(told, MaxWrote) {
			for i := range part {
				part[i].At = w.at
			}
			w.must(t, Wrote{Node: 1, Recipients: part})
		}
		x := w.s.circles.get(1)
		if len(x.known) > maxCircle || len(x.known) < maxCircle/4 {
			t.Errorf("%d of 3000 are kept", len(x.known))
		}
		c := &coder{}
		x.code(c)
		forms = append(forms, c.out)
		if len(c.out) > 4096 {
			t.Errorf("it takes %d octets", len(c.out))
		}
		if err := sound(w.s); err != nil {
			t.Error(err)
		}
	}
	if !bytes.Equal(forms[0], forms[1]) || !bytes.Equal(forms[1], forms[2]) {
		t.Error("the order matters")
	}
}

// Who is written to now and then stays known; who is not is forgotten, and so is
// an account that writes no more.
func TestCirclesForget(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 3))
	w := circled(t, r, 0, 0)
	friend := uint32(0x1234)
	w.must(t, Wrote{Recipients: []Recipient{{1, friend, w.at}, {1, 0x4321, w.at}, {99, 1, w.at}}, Written: []Written{{1, w.at.Add(time.Hour), 2}, {99, w.at, 2}}})
	told := 0
	for range 60 {
		w.at = w.at.AddDate(0, 0, 1)
		if m := (Recipient{1, friend, w.at}); w.s.LacksRecipient(m) {
			told++
			w.must(t, Wrote{Recipients: []Recipient{m}})
		}
	}
	if told < 6 || told > 10 {
		t.Errorf("told %d times in 60 days", told)
	}
	if x := w.s.circles.get(1); len(x.known) != 1 || len(x.written) != 0 {
		t.Errorf("%+v", x)
	}
	w.must(t, RemoveAccount{Account: 1})
	if w.s.circles.len() != 0 {
		t.Error("a removed account is remembered")
	}
}
