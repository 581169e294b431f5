package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

// comparedTables are those of which an owner and a holder have the same keys.
var comparedTables = []byte{tabMessage, tabBody, tabDue, tabShare, tabSpend, tabCount, tabDay, tabDenied}

// reporter is what a test and a property have in common.
type reporter interface {
	failer
	Errorf(string, ...any)
}

// dump reads all of a tenant that two copies have in common. Sums of nothing
// are as good as none.
func dump(t reporter, s *Store, id tenant.ID) map[string]string {
	t.Helper()
	m := map[string]string{}
	for _, tab := range comparedTables {
		prefix := tenantPrefix(nil, tab, id)
		err := s.each(prefix, after(prefix), func(k, p []byte) (bool, error) {
			if v := string(p); (tab != tabSpend && tab != tabCount) || v != "\x00\x00" {
				m[string(k)] = v
			}
			return true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	err := s.each([]byte{tabChunk}, []byte{tabChunk + 1}, func(k, p []byte) (bool, error) {
		if m0, ok := idOfKey(p); ok && m0.Tenant == id {
			m[string(k)] = string(p)
		}
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// sameCopies demands that two stores have the same of a tenant, key by key, and
// that the counts are of what is there.
func sameCopies(t reporter, a, b *Store, id tenant.ID) {
	t.Helper()
	x, y := dump(t, a, id), dump(t, b, id)
	for k, v := range x {
		if w, ok := y[k]; !ok {
			t.Errorf("only the first has %x = %x", k, v)
		} else if v != w {
			t.Errorf("%x is %x and %x", k, v, w)
		}
	}
	for k, v := range y {
		// A holder marks the day when it begins, an owner when it writes.
		if _, ok := x[k]; !ok && k[0] != tabDay {
			t.Errorf("only the second has %x = %x", k, v)
		}
	}
	for _, s := range []*Store{a, b} {
		checkCounted(t, s, id)
	}
}

// checkCounted demands that the tenant's counts are of what is there.
func checkCounted(t reporter, s *Store, id tenant.ID) {
	t.Helper()
	list, next, err := s.statesIn(ID{Tenant: id}, lastID(id), 1<<30, 1<<40)
	if err != nil || next != lastID(id) {
		t.Fatal(err)
	}
	var want, got sum
	for _, c := range list {
		h, _, err := s.readMessage(c.id, false)
		if err != nil {
			t.Fatal(err)
		}
		want.a++
		for n := range h.domains {
			p, err := stateOf(h, c.items, uint16(n))
			if err != nil {
				t.Fatal(err)
			}
			want.b += p.rcpts
		}
	}
	k := tenantPrefix(nil, tabCount, id)
	if err := s.eachSum(k, after(k), func(_ []byte, v sum) { got = v }); err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("counts %v, there is %v", got, want)
	}
}

// checkFiles demands a whole chunk file for each key. Files without a key may
// stay for a while: of messages that ended while they were on their way.
func checkFiles(t testing.TB, s *Store) {
	t.Helper()
	_ = s.each([]byte{tabChunk}, []byte{tabChunk + 1}, func(k, p []byte) (bool, error) {
		id, _ := idOfKey(p)
		h, _, err := s.readMessage(id, false)
		if err != nil {
			t.Errorf("chunk key of %s: %v", id, err)
		} else if whole, err := s.chunkWhole(h); err != nil || !whole {
			t.Errorf("chunk file of %s: %v", id, err)
		}
		return true, nil
	})
}

// traffic works a tenant's queue in all ways until its context ends.
type traffic struct {
	s       *Store
	r       *rand.Rand
	n       int
	mu      sync.Mutex
	bodies  map[ID][]byte
	refused int
}

var trafficDomains = []string{"one.test", "two.test", "three.test"}

func (w *traffic) put(ctx context.Context) {
	w.mu.Lock()
	w.n++
	n := w.n
	size := []int{10, 3000, inlineWithHead + 1, 40 << 10}[w.r.IntN(4)]
	if w.r.IntN(12) == 0 {
		size = 300 << 10
	}
	var rcpts []string
	for i := range 1 + w.r.IntN(4) {
		rcpts = append(rcpts, fmt.Sprintf("u%d@%s", i, trafficDomains[w.r.IntN(len(trafficDomains))]))
	}
	w.mu.Unlock()
	body := bytes.Repeat([]byte{byte('a' + n%26)}, size)
	sp := Spend{Window: tenant.Window{Kind: 1, Start: int64(n % 5)}, Amount: tenant.Amount{Mails: 1, Bytes: uint64(size)}}
	id, err := tryPut(w.s, 1, body, envelope(rcpts...), sp)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.refused++
		return
	}
	w.bodies[id] = wantBody(body)
}

// work takes what is due and ends, defers or gives back each item.
func (w *traffic) work(t testing.TB) {
	lanes, _ := w.s.dueLanes()
	for _, l := range lanes {
		items, more, err := w.s.Take(l, 4)
		if err != nil {
			t.Errorf("Take: %v", err)
			return
		}
		for _, it := range items {
			w.attempt(t, it)
		}
		if more {
			w.s.Park(l, time.Time{})
		}
	}
}

func (w *traffic) attempt(t testing.TB, it *Item) {
	w.mu.Lock()
	how := w.r.IntN(10)
	after := time.Duration(w.r.IntN(200)) * time.Millisecond
	w.mu.Unlock()
	if how == 0 {
		w.s.GiveBack(it)
		return
	}
	if err := w.s.Start(it); err != nil {
		if !errors.Is(err, ErrNoCopy) && !errors.Is(err, ErrStale) {
			t.Errorf("Start: %v", err)
		}
		w.s.GiveBack(it)
		return
	}
	x := Settlement{Item: it, Attempt: Attempt{N: it.Attempts + 1, At: time.Unix(5, 0), Dialogue: "talk"},
		Outcomes: outcomes(it, Delivered), Next: time.Now().Add(after)}
	for i := range x.Outcomes {
		if how < 6 && (i == 0 || how < 3) {
			x.Outcomes[i].Result = Deferred
		}
	}
	if err := trySettle(w.s, x); err != nil && !errors.Is(err, ErrStale) {
		t.Errorf("Settle: %v", err)
	}
}

func newTraffic(s *Store, seed uint64) *traffic {
	return &traffic{s: s, r: rand.New(rand.NewPCG(seed, 1)), bodies: map[ID][]byte{}}
}

// TestOlderMessagesAreCopied: a holder that comes late gets all that lives, and
// one that comes back gets what differs.
func TestOlderMessagesAreCopied(t *testing.T) {
	n := newNetwork()
	a := n.member(t, "a", vfs.NewMem(), nil)
	b := n.member(t, "b", vfs.NewMem(), nil)
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "")
	w := newTraffic(a, 1)
	for range 60 {
		w.put(t.Context())
	}
	w.work(t)
	mirror(t, a, 1, 1, 2, "b")
	until(t, "the copy is whole", synced(a, 1))
	sameCopies(t, a, b, 1)
	checkChunks(t, b)

	mirror(t, a, 1, 1, 3, "")
	for range 30 {
		w.put(t.Context())
		w.work(t)
	}
	mirror(t, a, 1, 1, 4, "b")
	until(t, "the copy is whole again", synced(a, 1))
	sameCopies(t, a, b, 1)
	checkChunks(t, b)
	closeStore(t, a)
	adopt(t, b, 1, 2)
	for id, body := range w.bodies {
		if got, err := b.Body(id); err == nil {
			_ = got.Close()
			if !bytes.Equal(readBody(t, b, id), body) {
				t.Errorf("body of %s differs", id)
			}
		}
	}
}

// TestWalkAmongTraffic: mail goes on, connections break, holders change; at the
// end both stores have the same.
func TestWalkAmongTraffic(t *testing.T) {
	seeds := uint64(1)
	if os.Getenv("POSTERN_SOAK") != "" {
		seeds = 20
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { walkAmongTraffic(t, seed) })
	}
}

func walkAmongTraffic(t *testing.T, seed uint64) {
	n := newNetwork()
	stores := map[string]*Store{}
	for _, name := range []string{"a", "b", "c"} {
		stores[name] = n.member(t, name, vfs.NewMem(), nil)
		stores[name].queue.gather = time.Millisecond
	}
	a := stores["a"]
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "")
	w := newTraffic(a, seed)
	for range 150 {
		w.put(t.Context())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for ctx.Err() == nil {
				w.put(ctx)
			}
		})
	}
	for range 2 {
		all.Go(func() {
			for ctx.Err() == nil {
				w.work(t)
			}
		})
	}
	all.Go(func() {
		for ctx.Err() == nil {
			w.mu.Lock()
			var id ID
			for id = range w.bodies {
				break
			}
			w.mu.Unlock()
			if err := a.Cancel(id); err == nil {
				w.mu.Lock()
				delete(w.bodies, id)
				w.mu.Unlock()
			}
			<-pause(ctx)
		}
	})
	r := rand.New(rand.NewPCG(seed, 2))
	gen, holder := uint64(1), ""
	for ctx.Err() == nil {
		switch r.IntN(4) {
		case 0:
			gen++
			holder = []string{"b", "c", ""}[r.IntN(3)]
			mirror(t, a, 1, 1, gen, holder)
		case 1:
			n.sever("a", "b", true)
			n.sever("a", "b", false)
		default:
			<-pause(ctx)
		}
	}
	mirror(t, a, 1, 1, gen+1, "b")
	all.Wait()
	until(t, "the copy is whole", synced(a, 1))
	sameCopies(t, a, stores["b"], 1)
	checkFiles(t, stores["b"])
}

// breakAfter ends each call after so many writes of the asking side.
func breakAfter(writes int) func(string, string, net.Conn) net.Conn {
	return func(_, _ string, c net.Conn) net.Conn { return &breaking{Conn: c, left: writes + 1} }
}

type breaking struct {
	net.Conn
	left int
	call bool
}

func (c *breaking) Write(b []byte) (int, error) {
	if string(b) == greeting+string(connCall) {
		c.call = true
	}
	if c.left--; c.call && c.left < 0 {
		_ = c.Close()
		return 0, errors.New("broken")
	}
	return c.Conn.Write(b)
}
