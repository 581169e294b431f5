package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
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
	log    tenant.Tenant // what the cluster knows of the log: epoch, copies, ends
	part   bool          // adopted without all copies: nothing is sent
	halt   *halt         // what stops the owner's walks; nil: nothing
	msgs   map[ID]*modelCopy
	spent  tenant.Amount
	told   map[uint64]tenant.Amount // by epoch, the most that an owner found spent
	tail   []ID                     // only the dead owner's holder had them; nobody was told yet
	no     int
}

type modelCopy struct {
	id    ID
	body  []byte
	rcpts []string
	ended map[string]bool // a recipient's end was acknowledged
	// A cancelled one may come back: nothing was started, and the owner may die
	// before its holder hears of it.
	cancelled bool
	untold    bool // it may be lost: of the tail
}

var clusterNodes = []string{"a", "b", "c"}

func nodeID(x string) tenant.NodeID { return tenant.NodeID(1 + slices.Index(clusterNodes, x)) }

// end notes how far a log was taken in, as the cluster does.
func (m *clusterModel) end(ends ...tenant.End) {
	for _, e := range ends {
		i := slices.IndexFunc(m.log.Ends, func(x tenant.End) bool { return x.Epoch >= e.Epoch })
		switch {
		case i < 0:
			m.log.Ends = append(m.log.Ends, e)
		case m.log.Ends[i].Epoch > e.Epoch:
			m.log.Ends = slices.Insert(slices.Clone(m.log.Ends), i, e)
		case m.log.Ends[i].Last < e.Last:
			m.log.Ends = slices.Clone(m.log.Ends)
			m.log.Ends[i] = e
		}
	}
}

// halt stops walks before they begin.
type halt struct{ over, dead chan struct{} }

type halted struct {
	net.Conn
	h *halt
}

func (c *halted) Write(b []byte) (int, error) {
	if string(b) == greeting+string(connCall) {
		select {
		case <-c.h.over:
		case <-c.h.dead:
			return 0, errors.New("the owner died")
		}
	}
	return c.Conn.Write(b)
}

// Halt lets no walk begin until the next thing that needs one.
func (m *clusterModel) Halt(*rapid.T) {
	if m.halt != nil {
		return
	}
	h, owner := &halt{make(chan struct{}), make(chan struct{})}, m.owner
	m.halt = h
	m.n.wrapping(func(from, _ string, c net.Conn) net.Conn {
		if from != owner {
			return c
		}
		return &halted{c, h}
	})
}

// goOn ends a Halt.
func (m *clusterModel) goOn() {
	if m.halt != nil {
		m.n.wrapping(nil)
		close(m.halt.over)
		m.halt = nil
	}
}

// holder is the node of the newest copy; "" when there is one copy.
func (m *clusterModel) holder() string {
	if n := m.log.Mirror(); n != 0 {
		return clusterNodes[n-1]
	}
	return ""
}

func newClusterModel(outer *testing.T, t *rapid.T) *clusterModel {
	m := &clusterModel{t: t, outer: outer, n: newNetwork(), fs: map[string]*vfs.MemFS{}, stores: map[string]*Store{},
		down: map[string]bool{}, msgs: map[ID]*modelCopy{}, told: map[uint64]tenant.Amount{}, owner: "a", epoch: 1, gen: 1}
	m.log = tenant.Tenant{Owner: 1, Epoch: 1}
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
	m.goOn()
	for x, s := range m.stores {
		if !m.down[x] {
			closeStore(m.outer, s)
		}
	}
}

func (m *clusterModel) mirror(x string) {
	if err := m.s().Mirror(1, m.epoch, m.gen, x, m.log.Ends); err != nil {
		m.t.Fatalf("Mirror: %v", err)
	}
	if len(m.log.Copies) == 0 {
		m.log.Copies = []tenant.Copy{{Generation: m.gen - 1, Epoch: m.epoch, First: 1}}
	}
	m.log.Copies = append(slices.Clone(m.log.Copies), tenant.Copy{Generation: m.gen, Node: nodeID(x), Epoch: m.epoch, First: 1})
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
	c := m.put(t)
	m.spent.Mails++
	m.spent.Bytes += uint64(len(c.body))
}

func (m *clusterModel) put(t *rapid.T) *modelCopy {
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
	c.id = id
	m.msgs[id] = c
	return c
}

// Ask asks the owner for a message that got no answer, as who passed it on does:
// what it calls kept is kept from then on. What it spent may be forgotten, if an
// owner between did not know of it.
func (m *clusterModel) Ask(*rapid.T) {
	if m.part || len(m.tail) == 0 {
		return
	}
	id := m.tail[0]
	patience := 10 * time.Second
	if m.halt != nil {
		patience = 20 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m.no++
	_, err := m.s().Find(1, [16]byte{}, id)
	if errors.Is(err, ErrNotFound) {
		if err = m.s().Deny(ctx, 1, transactionAt(time.Now(), uint64(m.no)), id); err == nil {
			m.t.Logf("%s is not kept", id)
			m.msgs[id], m.tail = nil, m.tail[1:]
			return
		}
	}
	if err == nil {
		err = m.s().Secured(ctx, id)
	}
	switch {
	case err == nil:
		m.t.Logf("%s is kept", id)
		m.msgs[id].untold, m.tail = false, m.tail[1:]
	case !errors.Is(err, ErrNoCopy):
		m.t.Fatalf("ask for %s: %v", id, err)
	}
}

// Work attempts a few items.
func (m *clusterModel) Work(t *rapid.T) {
	d := rapid.SampledFrom(trafficDomains).Draw(t, "domain")
	if m.part {
		return
	}
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
	for id, c := range m.msgs {
		if c != nil {
			ids = append(ids, id)
		}
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
	if len(up) == 0 || len(m.log.Copies) > 4 {
		return
	}
	m.mirror(rapid.SampledFrom(up).Draw(t, "holder"))
}

// Close waits for the newest copy to be whole; the older ones are closed then.
func (m *clusterModel) Close(t *rapid.T) {
	if m.part {
		return
	}
	m.goOn()
	m.wait("the copy is whole", synced(m.s(), 1))
	m.log.Copies = slices.Clone(m.log.Copies[len(m.log.Copies)-1:])
}

func (m *clusterModel) Sever(t *rapid.T) {
	x := rapid.SampledFrom(clusterNodes).Draw(t, "node")
	if x != m.owner {
		m.n.sever(m.owner, x, true)
		m.n.sever(m.owner, x, false)
	}
}

// Fail takes the owner's power; another node adopts. The next one brings the
// failed node back.
func (m *clusterModel) Fail(t *rapid.T) {
	for _, down := range m.down {
		if down {
			m.Back(t)
			return
		}
	}
	m.crash(t)
	m.down[m.owner] = true
	var up []string
	for _, x := range clusterNodes {
		if !m.down[x] {
			up = append(up, x)
		}
	}
	m.end(tenant.End{Epoch: m.epoch, Node: m.log.Owner})
	m.owner = rapid.SampledFrom(up).Draw(t, "adopter")
	m.epoch++
	m.log.Owner, m.log.Epoch = nodeID(m.owner), m.epoch
	m.own()
}

// Restart takes the owner's power, and it takes its own log over again.
func (m *clusterModel) Restart(t *rapid.T) {
	if len(m.log.Copies) > 4 {
		return
	}
	m.crash(t)
	m.start(m.owner)
	m.own()
}

func (m *clusterModel) crash(t *rapid.T) {
	unsynced := rapid.SampledFrom([]int{0, 100}).Draw(t, "unsynced")
	fs := m.fs[m.owner].CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: rand.New(rand.NewPCG(1, 2))})
	if h := m.holder(); h != "" && !m.down[h] && rapid.Bool().Draw(t, "tail") {
		c := m.put(t)
		c.untold = true
		m.tail = append(m.tail, c.id)
	}
	if m.halt != nil {
		close(m.halt.dead)
	}
	closeStore(m.outer, m.stores[m.owner])
	m.fs[m.owner] = fs
	m.goOn()
	m.t.Logf("%s died at epoch %d, copies %v, ends %v", m.owner, m.epoch, m.log.Copies, m.log.Ends)
}

// own makes the owner take the log over, as a node does.
func (m *clusterModel) own() {
	ctx, cancel := m.ctx()
	defer cancel()
	me, s, epoch := m.log.Owner, m.s(), m.epoch+1
	st, err := s.Fence(ctx, "", 1, epoch)
	if err != nil {
		m.t.Fatalf("Fence: %v", err)
	}
	last := tenant.End{Epoch: st.Epoch, Last: st.Last}
	holders, here := m.log.Holders(me)
	merge, whole := here && len(m.log.Copies) > 1, true
	for _, h := range holders {
		x := clusterNodes[h-1]
		if m.down[x] {
			whole = false
			continue
		}
		st, err := s.Fence(ctx, x, 1, epoch)
		if err != nil {
			m.t.Fatalf("Fence: %v", err)
		}
		m.t.Logf("%s fetches from %s, merge %v", m.owner, x, merge)
		if err := s.Fetch(ctx, x, 1, merge); err != nil {
			m.t.Fatalf("Fetch: %v", err)
		}
		merge = true
		if st.Epoch > last.Epoch || st.Epoch == last.Epoch && st.Last > last.Last {
			last = tenant.End{Epoch: st.Epoch, Last: st.Last}
		}
	}
	ends := m.log.EndsAt(me, last, whole)
	adopt := s.Adopt
	if !whole {
		adopt = s.AdoptPart
	}
	spent, err := adopt(1, epoch)
	if err != nil {
		m.t.Fatalf("Adopt: %v", err)
	}
	for _, sp := range spent {
		m.told[sp.Epoch] = m.told[sp.Epoch].Max(sp.Amount)
	}
	m.end(ends...)
	m.epoch, m.log.Epoch, m.part = epoch, epoch, !whole
	m.t.Logf("%s owns under epoch %d, whole %v, ends %v", m.owner, epoch, whole, m.log.Ends)
	for _, x := range clusterNodes {
		if x != m.owner && !m.down[x] {
			m.mirror(x)
			break
		}
	}
	if m.part {
		return
	}
	var sum tenant.Amount
	for _, a := range m.told {
		sum.Mails, sum.Bytes = sum.Mails+a.Mails, sum.Bytes+a.Bytes
	}
	if sum.Mails < m.spent.Mails || sum.Bytes < m.spent.Bytes {
		m.t.Fatalf("spent %+v, told %+v", m.spent, m.told)
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
	m.goOn()
	if m.part { // what could not be read can be read now
		if err := m.s().Release(1); err != nil {
			m.t.Fatalf("Release: %v", err)
		}
		m.own()
	}
}

// Return lets the nodes that failed hand over what they have, perhaps after
// they became holders again.
func (m *clusterModel) Return(*rapid.T) {
	m.goOn()
	if m.part { // it would be told to wait
		return
	}
	for _, x := range clusterNodes {
		if m.down[x] || x == m.owner {
			continue
		}
		ctx, cancel := m.ctx()
		defer cancel()
		m.wait("the log is returned", func() bool { // a line that was severed is found dead only in use
			_, err := m.stores[x].Return(ctx, m.owner, 1, m.log.Ends)
			if errors.Is(err, ErrBusy) { // it gave way: the owner asks again every half second
				<-time.After(700 * time.Millisecond)
			}
			return err == nil
		})
		m.t.Logf("%s returned", x)
	}
	m.check()
}

// check holds the owner's queue against what the outside was told.
func (m *clusterModel) check() {
	if m.part {
		return
	}
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
		if c == nil { // denied
			continue
		}
		for _, r := range c.rcpts {
			if !c.ended[r] && !c.cancelled && !c.untold && !live[id][r] {
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
			"change": m.Change, "ask": m.Ask, "close": m.Close, "sever": m.Sever, "fail": m.Fail, "restart": m.Restart, "halt": m.Halt, "return": m.Return,
		})
		m.Back(rt)
		m.Return(rt)
		m.wait("the copy is whole", synced(m.s(), 1))
		sameCopies(rt, m.s(), m.stores[m.holder()], 1)
	})
}
