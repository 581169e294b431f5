package queue

import (
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

func failure(addr string) Failure {
	return Failure{Addr: addr, Reason: HardBounce, Class: "InvalidRecipient", Reply: Reply{550, "5.1.1", "user unknown"}, Account: 1, At: time.Now()}
}

// bounced settles one item as a failure of its addresses.
func bounced(t testing.TB, s *Store, it *Item) {
	t.Helper()
	x := Settlement{Item: it, Attempt: Attempt{N: 1, At: time.Now()}, Outcomes: outcomes(it, Bounced)}
	for _, i := range it.Rcpts {
		x.Failed = append(x.Failed, failure(it.Envelope.Rcpts[i].Addr))
	}
	settle(t, s, x)
}

func onList(t testing.TB, s *Store, addr string) bool {
	t.Helper()
	_, on, err := s.Suppressed(1, tenant.Bulk, addr)
	if err != nil {
		t.Fatal(err)
	}
	return on
}

// TestSuppressionRules: what each failure says, and for how long it counts.
func TestSuppressionRules(t *testing.T) {
	at := time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	fail := func(x Suppression, after time.Duration, change func(*Failure)) Suppression {
		f := failure("U@D.test")
		f.At = at.Add(after)
		if change != nil {
			change(&f)
		}
		return x.after(&f)
	}
	domain := func(f *Failure) { f.Domain, f.Class = true, "BadDomain" }
	complaint := func(f *Failure) { f.Reason = Complaint }
	first := fail(Suppression{}, 0, nil)
	twice := fail(first, time.Hour, nil)
	again := fail(first, 40*day, nil)
	often := fail(fail(fail(again, 80*day, nil), 120*day, nil), 160*day, nil)
	gone := fail(Suppression{}, 0, domain)
	off := first
	off.Removed = true
	angry := fail(first, day, complaint)
	for name, c := range map[string]struct {
		x     Suppression
		class tenant.Class
		on    time.Duration
		want  bool
	}{
		"bulk":                           {first, tenant.Bulk, 29 * day, true},
		"bulk, lapsed":                   {first, tenant.Bulk, 30*day + 1, false},
		"the same day counts once":       {twice, tenant.Bulk, 31 * day, false},
		"a second day adds a month":      {again, tenant.Bulk, 99 * day, true},
		"and no more":                    {again, tenant.Bulk, 101 * day, false},
		"three months are the most":      {often, tenant.Bulk, 251 * day, false},
		"transactional, the same day":    {first, tenant.Transactional, 23 * time.Hour, true},
		"transactional, the next":        {first, tenant.Transactional, day, false},
		"a domain, once":                 {gone, tenant.Bulk, time.Second, false},
		"a domain, an hour later":        {fail(gone, time.Hour, domain), tenant.Bulk, 2 * time.Hour, false},
		"a domain, on two days":          {fail(gone, day, domain), tenant.Bulk, 2 * day, true},
		"removed":                        {off, tenant.Bulk, time.Hour, false},
		"removed and failed again":       {fail(off, day, nil), tenant.Bulk, 2 * day, true},
		"complained, for good":           {angry, tenant.Bulk, 900 * day, true},
		"complained, transactional":      {angry, tenant.Transactional, 2 * day, false},
		"a bounce is less than a word":   {fail(angry, 2*day, nil), tenant.Bulk, 900 * day, true},
		"by hand stops all":              {fail(first, 0, func(f *Failure) { f.Reason = ByOperator }), tenant.Transactional, 900 * day, true},
		"a removed complaint is history": {fail(func() Suppression { x := angry; x.Removed = true; return x }(), 2*day, nil), tenant.Bulk, 40 * day, false},
	} {
		if got := c.x.Stops(c.class, at.Add(c.on)); got != c.want {
			t.Errorf("%s: %v, want %v (%+v)", name, got, c.want, c.x)
		}
	}
	if x := fail(first, -time.Hour, nil); !x.Changed.After(first.Changed) {
		t.Errorf("a change in the past is not the newest: %v after %v", x.Changed, first.Changed)
	}
}

// TestSuppressionsGoWithTheLog: what the owner has, whoever adopts after it has:
// its holder, one that became the holder later, and one that fetches a copy.
func TestSuppressionsGoWithTheLog(t *testing.T) {
	n := newNetwork()
	stores := map[string]*Store{}
	for _, name := range []string{"a", "b", "c", "d"} {
		stores[name] = n.member(t, name, vfs.NewMem(), nil)
	}
	a, b, c, d := stores["a"], stores["b"], stores["c"], stores["d"]
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "b")
	put(t, a, 1, []byte("x"), envelope("gone@one.test"))
	bounced(t, a, takeOne(t, a))
	var many []Failure
	for i := range MaxSuppress {
		many = append(many, failure(fmt.Sprintf("u%04d@two.test", i)))
	}
	for range 3 { // more than a page, with what follows
		if err := a.Suppress(t.Context(), 1, many); err != nil {
			t.Fatal(err)
		}
		for i := range many {
			many[i].Addr = "x" + many[i].Addr
		}
	}
	if k, err := a.Unsuppress(t.Context(), 1, []string{"U0007@two.test", "nobody@two.test"}); err != nil || k != 1 {
		t.Fatalf("removed %d, %v", k, err)
	}
	mirror(t, a, 1, 1, 2, "c") // which was not there when it happened
	until(t, "the copy is whole", synced(a, 1))
	if k, err := a.Unsuppress(t.Context(), 1, []string{"u0008@two.test"}); err != nil || k != 1 {
		t.Fatalf("removed %d, %v", k, err)
	}
	until(t, "the copy is whole", synced(a, 1))
	want := rowsOf(t, a)
	if len(want) != 3*MaxSuppress+1 {
		t.Fatalf("%d rows", len(want))
	}
	closeStore(t, a)
	for _, s := range []*Store{b, c} {
		if _, err := s.Fence(t.Context(), "", 1, 2); err != nil {
			t.Fatal(err)
		}
	}
	if !onList(t, b, "gone@one.test") {
		t.Error("the first holder does not have what the settlement said")
	}
	if !reflect.DeepEqual(rowsOf(t, c), want) {
		t.Error("the new holder's rows differ")
	}
	// A third node has an older row of its own, and fetches.
	b2 := d.db.NewBatch()
	old := Suppression{Addr: "u0008@two.test", Reason: HardBounce, Count: 1, Changed: time.Unix(1, 0)}
	setFramed(b2, suppressKey(nil, 1, old.Addr), old.append(nil), nil)
	if err := d.commit(b2); err != nil {
		t.Fatal(err)
	}
	if err := d.Fetch(t.Context(), "c", 1, false); err != nil {
		t.Fatal(err)
	}
	adopt(t, d, 1, 3)
	if !reflect.DeepEqual(rowsOf(t, d), want) {
		t.Error("the fetched rows differ")
	}
	if !onList(t, d, "GONE@one.test") || onList(t, d, "u0007@two.test") || onList(t, d, "u0008@two.test") || !onList(t, d, "u0009@two.test") {
		t.Error("the list differs")
	}
	var all []Suppression
	for next := ""; ; {
		list, on, err := d.Suppressions(1, next, 700)
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, list...); on == "" {
			break
		}
		next = on
	}
	if len(all) != 3*MaxSuppress-1 {
		t.Errorf("%d addresses listed", len(all))
	}
	if err := c.Erase(1, 2, 2); err != nil {
		t.Fatal(err)
	}
	if r := rowsOf(t, c); len(r) != 0 {
		t.Errorf("%d rows after Erase", len(r))
	}
}

func rowsOf(t testing.TB, s *Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	for from := []byte{}; ; {
		rows, next, err := s.suppressRows(1, from)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			all[string(r.key)] = string(r.payload)
		}
		if next == nil {
			return all
		}
		from = next
	}
}

// TestSuppressionSurvivesPowerCut: the settlement and the list are one batch.
func TestSuppressionSurvivesPowerCut(t *testing.T) {
	for i := range 20 {
		fs := vfs.NewCrashableMem()
		s := testStore(t, fs, nil)
		watchKeys(t, s)
		adopt(t, s, 1, 1)
		for k := range 8 {
			put(t, s, 1, []byte("x"), envelope(fmt.Sprintf("u%d@one.test", k)))
		}
		for range i % 9 {
			bounced(t, s, takeOne(t, s))
		}
		if i%2 == 1 && i%9 < 8 { // one whose end nobody waits for
			it := takeOne(t, s)
			s.Settle(Settlement{Item: it, Outcomes: outcomes(it, Bounced), Failed: []Failure{failure(it.Envelope.Rcpts[0].Addr)}}, nil)
		}
		crashed := fs.CrashClone(vfs.CrashCloneCfg{})
		closeStore(t, s)
		again := testStore(t, crashed, nil)
		adopt(t, again, 1, 2)
		waiting := map[string]bool{}
		list, err := again.List(Filter{Tenant: 1})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			waiting[m.Envelope.Rcpts[0].Addr] = true
		}
		for k := range 8 {
			addr := fmt.Sprintf("u%d@one.test", k)
			if onList(t, again, addr) == waiting[addr] {
				t.Errorf("round %d: %s waits %v, on the list %v", i, addr, waiting[addr], !waiting[addr])
			}
		}
		closeStore(t, again)
	}
}

// TestSuppressionsWaitForAllPrograms: nothing is written that an older holder
// could not read.
func TestSuppressionsWaitForAllPrograms(t *testing.T) {
	var all atomic.Bool
	s := testStore(t, vfs.NewMem(), func(c *Config) { c.Suppress = all.Load })
	adopt(t, s, 1, 1)
	put(t, s, 1, []byte("x"), envelope("u@one.test"))
	bounced(t, s, takeOne(t, s))
	if err := s.Suppress(t.Context(), 1, []Failure{failure("v@one.test")}); !errors.Is(err, ErrOlder) {
		t.Errorf("Suppress: %v", err)
	}
	if r := rowsOf(t, s); len(r) != 0 {
		t.Fatalf("%d rows", len(r))
	}
	all.Store(true)
	if err := s.Suppress(t.Context(), 1, []Failure{failure("v@one.test")}); err != nil || !onList(t, s, "v@one.test") {
		t.Errorf("Suppress: %v", err)
	}
}

// TestSuppressionsExpire: rows go when they stop nothing any more, and removed
// ones too; what stands until it is removed stays.
func TestSuppressionsExpire(t *testing.T) {
	clk := newClock()
	s := testStore(t, vfs.NewMem(), func(c *Config) { c.Now = clk.now })
	adopt(t, s, 1, 1)
	fs := []Failure{failure("a@one.test"), failure("b@one.test"), failure("c@one.test")}
	for i := range fs {
		fs[i].At = clk.now()
	}
	fs[2].Reason = Complaint
	if err := s.Suppress(t.Context(), 1, fs); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Unsuppress(t.Context(), 1, []string{"b@one.test"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		days, rows int
	}{{29, 3}, {2, 2}, {28, 2}, {2, 1}} {
		clk.advance(time.Duration(c.days) * 24 * time.Hour)
		if err := s.expire(); err != nil {
			t.Fatal(err)
		}
		if r := rowsOf(t, s); len(r) != c.rows {
			t.Fatalf("after %d more days %d rows, want %d", c.days, len(r), c.rows)
		}
	}
	if !onList(t, s, "c@one.test") {
		t.Error("the complaint was forgotten")
	}
}

// FuzzSuppressions: rows come from other nodes and from a damaged disk.
func FuzzSuppressions(f *testing.F) {
	x := Suppression{Addr: "u@d.test", Reason: Complaint, Class: "c", Reply: Reply{550, "5.1.1", "no"}, Count: 2, First: time.Unix(1, 0).UTC(), Removed: true, Message: ID{1, 2, 3}}
	k := suppressKey(nil, 1, x.Addr)
	f.Add(k, x.append(nil))
	f.Add(appendSuppressRows(nil, []byte("n"), []suppressRow{{k, x.append(nil)}}, 9), []byte{})
	f.Fuzz(func(t *testing.T, k, p []byte) {
		if x, err := readSuppression(k, p); err == nil {
			y, err := readSuppression(k, x.append(nil))
			if err == nil && len(x.Class) <= maxSuppressClass && len(x.Reply.Text) <= maxReplyText && len(x.Reply.Enhanced) <= 16 && !reflect.DeepEqual(x, y) {
				t.Fatalf("read twice differs: %+v %+v", x, y)
			}
		}
		if _, rows, err := readSuppressRows(&reader{b: k}, 1); err == nil && len(rows) > suppressPage {
			t.Fatal("too many rows")
		}
		_, _ = decodeFetchAsk(k)
	})
}
