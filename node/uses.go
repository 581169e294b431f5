package node

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"

	"postern/cluster"
	"postern/node/bounce"
	"postern/node/delivery"
	"postern/node/queue"
	"postern/node/trouble"
	"postern/tenant"
)

const (
	// usesEvery is how often what accounts sent is told, when they sent something.
	usesEvery = 5 * time.Second
	// passedFor is how long after a verdict its times are still measured.
	passedFor = time.Hour
	// maxPending bounds what is counted and not told: accounts by sources.
	maxPending = 64 << 10
)

// uses counts what accounts send by which source and tells the state: it is what
// suspicion rests on. It also tells when the last dot left by a listed source,
// and when the first message left by the new one.
type uses struct {
	name    string
	cluster *cluster.Cluster
	log     *slog.Logger
	failed  *trouble.Log[string] // by node: this one

	mu      sync.Mutex // guards what follows
	pending map[useKey]tenant.Counts
	lost    int                     // uses that were not counted: too many at once
	dots    map[dotKey]time.Time    // the last one by a source
	firsts  map[tenant.ID]time.Time // the first delivery since the tenant is owned here
	told    retold[tenant.Used]
	seen    map[tenant.ID]tenant.NodeID // owners, as last looked at

	// Of the goroutine of Run alone:
	adopted func(tenant.ID) bool         // the tenant's queue is served here
	flush   func(tenant.ID) (int, error) // makes its deferred mail due
	renewed map[tenant.Renewal]bool      // done
}

type useKey struct {
	account tenant.AccountID
	source  tenant.SourceID
}

type dotKey struct {
	tenant tenant.ID
	source tenant.SourceID
}

func newUses(name string, c *cluster.Cluster, log *slog.Logger) *uses {
	return &uses{name: name, cluster: c, log: log, failed: trouble.New[string](log, slog.LevelError, "uses not told, trying again", "node"),
		pending: map[useKey]tenant.Counts{}, dots: map[dotKey]time.Time{}, firsts: map[tenant.ID]time.Time{}, seen: map[tenant.ID]tenant.NodeID{}, renewed: map[tenant.Renewal]bool{}}
}

// settled is told of every attempt once it is durable.
func (u *uses) settled(e delivery.Event) {
	addr, err := netip.ParseAddr(e.Attempt.Source)
	if err != nil {
		return // nothing left by any source
	}
	st := u.cluster.State()
	src := st.SourceByAddr(addr)
	if src == nil {
		return
	}
	c := countOutcomes(e, addr)
	t, end := e.Item.ID.Tenant, e.Attempt.At.Add(e.Attempt.Took)
	u.mu.Lock()
	defer u.mu.Unlock()
	key := useKey{e.Item.Lane.Account, src.ID}
	if _, known := u.pending[key]; known || len(u.pending) < maxPending {
		u.pending[key] = u.pending[key].Plus(c)
	} else {
		u.lost++
	}
	if e.Attempt.DotSent && end.After(u.dots[dotKey{t, src.ID}]) {
		u.dots[dotKey{t, src.ID}] = end
	}
	if c.Delivered > 0 && u.firsts[t].IsZero() {
		u.firsts[t] = end
	}
}

// countOutcomes sorts recipients by what became of them. What speaks of our IP,
// or only asks for time, speaks against nobody.
func countOutcomes(e delivery.Event, source netip.Addr) (c tenant.Counts) {
	for _, o := range e.Outcomes {
		c.Tried++
		if o.Result == queue.Delivered {
			c.Delivered++
			continue
		}
		v := bounce.Classify(bounce.Reply{Host: e.Attempt.Host, Source: source, Code: o.Reply.Code, Enhanced: o.Reply.Enhanced, Text: o.Reply.Text})
		switch v.Class {
		case bounce.InvalidRecipient, bounce.BadDomain:
			if v.Hard() {
				c.Unknown++
			}
		case bounce.SpamContent, bounce.VirusRelated:
			c.Content++
		}
	}
	return c
}

// Run tells until ctx ends.
func (u *uses) Run(ctx context.Context) error {
	onBeat(ctx, time.Second, u.failed, u.name, func(ctx context.Context) error {
		st := u.cluster.State()
		u.look(st)
		u.renew(st)
		if err := u.tell(ctx, st); err != nil {
			return err
		}
		return u.pass(ctx, st)
	})
	return nil
}

// look forgets what was measured of tenants that came or went.
func (u *uses) look(st *tenant.State) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for t := range st.Tenants() {
		if was, known := u.seen[t.ID]; known && was != t.Owner && nodeName(st, t.Owner) != u.name {
			delete(u.firsts, t.ID)
		}
		u.seen[t.ID] = t.Owner
	}
	maps.DeleteFunc(u.seen, func(t tenant.ID, _ tenant.NodeID) bool { return st.Tenant(t) == nil })
	maps.DeleteFunc(u.firsts, func(t tenant.ID, _ time.Time) bool { return st.Tenant(t) == nil })
	maps.DeleteFunc(u.dots, func(k dotKey, at time.Time) bool { return st.Tenant(k.tenant) == nil || st.Source(k.source) == nil })
}

// tell proposes what was counted.
func (u *uses) tell(ctx context.Context, st *tenant.State) error {
	me := st.NodeByName(u.name)
	if me == nil || st.Contain() == nil {
		u.mu.Lock()
		clear(u.pending) // nobody asks
		u.mu.Unlock()
		return nil
	}
	op, id := u.batch(me.ID, time.Now())
	if op == nil {
		return nil
	}
	if err := u.told.tell(ctx, u.cluster, &u.mu, op, id); err != nil {
		return fmt.Errorf("tell what accounts sent: %w", err)
	}
	return nil
}

// batch is what to tell now, or nil.
func (u *uses) batch(me tenant.NodeID, now time.Time) (*tenant.Used, tenant.RequestID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.told.op != nil {
		return u.told.op, u.told.id
	}
	if len(u.pending) == 0 || now.Sub(u.told.last) < usesEvery {
		return nil, u.told.id
	}
	if u.lost > 0 {
		u.log.Warn("uses were not counted: too many accounts at once", "count", u.lost)
		u.lost = 0
	}
	op := &tenant.Used{Node: me}
	for k, c := range u.pending {
		if len(op.Uses) == tenant.MaxUses {
			break
		}
		op.Uses = append(op.Uses, tenant.Use{Account: k.account, Source: k.source, At: now, Counts: c})
		delete(u.pending, k)
	}
	u.told.begin(op, now)
	return op, u.told.id
}

// pass tells the times of tenants that a case touches.
func (u *uses) pass(ctx context.Context, st *tenant.State) error {
	for _, op := range u.times(st) {
		ctx, cancel := context.WithTimeout(ctx, tellWait)
		_, _, err := u.cluster.Propose(ctx, tenant.RequestID{}, op)
		cancel()
		if err != nil {
			return fmt.Errorf("tell the times of a listing: %w", err)
		}
	}
	return nil
}

// times are what this node measured and the state does not know.
func (u *uses) times(st *tenant.State) (all []tenant.Passed) {
	me := st.NodeByName(u.name)
	if me == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for c := range st.Cases() {
		if st.Now().Sub(c.Raised) > passedFor || c.Mode != tenant.AutomationOn {
			continue
		}
		for _, f := range c.Fates {
			op := tenant.Passed{Case: c.ID, Tenant: f.Tenant}
			if dot := u.dots[dotKey{f.Tenant, c.Source}]; c.Node == me.ID && c.Ended.IsZero() && dot.After(f.LastDot) {
				op.LastDot = dot
			}
			if f.Kind == tenant.FateMove && f.To.Node == me.ID && !f.Owned.IsZero() && f.First.IsZero() {
				if first := u.firsts[f.Tenant]; first.After(f.At) {
					op.First = first
				} else {
					delete(u.firsts, f.Tenant) // of an earlier stay: the next one counts
				}
			}
			if op.LastDot != (time.Time{}) || op.First != (time.Time{}) {
				all = append(all, op)
			}
		}
	}
	return all[:min(len(all), 4*tenant.NodeTenants)]
}
