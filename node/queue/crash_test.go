package queue

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"postern/tenant"
)

// onceKeys fails the test when a key is set twice or single-deleted without
// having been set: SingleDelete would bring back the older value.
type onceKeys struct {
	t    testing.TB
	mu   sync.Mutex
	live map[string]bool
	// again lets a key be set that was deleted.
	again bool
}

func watchKeys(t testing.TB, s *Store) {
	o := &onceKeys{t: t, live: map[string]bool{}}
	s.observe = o.see
}

func (o *onceKeys) see(b *pebble.Batch) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for r := b.Reader(); ; {
		kind, k, _, ok, err := r.Next()
		if err != nil {
			o.t.Error(err)
		}
		if !ok {
			return
		}
		switch k[0] {
		case tabBar, tabHeld, tabSync, tabOutcome, tabTalk, tabSuppress: // replaced, and never single-deleted
			if kind == pebble.InternalKeyKindSingleDelete {
				o.t.Errorf("key %x single-deleted", k)
			}
			continue
		}
		switch kind {
		case pebble.InternalKeyKindDelete: // it may come again: what lies below stays hidden
			delete(o.live, string(k))
		case pebble.InternalKeyKindSet:
			if alive, known := o.live[string(k)]; known && (alive || !o.again) {
				o.t.Errorf("key %x set twice", k)
			}
			o.live[string(k)] = true
		case pebble.InternalKeyKindSingleDelete:
			if alive, known := o.live[string(k)]; known && !alive {
				o.t.Errorf("key %x deleted twice", k)
			}
			o.live[string(k)] = false
		}
	}
}

// ledger is what the outside knows of each message, by its number.
type ledger struct {
	mu   sync.Mutex
	msgs map[int]*booked
}

type booked struct {
	body  []byte
	rcpts []string
	id    ID
	acked bool // Put returned nil
	items map[string]*bookedItem
}

type bookedItem struct {
	started  bool // Start returned nil
	attempts int  // the item's attempts when it did
	deferred bool // a deferral was acknowledged
	ending   bool // a last settlement was handed over
	ended    bool // and acknowledged
}

func (l *ledger) copy() *ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &ledger{msgs: map[int]*booked{}}
	for n, m := range l.msgs {
		d := *m
		d.items = map[string]*bookedItem{}
		for k, it := range m.items {
			v := *it
			d.items[k] = &v
		}
		c.msgs[n] = &d
	}
	return c
}

func (l *ledger) with(fn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fn()
}

// put puts message n, of the given size, to the given domains.
func (l *ledger) put(s *Store, n, size int, domains ...string) error {
	m := &booked{items: map[string]*bookedItem{}}
	m.body = append(fmt.Appendf(nil, "Number: %d\r\n", n), bytes.Repeat([]byte{byte('a' + n%26)}, size)...)
	for _, d := range domains {
		m.rcpts = append(m.rcpts, "u@"+d)
		m.items[d] = &bookedItem{}
	}
	e := envelope(m.rcpts...)
	e.MessageID = fmt.Sprint(n)
	l.with(func() { l.msgs[n] = m })
	sp := Spend{Window: tenant.Window{Kind: 1, Start: 1}, Amount: tenant.Amount{Mails: uint64(len(domains)), Bytes: uint64(n + 1)}}
	id, err := tryPut(s, 1, m.body, e, sp)
	if err != nil {
		return err
	}
	l.with(func() { m.id, m.acked = id, true })
	return nil
}

func number(e *Envelope) (n int) {
	_, _ = fmt.Sscan(e.MessageID, &n)
	return n
}

// attempt starts and settles one item.
func (l *ledger) attempt(s *Store, it *Item, r Result, next time.Time) error {
	var b *bookedItem
	l.with(func() { b = l.msgs[number(it.Envelope)].items[it.Lane.Domain] })
	if err := s.Start(it); err != nil {
		return err
	}
	l.with(func() { b.started, b.attempts, b.ending = true, it.Attempts, b.ending || r != Deferred })
	err := trySettle(s, Settlement{Item: it, Attempt: Attempt{N: it.Attempts + 1, At: time.Unix(1, 0), Dialogue: "talk"}, Next: next, Outcomes: outcomes(it, r)})
	if err != nil {
		return err
	}
	l.with(func() { b.deferred, b.ended = b.deferred || r == Deferred, b.ended || r != Deferred })
	return nil
}

// checkCrash opens what a crash left and holds it against the ledger: before
// is what had been acknowledged when the crash began, then what had been asked
// when it was over. kernel says that only the process died.
func checkCrash(t testing.TB, fs *vfs.MemFS, before, then *ledger, kernel bool) {
	t.Helper()
	checkDisk(t, fs, before, then, kernel, false)
}

// checkDisk is checkCrash, also for what a holder has: there a settlement may be
// missing, but then its attempt is in doubt.
func checkDisk(t testing.TB, fs *vfs.MemFS, before, then *ledger, kernel, holder bool) {
	t.Helper()
	c := newClock()
	c.advance(24 * time.Hour)
	s, err := New(Config{Dir: "q", FS: fs, Now: c.now, Fatal: func(err error) { t.Errorf("fatal: %v", err) }})
	if err != nil {
		t.Fatalf("open after crash: %v", err)
	}
	defer closeStore(t, s)
	s.queue.gather = 0
	watchKeys(t, s)
	spent := adopt(t, s, 1, 1000)
	present := checkLog(t, s, before, then, kernel, holder)
	checkSpending(t, s, present, spent)
	checkChunks(t, s)
	drainBooked(t, s, c, present)
	checkEmpty(t, s)
	if fs, _ := s.fs.List(s.chunks); len(fs) != 0 {
		t.Errorf("chunk files left: %v", fs)
	}
}

// checkLog holds an adopted log against the ledger.
func checkLog(t testing.TB, s *Store, before, then *ledger, kernel, holder bool) map[int]Summary {
	t.Helper()
	present := map[int]Summary{}
	var rcpts int
	var after ID
	for {
		list, err := s.List(Filter{Tenant: 1, Limit: 50, After: after})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			present[number(m.Envelope)], after = m, m.ID
			for _, it := range m.Items {
				rcpts += len(it.Rcpts)
			}
		}
		if len(list) < 50 {
			break
		}
	}
	if n := s.Count()[1]; n.Messages != len(present) || n.Queued != rcpts {
		t.Errorf("counts %+v, found %d messages, %d recipients", n, len(present), rcpts)
	}
	for n, m := range then.msgs {
		checkBooked(t, s, n, m, before.msgs[n], present, kernel, holder)
	}
	for n := range present {
		if then.msgs[n] == nil {
			t.Errorf("message %d from nowhere", n)
		}
	}
	return present
}

func checkBooked(t testing.TB, s *Store, n int, m, old *booked, present map[int]Summary, kernel, holder bool) {
	t.Helper()
	sum, here := present[n]
	live := map[string]ItemState{}
	for _, it := range sum.Items {
		live[it.Domain] = it
	}
	if here && !bytes.Equal(readBody(t, s, sum.ID), wantBody(m.body)) {
		t.Errorf("message %d: body differs", n)
	}
	for d, it := range m.items {
		st, alive := live[d]
		if old != nil && old.acked && !it.ending && !alive {
			t.Errorf("message %d to %s: acknowledged and lost", n, d)
		}
		if old == nil || !alive {
			continue
		}
		was := old.items[d]
		s.mu.Lock()
		e := s.index.logs[1].entries[s.shareOf(sum, d)]
		sure := e == nil || !e.inDoubt
		s.mu.Unlock()
		if was.ended && (!holder || kernel && sure) {
			t.Errorf("message %d to %s: settled and back", n, d)
		}
		if was.deferred && st.Attempts == 0 && (!holder || kernel && sure) {
			t.Errorf("message %d to %s: deferral forgotten", n, d)
		}
		if kernel && was.started && st.Attempts == was.attempts && sure {
			t.Errorf("message %d to %s: started and not in doubt", n, d)
		}
	}
}

// shareOf finds the key of a message's item by its domain.
func (s *Store) shareOf(m Summary, domain string) shareKey {
	h := &head{env: m.Envelope}
	_ = h.split()
	for n, d := range h.domains {
		if d == domain {
			return shareKey{m.ID.Epoch, m.ID.Seq, uint16(n)}
		}
	}
	return shareKey{}
}

// checkSpending demands that what is spent is what the durable messages spent:
// those here and those that ended.
func checkSpending(t testing.TB, s *Store, present map[int]Summary, spent []tenant.Spent) {
	t.Helper()
	var want, got tenant.Amount
	count := func(n, rcpts int) {
		want.Bytes += uint64(n + 1)
		want.Mails += uint64(rcpts)
	}
	for n, m := range present {
		count(n, len(m.Envelope.Rcpts))
	}
	err := s.each([]byte{tabOutcome}, []byte{tabOutcome + 1}, func(_, p []byte) (bool, error) {
		x, err := readTraced(p)
		if err == nil && x.env != nil {
			count(number(x.env), len(x.env.Rcpts))
		}
		return true, err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, sp := range spent {
		got.Bytes += sp.Amount.Bytes
		got.Mails += sp.Amount.Mails
	}
	if got != want {
		t.Errorf("spent %+v, the messages make %+v", got, want)
	}
}

// checkChunks demands a chunk file for each key and a key for each file.
func checkChunks(t testing.TB, s *Store) {
	t.Helper()
	files, err := s.fs.List(s.chunks)
	if err != nil {
		t.Fatal(err)
	}
	keys := 0
	_ = s.each([]byte{tabChunk}, []byte{tabChunk + 1}, func(_, _ []byte) (bool, error) {
		keys++
		return true, nil
	})
	if len(files) != keys {
		t.Errorf("%d chunk files for %d keys", len(files), keys)
	}
}

// drainBooked delivers everything, each item once.
func drainBooked(t testing.TB, s *Store, c *clock, present map[int]Summary) {
	t.Helper()
	left := map[string]bool{}
	for n, m := range present {
		for _, it := range m.Items {
			left[fmt.Sprint(n, it.Domain)] = true
		}
	}
	c.advance(48 * time.Hour)
	done := make(chan error, 10_000)
	for pending := 0; len(left) > 0; {
		lanes, _ := s.dueLanes()
		if len(lanes) == 0 {
			t.Errorf("not due: %v", left)
			return
		}
		for _, l := range lanes {
			for more := true; more; {
				var items []*Item
				var err error
				if items, more, err = s.Take(l, 3); err != nil {
					t.Fatal(err)
				}
				for _, it := range items {
					k := fmt.Sprint(number(it.Envelope), l.Domain)
					if !left[k] {
						t.Fatalf("item %s taken twice or from nowhere", k)
					}
					delete(left, k)
					pending++
					s.Settle(Settlement{Item: it, Outcomes: outcomes(it, Delivered)}, func(err error) { done <- err })
				}
			}
		}
		for ; pending > 0; pending-- {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestCrashAtEveryStep cuts the power before every single write, sync and
// rename of a fixed story, keeping none, some and all of what was not synced.
func TestCrashAtEveryStep(t *testing.T) {
	mem := vfs.NewCrashableMem()
	l := &ledger{msgs: map[int]*booked{}}
	type cut struct {
		fs     *vfs.MemFS
		book   *ledger
		kernel bool
		op     string
	}
	var mu sync.Mutex
	var cuts []cut
	rng := rand.New(rand.NewPCG(7, 7))
	cutting := false
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpCreate, errorfs.OpRename, errorfs.OpRemove, errorfs.OpLink, errorfs.OpReuseForWrite,
			errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		default:
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if cutting {
			for _, p := range []int{0, 50, 100} {
				c := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: p, RNG: rng})
				cuts = append(cuts, cut{c, l.copy(), p == 100, fmt.Sprintf("%v %s, %d %%", op.Kind, op.Path, p)})
			}
		}
		return nil
	}))
	c := newClock()
	s := testStore(t, fs, func(cfg *Config) { cfg.Now, cfg.InlineMax = c.now, 40<<10 })
	s.queue.gather = 0
	watchKeys(t, s)
	adopt(t, s, 1, 1)
	set := func(on bool) { mu.Lock(); cutting = on; mu.Unlock() }
	set(true)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(l.put(s, 0, 500, "a.test"))
	must(l.put(s, 1, 20<<10, "a.test", "b.test"))
	must(l.put(s, 2, 90<<10, "c.test"))
	must(l.attempt(s, takeOne(t, s), Deferred, c.now().Add(time.Hour)))
	must(l.attempt(s, takeOne(t, s), Delivered, time.Time{}))
	must(l.attempt(s, takeOne(t, s), Bounced, time.Time{}))
	must(s.db.Flush())
	must(l.attempt(s, takeOne(t, s), Delivered, time.Time{}))
	c.advance(2 * time.Hour)
	must(l.attempt(s, takeOne(t, s), Delivered, time.Time{}))
	set(false)
	checkEmpty(t, s)
	// The state at an op is what was known when it began, so one ledger is both
	// bounds: what is acknowledged in it is on disk, what is not asked is not.
	for i := range cuts {
		if testing.Short() && i%3 != 0 {
			continue
		}
		x := &cuts[i]
		checkCrash(t, x.fs, x.book, x.book, x.kernel)
		if t.Failed() {
			t.Fatalf("cut %d: before %s", i, x.op)
		}
	}
	t.Logf("%d cuts", len(cuts))
}

// TestCrashAtRandom cuts the power at random while several goroutines put and
// deliver.
func TestCrashAtRandom(t *testing.T) {
	rounds := 6
	if os.Getenv("POSTERN_SOAK") != "" {
		rounds = 200
	}
	for seed := range rounds {
		mem := vfs.NewCrashableMem()
		c := newClock()
		l := &ledger{msgs: map[int]*booked{}}
		s := testStore(t, mem, func(cfg *Config) { cfg.Now, cfg.InlineMax = c.now, 40<<10 })
		s.queue.gather = time.Millisecond
		watchKeys(t, s)
		adopt(t, s, 1, 1)
		runRandomly(t, s, c, l, uint64(seed), func(rng *rand.Rand) {
			for range 4 {
				before := l.copy()
				p := []int{0, rng.IntN(101), 100}[rng.IntN(3)]
				clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: p, RNG: rng})
				checkCrash(t, clone, before, l.copy(), p == 100)
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
		})
		closeStore(t, s)
	}
}

// runRandomly puts and attempts from several goroutines while during runs.
func runRandomly(t testing.TB, s *Store, c *clock, l *ledger, seed uint64, during func(*rand.Rand)) {
	t.Helper()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	stopped := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	for g := range 3 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(g)))
			for i := 0; i < 400 && !stopped(); i++ {
				var ds []string
				for d := range 5 {
					if rng.IntN(3) == 0 {
						ds = append(ds, fmt.Sprintf("d%d.test", d))
					}
				}
				ds = append(ds, "e.test")
				size := []int{10, 3000, 20 << 10, 50 << 10}[min(rng.IntN(12), 3)*boolInt(rng.IntN(3) == 0)]
				if err := l.put(s, i*3+g, size, ds...); err != nil {
					t.Errorf("put: %v", err)
					return
				}
			}
		})
	}
	for g := range 2 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(100+g)))
			for !stopped() {
				lanes, _ := s.dueLanes()
				for _, ln := range lanes {
					items, more, err := s.Take(ln, 1+rng.IntN(8))
					if err != nil {
						t.Errorf("take: %v", err)
						return
					}
					if more {
						s.Park(ln, time.Time{})
					}
					var each sync.WaitGroup
					for _, it := range items {
						each.Go(func() {
							r := []Result{Delivered, Deferred, Bounced}[int(it.ID.Seq+uint64(it.Attempts))%3]
							if err := l.attempt(s, it, r, c.now().Add(time.Millisecond)); err != nil && !errors.Is(err, ErrStale) {
								t.Errorf("attempt: %v", err)
							}
						})
					}
					each.Wait()
				}
				c.advance(time.Millisecond)
				if rng.IntN(50) == 0 {
					if err := s.db.Flush(); err != nil {
						t.Errorf("flush: %v", err)
					}
				}
			}
		})
	}
	during(rand.New(rand.NewPCG(seed, 999)))
	close(stop)
	wg.Wait()
}

func TestNoMessageReachesATableWhenItLeavesAtOnce(t *testing.T) {
	mem := vfs.NewMem()
	s := testStore(t, mem, nil)
	adopt(t, s, 1, 1)
	mark := []byte("this-body-must-not-be-in-a-table")
	for i := range 300 {
		put(t, s, 1, bytes.Repeat(mark, 1+i*4), envelope("u@d.test", "u@e.test"))
	}
	done := make(chan error, 600)
	for n := 0; n < 600; {
		for _, l := range waitLanesOnce(t, s) {
			for more := true; more; {
				var items []*Item
				items, more, _ = s.Take(l, 100)
				for _, it := range items {
					n++
					s.Settle(Settlement{Item: it, Attempt: benchAttempt, Outcomes: outcomes(it, Delivered)}, func(err error) { done <- err })
				}
			}
		}
	}
	for range 600 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	checkEmpty(t, s)
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	files, err := mem.List("q/log")
	if err != nil {
		t.Fatal(err)
	}
	tables := 0
	for _, name := range files {
		if !strings.HasSuffix(name, ".sst") && !strings.HasSuffix(name, ".blob") {
			continue
		}
		tables++
		if strings.HasSuffix(name, ".blob") {
			t.Errorf("a blob file: %s", name)
		}
		f, err := mem.Open("q/log/" + name)
		if err != nil {
			t.Fatal(err)
		}
		var all bytes.Buffer
		if _, err := all.ReadFrom(f); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		if bytes.Contains(all.Bytes(), mark) {
			t.Errorf("%s holds a body", name)
		}
	}
	if tables == 0 {
		t.Fatal("nothing was flushed: the test shows nothing")
	}
	for _, tab := range []byte{tabMessage, tabBody, tabDue} {
		size, err := s.db.EstimateDiskUsage([]byte{tab}, []byte{tab + 1})
		if err != nil || size != 0 {
			t.Errorf("table %x takes %d octets on disk, %v", tab, size, err)
		}
	}
}
