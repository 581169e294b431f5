package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"postern/tenant"
)

// clusterModel is three stores, what a cluster would tell them, and what the
// outside was told.
type clusterModel struct {
	t      *rapid.T
	outer  *testing.T
	n      *network
	fs     map[string]*vfs.MemFS
	stores map[string]*Store
	down   map[string]bool
	owner  string
	epoch  uint64
	gen    uint64
	open   []tenantCopy // generations that are not closed
	lone   bool         // none of them was ever whole: only the owner has all
	ends   map[string][]tenant.End
	msgs   map[ID]*modelCopy
	spent  tenant.Amount
	no     int
}

type tenantCopy struct {
	gen  uint64
	node string
}

type modelCopy struct {
	body  []byte
	rcpts []string
	ended map[string]bool // a recipient's end was acknowledged
	// A cancelled one may come back: nothing was started, and the owner may die
	// before its holder hears of it.
	cancelled bool
}

var clusterNodes = []string{"a", "b", "c"}

func newClusterModel(outer *testing.T, t *rapid.T) *clusterModel {
	m := &clusterModel{t: t, outer: outer, n: newNetwork(), fs: map[string]*vfs.MemFS{}, stores: map[string]*Store{},
		down: map[string]bool{}, ends: map[string][]tenant.End{}, msgs: map[ID]*modelCopy{}, owner: "a", epoch: 1, gen: 1}
	for _, x := range clusterNodes {
		m.fs[x] = vfs.NewCrashableMem()
		m.start(x)
	}
	if _, err := m.s().Adopt(1, 1); err != nil {
		t.Fatal(err)
	}
	m.mirror("b")
	return m
}

func (m *clusterModel) s() *Store { return m.stores[m.owner] }

func (m *clusterModel) start(x string) {
	s, err := New(Config{Dir: "q", FS: m.fs[x], FreeFloor: 1, Grace: time.Microsecond, Peers: m.n.peers(x),
		Fatal: func(err error) { m.outer.Errorf("fatal: %v", err) }})
	if err != nil {
		m.t.Fatal(err)
	}
	s.queue.gather = 0
	watchForked(m.outer, s)
	m.stores[x], m.down[x] = s, false
}

// watchForked is watchKeys for logs that fork: a state that was left behind may
// come again by another way. Set and deleted in turn is what pebble demands.
func watchForked(t testing.TB, s *Store) {
	o := &onceKeys{t: t, live: map[string]bool{}, again: true}
	s.observe = o.see
}

func (m *clusterModel) close() {
	for x, s := range m.stores {
		if !m.down[x] {
			closeStore(m.outer, s)
		}
	}
}

func (m *clusterModel) mirror(x string) {
	var ends []tenant.End
	for _, of := range m.ends {
		ends = append(ends, of...)
	}
	if err := m.s().Mirror(1, m.epoch, m.gen, x, ends); err != nil {
		m.t.Fatalf("Mirror: %v", err)
	}
	m.open = append(m.open, tenantCopy{m.gen, x})
	m.t.Logf("%s mirrors to %s, generation %d", m.owner, x, m.gen)
	m.gen++
}

func (m *clusterModel) ctx() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Minute)
}

func (m *clusterModel) wait(what string, ok func() bool) {
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			m.t.Fatalf("waited for: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// Put puts one message, which only a whole chain lets through.
func (m *clusterModel) Put(t *rapid.T) {
	m.no++
	size := rapid.SampledFrom([]int{10, inlineWithHead + 1, 300 << 10}).Draw(t, "size")
	c := &modelCopy{body: bytes.Repeat([]byte{byte('a' + m.no%26)}, size), ended: map[string]bool{}}
	for i, d := range trafficDomains[:rapid.IntRange(1, 3).Draw(t, "domains")] {
		c.rcpts = append(c.rcpts, fmt.Sprintf("u%d@%s", i, d), fmt.Sprintf("v%d@%s", i, d))
	}
	sp := Spend{Window: tenant.Window{Kind: 1, Start: 5}, Amount: tenant.Amount{Mails: 1, Bytes: uint64(size)}}
	id, err := tryPut(m.s(), 1, c.body, envelope(c.rcpts...), sp)
	if err != nil {
		m.t.Fatalf("Put: %v", err)
	}
	m.msgs[id] = c
	m.spent.Mails++
	m.spent.Bytes += uint64(size)
}

// Work attempts a few items.
func (m *clusterModel) Work(t *rapid.T) {
	d := rapid.SampledFrom(trafficDomains).Draw(t, "domain")
	items, _, err := m.s().Take(Lane{1, 7, tenant.Transactional, d}, rapid.IntRange(1, 5).Draw(t, "items"))
	if err != nil {
		m.t.Fatalf("Take: %v", err)
	}
	for _, it := range items {
		c := m.msgs[it.ID]
		if c == nil {
			m.t.Fatalf("%s from nowhere", it.ID)
		}
		how := rapid.IntRange(0, 4).Draw(t, "how")
		if how == 0 {
			m.s().GiveBack(it)
			continue
		}
		if err := m.s().Start(it); err != nil {
			m.t.Fatalf("Start: %v", err)
		}
		x := Settlement{Item: it, Attempt: Attempt{N: it.Attempts + 1, At: time.Unix(5, 0)}, Outcomes: outcomes(it, Delivered), Next: time.Now()}
		for i := range x.Outcomes {
			if how == 1 || how == 2 && i == 0 {
				x.Outcomes[i].Result = Deferred
			} else if a := it.Envelope.Rcpts[x.Outcomes[i].Rcpt].Addr; c.ended[a] && !it.InDoubt && !c.cancelled {
				m.t.Fatalf("%s to %s ended and was attempted again", it.ID, a)
			}
		}
		if err := trySettle(m.s(), x); err != nil {
			m.t.Fatalf("Settle: %v", err)
		}
		m.t.Logf("settled %s rev %d: %v", it.ID, it.Attempts, x.Outcomes)
		for _, o := range x.Outcomes {
			// One that was in doubt, and is deferred now, lives again.
			c.ended[it.Envelope.Rcpts[o.Rcpt].Addr] = o.Result == Delivered
		}
	}
}

func (m *clusterModel) Cancel(t *rapid.T) {
	var ids []ID
	for id := range m.msgs {
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return
	}
	slices.SortFunc(ids, compareIDs)
	id := rapid.SampledFrom(ids).Draw(t, "id")
	if err := m.s().Cancel(id); err == nil {
		m.msgs[id].cancelled = true
	} else if !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrLeased) {
		m.t.Fatalf("Cancel: %v", err)
	}
}

// Change gives the second copy to another node.
func (m *clusterModel) Change(t *rapid.T) {
	var up []string
	for _, x := range clusterNodes {
		if x != m.owner && !m.down[x] {
			up = append(up, x)
		}
	}
	if len(up) == 0 || len(m.open) > 4 {
		return
	}
	m.mirror(rapid.SampledFrom(up).Draw(t, "holder"))
}

// Close waits for the newest copy to be whole; the older ones are closed then.
func (m *clusterModel) Close(t *rapid.T) {
	m.wait("the copy is whole", synced(m.s(), 1))
	m.open, m.lone = m.open[len(m.open)-1:], false
}

func (m *clusterModel) Sever(t *rapid.T) {
	x := rapid.SampledFrom(clusterNodes).Draw(t, "node")
	if x != m.owner {
		m.n.sever(m.owner, x, true)
		m.n.sever(m.owner, x, false)
	}
}

// Fail takes the owner's power; a holder adopts. The next change of holder
// brings the failed node back.
func (m *clusterModel) Fail(t *rapid.T) {
	for _, down := range m.down {
		if down {
			m.Back(t)
			return
		}
	}
	if m.lone {
		m.Close(t)
	}
	old := m.owner
	unsynced := rapid.SampledFrom([]int{0, 100}).Draw(t, "unsynced")
	fs := m.fs[old].CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: rand.New(rand.NewPCG(1, 2))})
	closeStore(m.outer, m.stores[old])
	m.fs[old], m.down[old] = fs, true
	ctx, cancel := m.ctx()
	defer cancel()
	newest := m.open[len(m.open)-1].node
	var holders []string
	for _, c := range m.open {
		if !slices.Contains(holders, c.node) {
			holders = append(holders, c.node)
		}
	}
	m.owner = rapid.SampledFrom(holders).Draw(t, "adopter")
	if rapid.IntRange(0, 5).Draw(t, "stranger") == 0 {
		for _, x := range clusterNodes {
			if !m.down[x] && x != newest {
				m.owner = x // maybe one that holds nothing of use
			}
		}
	}
	m.epoch++
	var last uint64
	for _, x := range holders {
		st, err := m.s().Fence(ctx, x, 1, m.epoch)
		if err != nil {
			m.t.Fatalf("Fence: %v", err)
		}
		if st.Epoch == m.epoch-1 {
			last = max(last, st.Last)
		}
	}
	m.t.Logf("%s died at epoch %d, holders %v, adopter %s, last %d", old, m.epoch-1, m.open, m.owner, last)
	m.ends[old] = append(m.ends[old], tenant.End{Epoch: m.epoch - 1, Last: last})
	whole := len(holders) == 1
	for i, x := range holders {
		if x == m.owner {
			continue
		}
		merge := !whole || i > 0
		if merge && !slices.Contains(holders, m.owner) && i == 0 {
			merge = false // nothing here: begin with the oldest open copy
		}
		m.t.Logf("%s fetches from %s, merge %v", m.owner, x, merge)
		if err := m.s().Fetch(ctx, x, 1, merge); err != nil {
			m.t.Fatalf("Fetch: %v", err)
		}
	}
	m.epoch++
	spent, err := m.s().Adopt(1, m.epoch)
	if err != nil {
		m.t.Fatalf("Adopt: %v", err)
	}
	delete(m.ends, m.owner) // what it has alone is in its log now
	m.open, m.lone = nil, true
	for _, x := range clusterNodes {
		if x != m.owner && !m.down[x] {
			m.mirror(x)
			break
		}
	}
	var sum tenant.Amount
	for _, sp := range spent {
		sum.Mails, sum.Bytes = sum.Mails+sp.Amount.Mails, sum.Bytes+sp.Amount.Bytes
	}
	if sum.Mails < m.spent.Mails || sum.Bytes < m.spent.Bytes {
		m.t.Fatalf("spent %+v, adopted %+v", m.spent, sum)
	}
	m.check()
}

// Back brings the failed node back.
func (m *clusterModel) Back(*rapid.T) {
	for _, x := range clusterNodes {
		if m.down[x] {
			m.start(x)
			m.t.Logf("%s is back", x)
		}
	}
}

// Return lets the nodes that failed hand over what they have, perhaps after
// they became holders again.
func (m *clusterModel) Return(*rapid.T) {
	for _, x := range clusterNodes {
		if m.down[x] || len(m.ends[x]) == 0 {
			continue
		}
		ctx, cancel := m.ctx()
		defer cancel()
		m.wait("the log is returned", func() bool { // a line that was severed is found dead only in use
			_, err := m.stores[x].Return(ctx, m.owner, 1, m.ends[x])
			if errors.Is(err, errBusy) { // it gave way: the owner asks again every half second
				<-time.After(700 * time.Millisecond)
			}
			return err == nil
		})
		m.t.Logf("%s returned", x)
		delete(m.ends, x)
	}
	m.check()
}

// check holds the owner's queue against what the outside was told.
func (m *clusterModel) check() {
	s := m.s()
	live := map[ID]map[string]bool{}
	var rcpts int
	var after ID
	for {
		list, err := s.List(Filter{Tenant: 1, Limit: 500, After: after})
		if err != nil {
			m.t.Fatal(err)
		}
		for _, x := range list {
			after = x.ID
			live[x.ID] = map[string]bool{}
			c := m.msgs[x.ID]
			if c == nil {
				m.t.Fatalf("%s from nowhere", x.ID)
			}
			if !bytes.Equal(readBody(m.t, s, x.ID), wantBody(c.body)) {
				m.t.Fatalf("body of %s differs", x.ID)
			}
			for _, it := range x.Items {
				for _, r := range it.Rcpts {
					live[x.ID][r] = true
					rcpts++
					if c.ended[r] && !c.cancelled {
						m.doubted(x, it.Domain, r)
					}
				}
			}
		}
		if len(list) < 500 {
			break
		}
	}
	for id, c := range m.msgs {
		for _, r := range c.rcpts {
			if !c.ended[r] && !c.cancelled && !live[id][r] {
				m.t.Fatalf("%s to %s is lost", id, r)
			}
		}
	}
	if n := s.Count()[1]; n.Messages != len(live) || n.Queued != rcpts {
		m.t.Fatalf("counts %+v, there are %d messages with %d recipients", n, len(live), rcpts)
	}
}

// doubted demands that what ended and is back is in doubt.
func (m *clusterModel) doubted(x Summary, domain, rcpt string) {
	s := m.s()
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.index.logs[1].entries[s.shareOf(x, domain)]
	if e == nil || !e.inDoubt && e.started == nil {
		m.t.Fatalf("%s to %s ended and is back at %s without doubt, entry %+v", x.ID, rcpt, m.owner, e)
	}
}

// TestCluster: whatever fails, nothing acknowledged is lost, nothing is sent
// again but what is in doubt, and in the end the copies are the same.
func TestCluster(t *testing.T) {
	if os.Getenv("POSTERN_SOAK") == "" && !flagSet("rapid.checks") {
		setFlag(t, "rapid.checks", "12")
	}
	if !flagSet("rapid.steps") {
		setFlag(t, "rapid.steps", "40")
	}
	rapid.Check(t, func(rt *rapid.T) {
		m := newClusterModel(t, rt)
		defer m.close()
		rt.Repeat(map[string]func(*rapid.T){
			"put": m.Put, "put more": m.Put, "work": m.Work, "work more": m.Work, "cancel": m.Cancel,
			"change": m.Change, "close": m.Close, "sever": m.Sever, "fail": m.Fail, "return": m.Return,
		})
		m.Back(rt)
		m.Return(rt)
		m.wait("the copy is whole", synced(m.s(), 1))
		sameCopies(rt, m.s(), m.stores[m.open[len(m.open)-1].node], 1)
	})
}
