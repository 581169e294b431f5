package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

// cluster is three stores that hand one tenant's log around.
type cluster struct {
	t     testing.TB
	rng   *rand.Rand
	net   *network
	clk   *clock
	book  *ledger
	fs    map[string]*vfs.MemFS
	nodes map[string]*Store
	owner string
	held  string // the second copy
	epoch uint64
	gen   uint64
	next  int // number of the next message
	puts  sync.WaitGroup
	wrote map[string]bool         // nodes whose old log was not handed over yet
	ends  map[string][]tenant.End // of all epochs they wrote
	log   []string
}

func newCluster(t testing.TB, seed uint64) *cluster {
	c := &cluster{t: t, rng: rand.New(rand.NewPCG(seed, 1)), net: newNetwork(), clk: newClock(),
		book: &ledger{msgs: map[int]*booked{}}, fs: map[string]*vfs.MemFS{}, nodes: map[string]*Store{},
		wrote: map[string]bool{}, ends: map[string][]tenant.End{}}
	c.net.prepare = func(s *Store) { s.queue.gather = time.Millisecond }
	for _, n := range []string{"a", "b", "c"} {
		c.fs[n] = vfs.NewCrashableMem()
		c.boot(n)
	}
	c.own("a", 1)
	c.mirror("b")
	return c
}

func (c *cluster) note(f string, a ...any) { c.log = append(c.log, fmt.Sprintf(f, a...)) }

func (c *cluster) boot(n string) {
	c.nodes[n] = c.net.member(c.t, n, c.fs[n], func(cfg *Config) { cfg.Now, cfg.InlineMax = c.clk.now, 40<<10 })
}

func (c *cluster) s() *Store { return c.nodes[c.owner] }

func (c *cluster) own(n string, epoch uint64) {
	c.owner, c.epoch, c.held = n, epoch, ""
	adopt(c.t, c.nodes[n], 1, epoch)
}

func (c *cluster) mirror(to string) {
	c.gen++
	c.held = to
	c.s().NextFirst(1)
	mirror(c.t, c.s(), 1, c.epoch, c.gen, to)
	c.note("generation %d at %s", c.gen, to)
}

func (c *cluster) whole() {
	until(c.t, "the copy is whole", func() bool { return synced(c.s(), 1)() && c.startsKnown() })
}

// startsKnown says that the holder knows all attempts under way. One that lost
// its power is told them again, a moment after the owner has noticed.
func (c *cluster) startsKnown() bool {
	if c.held == "" {
		return true
	}
	var list []attempt
	s := c.s()
	s.mu.Lock()
	for _, e := range s.index.logs[1].entries {
		if e.started != nil && e.phase == phaseLeased {
			list = append(list, attempt{at{e.at.epoch, e.at.seq}, e.at.n, e.at.rev})
		}
	}
	s.mu.Unlock()
	h := c.nodes[c.held].hold
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.logs[1]
	if l == nil || l.conn == nil {
		return false
	}
	for _, x := range list {
		if l.starts[x] == nil && !l.doubts[x] {
			return false
		}
	}
	return true
}

// others are the nodes that do not own the tenant.
func (c *cluster) others() (ns []string) {
	for _, n := range []string{"a", "b", "c"} {
		if n != c.owner {
			ns = append(ns, n)
		}
	}
	return ns
}

func (c *cluster) put() {
	var ds []string
	for d := range 4 {
		if c.rng.IntN(3) == 0 {
			ds = append(ds, fmt.Sprintf("d%d.test", d))
		}
	}
	ds = append(ds, "e.test")
	size := []int{10, 3000, 20 << 10, 50 << 10}[c.rng.IntN(4)]
	n := c.next
	c.next++
	s := c.s()
	c.puts.Go(func() { _ = c.book.put(s, n, size, ds...) })
	if c.rng.IntN(3) > 0 {
		c.puts.Wait()
	}
}

func (c *cluster) attempt() {
	lanes, _ := c.s().dueLanes()
	for _, l := range lanes {
		items, more, err := c.s().Take(l, 1+c.rng.IntN(3))
		if err != nil {
			c.t.Fatal(err)
		}
		if more {
			c.s().Park(l, time.Time{})
		}
		for _, it := range items {
			r := []Result{Delivered, Deferred, Bounced}[c.rng.IntN(3)]
			switch c.rng.IntN(8) {
			case 0:
				c.s().GiveBack(it)
			case 1: // started, and the answer never comes in this process's life
				if err := c.s().Start(it); err != nil {
					c.t.Fatalf("Start: %v", err)
				}
				c.book.with(func() {
					b := c.book.msgs[number(it.Envelope)].items[it.Lane.Domain]
					b.started, b.attempts = true, it.Attempts
				})
			default:
				if err := c.book.attempt(c.s(), it, r, c.clk.now().Add(time.Millisecond)); err != nil {
					c.t.Fatalf("attempt: %v", err)
				}
			}
		}
	}
	c.clk.advance(2 * time.Millisecond)
}

func (c *cluster) cancel() {
	list, err := c.s().List(Filter{Tenant: 1, Limit: 20})
	if err != nil || len(list) == 0 {
		return
	}
	m := list[c.rng.IntN(len(list))]
	var b *booked
	c.book.with(func() {
		b = c.book.msgs[number(m.Envelope)]
		for _, it := range b.items {
			it.ending = true
		}
	})
	if err := c.s().Cancel(m.ID); err != nil {
		if !errors.Is(err, ErrLeased) && !errors.Is(err, ErrNotFound) {
			c.t.Fatalf("Cancel: %v", err)
		}
	}
}

// cut takes a node's power, or only its process, and starts it again.
func (c *cluster) cut(n string) (kernel bool) {
	for _, o := range []string{"a", "b", "c"} {
		if o != n {
			c.net.sever(n, o, true)
		}
	}
	p := []int{100, 100, 0, c.rng.IntN(101)}[c.rng.IntN(4)]
	clone := c.fs[n].CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: p, RNG: c.rng})
	closeStore(c.t, c.nodes[n])
	c.fs[n] = clone
	for _, o := range []string{"a", "b", "c"} {
		if o != n {
			c.net.sever(n, o, false)
		}
	}
	c.boot(n)
	c.note("cut %s, %d %%", n, p)
	return p == 100
}

func (c *cluster) cutHolder() {
	if c.held != "" {
		c.cut(c.held)
	}
}

// cutOwner ends the owner; it goes on in place, or at its holder.
func (c *cluster) cutOwner() {
	old, held := c.owner, c.held
	away := held != "" && c.rng.IntN(3) > 0
	if away {
		c.puts.Wait()
		c.whole()
		if c.rng.IntN(2) == 0 {
			c.put() // may be under way
		}
	}
	before := c.book.copy()
	kernel := c.cut(old)
	c.puts.Wait()
	if away {
		c.takeOver(old, held, before, true)
		return
	}
	st, err := c.nodes[old].Fence(context.Background(), "", 1, c.epoch+1)
	if err != nil {
		c.t.Fatalf("fence: %v", err)
	}
	if st.Epoch == c.epoch {
		c.ends[old] = append(c.ends[old], tenant.End{Epoch: c.epoch, Last: st.Last})
	}
	if held != "" {
		if _, err := c.nodes[old].Fence(context.Background(), held, 1, c.epoch+1); err != nil {
			c.t.Fatalf("fence: %v", err)
		}
	}
	c.own(old, c.epoch+2)
	c.note("%s goes on in epoch %d", old, c.epoch)
	c.check(before, kernel, false)
	c.mirror(held)
}

func (c *cluster) takeOver(old, to string, before *ledger, kernel bool) {
	st, err := c.nodes[to].Fence(context.Background(), "", 1, c.epoch+1)
	if err != nil || st.Epoch != c.epoch {
		c.t.Fatalf("fence: %+v %v", st, err)
	}
	c.wrote[old], c.ends[old] = true, append(c.ends[old], tenant.End{Epoch: c.epoch, Last: st.Last})
	c.own(to, c.epoch+2)
	c.note("%s follows %s in epoch %d", to, old, c.epoch)
	c.check(before, kernel, true)
	for _, o := range c.others() {
		if o != old {
			c.mirror(o)
		}
	}
	c.giveBack(old)
}

// giveBack lets a node that owned the tenant hand over what only it has.
func (c *cluster) giveBack(n string) {
	if !c.wrote[n] || n == c.owner {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	until(c.t, "the log is returned", func() bool {
		c.whole() // the owner takes nothing before
		_, err := c.nodes[n].Return(ctx, c.owner, 1, c.ends[n])
		if err != nil && !errors.Is(err, ErrBusy) {
			c.t.Fatalf("return: %v", err)
		}
		return err == nil
	})
	delete(c.wrote, n)
	c.note("%s returned", n)
}

// handOver moves the tenant in good order.
func (c *cluster) handOver() {
	if c.held == "" {
		return
	}
	c.puts.Wait()
	c.whole()
	old, to := c.owner, c.held
	for _, l := range c.leased() {
		c.s().GiveBack(l)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	last, waiting, err := c.s().Quiesce(ctx, 1)
	if err != nil || len(waiting) > 0 {
		c.t.Fatalf("quiesce: %v %v", waiting, err)
	}
	before := c.book.copy()
	if err := c.s().Release(1); err != nil {
		c.t.Fatal(err)
	}
	st, err := c.nodes[to].Fence(context.Background(), "", 1, c.epoch+1)
	if err != nil || st.Last != last {
		c.t.Fatalf("handed over %d, the holder has %+v %v", last, st, err)
	}
	c.wrote[old], c.ends[old] = true, append(c.ends[old], tenant.End{Epoch: c.epoch, Last: last})
	c.own(to, c.epoch+2)
	c.note("%s hands over to %s in epoch %d", old, to, c.epoch)
	c.check(before, true, true)
	c.mirror(slices.DeleteFunc(c.others(), func(n string) bool { return n == old })[0])
	c.giveBack(old)
}

func (c *cluster) leased() (its []*Item) {
	s := c.s()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.index.logs[1].entries {
		if e.phase == phaseLeased {
			its = append(its, e.item)
		}
	}
	return its
}

// check holds the owner's log, just adopted, against the ledger.
func (c *cluster) check(before *ledger, kernel, holder bool) {
	c.t.Helper()
	present := checkLog(c.t, c.s(), before, c.book.copy(), kernel, holder)
	if c.t.Failed() {
		c.t.FailNow()
	}
	// What was started and lost its settlement may be attempted again: it is in
	// doubt, and counted.
	c.book.with(func() {
		for n, m := range c.book.msgs {
			for _, st := range present[n].Items {
				it := m.items[st.Domain]
				it.ended, it.deferred, it.started = false, false, false
			}
		}
	})
}

func TestModelOfCopies(t *testing.T) {
	seeds, steps := 4, 120
	if os.Getenv("POSTERN_SOAK") != "" {
		seeds, steps = 60, 300
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			c := newCluster(t, uint64(seed))
			defer func() {
				if t.Failed() || testing.Verbose() {
					t.Logf("%q", c.log)
				}
			}()
			for range steps {
				switch c.rng.IntN(40) {
				case 0:
					c.cutHolder()
				case 1:
					c.cutOwner()
				case 2:
					c.handOver()
				case 3:
					for _, n := range c.others() {
						c.giveBack(n)
					}
					c.mirror(c.others()[c.rng.IntN(2)])
				case 4, 5:
					c.cancel()
				case 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20:
					c.attempt()
				default:
					c.put()
				}
			}
			c.puts.Wait()
			c.whole()
			held := c.held
			before := c.book.copy()
			kernel := c.cut(c.owner)
			_ = kernel
			c.takeOver(c.owner, held, before, true)
			c.whole()
			checkSums(t, c.nodes[c.owner], c.nodes[c.held])
		})
	}
}

// checkSums demands that two copies count and spent the same.
func checkSums(t testing.TB, a, b *Store) {
	t.Helper()
	read := func(s *Store) map[string]sum {
		m := map[string]sum{}
		for _, tab := range []byte{tabSpend, tabCount} {
			k := tenantPrefix(nil, tab, 1)
			if err := s.eachSum(k, after(k), func(k []byte, v sum) {
				if v != (sum{}) {
					m[string(k)] = v
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
		return m
	}
	if x, y := fmt.Sprint(read(a)), fmt.Sprint(read(b)); x != y {
		t.Errorf("sums differ:\n%s\n%s", x, y)
	}
}
