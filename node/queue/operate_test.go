package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func withClock(c *clock) func(*Config) { return func(cfg *Config) { cfg.Now = c.now } }

// idle reports whether nothing is due now.
func idle(t testing.TB, s *Store) bool {
	t.Helper()
	lanes, _ := s.dueLanes()
	for _, l := range lanes {
		items, more, err := s.Take(l, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(items) > 0 || more {
			return false
		}
	}
	return true
}

func TestListPagesAndFilters(t *testing.T) {
	s := testStore(t, vfs.NewMem(), nil)
	adopt(t, s, 1, 1)
	adopt(t, s, 2, 9)
	var all, one []ID
	for i := range 25 {
		e := envelope(fmt.Sprintf("u@d%d.test", i%3), fmt.Sprintf("v@e%d.test", i%2))
		id := put(t, s, 1, []byte("x"), e)
		all = append(all, id)
		if i%3 == 1 {
			one = append(one, id)
		}
	}
	other := put(t, s, 2, []byte("x"), envelope("u@d1.test"))
	pages := func(f Filter) (ids []ID) {
		for {
			list, err := s.List(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range list {
				ids = append(ids, m.ID)
			}
			if len(list) < f.Limit {
				return ids
			}
			f.After = list[len(list)-1].ID
		}
	}
	for _, c := range []struct {
		name string
		f    Filter
		want []ID
	}{
		{"tenant", Filter{Tenant: 1, Limit: 7}, all},
		{"everything", Filter{Limit: 5}, append(append([]ID{}, all...), other)},
		{"domain", Filter{Tenant: 1, Domain: "d1.test", Limit: 3}, one},
		{"domain of all tenants", Filter{Domain: "d1.test", Limit: 3}, append(append([]ID{}, one...), other)},
		{"account", Filter{Account: 7, Limit: 4}, append(append([]ID{}, all...), other)},
		{"no such account", Filter{Tenant: 1, Account: 8, Limit: 4}, nil},
	} {
		if got := pages(c.f); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	m, err := s.Show(all[4])
	if err != nil || len(m.Items) != 2 || m.Items[0].Domain != "d1.test" || fmt.Sprint(m.Items[1].Rcpts) != "[v@e0.test]" {
		t.Fatalf("Show: %+v %v", m, err)
	}
}

func TestFlushMakesDeferredDueOnce(t *testing.T) {
	fs, c := vfs.NewMem(), newClock()
	s := testStore(t, fs, withClock(c))
	adopt(t, s, 1, 1)
	const n = 700 // more than one scan
	for range n {
		put(t, s, 1, []byte("x"), envelope("u@d.test"))
	}
	put(t, s, 1, []byte("x"), envelope("u@other.test"))
	deferAll := func(want int) {
		t.Helper()
		got := 0
		for {
			lanes, _ := s.dueLanes()
			if len(lanes) == 0 {
				break
			}
			for _, l := range lanes {
				for more := true; more; {
					var items []*Item
					var err error
					if items, more, err = s.Take(l, 50); err != nil {
						t.Fatal(err)
					}
					done := make(chan error, len(items))
					for _, it := range items {
						s.Settle(Settlement{Item: it, Next: c.now().Add(time.Hour), Outcomes: outcomes(it, Deferred)}, func(err error) { done <- err })
					}
					for range items {
						got++
						if err := <-done; err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		}
		if got != want {
			t.Fatalf("attempted %d items, want %d", got, want)
		}
	}
	deferAll(n + 1)
	lane := Lane{1, 7, 0, "d.test"}
	s.Park(lane, c.now().Add(24*time.Hour))
	if got, err := s.Flush(Filter{Tenant: 1, Domain: "d.test"}); err != nil || got != n {
		t.Fatalf("Flush: %d %v", got, err)
	}
	deferAll(n) // each once, though deferred again to before the flush's end
	c.advance(61 * time.Minute)
	deferAll(n + 1)
	if cnt := s.Count()[1]; cnt.Messages != n+1 || cnt.Queued != n+1 {
		t.Fatalf("counts %+v", cnt)
	}
}

func TestCancelAndPurge(t *testing.T) {
	c := newClock()
	s := testStore(t, vfs.NewMem(), withClock(c))
	adopt(t, s, 1, 1)
	two := put(t, s, 1, []byte("x"), envelope("u@d.test", "v@e.test"))
	it := takeOne(t, s)
	if err := s.Cancel(two); !errors.Is(err, ErrLeased) {
		t.Fatalf("Cancel of a leased message: %v", err)
	}
	settle(t, s, Settlement{Item: it, Next: c.now().Add(time.Hour), Outcomes: outcomes(it, Deferred)})
	if err := s.Cancel(two); err != nil {
		t.Fatal(err)
	}
	if err := s.Cancel(two); !errors.Is(err, ErrNotFound) {
		t.Fatalf("second Cancel: %v", err)
	}
	tr, err := s.Trace(two)
	if err != nil || !tr.Ended || len(tr.Outcomes) != 2 || tr.Outcomes[0].Result != Cancelled {
		t.Fatalf("Trace: %+v %v", tr, err)
	}
	for i := range 600 {
		put(t, s, 1, []byte("x"), envelope(fmt.Sprintf("u@d%d.test", i%2), "v@e.test"))
	}
	leased := takeOne(t, s)
	n, err := s.Purge(Filter{Tenant: 1, Domain: "e.test"})
	if err != nil || n != 600-boolInt(leased.Lane.Domain == "e.test") {
		t.Fatalf("Purge domain: %d %v", n, err)
	}
	s.GiveBack(leased)
	if n, err = s.Purge(Filter{Tenant: 1}); err != nil || n != 600 {
		t.Fatalf("Purge: %d %v", n, err)
	}
	if cnt := s.Count()[1]; cnt != (Counts{}) {
		t.Fatalf("counts %+v", cnt)
	}
	c.advance(2 * time.Hour) // a lane's hint of what was deferred
	if !idle(t, s) {
		t.Fatal("something is due after the purge")
	}
	checkEmpty(t, s)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// checkEmpty demands that nothing of any message is left, on disk or in memory.
func checkEmpty(t testing.TB, s *Store) {
	t.Helper()
	for _, tab := range []byte{tabMessage, tabBody, tabDue, tabShare, tabDoubt, tabChunk} {
		err := s.each([]byte{tab}, []byte{tab + 1}, func(k, _ []byte) (bool, error) {
			t.Errorf("key left: %x", k)
			return true, nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.index.logs {
		if len(g.entries)+len(g.msgs)+len(g.lanes) > 0 {
			t.Errorf("in memory: %d entries, %d messages, %d lanes", len(g.entries), len(g.msgs), len(g.lanes))
		}
	}
	if s.index.cached != 0 || s.index.ready != 0 || len(s.index.heap) != 0 {
		t.Errorf("in memory: cached %d, ready %d, heap %d", s.index.cached, s.index.ready, len(s.index.heap))
	}
}

func TestTraceTellsTheWholeStory(t *testing.T) {
	c := newClock()
	s := testStore(t, vfs.NewMem(), withClock(c))
	adopt(t, s, 1, 1)
	id := put(t, s, 1, []byte("x"), envelope("u@d.test", "v@d.test"))
	it := takeOne(t, s)
	a := Attempt{N: 1, At: c.now().Truncate(time.Microsecond), Took: time.Second, Source: "192.0.2.1", EHLO: "out", Host: "mx", Addr: "198.51.100.1:25", TLS: "TLS1.3", DotSent: true, Dialogue: "S: 220"}
	settle(t, s, Settlement{Item: it, Attempt: a, Next: c.now(), Outcomes: []Outcome{
		{0, Delivered, Reply{250, "2.0.0", "ok"}}, {1, Deferred, Reply{451, "4.7.1", "wait"}}}})
	tr, err := s.Trace(id)
	if err != nil || tr.Ended || len(tr.Attempts) != 1 || len(tr.Items) != 1 || tr.Attempts[0].Attempt != a || tr.Outcomes[0].Rcpt != "u@d.test" {
		t.Fatalf("Trace of a queued message: %+v %v", tr, err)
	}
	it = takeOne(t, s)
	a2 := a
	a2.N, a2.At, a2.Dialogue = 2, c.now().Truncate(time.Microsecond), ""
	settle(t, s, Settlement{Item: it, Attempt: a2, Outcomes: []Outcome{{1, Bounced, Reply{550, "5.1.1", "no"}}}})
	tr, err = s.Trace(id)
	if err != nil || !tr.Ended || len(tr.Attempts) != 2 || tr.Attempts[1].Attempt != a2 || len(tr.Outcomes) != 2 ||
		tr.Outcomes[1].Rcpt != "v@d.test" || tr.Outcomes[1].Result != Bounced || tr.Envelope.From != "a@sender.test" {
		t.Fatalf("Trace of an ended message: %+v %v", tr, err)
	}
	if _, err := s.Trace(ID{1, 1, 99}); !errors.Is(err, ErrNotFound) {
		t.Fatalf("Trace of nothing: %v", err)
	}
}

func TestRetention(t *testing.T) {
	c := newClock()
	s := testStore(t, vfs.NewMem(), withClock(c))
	adopt(t, s, 1, 1)
	var ids []ID
	for range 45 {
		id := put(t, s, 1, []byte("x"), envelope("u@d.test"))
		it := takeOne(t, s)
		settle(t, s, Settlement{Item: it, Attempt: Attempt{N: 1, At: c.now(), Dialogue: "talk"}, Outcomes: outcomes(it, Delivered)})
		ids = append(ids, id)
		c.advance(24 * time.Hour)
		if err := s.expire(); err != nil {
			t.Fatal(err)
		}
	}
	check := func(age int, id ID) {
		t.Helper()
		tr, err := s.Trace(id)
		if age == 31 { // that day is the cutoff's own
			return
		}
		if age > 31 {
			if !errors.Is(err, ErrNotFound) {
				t.Fatalf("%d days old: %+v %v", age, tr, err)
			}
			return
		}
		if err != nil || len(tr.Attempts) != 1 {
			t.Fatalf("%d days old: %+v %v", age, tr, err)
		}
		if talk := tr.Attempts[0].Dialogue != ""; age <= 7 && !talk || age > 8 && talk {
			t.Fatalf("%d days old: dialogue %v", age, talk)
		}
	}
	for i, id := range ids {
		check(len(ids)-i, id)
	}
	// A tenant that falls silent, and a restart, must not keep anything longer.
	adopt(t, s, 1, 2)
	c.advance(33 * 24 * time.Hour)
	if err := s.expire(); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		check(40, id)
	}
	c.advance(30 * 24 * time.Hour)
	if err := s.expire(); err != nil {
		t.Fatal(err)
	}
	if marks, err := s.dayMarks(); err != nil || len(marks) != 0 {
		t.Fatalf("marks %v %v", marks, err)
	}
}

func TestReportsArePutWithTheSettlement(t *testing.T) {
	s := testStore(t, vfs.NewMem(), nil)
	adopt(t, s, 1, 1)
	put(t, s, 1, []byte("x"), envelope("u@d.test"))
	it := takeOne(t, s)
	report := bytes.Repeat([]byte("report "), 5000)
	env := *envelope("a@sender.test")
	env.From = ""
	settle(t, s, Settlement{Item: it, Outcomes: outcomes(it, Bounced), Reports: []Notice{{Envelope: env, Body: report}}})
	it = takeOne(t, s)
	if it.Envelope.Kind != Report || it.Envelope.From != "" || it.ID.Seq != 3 || !bytes.Equal(readBody(t, s, it.ID), report) {
		t.Fatalf("report %+v", it)
	}
	deliver(t, s, it)
	checkEmpty(t, s)
}

func TestSpendingIsSummedForTheAdopter(t *testing.T) {
	fs := vfs.NewMem()
	s := testStore(t, fs, nil)
	adopt(t, s, 1, 3)
	month := Spend{}
	month.Window.Kind, month.Window.Start = 1, 1_700_000_000
	month.Amount.Mails, month.Amount.Bytes = 2, 1000
	for range 5 {
		put(t, s, 1, []byte("x"), envelope("u@d.test"), month)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = testStore(t, fs, nil)
	sp := adopt(t, s, 1, 4)
	if len(sp) != 1 || sp[0].Account != 7 || sp[0].Epoch != 3 || sp[0].Window != month.Window || sp[0].Amount.Mails != 10 || sp[0].Amount.Bytes != 5000 {
		t.Fatalf("spent %+v", sp)
	}
	put(t, s, 1, []byte("x"), envelope("u@d.test"), month)
	if err := s.Forget(1, 4); err != nil {
		t.Fatal(err)
	}
	if sp := adopt(t, s, 1, 5); len(sp) != 1 || sp[0].Epoch != 4 || sp[0].Amount.Mails != 2 {
		t.Fatalf("spent after Forget %+v", sp)
	}
}

func TestStartedAndNotSettledIsInDoubt(t *testing.T) {
	for _, release := range []bool{false, true} {
		fs, c := vfs.NewCrashableMem(), newClock()
		s := testStore(t, fs, withClock(c))
		adopt(t, s, 1, 1)
		a := put(t, s, 1, []byte("x"), envelope("u@a.test"))
		it := takeOne(t, s)
		b := put(t, s, 1, []byte("x"), envelope("u@b.test"))
		if err := s.Start(it); err != nil {
			t.Fatal(err)
		}
		if release {
			if err := s.Release(1); err != nil {
				t.Fatal(err)
			}
			if err := trySettle(s, Settlement{Item: it, Outcomes: outcomes(it, Delivered)}); !errors.Is(err, ErrStale) {
				t.Fatalf("Settle after Release: %v", err)
			}
		} else {
			// The process dies: the kernel keeps what was written, synced or not.
			fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
			s = testStore(t, fs, withClock(c))
		}
		for epoch := uint64(2); epoch < 4; epoch++ { // again: the grace starts anew
			adopt(t, s, 1, epoch)
			if n := s.Count()[1]; n != (Counts{Queued: 2, Messages: 2, InDoubt: 1}) {
				t.Fatalf("counts %+v", n)
			}
			c.advance(50 * time.Second)
		}
		if it = takeOne(t, s); it.ID != b || it.InDoubt {
			t.Fatalf("first is %+v", it)
		}
		deliver(t, s, it)
		if !idle(t, s) {
			t.Fatal("the item in doubt is due within its grace")
		}
		c.advance(11 * time.Second)
		if it = takeOne(t, s); it.ID != a || !it.InDoubt {
			t.Fatalf("second is %+v", it)
		}
		deliver(t, s, it)
		checkEmpty(t, s)
	}
}

// A settlement that the committer meets behind a release is lost; that its
// message was started is not.
func TestSettlementBehindAReleaseLeavesDoubt(t *testing.T) {
	s := testStore(t, vfs.NewMem(), nil)
	adopt(t, s, 1, 1)
	put(t, s, 1, []byte("x"), envelope("u@a.test"))
	put(t, s, 1, []byte("x"), envelope("u@a.test"))
	var late, early *Item
	late, early = takeOne(t, s), takeOne(t, s)
	for _, it := range []*Item{late, early} {
		if err := s.Start(it); err != nil {
			t.Fatal(err)
		}
	}
	s.mu.Lock()
	g, e := s.index.leased(late)
	_, e2 := s.index.leased(early)
	e.phase, e2.phase = phaseSettled, phaseSettled
	s.mu.Unlock()
	told := func(error) {}
	settled := func(it *Item, e *entry) *ending {
		return &ending{x: Settlement{Item: it, Outcomes: outcomes(it, Delivered)}, log: g, e: e, tell: told}
	}
	// One batch with the release in front of a settlement, and a second one.
	s.settleAll([]*ending{{stop: g, tell: told}, settled(early, e2)})
	op := settled(late, e)
	if s.settleAll([]*ending{op}); !errors.Is(op.err, ErrStale) {
		t.Fatalf("settlement behind the release: %v", op.err)
	}
	if n := s.starts.cur.open; n != 0 {
		t.Errorf("%d starts counted as open, want 0", n)
	}
	adopt(t, s, 1, 2)
	if n := s.Count()[1]; n != (Counts{Queued: 1, Messages: 1, InDoubt: 1}) {
		t.Errorf("counts %+v, want the late one in doubt", n)
	}
}

// What waits in a lane is counted, whether it is due, taken or put off.
func TestWaitingIsCounted(t *testing.T) {
	c := newClock()
	s := testStore(t, vfs.NewMem(), withClock(c))
	adopt(t, s, 1, 1)
	for range 30 {
		put(t, s, 1, []byte("x"), envelope("u@a.test"))
	}
	put(t, s, 1, []byte("x"), envelope("u@b.test"))
	l := Lane{1, 7, 0, "a.test"}
	count := func(when string, most, want int) {
		t.Helper()
		if n, err := s.Waiting(l, most); n != want || err != nil {
			t.Errorf("%s: %d, %v; want %d", when, n, err, want)
		}
	}
	count("all", 100, 30)
	count("bounded", 20, 20)
	items, _, err := s.Take(l, 10)
	if err != nil || len(items) != 10 {
		t.Fatal(items, err)
	}
	count("some taken", 100, 30)
	count("fewer than taken", 5, 5)
	for i, it := range items {
		result, next := Deferred, c.now().Add(time.Hour)
		if i < 4 {
			result, next = Delivered, time.Time{}
		}
		settle(t, s, Settlement{Item: it, Next: next, Outcomes: outcomes(it, result)})
	}
	count("four delivered", 100, 26)
	s.Park(l, c.now().Add(time.Hour))
	count("parked", 100, 26)
	if n, err := s.Waiting(Lane{9, 7, 0, "a.test"}, 9); n != 0 || err != nil {
		t.Errorf("of nobody: %d, %v", n, err)
	}
}

func TestParkedLaneWaits(t *testing.T) {
	c := newClock()
	s := testStore(t, vfs.NewMem(), withClock(c))
	adopt(t, s, 1, 1)
	for _, d := range []string{"a", "b"} {
		put(t, s, 1, []byte("x"), envelope("u@"+d+".test"))
	}
	lanes := waitLanesOnce(t, s)
	if len(lanes) != 2 {
		t.Fatalf("lanes %v", lanes)
	}
	s.Park(lanes[0], c.now().Add(time.Minute))
	put(t, s, 1, []byte("x"), envelope("u@"+lanes[0].Domain))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if ls, err := s.Wait(ctx); err == nil {
		t.Fatalf("parked lane returned: %v", ls)
	}
	if items, more, err := s.Take(lanes[1], 10); len(items) != 1 || more || err != nil {
		t.Fatalf("the other lane: %v %v %v", items, more, err)
	}
	c.advance(time.Minute)
	if ls := waitLanesOnce(t, s); len(ls) != 1 || ls[0] != lanes[0] {
		t.Fatalf("lanes %v", ls)
	}
	if items, more, err := s.Take(lanes[0], 1); len(items) != 1 || !more || err != nil {
		t.Fatalf("Take 1 of 2: %v %v %v", items, more, err)
	}
}

// TestLogHasNoGaps: every put, start and settlement has a number of its own,
// and together they are 1, 2, 3…
func TestLogHasNoGaps(t *testing.T) {
	mem := vfs.NewMem()
	s := testStore(t, mem, nil)
	adopt(t, s, 1, 4)
	seen := map[uint64]string{}
	note := func(seq uint64, what string) {
		t.Helper()
		if old, twice := seen[seq]; twice {
			t.Fatalf("%d is %s and %s", seq, old, what)
		}
		seen[seq] = what
	}
	for range 5 {
		note(put(t, s, 1, []byte("x"), envelope("u@d.test", "v@e.test")).Seq, "put")
		it := takeOne(t, s)
		if err := s.Start(it); err != nil {
			t.Fatal(err)
		}
		if it.Envelope.Kind == Report {
			note(it.ID.Seq, "report")
		}
		env := *envelope("a@sender.test")
		settle(t, s, Settlement{Item: it, Outcomes: outcomes(it, Bounced), Reports: []Notice{{Envelope: env}}})
	}
	list, err := s.List(Filter{Tenant: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		if m.Envelope.Kind == Report {
			note(m.ID.Seq, "report")
		}
	}
	err = s.each([]byte{tabOutcome}, []byte{tabOutcome + 1}, func(_, p []byte) (bool, error) {
		x, err := readTraced(p)
		if err == nil && x.epoch == 4 {
			note(x.seq, "settlement")
		}
		return true, err
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := mem.UnsafeGetFileDataBuffer(s.starts.cur.path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+startSize <= len(b); i += startSize {
		var r startRecord
		if !r.decode(b[i:i+startSize]) || r.epoch != 4 {
			t.Fatalf("start %d: %+v", i/startSize, r)
		}
		note(r.logSeq, "start")
	}
	for seq := uint64(1); seq <= 20; seq++ {
		if seen[seq] == "" {
			t.Errorf("no %d", seq)
		}
	}
	if len(seen) != 20 {
		t.Errorf("%d records: %v", len(seen), seen)
	}
}

// TestRetentionIsSet: another setting counts at once, and what the clean-up left
// is told without reading.
func TestRetentionIsSet(t *testing.T) {
	c := newClock()
	keep := keeping{30 * 24 * time.Hour, 7 * 24 * time.Hour}
	var mu sync.Mutex
	s := testStore(t, vfs.NewMem(), func(cfg *Config) {
		withClock(c)(cfg)
		cfg.Keep = func() (time.Duration, time.Duration) { mu.Lock(); defer mu.Unlock(); return keep.rcpts, keep.talk }
	})
	if err := s.expire(); err != nil || s.Oldest() != (Oldest{}) {
		t.Fatalf("of nothing: %+v %v", s.Oldest(), err)
	}
	adopt(t, s, 1, 1)
	first := put(t, s, 1, []byte("x"), envelope("u@d.test"))
	day := c.now().UTC().Truncate(24 * time.Hour)
	it := takeOne(t, s)
	settle(t, s, Settlement{Item: it, Attempt: Attempt{N: 1, At: c.now(), Dialogue: "talk"}, Outcomes: outcomes(it, Delivered)})
	c.advance(5 * 24 * time.Hour)
	if err := s.expire(); err != nil {
		t.Fatal(err)
	}
	if got := s.Oldest(); !got.Recipients.Equal(day) || !got.Dialogues.Equal(day) {
		t.Errorf("the oldest are %+v, want %s", got, day)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	mu.Lock()
	keep.talk = 24 * time.Hour
	mu.Unlock()
	for deadline := time.Now().Add(20 * time.Second); !s.Oldest().Dialogues.IsZero(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the dialogue stays")
		}
	}
	cancel()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	if got := s.Oldest(); !got.Recipients.Equal(day) {
		t.Errorf("the oldest recipients are of %s", got.Recipients)
	}
	if tr, err := s.Trace(first); err != nil || tr.Attempts[0].Dialogue != "" {
		t.Errorf("%+v %v", tr, err)
	}
}
