package tenant

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// echoAlley is an alley whose program knows what is heard.
func echoAlley(t *testing.T, accounts int) *town {
	w := alley(t, accounts)
	version := uint32(NewestVersion)
	w.must(t, SetNode{Node: 1, Version: &version})
	return w
}

func (w *town) hear(t *testing.T, kind EchoKind, a AccountID, refs ...uint64) {
	t.Helper()
	for len(refs) > 0 {
		op := Heard{Node: 1}
		for _, r := range refs[:min(len(refs), MaxHeard)] {
			op.Echoes = append(op.Echoes, Echo{Account: a, Kind: kind, Ref: r, At: w.at})
		}
		w.must(t, op)
		refs = refs[min(len(refs), MaxHeard):]
	}
}

func refs(r *rand.Rand, n int) (all []uint64) {
	for range n {
		all = append(all, r.Uint64())
	}
	return all
}

// What was heard speaks against an account by the steps of the rule; each thing
// once, however often and wherever it is told. What nobody could hear is no data.
func TestHeardTerms(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	many := refs(r, 100)
	for _, x := range []struct {
		name   string
		term   string
		hear   func(*testing.T, *town)
		points int
		noData bool
		text   string
	}{
		{"nothing was ever heard", "complaints", func(*testing.T, *town) {}, 0, true, ""},
		{"no complaint about anybody", "complaints", func(t *testing.T, w *town) { w.fed(t, 1, 1000) }, 0, true, "none came in about anybody"},
		{"none about this one", "complaints", func(t *testing.T, w *town) { w.fed(t, 1, 1000); w.hear(t, EchoComplaint, 2, 1) }, 0, false, "0 of 1000"},
		{"too little delivered", "complaints", func(t *testing.T, w *town) { w.fed(t, 1, 199); w.hear(t, EchoComplaint, 1, 1, 2, 3) }, 0, true, "3 of 199"},
		{"two are none", "complaints", func(t *testing.T, w *town) { w.fed(t, 1, 300); w.hear(t, EchoComplaint, 1, 1, 2) }, 0, false, "2 of 300"},
		{"the same two, again and again", "complaints", func(t *testing.T, w *town) {
			w.fed(t, 1, 300)
			for range 9 {
				w.hear(t, EchoComplaint, 1, 1, 2, 1)
			}
		}, 0, false, "2 of 300"},
		{"one in a thousand", "complaints", func(t *testing.T, w *town) { w.fed(t, 1, 3000); w.hear(t, EchoComplaint, 1, 1, 2, 3) }, 10, false, "3 of 3000"},
		{"three in a thousand", "complaints", func(t *testing.T, w *town) { w.fed(t, 1, 1000); w.hear(t, EchoComplaint, 1, 1, 2, 3) }, 20, false, "3 of 1000"},
		{"five in a thousand", "complaints", func(t *testing.T, w *town) { w.fed(t, 1, 600); w.hear(t, EchoComplaint, 1, 1, 2, 3) }, 30, false, "3 of 600"},
		{"less than one in a thousand", "complaints", func(t *testing.T, w *town) { w.fed(t, 1, 3001); w.hear(t, EchoComplaint, 1, 1, 2, 3) }, 0, false, "3 of 3001"},
		{"long ago", "complaints", func(t *testing.T, w *town) {
			w.fed(t, 1, 600)
			w.hear(t, EchoComplaint, 1, 1, 2, 3)
			w.at = w.at.Add(3 * 24 * time.Hour)
			w.fed(t, 1, 600)
			w.hear(t, EchoComplaint, 2, 9)
			w.uses(t, 1, 1, Counts{Tried: 1})
		}, 0, false, "0 of "},
		{"addresses gone, told at once", "unknown users", func(t *testing.T, w *town) { w.uses(t, 1, 1, Counts{Tried: 900, Unknown: 49}) }, 0, false, "49 of 1000"},
		{"and told later", "unknown users", func(t *testing.T, w *town) {
			w.uses(t, 1, 2, Counts{Tried: 900, Unknown: 49})
			w.hear(t, EchoBounce, 1, many[:51]...)
		}, 20, false, "100 of 1000, 51 of them told later"},
		{"a trap", "evidence", func(t *testing.T, w *town) { w.hear(t, EchoTrap, 1, 7, 8, 7) }, 50, false, "mail of it came to spam traps: 2"},
		{"a trap besides the operator's word", "evidence", func(t *testing.T, w *town) {
			w.hear(t, EchoTrap, 1, 7)
			w.must(t, AddEvidence{Account: 1, Note: "a letter"})
		}, 50, false, "a letter"},
		{"no login", "logins", func(*testing.T, *town) {}, 0, true, ""},
		{"everything is new at first", "logins", func(t *testing.T, w *town) { w.hear(t, EchoLogin, 1, many[:9]...); w.pass(t, 23*time.Hour) }, 0, true, "known for 23 h only"},
		{"four new networks", "logins", func(t *testing.T, w *town) {
			w.hear(t, EchoLogin, 1, 1, 2, 3)
			w.pass(t, 25*time.Hour)
			w.hear(t, EchoLogin, 1, 1, 2, 3, 4, 5, 6, 7)
		}, 0, false, "from 4 new"},
		{"five", "logins", func(t *testing.T, w *town) {
			w.hear(t, EchoLogin, 1, 1)
			w.pass(t, 25*time.Hour)
			w.hear(t, EchoLogin, 1, 4, 5, 6)
			w.pass(t, 50*time.Minute)
			w.hear(t, EchoLogin, 1, 7, 8)
		}, 10, false, "from 5 new"},
		{"five in two hours", "logins", func(t *testing.T, w *town) {
			w.hear(t, EchoLogin, 1, 1)
			w.pass(t, 25*time.Hour)
			w.hear(t, EchoLogin, 1, 4, 5, 6)
			w.pass(t, 70*time.Minute)
			w.hear(t, EchoLogin, 1, 7, 8)
		}, 0, false, "from 3 new"},
	} {
		t.Run(x.name, func(t *testing.T) {
			w, version := alley(t, 2), uint32(heardVersion)
			w.must(t, SetNode{Node: 1, Version: &version})
			w.uses(t, 1, 1, Counts{Tried: 100})
			x.hear(t, w)
			if got := termOf(t, w.s, 1, x.term); got.Points != x.points || got.NoData != x.noData || !strings.HasPrefix(got.Text, x.text) || x.text == "" && got.Text != "" {
				t.Errorf("%+v, want %d points, no data %v", got, x.points, x.noData)
			}
			if w.s.level = pointsVersion; x.term == "logins" && termOf(t, w.s, 1, x.term).Points != 2*x.points {
				t.Errorf("%+v, want %d points since version %d", termOf(t, w.s, 1, x.term), 2*x.points, pointsVersion)
			}
		})
	}
}

func (w *town) fed(t *testing.T, a AccountID, n uint64) {
	t.Helper()
	w.must(t, Heard{Node: 1, Fed: []Fed{{Account: a, At: w.at, Delivered: n}}})
}

func (w *town) pass(t *testing.T, d time.Duration) {
	t.Helper()
	w.at = w.at.Add(d)
	w.must(t, Review{})
}

// However many complaints come, what is kept is bounded, a node need not tell
// of most, what is told twice changes nothing, and the number is about right.
func TestHeardIsBounded(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{100, maxEchoes, 1000, 20000} {
		w := echoAlley(t, 1)
		told := 0
		tell := func(all []uint64) {
			op := Heard{Node: 1}
			for _, ref := range all {
				if m := (Echo{Account: 1, Kind: EchoComplaint, Ref: ref, At: w.at}); w.s.Lacks(m) {
					op.Echoes = append(op.Echoes, m)
				}
				if len(op.Echoes) == MaxHeard {
					told += len(op.Echoes)
					w.must(t, op)
					op.Echoes = nil
				}
			}
			told += len(op.Echoes)
			w.must(t, op)
		}
		all := refs(r, n)
		for from := 0; from < n; from += 700 {
			tell(all[from:min(n, from+700)])
		}
		before := w.s.echoes.get(1)
		got := before.told(EchoComplaint, w.at, w.s.containRule())
		if diff := int(got) - n; len(before.echoes) > maxEchoes || n <= maxEchoes && diff != 0 || max(diff, -diff) > n/3 {
			t.Errorf("%d complaints: %d kept, counted as %d", n, len(before.echoes), got)
		}
		if told > 4000 {
			t.Errorf("%d complaints: %d were told", n, told)
		}
		told = 0
		tell(all)
		if told != 0 {
			t.Errorf("%d complaints: %d told again", n, told)
		}
		w.hear(t, EchoComplaint, 1, all[:min(n, 512)]...) // a node that did not know
		if got := w.s.echoes.get(1).told(EchoComplaint, w.at, w.s.containRule()); got != before.told(EchoComplaint, w.at, w.s.containRule()) {
			t.Errorf("%d complaints: %d when told again", n, got)
		}
	}
}

// Networks are told apart by when they were new: the latest stay.
func TestLoginsAreBounded(t *testing.T) {
	w := echoAlley(t, 1)
	for i := range 3 * maxEchoes {
		w.hear(t, EchoLogin, 1, uint64(i))
		w.at = w.at.Add(time.Minute)
	}
	x := w.s.echoes.get(1)
	if len(x.echoes) != maxEchoes || x.echoes[0].ref != 2*maxEchoes || !x.logins.Equal(w.at.Add(-3*maxEchoes*time.Minute)) {
		t.Errorf("%d kept, the first %d, since %v", len(x.echoes), x.echoes[0].ref, x.logins)
	}
	w.pass(t, 29*24*time.Hour)
	w.hear(t, EchoLogin, 1, 1<<40)
	if x := w.s.echoes.get(1); len(x.echoes) != 1 {
		t.Errorf("%d kept after a month", len(x.echoes))
	}
}

// In whatever order nodes tell, once or twice, the state holds the same.
func FuzzHeard(f *testing.F) {
	f.Add([]byte{1, 1, 3, 4, 5, 6, 7, 8, 9, 9, 2, 3, 3, 4, 5, 6, 7, 8, 9, 9}, int64(1))
	long := make([]byte, 10*MaxHeard)
	for i := range long {
		long[i] = byte(i * i / 3)
	}
	f.Add(long, int64(2))
	f.Fuzz(func(t *testing.T, in []byte, order int64) {
		at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
		var marks []Echo
		for len(in) >= 10 && len(marks) < MaxHeard {
			kind := []EchoKind{EchoComplaint, EchoBounce, EchoTrap, 0, 9}[in[1]%5]
			marks = append(marks, Echo{Account: AccountID(in[0] % 3), Kind: kind, Ref: binary.LittleEndian.Uint64(in[2:]), At: at})
			in = in[10:]
		}
		var held [2][][]byte
		for i := range held {
			w := newTown()
			version := uint32(NewestVersion)
			w.must(t, AddNode{Name: "one"}, SetNode{Node: 1, Version: &version}, AddSource{Node: 1, Addr: netip.MustParseAddr("127.77.1.1"), EHLO: "a.test", Shared: true},
				AddTenant{Name: "shoes", Hostname: "shoes.test", Home: Place{Node: 1}}, AddAccount{Tenant: 1, Username: "a@shoes.test"}, AddAccount{Tenant: 1, Username: "b@shoes.test"},
				SetContain{Usual(0)}, Heard{Node: 1, Echoes: marks})
			if i == 1 {
				w.must(t, Heard{Node: 1, Echoes: marks[:len(marks)/2]})
			}
			if err := sound(w.s); err != nil {
				t.Fatal(err)
			}
			for x := range w.s.echoes.all() {
				c := &coder{}
				x.code(c)
				held[i] = append(held[i], c.out)
			}
			r := rand.New(rand.NewPCG(uint64(order), 1))
			r.Shuffle(len(marks), func(a, b int) { marks[a], marks[b] = marks[b], marks[a] })
		}
		if !slices.EqualFunc(held[0], held[1], bytes.Equal) {
			t.Fatalf("%d marks in two orders: two states", len(marks))
		}
	})
}

func (d *draft) changeEcho(id AccountID, change func(*echoBook)) {
	x := *d.echoes.get(id)
	x.echoes, x.fed = slices.Clone(x.echoes), slices.Clone(x.fed)
	change(&x)
	put(d, &d.echoes, id, &x)
}
