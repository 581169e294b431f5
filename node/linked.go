package node

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/publicsuffix"

	"postern/cluster"
	"postern/node/links"
	"postern/node/queue"
	"postern/node/trouble"
	"postern/tenant"
)

// Which messages are read for their links: an account's first ones of an hour, and
// then one of so many. All of it takes no more than these in a second, so that
// reading costs less than one hundredth of a core.
const (
	linkFirst  = 10
	linkOneOf  = 50
	linkOctets = 256 << 10 // a second, on average
	linkBurst  = 4 << 20
	// An account's domains of an hour, and how many new ones are told at a time:
	// which are used most shows only after some messages.
	linkDomains = 64
	linkTell    = 3
	// How many accounts are looked at, at a time.
	linkAccounts = tenant.MaxLinked / linkTell
	linkPause    = time.Minute
	// How many a node tells of in an hour: of each that is new all nodes ask all
	// lists, and lists count questions.
	linkHourly = 600
)

// linked reads a sample of the mail that leaves for the domains its links lead to,
// and tells the state of those that accounts link to most: a domain that is listed
// speaks against who advertises it.
type linked struct {
	name    string
	cluster *cluster.Cluster
	body    func(queue.ID) (queue.Body, error)
	failed  *trouble.Log[string] // by node: this one

	mu   sync.Mutex // guards what follows
	of   map[tenant.AccountID]*linking
	room float64 // octets that may be read now
	last time.Time
	news float64 // domains that may be told now
	then time.Time
	told retold[tenant.Linked]
}

// linking is what an account's mail linked to in an hour.
type linking struct {
	hour  time.Time
	seen  int            // messages, read or not
	count map[string]int // of messages, by domain
	fresh bool           // some are perhaps not told
	next  time.Time      // no sooner
}

func newLinked(name string, c *cluster.Cluster, body func(queue.ID) (queue.Body, error), log *slog.Logger) *linked {
	return &linked{name: name, cluster: c, body: body, of: map[tenant.AccountID]*linking{}, room: linkBurst, news: linkHourly,
		failed: trouble.New[string](log, slog.LevelError, "what accounts link to is not told, trying again", "node")}
}

// before is shown every message before each attempt. It was accepted long ago, so
// that nobody waits for a 250 meanwhile.
func (w *linked) before(it *queue.Item) { w.look(w.cluster.State(), it, time.Now()) }

func (w *linked) look(st *tenant.State, it *queue.Item, now time.Time) {
	e := it.Envelope
	if it.Attempts != 0 || it.N != 0 || e.Kind != queue.Submitted || !asksLinks(st) || !w.reads(it.Lane.Account, e.Size, now) {
		return
	}
	b, err := w.body(it.ID)
	if err != nil {
		return // who sends it says so
	}
	hosts := links.Hosts(b)
	_ = b.Close()
	w.count(it.Lane.Account, hosts)
}

// asksLinks says whether any list is asked about what is found, and it counts.
func asksLinks(st *tenant.State) bool {
	l := st.Lists()
	return l != nil && st.Contain() != nil && st.Knows(tenant.Linked{}) &&
		slices.ContainsFunc(l.Zones, func(z tenant.Zone) bool { return z.Asks(tenant.SpaceDomain) })
}

// reads says whether a message is read.
func (w *linked) reads(a tenant.AccountID, size int64, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	x, hour := w.of[a], now.Truncate(time.Hour)
	switch {
	case x == nil && len(w.of) >= maxPending:
		return false
	case x == nil:
		x = &linking{hour: hour, count: map[string]int{}}
		w.of[a] = x
	case !x.hour.Equal(hour):
		x.hour, x.seen = hour, 0
		clear(x.count)
	}
	if x.seen++; x.seen > linkFirst && rand.IntN(linkOneOf) > 0 {
		return false
	}
	w.room, w.last = min(linkBurst, w.room+now.Sub(w.last).Seconds()*linkOctets), now
	cost := float64(min(size, links.MaxRead))
	if cost > w.room {
		return false
	}
	w.room -= cost
	return true
}

// count notes the domains of one message, each as somebody registered it. What is
// nobody's, a public suffix, is no one's sign.
func (w *linked) count(a tenant.AccountID, hosts []string) {
	domains := make(map[string]bool, len(hosts))
	for _, h := range hosts {
		if d, err := publicsuffix.EffectiveTLDPlusOne(h); err == nil {
			domains[d] = true
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.of[a]
	if x == nil || len(domains) == 0 {
		return
	}
	for d := range domains {
		if _, known := x.count[d]; !known && len(x.count) >= linkDomains {
			// A seldom one gives way, so that what an account begins to advertise
			// is seen beside what it always does.
			delete(x.count, seldom(x.count))
		}
		x.count[d]++
	}
	x.fresh = true
}

func seldom(count map[string]int) (domain string) {
	for d, n := range count {
		if domain == "" || n < count[domain] {
			domain = d
		}
	}
	return domain
}

// Run tells until ctx ends.
func (w *linked) Run(ctx context.Context) error {
	onBeat(ctx, time.Second, w.failed, w.name, func(ctx context.Context) error { return w.tell(ctx, w.cluster.State()) })
	return nil
}

// tell proposes what the state lacks.
func (w *linked) tell(ctx context.Context, st *tenant.State) error {
	op, id := w.batch(st, time.Now())
	if op == nil {
		return nil
	}
	if err := w.told.tell(ctx, w.cluster, &w.mu, op, id); err != nil {
		return fmt.Errorf("tell what accounts link to: %w", err)
	}
	return nil
}

// batch is what to tell now, or nil.
func (w *linked) batch(st *tenant.State, now time.Time) (*tenant.Linked, tenant.RequestID) {
	me := st.NodeByName(w.name)
	w.mu.Lock()
	defer w.mu.Unlock()
	if me == nil || !asksLinks(st) {
		clear(w.of)
		return nil, w.told.id
	}
	if w.told.op != nil {
		return w.told.op, w.told.id
	}
	if now.Sub(w.told.last) < usesEvery {
		return nil, w.told.id
	}
	w.news, w.then = min(linkHourly, w.news+now.Sub(w.then).Hours()*linkHourly), now
	op, looked := &tenant.Linked{Node: me.ID}, 0
	for a, x := range w.of {
		if looked == linkAccounts || float64(len(op.Links)+linkTell) > w.news {
			break // what leaves waits for this lock
		}
		if now.Sub(x.hour) >= 2*time.Hour {
			delete(w.of, a)
			continue
		}
		if x.fresh && !now.Before(x.next) {
			looked++
			op.Links = append(op.Links, x.lacking(st, a, now)...)
		}
	}
	if len(op.Links) == 0 {
		return nil, w.told.id
	}
	w.news -= float64(len(op.Links))
	w.told.begin(op, now)
	return op, w.told.id
}

// lacking are the domains used most of those that the state would learn of.
func (x *linking) lacking(st *tenant.State, a tenant.AccountID, now time.Time) (all []tenant.Link) {
	domains := slices.SortedFunc(maps.Keys(x.count), func(c, d string) int { return cmp.Or(cmp.Compare(x.count[d], x.count[c]), cmp.Compare(c, d)) })
	for _, d := range domains {
		l := tenant.Link{Account: a, Domain: d, At: now}
		if !st.LacksLink(l) {
			continue
		}
		if len(all) == linkTell {
			x.next = now.Add(linkPause)
			return all
		}
		all = append(all, l)
	}
	x.fresh = false // all that may be told is
	return all
}
