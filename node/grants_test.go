package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postern/node/submission"
	"postern/tenant"
)

// world is the replicated state without its replication.
type world struct {
	t  *testing.T
	mu sync.Mutex // guards what follows
	st *tenant.State
	// entries counts the proposals; down makes them fail.
	entries int
	down    atomic.Bool
	watch   func(tenant.Op) // sees every proposal, if set
}

func newWorld(t *testing.T, plan tenant.Plan) (*world, tenant.AccountID) {
	w := &world{t: t, st: tenant.New()}
	w.must(tenant.AddNode{Name: "n1"})
	node := w.state().NodeByName("n1").ID
	w.must(tenant.AddSource{Node: node, Addr: netip.MustParseAddr("127.77.1.11"), EHLO: "out-1.relay.test"})
	src := w.state().SourceByAddr(netip.MustParseAddr("127.77.1.11")).ID
	w.must(tenant.AddTenant{Name: "shoes", Hostname: "shoes.relay.test", Home: tenant.Place{Node: node, Source: src}})
	id := w.state().TenantByName("shoes").ID
	w.must(tenant.AddAccount{Tenant: id, Username: "news@shoes.test", Secret: sha256.Sum256([]byte("x")), Plan: plan})
	return w, w.state().AccountByUsername("news@shoes.test").ID
}

func (w *world) state() *tenant.State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.st
}

func (w *world) propose(_ context.Context, op tenant.Op) ([]tenant.Event, error) {
	if w.down.Load() {
		return nil, errors.New("no leader")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.entries++
	if w.watch != nil {
		w.watch(op)
	}
	next, events, err := tenant.Apply(w.st, w.st.Index()+1, tenant.Command{At: time.Now(), Op: op})
	w.st = next
	if err := next.Check(); err != nil {
		w.t.Errorf("after %T: %v", op, err)
	}
	return events, err
}

func (w *world) must(op tenant.Op) {
	w.t.Helper()
	if _, err := w.propose(context.Background(), op); err != nil {
		w.t.Fatalf("%T: %v", op, err)
	}
}

func (w *world) grants() *grants {
	return newGrants(w.state, func() tenant.NodeID { return w.state().NodeByName("n1").ID }, w.propose, time.Now)
}

// within runs f in a bubble of time with the grants' loop running.
func within(t *testing.T, plan tenant.Plan, f func(t *testing.T, w *world, g *grants, a tenant.AccountID)) {
	synctest.Test(t, func(t *testing.T) {
		w, a := newWorld(t, plan)
		g := w.grants()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- g.Run(ctx) }()
		f(t, w, g, a)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func spendOne(t *testing.T, g *grants, a tenant.AccountID, bytes uint64) error {
	t.Helper()
	need := tenant.Amount{Mails: 1, Bytes: bytes}
	r, err := g.Reserve(t.Context(), a, need)
	if err != nil {
		return err
	}
	r.Spend(need)
	r.Kept()
	return nil
}

func TestQuotaIsSpentToTheLastMail(t *testing.T) {
	within(t, tenant.Plan{MailsPerMonth: 1000}, func(t *testing.T, w *world, g *grants, a tenant.AccountID) {
		var over *submission.OverLimit
		n := 0
		for ; n < 2000; n++ {
			err := spendOne(t, g, a, 5000)
			if errors.As(err, &over) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if n != 1000 {
			t.Errorf("%d e-mails of 1000 were let through", n)
		}
		if over == nil || over.Bytes || over.Limit != 1000 || !over.Resets.After(time.Now()) {
			t.Errorf("told %+v", over)
		}
	})
}

func TestBytesBindToo(t *testing.T) {
	within(t, tenant.Plan{BytesPerMonth: 1_000_000, MailsPerMonth: 1000}, func(t *testing.T, w *world, g *grants, a tenant.AccountID) {
		for i := range 10 {
			if err := spendOne(t, g, a, 100_000); err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
		}
		var over *submission.OverLimit
		if err := spendOne(t, g, a, 1); !errors.As(err, &over) || !over.Bytes || over.Limit != 1_000_000 {
			t.Errorf("got %v", err)
		}
	})
}

func TestManyAtOnceNeverOversell(t *testing.T) {
	within(t, tenant.Plan{MailsPerMonth: 500}, func(t *testing.T, w *world, g *grants, a tenant.AccountID) {
		var sold atomic.Int64
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for range 20 {
					if spendOne(t, g, a, 1000) == nil {
						sold.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if got := sold.Load(); got != 500 {
			t.Errorf("sold %d of 500", got)
		}
	})
}

func TestUnspentComesBack(t *testing.T) {
	within(t, tenant.Plan{MailsPerMonth: 3}, func(t *testing.T, w *world, g *grants, a tenant.AccountID) {
		for range 10 {
			r, err := g.Reserve(t.Context(), a, tenant.Amount{Mails: 3})
			if err != nil {
				t.Fatal(err)
			}
			r.Release()
		}
		r, err := g.Reserve(t.Context(), a, tenant.Amount{Mails: 2})
		if err != nil {
			t.Fatal(err)
		}
		r.Spend(tenant.Amount{Mails: 1}) // for two recipients it had reserved
		other, err := g.Reserve(t.Context(), a, tenant.Amount{Mails: 2})
		if err != nil {
			t.Fatal("what a message did not use stayed reserved:", err)
		}
		if _, err := g.Reserve(t.Context(), a, tenant.Amount{Mails: 1}); err == nil {
			t.Fatal("what a message is about to spend was sold twice")
		}
		other.Release()
		r.Release() // the message was not kept
		if r, err = g.Reserve(t.Context(), a, tenant.Amount{Mails: 3}); err != nil {
			t.Error("spending of a message that was not kept stayed charged:", err)
		} else {
			r.Release()
		}
	})
}

// What a message was about to spend when its owner died is in no log: nobody
// may have been told of it, or the account would end below its limit.
func TestSpendingThatIsNotDurableIsNotReported(t *testing.T) {
	within(t, tenant.Plan{MailsPerMonth: 10}, func(t *testing.T, w *world, g *grants, a tenant.AccountID) {
		for range 3 {
			if err := spendOne(t, g, a, 1); err != nil {
				t.Fatal(err)
			}
		}
		r, err := g.Reserve(t.Context(), a, tenant.Amount{Mails: 4})
		if err != nil {
			t.Fatal(err)
		}
		month := tenant.WindowAt(tenant.Month, time.Now())
		r.Spend(tenant.Amount{Mails: 2}) // its Put hangs
		other, err := g.Reserve(t.Context(), a, tenant.Amount{Mails: 1})
		if err != nil {
			t.Fatal(err)
		}
		other.Spend(tenant.Amount{Mails: 1}) // its Put fails, after a while
		time.Sleep(3 * grantEvery)
		other.Release()
		time.Sleep(3 * grantEvery)
		if got := w.state().SpentOf(a, month).Mails; got != 3 {
			t.Errorf("the state was told of %d e-mails, 3 are durable", got)
		}
		// The log knows of three.
		tn := w.state().TenantByName("shoes")
		w.must(tenant.Own{Tenant: tn.ID, Node: tn.Owner, Expect: tn.Epoch, Spent: []tenant.Spent{
			{Account: a, Window: month, Epoch: tn.Epoch, Amount: tenant.Amount{Mails: 3, Bytes: 3}}}})
		g.drop(tn.ID, tn.Epoch+1)
		r.Kept() // of an epoch that is over: what the log said of it stands
		n := 0
		for n < 20 && spendOne(t, g, a, 1) == nil {
			n++
		}
		if n != 7 {
			t.Errorf("%d e-mails after 3 of 10 were kept under the old epoch", n)
		}
	})
}

func TestSpendingThatIsDurableIsReported(t *testing.T) {
	within(t, tenant.Plan{MailsPerMonth: 10}, func(t *testing.T, w *world, g *grants, a tenant.AccountID) {
		r, err := g.Reserve(t.Context(), a, tenant.Amount{Mails: 4})
		if err != nil {
			t.Fatal(err)
		}
		r.Spend(tenant.Amount{Mails: 2})
		time.Sleep(3 * grantEvery)
		r.Kept()
		time.Sleep(3 * grantEvery)
		if got := w.state().SpentOf(a, tenant.WindowAt(tenant.Month, time.Now())).Mails; got != 2 {
			t.Errorf("the state was told of %d e-mails, 2 are durable", got)
		}
		if _, err := g.Reserve(t.Context(), a, tenant.Amount{Mails: 9}); err == nil {
			t.Error("9 of 10 after 2 were sold")
		}
		if r, err = g.Reserve(t.Context(), a, tenant.Amount{Mails: 8}); err != nil {
			t.Error("8 of 10 after 2 were refused:", err)
		} else {
			r.Release()
		}
	})
}

// Whatever Puts do, and however long they take, the state never hears of more
// than the log has, no more than the limit is kept, and all of it can be.
func TestReportsNeverExceedTheLog(t *testing.T) {
	const limit = 1500
	within(t, tenant.Plan{MailsPerMonth: limit}, func(t *testing.T, w *world, g *grants, a tenant.AccountID) {
		var log, lost atomic.Uint64 // e-mails whose Put stands, and whose Put failed
		w.mu.Lock()
		w.watch = func(op tenant.Op) {
			if c, ok := op.(tenant.TakeGrant); ok && c.Wants[0].Spent.Mails > log.Load() {
				t.Errorf("%d e-mails were reported, the log has %d", c.Wants[0].Spent.Mails, log.Load())
			}
		}
		w.mu.Unlock()
		message := func(n int) error {
			used := tenant.Amount{Mails: uint64(1 + n%3), Bytes: 1000}
			r, err := g.Reserve(t.Context(), a, tenant.Amount{Mails: used.Mails + uint64(n%2), Bytes: 2000})
			if err != nil {
				return err
			}
			r.Spend(used)
			time.Sleep(time.Duration(n*n%700) * 10 * time.Millisecond) // up to seven rounds
			if n%5 == 0 {
				lost.Add(used.Mails)
				r.Release()
				return nil
			}
			log.Add(used.Mails)
			r.Kept()
			return nil
		}
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				for n := range 60 {
					_ = message(61*i + n)
				}
			})
		}
		wg.Wait()
		for spendable := true; spendable; {
			log.Add(1) // the watch may look before this returns
			if spendable = spendOne(t, g, a, 1) == nil; !spendable {
				log.Add(^uint64(0))
			}
		}
		time.Sleep(3 * grantEvery)
		month := tenant.WindowAt(tenant.Month, time.Now())
		if told := w.state().SpentOf(a, month).Mails; log.Load() != limit || told != limit || lost.Load() == 0 {
			t.Errorf("of %d e-mails %d were kept and %d reported; %d were lost", limit, log.Load(), told, lost.Load())
		}
	})
}

func TestEntriesDoNotGrowWithMessages(t *testing.T) {
	within(t, tenant.Plan{}, func(t *testing.T, w *world, g *grants, a tenant.AccountID) {
		w.mu.Lock()
		before := w.entries
		w.mu.Unlock()
		start := time.Now()
		for range 10_000 { // 1,000 a second for ten seconds
			if err := spendOne(t, g, a, 5000); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		w.mu.Lock()
		entries := w.entries - before
		w.mu.Unlock()
		if seconds := int(time.Since(start).Seconds()); entries > 2*seconds {
			t.Errorf("%d entries in %d seconds", entries, seconds)
		}
		used := w.state().UsageOf(a, tenant.WindowAt(tenant.Month, time.Now()))
		t.Logf("%d entries for 10,000 messages; settled use %+v", entries, used)
	})
}

func TestReachedLimitIsAskedAboutOnceASecond(t *testing.T) {
	within(t, tenant.Plan{MailsPerMonth: 1}, func(t *testing.T, w *world, g *grants, a tenant.AccountID) {
		_ = spendOne(t, g, a, 1)
		w.mu.Lock()
		before := w.entries
		w.mu.Unlock()
		for range 1000 { // ten seconds of trying
			if spendOne(t, g, a, 1) == nil {
				t.Fatal("oversold")
			}
			time.Sleep(10 * time.Millisecond)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if got := w.entries - before; got > 15 {
			t.Errorf("%d entries for a tenant at its limit", got)
		}
	})
}

func TestRaisedLimitIsSeen(t *testing.T) {
	within(t, tenant.Plan{MailsPerMonth: 1}, func(t *testing.T, w *world, g *grants, a tenant.AccountID) {
		_ = spendOne(t, g, a, 1)
		if spendOne(t, g, a, 1) == nil {
			t.Fatal("oversold")
		}
		w.must(tenant.SetAccount{Account: a, Plan: &tenant.Plan{MailsPerMonth: 2}})
		time.Sleep(2 * shortFor)
		if err := spendOne(t, g, a, 1); err != nil {
			t.Error("after the upgrade:", err)
		}
	})
}

func TestNoLeaderIsTemporary(t *testing.T) {
	within(t, tenant.Plan{}, func(t *testing.T, w *world, g *grants, a tenant.AccountID) {
		w.down.Store(true)
		go func() {
			time.Sleep(5 * time.Second)
			w.down.Store(false)
		}()
		if err := spendOne(t, g, a, 1); err != nil {
			t.Error("a reservation did not wait for the leader:", err)
		}
		w.down.Store(true)
		var over *submission.OverLimit
		if err := reserveAll(t, g, a); err == nil || errors.As(err, &over) {
			t.Errorf("without a leader: %v; want a temporary error", err)
		}
	})
}

func reserveAll(t *testing.T, g *grants, a tenant.AccountID) error {
	_, err := g.Reserve(t.Context(), a, tenant.Amount{Mails: 1 << 30})
	return err
}

func TestNewEpochStartsEmpty(t *testing.T) {
	within(t, tenant.Plan{MailsPerMonth: 10}, func(t *testing.T, w *world, g *grants, a tenant.AccountID) {
		for range 4 {
			if err := spendOne(t, g, a, 1); err != nil {
				t.Fatal(err)
			}
		}
		tn := w.state().TenantByName("shoes")
		month := tenant.WindowAt(tenant.Month, time.Now())
		w.must(tenant.Own{Tenant: tn.ID, Node: tn.Owner, Expect: tn.Epoch, Spent: []tenant.Spent{
			{Account: a, Window: month, Epoch: tn.Epoch, Amount: tenant.Amount{Mails: 4, Bytes: 4}}}})
		g.drop(tn.ID, tn.Epoch+1)
		n := 0
		for n < 20 && spendOne(t, g, a, 1) == nil {
			n++
		}
		if n != 6 {
			t.Errorf("%d e-mails after 4 of 10 were spent under the old epoch", n)
		}
	})
}

// A transaction that began right before the month's end must not find a purse
// that forgot what was spent.
func TestAMonthsEndSellsNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, a := newWorld(t, tenant.Plan{MailsPerMonth: 10})
		g := w.grants()
		month := tenant.WindowAt(tenant.Month, time.Now())
		time.Sleep(time.Until(month.End().Add(-time.Hour)))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- g.Run(ctx) }()
		for range 10 {
			if err := spendOne(t, g, a, 1); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Until(month.End().Add(5 * time.Second)))
		tn := w.state().TenantByName("shoes")
		k := purseKey{a, month}
		if err := g.take(ctx, k, tn.ID, tn.Epoch, tenant.Amount{Mails: 1}); err == nil {
			t.Error("the eleventh of ten e-mails was let through")
		}
		time.Sleep(time.Minute)
		g.mu.Lock()
		if g.purses[k] != nil {
			t.Error("the purse of the old month is kept for ever")
		}
		g.mu.Unlock()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A month's limit is told for good, so nothing else may be told as one: not the
// month's end in the midst of a message, and not another owner.
func TestOnlyAReachedLimitIsToldAsOne(t *testing.T) {
	within(t, tenant.Plan{MailsPerMonth: 1000}, func(t *testing.T, w *world, g *grants, a tenant.AccountID) {
		var over *submission.OverLimit
		big := tenant.Amount{Bytes: 1 << 30}
		time.Sleep(time.Until(tenant.WindowAt(tenant.Month, time.Now()).End().Add(-time.Second)))
		r, err := g.Reserve(t.Context(), a, tenant.Amount{Mails: 1})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if err := r.Grow(t.Context(), big); err == nil || errors.As(err, &over) {
			t.Errorf("a message over the month's end: %v; want a temporary error", err)
		}
		r.Release()

		if r, err = g.Reserve(t.Context(), a, tenant.Amount{Mails: 1}); err != nil {
			t.Fatal(err)
		}
		tn := w.state().TenantByName("shoes")
		w.must(tenant.Own{Tenant: tn.ID, Node: tn.Owner, Expect: tn.Epoch})
		if err := r.Grow(t.Context(), big); err == nil || errors.As(err, &over) {
			t.Errorf("a message over a change of epoch: %v; want a temporary error", err)
		}
		r.Release()
	})
}

func TestAClockSetBackOverTheMonthsEndStopsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, a := newWorld(t, tenant.Plan{MailsPerMonth: 10})
		time.Sleep(time.Until(tenant.WindowAt(tenant.Month, time.Now()).End().Add(time.Second)))
		w.must(tenant.AddNode{Name: "n2"}) // the state's clock is in the new month
		g := w.grants()
		g.now = func() time.Time { return time.Now().Add(-time.Minute) }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- g.Run(ctx) }()
		if err := spendOne(t, g, a, 1); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
